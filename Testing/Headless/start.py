"""Starts and stops the headless Slicer of this process."""

import os
from pathlib import Path

import slicer
import slicer.util

from Headless import ctk_widgets, errors, pythonqt
from Headless.errors import NotProvided

pythonqt.install()
ctk_widgets.install()

from Headless import application, modules, mrml_widgets, slice_widget, ui_loader  # noqa: E402


def start(module_paths=()):
    """Make ``slicer.app``, the three slice views and the Python layer, then load modules. Once per process.

    Parameters
    ----------
    module_paths : sequence of path
        Folders whose scripted modules (`<Folder>/*.py`) are loaded, as with ``--additional-module-paths``.
    """
    errors.install()
    slicer.__path__.append(os.environ.get("SLICER_PYTHON_DIR") or str(Path(__file__).parent / "slicer_python"))
    slicer.__getattr__ = _missing
    for cls in (*mrml_widgets.WIDGETS, slice_widget.qMRMLSliceWidget, slice_widget.qMRMLSliceView,
                modules.qSlicerScriptedLoadableModuleWidget, modules.qSlicerScriptedLoadableModule):
        setattr(slicer, cls.__name__, cls)
    slicer.app = application.make_application()
    slicer.modules = modules.Modules()
    for name, logic in slicer.app.moduleLogics.items():
        setattr(slicer.modules, name.lower(), modules.CoreModule(name, logic))
    slicer.util.loadUI = ui_loader.load_ui
    slicer.util.selectModule = _select_module
    slicer.util.delayDisplay = _delay_display
    slicer.app.open_layout()
    for folder in module_paths:
        for path in sorted(Path(folder).glob("*.py")):
            slicer.app.moduleManager().load(path)
    slicer.app.startupCompleted.emit()
    return slicer.app


def stop():
    """End of the application: modules clean up, the scene is closed, the views go."""
    for name in slicer.app.moduleManager().loadedModuleNames():
        slicer.app.moduleManager().unload(name)
    slicer.app.processEvents()
    slicer.mrmlScene.Clear(True)
    slicer.app.close_layout()


def _missing(name):
    if name.startswith(("qMRML", "qSlicer")):
        return ctk_widgets.missing_widget(name)
    raise AttributeError(f"module 'slicer' has no attribute '{name}'")


def _select_module(module):
    """``slicer.util.selectModule`` without the main window's selector."""
    slicer.app.moduleManager().select(module if type(module) is str else module.name)


def _delay_display(message, autoCloseMsec=1000, parent=None, **kwargs):
    """``slicer.util.delayDisplay`` without its dialog: logged, one round of events."""
    import logging

    logging.info(message)
    if autoCloseMsec < 0:
        raise NotProvided("slicer.util.delayDisplay without closing time waits for a user")
    slicer.app.processEvents()
