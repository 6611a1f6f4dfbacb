"""What the CMake files list is what is on the disk, both ways: Slicer installs only what is listed."""

import re
from pathlib import Path

import pytest
from package_extension import listed

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "CMBDetection"
PANEL_TESTS = ROOT / "Testing" / "panel"
RAW_URL = "https://raw.githubusercontent.com/CMBDetection/SlicerCMBDetection/main/"


def on_disk(folder, *patterns):
    """Return the files of the patterns, relative to the folder, without what Python leaves behind."""
    files = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(folder).as_posix() for path in files if "__pycache__" not in path.parts)


def complaints(entries, files):
    """Return the lines to add to and to remove from a list so that it equals the files, in sorted order."""
    missing = [f"add:     {name}" for name in files if name not in entries]
    superfluous = [f"remove:  {name}" for name in entries if name not in files or entries.count(name) > 1]
    unsorted = ["sort the list"] if entries != sorted(entries) else []
    return missing + superfluous + unsorted


LISTS = {
    "scripts": (
        MODULE / "CMakeLists.txt",
        "MODULE_PYTHON_SCRIPTS",
        on_disk(MODULE, "*.py", "CMBDetectionLib/**/*.py", "microbleeds/**/*.py"),
    ),
    "resources": (MODULE / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES", on_disk(MODULE, "Resources/**/*")),
    "panel tests": (
        PANEL_TESTS / "CMakeLists.txt",
        "PANEL_TESTS",
        [name for name in on_disk(PANEL_TESTS, "test_*.py") if not name.startswith("test_headless_")],
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_list_equals_disk(name):
    cmake_file, variable, files = LISTS[name]
    found = complaints(listed(cmake_file, variable), files)
    assert not found, f"{variable} in {cmake_file.relative_to(ROOT)}:\n" + "\n".join(found)


def test_nothing_else_lies_in_the_module_folder():
    known = set(on_disk(MODULE, "*.py", "CMBDetectionLib/**/*.py", "microbleeds/**/*.py", "Resources/**/*"))
    assert set(on_disk(MODULE, "**/*")) - known == {"CMakeLists.txt"}


def test_complaints():
    assert complaints(["a", "b"], ["a", "b"]) == []
    assert complaints(["b", "a"], ["a", "b"]) == ["sort the list"]
    assert complaints(["a", "c"], ["a", "b"]) == ["add:     b", "remove:  c"]


def metadata():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "project(CMBDetection)" in text and "add_subdirectory(CMBDetection)" in text
    return dict(re.findall(r'set\(EXTENSION_(\w+) "(.*)"\)', text))


def test_extension_metadata():
    found = metadata()
    assert sorted(found) == [
        "CATEGORY", "CONTRIBUTORS", "DEPENDS", "DESCRIPTION", "HOMEPAGE", "ICONURL", "LICENSE_FILE", "README_FILE",
        "SCREENSHOTURLS",
    ]
    assert found["DEPENDS"] == "PyTorch"
    assert "not for clinical use" in found["DESCRIPTION"]


@pytest.mark.parametrize("key", ["ICONURL", "SCREENSHOTURLS"])
def test_linked_pictures_are_in_the_repository(key):
    for url in metadata()[key].split():
        assert url.startswith(RAW_URL)
        assert (ROOT / url.removeprefix(RAW_URL)).is_file(), f"{url} has no file"


def test_weights_and_cards_stay_small():
    size = sum(path.stat().st_size for path in (MODULE / "Resources" / "Models").rglob("*") if path.is_file())
    assert size < 20e6
