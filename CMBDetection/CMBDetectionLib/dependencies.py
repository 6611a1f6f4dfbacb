"""PyTorch for the child process. It is never imported here: loading it would cost the Slicer process memory and time.

Slicer and its child share one set of packages, so what can be found here can be imported there.
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


def torchIsInstalled() -> bool:
    """Whether the interpreter of the child finds torch."""
    return importlib.util.find_spec("torch") is not None


def installTorch():
    """Install PyTorch by the PyTorch extension, which picks the build for the GPU, or else by pip."""
    if hasattr(slicer.modules, "pytorchutils"):
        import PyTorchUtils

        PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=TORCH_REQUIREMENT.removeprefix("torch"))
        return
    try:
        from slicer.packaging import pip_install
    except ImportError:  # Slicer before 5.11
        pip_install = slicer.util.pip_install
    pip_install(TORCH_REQUIREMENT)
