"""PyTorch and small packages for the child process.

PyTorch is never imported here: loading it would cost the Slicer process memory and time. Slicer and its child share one
set of packages, so what can be found here can be imported there.
"""

import importlib
import importlib.util
import logging

import slicer
from slicer.i18n import tr as _

TORCH_REQUIREMENT = "torch>=2.3"


def ensureTorch() -> str:
    """Make sure that PyTorch is installed, asking first. Return "" or the sentence that says what to do."""
    if torchIsInstalled():
        return ""
    howTo = _("Detection needs PyTorch: click Detect again and accept, or install the extension PyTorch "
              "in the Extensions Manager.")
    if not slicer.util.confirmOkCancelDisplay(
            _("Detection needs the Python package PyTorch, which is not installed.\n\n"
              "Download and install it now? It takes up to 3 GB of disk space and some minutes."),
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
    howTo = _("This form needs the Python package {name}: click Export again and accept, or take away its "
              "tick.").format(name=name)
    if not slicer.util.confirmOkCancelDisplay(
            _("This form needs the Python package {name}, which is not installed.\n\nDownload and install it now?")
            .format(name=name), _("Install {name}").format(name=name)):
        return howTo
    try:
        _pipInstall(name)
    except Exception as error:  # pip raises many kinds
        logging.exception("CMBDetection: %s could not be installed", name)
        return _("{name} could not be installed ({error}). The error log holds the details.").format(name=name,
                                                                                                 error=error)
    importlib.invalidate_caches()
    return "" if importlib.util.find_spec(name) is not None else howTo


def torchIsInstalled() -> bool:
    """Whether the interpreter of the child finds torch."""
    return importlib.util.find_spec("torch") is not None


def installTorch():
    """Install PyTorch by the PyTorch extension, which picks the build for the GPU, or else by pip."""
    if hasattr(slicer.modules, "pytorchutils"):
        import PyTorchUtils

        PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=TORCH_REQUIREMENT.removeprefix("torch"))
        return
    _pipInstall(TORCH_REQUIREMENT)


def _pipInstall(requirement):
    try:
        from slicer.packaging import pip_install
    except ImportError:  # Slicer before 5.11
        pip_install = slicer.util.pip_install
    pip_install(requirement)
