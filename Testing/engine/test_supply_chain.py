"""Every package that CI installs is pinned by version and hash, and its licence is in the list."""

import re
from importlib import metadata
from pathlib import Path

import licences
import pytest

TESTING = Path(__file__).resolve().parents[1]
PINS = ["requirements.txt", "requirements-engine.txt", "requirements-torch.txt", "requirements-torch-cpu.txt"]


def entries(file):
    """Return (requirement, number of hashes) of each entry of a list of pins."""
    text = (TESTING / file).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(line.partition("--hash")[0].strip(), len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line)))
            for line in lines]


@pytest.mark.parametrize("file", PINS)
def test_every_entry_has_version_and_hash(file):
    found = entries(file)
    assert found
    assert not [entry for entry, hashes in found if hashes == 0 or not re.match(r"[a-z0-9-]+==[^*\s]+( ;|$)", entry)]


@pytest.mark.parametrize("asked, pinned", [("requirements.in", "requirements.txt"),
                                           ("requirements-engine.in", "requirements.txt"),
                                           ("requirements-engine.in", "requirements-engine.txt"),
                                           ("requirements-torch.in", "requirements-torch.txt")])
def test_what_is_asked_for_is_pinned(asked, pinned):
    missing = set(licences.asked_names(asked)) - set(licences.pinned_names(pinned))
    assert not missing, "run: bash Testing/pin_requirements"


def test_versions_that_are_asked_for_are_the_pinned_ones():
    lines = (TESTING / "requirements.in").read_text(encoding="utf-8").lower().splitlines()
    wanted = {line for line in lines if "==" in line and ";" not in line and not line.startswith("#")}
    assert wanted <= {entry for entry, _ in entries("requirements.txt")}, "run: bash Testing/pin_requirements"


def test_the_demo_runs_on_the_versions_of_the_tests():
    assert set(entries("requirements-engine.txt")) <= set(entries("requirements.txt"))


def test_pytorch_brings_no_other_versions():
    tests, torch = ({entry for entry, _ in entries(file)} for file in ("requirements.txt", "requirements-torch.txt"))
    shared = set(licences.pinned_names("requirements.txt")) & set(licences.pinned_names("requirements-torch.txt"))
    assert "sympy" in shared
    assert {entry for entry in torch if entry.partition("==")[0] in shared} <= tests


@pytest.mark.parametrize("script", ["run", "demo"])
def test_scripts_install_nothing_without_hashes(script):
    lines = (TESTING / script).read_text(encoding="utf-8").splitlines()
    installs = [line for line in lines if "pip install" in line and "--no-deps" not in line]
    assert not installs
    assert any(line.startswith("install_pinned --requirement") for line in lines)
    assert "--require-hashes --only-binary :all:" in (TESTING / "set_up.sh").read_text(encoding="utf-8")


def licence_rows():
    """Return the licence of every package in the document, by name."""
    text = licences.DOCUMENT.read_text(encoding="utf-8")
    section = text.partition(licences.BEGIN)[2].partition(licences.END)[0]
    return dict(re.findall(r"^\| ([a-z0-9-]+) \| (.+) \|$", section, re.MULTILINE))


def test_licences_of_all_packages_are_listed():
    pinned = {name for file in PINS for name in licences.pinned_names(file)}
    assert set(licence_rows()) == pinned, "run: python Testing/licences.py"


def test_listed_licences_are_those_that_packages_declare():
    listed, compared = licence_rows(), 0
    for name, licence in listed.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if any(entry.startswith(f"{name}=={version.partition('+')[0]}") for entry, _ in entries("requirements.txt")):
            assert licences.licence_of(name) == licence
            compared += 1
    assert compared > 10


def test_nothing_the_program_needs_is_copyleft():
    needed = {*licences.pinned_names("requirements-engine.txt"), "torch", "highdicom", "pydicom", "reportlab"}
    rows = licence_rows()
    assert not [name for name in needed if re.search(r"GPL|not declared", rows[name])]


def test_shipped_folders_are_in_the_list():
    text = licences.DOCUMENT.read_text(encoding="utf-8")
    resources = licences.DOCUMENT.parent
    folders = [path for path in resources.iterdir() if path.is_dir() and path.name != "Models"]
    for path in [*folders, *(resources / "Models").iterdir()]:
        assert f"`{path.relative_to(resources.parent).as_posix()}`" in text, f"{path} has no licence in the list"
