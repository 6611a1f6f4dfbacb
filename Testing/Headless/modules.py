"""Loading scripted modules as Slicer does: import, ``<Name>(parent)``, and the widget when it is first asked for."""

import importlib.util
import sys
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from Headless.errors import NotProvided
from Headless.mrml_widgets import qMRMLWidget


class CoreModule:
    """A C++ module of which only the logic is provided."""

    def __init__(self, name, logic):
        self.name = name
        self._logic = logic

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        raise NotProvided(f"the panel of the module {self.name} is not provided by the headless Slicer")


class Modules:
    """``slicer.modules``: module objects by lower-case name."""

    def __getattr__(self, name):
        raise AttributeError(f"slicer.modules has no '{name}': not loaded, or not provided by the headless Slicer")


class qSlicerScriptedLoadableModule:
    """The ``parent`` that a module class fills in. The slots refuse misspelt attributes."""

    __slots__ = (
        "_instance", "_python", "_widget", "acknowledgementText", "categories", "contributors", "dependencies",
        "helpText", "hidden", "icon", "index", "name", "path", "title", "widgetRepresentationCreationEnabled",
    )

    def __init__(self, path):
        self.path, self.name = str(path), Path(path).stem
        self.title = self.helpText = self.acknowledgementText = ""
        self.categories, self.contributors, self.dependencies = [], [], []
        self.icon, self.hidden, self.index = None, False, -1
        self.widgetRepresentationCreationEnabled = True
        self._python = self._instance = self._widget = None

    def logic(self):
        return None

    def widgetRepresentation(self):
        if self._widget is None and self.widgetRepresentationCreationEnabled:
            self._widget = self.createNewWidgetRepresentation()
            setattr(slicer.modules, self.name + "Widget", self._widget.self())
        return self._widget

    def createNewWidgetRepresentation(self):
        widget = qSlicerScriptedLoadableModuleWidget()
        widget.make(getattr(self._python, self.name + "Widget"))
        return widget

    def load(self):
        """Import the file and make the module instance."""
        path = Path(self.path)
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(self.name, path)
        self._python = sys.modules[self.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._python)
        self._instance = getattr(self._python, self.name)(self)
        setattr(slicer.modules, self.name.lower(), self)
        setattr(slicer.modules, self.name + "Instance", self._instance)

    def unload(self):
        for name in (self.name.lower(), self.name + "Instance", self.name + "Widget"):
            if name in vars(slicer.modules):
                delattr(slicer.modules, name)
        if self._widget is not None:
            self._widget.deleteLater()


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The frame around a module's panel; ``self()`` is the Python widget class's instance."""

    def __init__(self):
        super().__init__()
        self._python_widget, self._entered = None, False
        QtWidgets.QVBoxLayout(self)

    isEntered = Property(bool, lambda self: self._entered)

    def make(self, python_class):
        """Make the Python widget, then set the scene and call ``setup()``."""
        self._python_widget = python_class(self)
        self.setMRMLScene(slicer.mrmlScene)
        self._python_widget.setup()

    def self(self):
        return self._python_widget

    def enter(self):
        self._entered = True
        if hasattr(self._python_widget, "enter"):
            self._python_widget.enter()

    def exit(self):
        self._entered = False
        if hasattr(self._python_widget, "exit"):
            self._python_widget.exit()


class ModuleManager(QtCore.QObject):
    """``slicer.app.moduleManager()``, which is also its own factory manager here."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def __init__(self):
        super().__init__()
        self._loaded = {}
        self._selected = None

    def module(self, name):
        return self._loaded.get(name)

    def factoryManager(self):
        return self

    def loadedModuleNames(self):
        return tuple(self._loaded)

    def load(self, path):
        """Load a scripted module file and return its module object."""
        module = qSlicerScriptedLoadableModule(Path(path).resolve())
        module.load()
        self._loaded[module.name] = module
        self.moduleLoaded.emit(module.name)
        return module

    def unload(self, name):
        """Forget a module if it is loaded; its panel is left and its ``cleanup()`` runs."""
        if name not in self._loaded:
            return
        if self._selected == name:
            self.select(None)
        self.moduleAboutToBeUnloaded.emit(name)
        self._loaded.pop(name).unload()

    def select(self, name):
        """What the module selector of the main window does: leave one panel, enter the other."""
        if name is not None and name not in self._loaded:
            raise RuntimeError(f"Could not find module with name '{name}'")
        if name == self._selected:
            return
        if self._selected is not None:
            self._loaded[self._selected].widgetRepresentation().exit()
        self._selected = name
        if name is not None:
            self._loaded[name].widgetRepresentation().enter()
