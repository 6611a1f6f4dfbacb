"""Stand-ins for ``slicer.app`` and its layout manager; the scene and the views behind them are real."""

import contextlib
import os
import tempfile
import types

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from Headless.data_io import IOManager
from Headless.modules import ModuleManager
from Headless.scene import MrmlApplication
from Headless.slice_view import SliceView
from Headless.slice_widget import qMRMLSliceWidget

VERSION = (5, 12)
DOCUMENTATION = "https://slicer.readthedocs.io/en/5.12/"
ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class qSlicerApplication(QtWidgets.QApplication):
    """The application in ``--testing`` mode: message boxes are logged, not shown. There is no main window."""

    startupCompleted = Signal()

    def __init__(self, temporary_path):
        super().__init__(["Slicer"])
        self._temporary_path = temporary_path
        self._options = types.SimpleNamespace(runPythonAndExit=True)
        self._environment = dict(os.environ)
        self.setApplicationName("Slicer")
        self.setOrganizationName("HeadlessSlicer")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, temporary_path)
        self._mrml = MrmlApplication(temporary_path)
        self._io = IOManager(self)
        self._modules = ModuleManager()
        self._layout_manager = None

    temporaryPath = Property(str, lambda self: self._temporary_path)
    slicerUserSettingsFilePath = Property(str, lambda self: os.path.join(self._temporary_path, "Slicer.ini"))
    majorVersion = Property(int, lambda self: VERSION[0])
    minorVersion = Property(int, lambda self: VERSION[1])
    documentationBaseUrl = Property(str, lambda self: DOCUMENTATION)

    @property
    def moduleLogics(self):
        """Logics of the C++ modules by module name."""
        return self._mrml.module_logics

    def open_layout(self):
        self._layout_manager = qMRMLLayoutManager(self._mrml)

    def close_layout(self):
        self._layout_manager.close_views()
        self._layout_manager = None

    @contextlib.contextmanager
    def withoutLayout(self):
        """Not in Slicer: as with ``--no-main-window``, ``layoutManager()`` is None in this context."""
        layout_manager, self._layout_manager = self._layout_manager, None
        try:
            yield
        finally:
            self._layout_manager = layout_manager

    def testingEnabled(self):
        return True

    def commandOptions(self):
        return self._options

    def applicationLogic(self):
        return self._mrml.logic

    def mrmlScene(self):
        return self._mrml.scene

    def layoutManager(self):
        return self._layout_manager

    def moduleManager(self):
        return self._modules

    def coreIOManager(self):
        return self._io

    def ioManager(self):
        return self._io

    def settings(self):
        return QtCore.QSettings()

    def userSettings(self):
        return QtCore.QSettings()

    def startupEnvironment(self):
        return dict(self._environment)

    def moduleDocumentationUrl(self, name):
        return f"{DOCUMENTATION}user_guide/modules/{name.lower()}.html"

    def pauseRender(self):
        """Rendering happens on paint events only."""

    def resumeRender(self):
        """See :meth:`pauseRender`."""


class qMRMLLayoutManager(QtCore.QObject):
    """Three slice views, whatever the layout; number and descriptions of layouts are in Slicer's own node."""

    def __init__(self, mrml):
        super().__init__()
        self._mrml = mrml
        node = mrml.scene.AddNode(slicer.vtkMRMLLayoutNode())
        self._logic = types.SimpleNamespace(GetLayoutNode=lambda: node)
        self._widgets = {name: qMRMLSliceWidget(SliceView(mrml, name, ORIENTATIONS[name])) for name in ORIENTATIONS}

    def layoutLogic(self):
        return self._logic

    def setLayout(self, layout):
        self._logic.GetLayoutNode().SetViewArrangement(layout)

    layout = Property(int, lambda self: self._logic.GetLayoutNode().GetViewArrangement(), setLayout)
    threeDViewCount = Property(int, lambda self: 0)
    tableViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: 0)

    def sliceViewNames(self):
        return tuple(self._widgets)

    def sliceWidget(self, name):
        return self._widgets.get(name)

    def mrmlSliceLogics(self):
        return self._mrml.logic.GetSliceLogics()

    def resetSliceViews(self):
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self):
        """There is no 3D view."""

    def close_views(self):
        for widget in self._widgets.values():
            widget.close_view()


def make_application():
    return qSlicerApplication(tempfile.mkdtemp(prefix="headless_slicer_"))
