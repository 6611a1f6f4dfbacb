"""The check of a package's content, on packages made here from the lists; Slicer's macros are not needed for that."""

import io
import tarfile

import package_extension
import pytest
from package_extension import complaints, expected_files, read_package

PREFIX = "16-linux-amd64-CMBDetection-git1-2026-01-01"
MODULES = "lib/Slicer-5.12/qt-scripted-modules"
DESCRIPTION = "share/Slicer-5.12/CMBDetection.s4ext"


def write_package(path, files):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{PREFIX}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def small_files():
    """Path of the small files of the lists, by name; enough to deviate from, and fast."""
    return {name: path for name, path in expected_files().items() if path.stat().st_size < 100_000}


@pytest.fixture
def found_in(tmp_path, small_files):
    """Return the complaints about a package of the small files with some changed, or taken away (None)."""

    def found(change):
        files = {f"{MODULES}/{name}": path.read_bytes() for name, path in small_files.items()}
        files = {**files, DESCRIPTION: b"description Finds cerebral microbleeds\n", **change}
        package = write_package(tmp_path / "package.tar.gz", {name: data for name, data in files.items()
                                                              if data is not None})
        return complaints(read_package(package), small_files)

    return found


def test_the_whole_package_is_accepted(tmp_path, capsys):
    files = {f"{MODULES}/{name}": path.read_bytes() for name, path in expected_files().items()}
    package = write_package(tmp_path / "package.tar.gz", {**files, DESCRIPTION: b"description\n"})
    assert package_extension.main(["--check", str(package)]) == 0
    out = capsys.readouterr().out
    assert f"{len(expected_files())} files of the lists are in the package" in out
    assert "Resources/Models" in out
    assert package.stat().st_size < 30e6


def test_the_lists_name_what_a_user_needs():
    names = set(expected_files())
    for name in ("CMBDetection.py", "CMBDetectionLib/panel.py", "microbleeds/pipeline.py", "Resources/LICENSE.txt",
                 "Resources/licences.md", "Resources/UI/CMBDetection.ui", "Resources/Icons/CMBDetection.png",
                 "Resources/Models/physics-0.3/detector.pt", "Resources/Sample/simulated_T2star.nii.gz",
                 "Resources/Anatomy/LICENSE.txt", "Resources/Anatomy/training_seg_01.nii.gz"):
        assert name in names
    assert not [name for name in names if "test" in name.lower() and not name.endswith("training_set.py")]


def test_what_slicer_compiles_is_no_complaint(found_in):
    compiled = {f"{MODULES}/CMBDetection.pyc": b"x", f"{MODULES}/microbleeds/cli.pyc": b"x",
                f"{MODULES}/microbleeds/__pycache__/cli.cpython-312.pyc": b"x"}
    assert found_in({}) == found_in(compiled) == []


@pytest.mark.parametrize("change, complaint", [
    ({f"{MODULES}/microbleeds/cli.py": None}, "missing: microbleeds/cli.py"),
    ({f"{MODULES}/Resources/Models/physics-0.3/model.json": None}, "missing: Resources/Models/physics-0.3/model.json"),
    ({f"{MODULES}/microbleeds/cli.py": b"print()"}, "different from its source: microbleeds/cli.py"),
    ({f"{MODULES}/microbleeds/extra.py": b""}, "superfluous: microbleeds/extra.py"),
    ({f"{MODULES}/microbleeds/gone.pyc": b""}, "superfluous: microbleeds/gone.pyc"),
    ({"share/patient.nii.gz": b""}, "superfluous: share/patient.nii.gz"),
    ({DESCRIPTION: None}, "one description (CMBDetection.s4ext) expected, found 0"),
])
def test_every_deviation_is_named(found_in, change, complaint):
    assert found_in(change) == [complaint]


def test_size_is_limited(found_in, monkeypatch):
    monkeypatch.setattr(package_extension, "LARGEST_BYTES", 100_000)
    assert any("MB, more than" in text for text in found_in({}))


def test_names_that_leave_the_package_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not a plain file inside"):
        read_package(write_package(tmp_path / "package.tar.gz", {"../../evil.py": b""}))


def test_without_slicer_it_says_what_is_needed(capsys, monkeypatch):
    monkeypatch.delenv("SLICER_SOURCE", raising=False)
    monkeypatch.delenv("SLICER_BUILD", raising=False)
    with pytest.raises(SystemExit) as ended:
        package_extension.main([])
    assert ended.value.code == 2
    assert "--slicer-source" in capsys.readouterr().err
