"""What CMake packages is what lies on the disk, no more and no less."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "CMBDetection"


def listed(variable):
    """Return the names in a list of the module's CMake file."""
    text = re.sub(r"#.*", "", (MODULE / "CMakeLists.txt").read_text())
    return re.search(rf"set\({variable}\s([^)]*)\)", text).group(1).split()


def on_disk(folder, pattern):
    return sorted(path.relative_to(MODULE).as_posix() for path in folder.rglob(pattern)
                  if path.is_file() and "__pycache__" not in path.parts)


@pytest.mark.parametrize(("variable", "folder", "pattern"), [("MODULE_PYTHON_SCRIPTS", MODULE, "*.py"),
                                                             ("MODULE_PYTHON_RESOURCES", MODULE / "Resources", "*")])
def test_the_list_is_the_disk(variable, folder, pattern):
    names = listed(variable)
    assert sorted(names) == on_disk(folder, pattern)
    assert len(set(names)) == len(names)


def test_nothing_else_lies_in_the_module():
    others = set(on_disk(MODULE, "*")) - set(on_disk(MODULE, "*.py")) - set(on_disk(MODULE / "Resources", "*"))
    assert others == {"CMakeLists.txt"}


def test_the_extension_needs_pytorch_and_adds_the_module():
    text = (REPOSITORY / "CMakeLists.txt").read_text()
    assert "project(CMBDetection)" in text
    assert 'set(EXTENSION_DEPENDS "PyTorch")' in text
    assert "add_subdirectory(CMBDetection)" in text


def test_weights_and_cards_stay_small():
    size = sum(path.stat().st_size for path in (MODULE / "Resources" / "Models").rglob("*") if path.is_file())
    assert size < 20e6
