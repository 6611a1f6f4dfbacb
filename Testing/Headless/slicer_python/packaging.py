"""Stand-in for ``slicer.packaging``: checks what is installed and never installs, as Slicer with ``--testing``."""

import importlib.metadata

from packaging.requirements import Requirement


def load_requirements(path):
    with open(path, encoding="utf-8") as lines:
        texts = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(text) for text in texts if text]


def pip_check(requirements):
    """True if every requirement (one or a list, text or Requirement) is met by the installed packages."""
    several = requirements if isinstance(requirements, list) else [requirements]
    return all(_is_met(Requirement(str(requirement))) for requirement in several)


def pip_ensure(requirements, **kwargs):
    missing = [str(requirement) for requirement in requirements if not pip_check(requirement)]
    if missing:
        raise RuntimeError(f"Not installed, and nothing is installed while testing: {', '.join(missing)}")


def pip_install(requirements, **kwargs):
    raise NotImplementedError("slicer.packaging.pip_install is not provided by the headless Slicer")


def _is_met(requirement):
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False
