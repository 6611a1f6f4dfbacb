"""PyTorch and small packages for the child process.

PyTorch is never imported here: loading it would cost the Slicer process memory and time. Slicer and its child share one
set of packages, so what can be found here can be imported there.
"""

import importlib
import importlib.metadata
import importlib.util
import logging

import slicer
from slicer.i18n import tr as _

_OLDEST_TORCH = (2, 6)
"""Before it, loading weights could run code that is in them (CVE-2025-32434)."""
_REQUIREMENTS = {"highdicom": "highdicom>=0.27", "reportlab": "reportlab>=4.2"}
_NEEDS_BUNDLED = {"highdicom": ("pydicom", 3)}
"""What a package needs of one that Slicer comes with: the oldest major version. Slicer 5.10 has pydicom 2.4."""


def ensureTorch() -> str:
    """Make sure that PyTorch is installed, asking first. Return "" or the sentence that says what to do."""
    if torchIsInstalled():
        return ""
    if not hasattr(slicer.modules, "pytorchutils"):
        return _("Detection needs PyTorch: install the extension PyTorch in the Extensions Manager and restart Slicer.")
    howTo = _("Detection needs PyTorch: click Detect again and accept.")
    if not slicer.util.confirmOkCancelDisplay(
            _("Detection needs the Python package PyTorch, {oldest} or newer, which is not installed.\n\n"
              "Download and install it now? It takes up to 3 GB of disk space and some minutes.").format(
                  oldest="{}.{}".format(*_OLDEST_TORCH)),
            _("Install PyTorch")):
        return howTo
    try:
        installTorch()
    except Exception as error:  # pip and the extension raise many kinds
        logging.exception("CMBDetection: PyTorch could not be installed")
        return _("PyTorch could not be installed ({error}). The error log holds the details.").format(error=error)
    importlib.invalidate_caches()
    return "" if torchIsInstalled() else howTo


def ensurePackage(name) -> str:
    """Make sure that a small package is installed, asking first. Return "" or the sentence that says what to do."""
    if importlib.util.find_spec(name) is not None:
        return ""
    clash = _bundledClash(name)
    if clash:
        return clash
    howTo = _("This form needs the Python package {name}: click Export again and accept, or take away its "
              "tick.").format(name=name)
    if not slicer.util.confirmOkCancelDisplay(
            _("This form needs the Python package {name}, which is not installed.\n\nDownload and install it now?")
            .format(name=name), _("Install {name}").format(name=name)):
        return howTo
    try:
        _pipInstall(_REQUIREMENTS[name])
    except Exception as error:  # pip raises many kinds
        logging.exception("CMBDetection: %s could not be installed", name)
        return _("{name} could not be installed ({error}). The error log holds the details.").format(name=name,
                                                                                                 error=error)
    importlib.invalidate_caches()
    return "" if importlib.util.find_spec(name) is not None else howTo


def torchIsInstalled() -> bool:
    """Whether the interpreter of the child finds a torch that is new enough."""
    try:
        major, minor = importlib.metadata.version("torch").split(".")[:2]
    except importlib.metadata.PackageNotFoundError:
        return False
    return (int(major), int(minor)) >= _OLDEST_TORCH


def installTorch():
    """Install PyTorch by the PyTorch extension, which picks the build for the GPU."""
    import PyTorchUtils

    PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=">={}.{}".format(*_OLDEST_TORCH))


def _bundledClash(name) -> str:
    """Return why a package cannot be had without replacing one that Slicer comes with; "" if it can."""
    bundled, oldest = _NEEDS_BUNDLED.get(name, ("", 0))
    try:
        found = importlib.metadata.version(bundled) if bundled else ""
    except importlib.metadata.PackageNotFoundError:
        found = ""
    if not found or int(found.partition(".")[0]) >= oldest:
        return ""
    return _("This form needs {bundled} {oldest}, and this Slicer comes with {found}: use Slicer 5.12 or newer, or "
             "take away its tick.").format(bundled=bundled, oldest=oldest, found=found)


def _pipInstall(requirement):
    try:
        from slicer.packaging import pip_install
    except ImportError:  # Slicer before 5.11
        pip_install = slicer.util.pip_install
    pip_install(requirement)
