"""Stand-ins for the qMRML widgets of a panel, on the real scene: qMRMLWidget and the node selector."""

import functools

import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from Headless.errors import NotProvided
from Headless.pythonqt import is_a

CREATE = "create"  # item data of the "Create new ..." entry


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that hands its scene on to its children (by connections in the .ui file)."""

    CPP_SIGNALS = ("mrmlSceneChanged(vtkMRMLScene*)",)
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


class qSlicerWidget(qMRMLWidget):
    """Base of module widgets."""


def _filter_property(kind, name):
    """A property of the selector whose change rebuilds the list."""

    def write(self, value):
        setattr(self, name, value)
        self._rebuild()

    return Property(kind, lambda self: getattr(self, name), write)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Lists the scene's nodes of ``nodeTypes`` and follows the scene. It never selects a node by itself."""

    CPP_SIGNALS = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeIDChanged(QString)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
    )
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._nodes, self._current = None, [], None
        self._nodeTypes, self._attributes, self._baseName, self._noneDisplay = [], [], "", "None"
        self._noneEnabled, self._showHidden = False, False
        self._addEnabled = self._removeEnabled = self._showChildNodeTypes = True
        self._renameEnabled = self._editEnabled = False
        self._selectNodeUponCreation = True
        self._scene_observers, self._node_observers = [], []  # (VTK object, tag)
        self._combo = QtWidgets.QComboBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._on_activated)
        for observers in (self._scene_observers, self._node_observers):
            self.destroyed.connect(functools.partial(_remove_observers, observers))

    nodeTypes = Property(
        "QStringList", lambda self: tuple(self._nodeTypes), lambda self, value: self._set_node_types(list(value))
    )
    noneEnabled = _filter_property(bool, "_noneEnabled")
    addEnabled = _filter_property(bool, "_addEnabled")
    removeEnabled = _filter_property(bool, "_removeEnabled")
    renameEnabled = _filter_property(bool, "_renameEnabled")
    editEnabled = _filter_property(bool, "_editEnabled")
    showChildNodeTypes = _filter_property(bool, "_showChildNodeTypes")
    showHidden = _filter_property(bool, "_showHidden")
    selectNodeUponCreation = _filter_property(bool, "_selectNodeUponCreation")
    noneDisplay = _filter_property(str, "_noneDisplay")
    baseName = _filter_property(str, "_baseName")

    def _set_node_types(self, node_types):
        self._nodeTypes = node_types
        self._rebuild()

    def addAttribute(self, nodeType, name, value=None):
        """Show only nodes with this attribute (and value, if given)."""
        self._attributes.append((nodeType, name, value))
        self._rebuild()

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        _remove_observers(self._scene_observers)
        self._scene = scene
        if scene is not None:
            for event, method in (
                (scene.NodeAddedEvent, self._on_node_added),
                (scene.NodeRemovedEvent, self._on_node_removed),
                (scene.EndBatchProcessEvent, self._rebuild),  # ends closing and importing
            ):
                self._scene_observers.append((scene, scene.AddObserver(event, method)))
        self._rebuild()

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node):
        """Select a node, a node ID or None; a node that is not listed leaves the selection alone."""
        if self._scene is None and node is not None:
            raise NotProvided("qMRMLNodeComboBox.setCurrentNode before setMRMLScene is not provided")
        if is_a(node, str):
            node = self._scene.GetNodeByID(node) if node else None
        if node is None or node in self._nodes:
            self._select(node)

    def setCurrentNodeID(self, nodeID):
        self.setCurrentNode(nodeID)

    currentNodeID = Property(str, lambda self: self._current.GetID() if self._current else "", setCurrentNodeID)

    def nodeCount(self):
        return len(self._nodes)

    def nodeFromIndex(self, index):
        return self._nodes[index]

    def setCurrentNodeIndex(self, index):
        self._select(self._nodes[index])

    def addNode(self):
        """Make a node of the first type, as the entry "Create new ..." does."""
        node_type = self._nodeTypes[0]
        base_name = self._baseName or node_type.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(node_type, self._scene.GenerateUniqueName(base_name))
        for cls, name, value in self._attributes:
            if node.IsA(cls):
                node.SetAttribute(name, "" if value is None else str(value))
        self._rebuild()
        if self._selectNodeUponCreation:
            self._select(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _accepts(self, node):
        if node.GetHideFromEditors() and not self._showHidden:
            return False
        inherits = node.IsA if self._showChildNodeTypes else node.GetClassName().__eq__
        if not any(inherits(node_type) for node_type in self._nodeTypes):
            return False
        for cls, name, value in self._attributes:
            found = node.GetAttribute(name)
            if node.IsA(cls) and (found is None or (value is not None and found != str(value))):
                return False
        return True

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, scene, event, node):
        if not scene.IsBatchProcessing() and self._accepts(node):
            self._rebuild()
            self.nodeAdded.emit(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, scene, event, node):
        if not scene.IsBatchProcessing() and node in self._nodes:
            self._rebuild()

    def _rebuild(self, *_):
        scene = self._scene
        every = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())] if scene is not None else []
        self._nodes = [node for node in every if self._accepts(node)]
        _remove_observers(self._node_observers)
        for node in self._nodes:
            self._node_observers.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_node_modified)))
        self._fill_combo()
        current = self._current
        if current is not None and current not in self._nodes:
            current = self._nodes[-1] if self._nodes and not self._noneEnabled else None
        self._select(current)

    def _on_node_modified(self, node, event):
        index = self._nodes.index(node) + self._noneEnabled
        if self._combo.itemText(index) != (node.GetName() or ""):
            self._combo.setItemText(index, node.GetName() or "")

    def _fill_combo(self):
        self._combo.clear()
        if self._noneEnabled:
            self._combo.addItem(self._noneDisplay)
        self._combo.addItems([node.GetName() or "" for node in self._nodes])
        if self._addEnabled:
            self._combo.insertSeparator(self._combo.count)
            self._combo.addItem(f"Create new {self._baseName or 'node'}", CREATE)

    def _select(self, node):
        changed, self._current = node is not self._current, node
        nothing = 0 if self._noneEnabled else -1
        self._combo.setCurrentIndex(nothing if node is None else self._nodes.index(node) + self._noneEnabled)
        if changed:
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(node.GetID() if node else "")

    def _on_activated(self, index):
        if self._combo.itemData(index) == CREATE:
            self.addNode()
        elif index == 0 and self._noneEnabled:
            self._select(None)
        else:
            self._select(self._nodes[index - self._noneEnabled])


def _remove_observers(observers, *_):
    for vtk_object, tag in observers:
        vtk_object.RemoveObserver(tag)
    observers.clear()


WIDGETS = (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox)
