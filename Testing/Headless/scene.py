"""The MRML application without Qt: scene, application logic, module logics. All of it is Slicer's own C++.

Only the wiring is ours; in Slicer, qSlicerCoreApplication and the modules do it.
"""

import os

import slicer
import vtk

LOGICS = {
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}

SUBJECT_HIERARCHY_CLASSES = (
    "vtkMRMLVolumeNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLTransformNode",
)


class MrmlApplication:
    """Owns the scene and everything that observes it for the whole session."""

    def __init__(self, temporary_path):
        self.scene = slicer.mrmlScene = slicer.vtkMRMLScene()
        self.logic = _application_logic(self.scene, temporary_path)
        self._remote_io = _bundle_reader(self.scene, self.logic, temporary_path)
        self.module_logics = {name: _module_logic(self, name, cls) for name, cls in LOGICS.items()}
        self.scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, _add_to_subject_hierarchy)
        self.scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, _remove_from_subject_hierarchy)


def _application_logic(scene, temporary_path):
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetTemporaryPath(temporary_path)
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    colors = logic.GetColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    logic.SetModuleLogic("Colors", colors)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(logic)
    return logic


def _bundle_reader(scene, application_logic, temporary_path):
    """The remote IO logic; ``vtkMRMLScene.ReadFromMRB`` does nothing without it."""
    remote_io = slicer.vtkMRMLRemoteIOLogic()
    remote_io.SetMRMLScene(scene)
    remote_io.SetMRMLApplicationLogic(application_logic)
    remote_io.GetCacheManager().SetRemoteCacheDirectory(os.path.join(temporary_path, "cache"))
    manager_logic = slicer.vtkDataIOManagerLogic()
    manager_logic.SetMRMLScene(scene)
    manager_logic.SetMRMLApplicationLogic(application_logic)
    manager_logic.SetAndObserveDataIOManager(remote_io.GetDataIOManager())
    remote_io.AddDataIOToScene()
    return remote_io, manager_logic


def _module_logic(application, name, class_name):
    """The application logic must come before the scene, or markups miss the selection node."""
    logic = getattr(slicer, class_name)()
    logic.SetMRMLApplicationLogic(application.logic)
    vtk.vtkObject.GlobalWarningDisplayOff()  # Terminologies warns about JSON files that the wheel has not
    logic.SetMRMLScene(application.scene)
    vtk.vtkObject.GlobalWarningDisplayOn()
    application.logic.SetModuleLogic(name, logic)
    return logic


@vtk.calldata_type(vtk.VTK_OBJECT)
def _add_to_subject_hierarchy(scene, event, node):
    """In Slicer a Qt plugin logic gives every data node its item."""
    if scene.IsImporting() or node.GetHideFromEditors():
        return
    if any(node.IsA(cls) for cls in SUBJECT_HIERARCHY_CLASSES):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _remove_from_subject_hierarchy(scene, event, node):
    if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)
