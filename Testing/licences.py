"""Writes the lists of packages in CMBDetection/Resources/licences.md from what the installed packages declare.

    python Testing/licences.py      # after Testing/pin_requirements, in .venv
"""

import re
from importlib import metadata
from pathlib import Path

TESTING = Path(__file__).resolve().parent
DOCUMENT = TESTING.parent / "CMBDetection" / "Resources" / "licences.md"
BEGIN, END = "<!-- packages: begin, written by Testing/licences.py -->", "<!-- packages: end -->"
NVIDIA = "NVIDIA's own (not free software)"
ONLY_ELSEWHERE = {
    "colorama": "BSD-3-Clause", "cuda-bindings": "Apache-2.0", "cuda-pathfinder": "Apache-2.0", "cuda-toolkit": NVIDIA,
    "exceptiongroup": "MIT", "pytz": "MIT", "setuptools-scm": "MIT", "six": "MIT", "tomli": "MIT", "triton": "MIT",
    "vcs-versioning": "MIT",
}
"""Packages of other systems, other versions of Python or the build for CUDA: looked up on PyPI, not read here."""
SHORT = {
    "BSD License": "BSD", "MIT License": "MIT", "Apache Software License": "Apache-2.0", "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "Python Software Foundation License": "PSF-based",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0", "GNU General Public License v2 (GPLv2)": "GPL-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0", "Other/Proprietary License": "commercial",
}
LONGEST_TEXT = 60


def pinned_names(file):
    """Return the names of the packages in a list of pins, sorted."""
    text = (TESTING / file).read_text(encoding="utf-8")
    return sorted(set(re.findall(r"^([a-zA-Z0-9._-]+)==", text, re.MULTILINE)))


def asked_names(file):
    """Return the names that a requirements*.in file itself asks for, in lower case, sorted."""
    lines = (TESTING / file).read_text(encoding="utf-8").splitlines()
    return sorted({re.split(r"[=<>;\s\[]", line)[0].lower() for line in lines if line and line[0] not in "#-"})


def licence_of(name):
    """Return the licence that an installed package declares, in short; None if it is not installed."""
    if name.startswith("nvidia-"):
        return NVIDIA
    try:
        package = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ONLY_ELSEWHERE.get(name)
    kinds = [text.rpartition("::")[2].strip() for text in package.get_all("Classifier") or []
             if text.startswith("License ::")]
    kinds = [SHORT.get(kind, kind) for kind in kinds if kind != "OSI Approved"]
    text = (package.get("License") or "").strip()
    expression = package.get("License-Expression") or " or ".join(kinds)
    return expression or (text if 0 < len(text) <= LONGEST_TEXT and "\n" not in text else "not declared")


def table(names):
    """Return the lines of a table of packages and licences.

    Raises
    ------
    LookupError
        If a licence can neither be read nor is known.
    """
    licences = {name: licence_of(name) for name in names}
    unknown = [name for name, licence in licences.items() if licence in (None, "not declared")]
    if unknown:
        raise LookupError(f"licence unknown, install them or add them to ONLY_ELSEWHERE: {', '.join(unknown)}")
    return ["| Package | Licence |", "|---|---|", *(f"| {name} | {licence} |" for name, licence in licences.items())]


def package_section():
    """Return the lines between the marks of the document."""
    engine, torch = pinned_names("requirements-engine.txt"), pinned_names("requirements-torch.txt")
    tests = [name for name in pinned_names("requirements.txt") if name not in engine]
    asked = set(asked_names("requirements.in"))
    return [
        "The engine (and what builds its package):", "", *table(engine), "",
        "PyTorch and what its builds bring along, beyond these:", "",
        *table([name for name in torch if name not in engine]), "",
        "Optional forms of export (`highdicom`, `pydicom`, `reportlab`) and the tests:", "",
        *table([name for name in tests if name in asked]), "",
        "What those bring along:", "", *table([name for name in tests if name not in asked])]


def main():
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = "\n".join([before + BEGIN, "", *package_section(), "", END]) + after
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
