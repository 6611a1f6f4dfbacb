"""The views for reading microbleeds: acquisition plane largest, slices linked, window kept by sequence."""

import numpy as np
import qt
import slicer
import vtk

from .volumeNodes import CASE_ATTRIBUTE, sliceAxis

LAYOUT_ID = 7204
"""Of the layout with one large and two small slice views; any number that Slicer and other extensions do not use."""
_LAYOUT = """<layout type="horizontal" split="true">
 <item splitSize="600"><view class="vtkMRMLSliceNode" singletontag="Red">
  <property name="orientation" action="default">Axial</property>
  <property name="viewlabel" action="default">R</property>
  <property name="viewcolor" action="default">#F34A33</property>
 </view></item>
 <item splitSize="400"><layout type="vertical" split="true">
  <item><view class="vtkMRMLSliceNode" singletontag="Yellow">
   <property name="orientation" action="default">Sagittal</property>
   <property name="viewlabel" action="default">Y</property>
   <property name="viewcolor" action="default">#EDD54C</property>
  </view></item>
  <item><view class="vtkMRMLSliceNode" singletontag="Green">
   <property name="orientation" action="default">Coronal</property>
   <property name="viewlabel" action="default">G</property>
   <property name="viewcolor" action="default">#6EB04B</property>
  </view></item>
 </layout></item>
</layout>"""
_ORIENTATIONS = ("Sagittal", "Coronal", "Axial")
"""Of slices across the R, A and S axes."""
_SETTING = "CMBDetection/window/"
_MOST_VOXELS = 100_000


def arrange(volumeNode, sequence):
    """Show a volume in the reading layout: in the large view its own slices, in the others its other planes.

    Parameters
    ----------
    sequence : str
        What the volume is, for instance "gre"; the window that a reader last chose for such volumes is taken.
    """
    _useLayout()
    across = _ORIENTATIONS[int(np.argmax(np.abs(_toWorld(volumeNode, sliceAxis(volumeNode)))))]
    names = [across, *(name for name in _ORIENTATIONS if name != across)]
    layoutManager = slicer.app.layoutManager()
    for viewName, orientation in zip(("Red", "Yellow", "Green"), names, strict=True):
        widget = layoutManager.sliceWidget(viewName) if layoutManager is not None else None
        if widget is not None:
            node, composite = widget.mrmlSliceNode(), widget.mrmlSliceCompositeNode()
            composite.SetLinkedControl(True)
            composite.SetBackgroundVolumeID(volumeNode.GetID())
            with slicer.util.NodeModify(node):
                node.SetOrientation(orientation)
                node.RotateToVolumePlane(volumeNode)
                if viewName == "Red":
                    node.SetOrientationMarkerType(node.OrientationMarkerTypeAxes)
                    node.SetOrientationMarkerSize(node.OrientationMarkerSizeSmall)
                    node.SetRulerType(node.RulerTypeThin)
    _restoreWindow(volumeNode, sequence)


def sequences(volumeNode) -> list:
    """Return the volume and those loaded with it that show the same place, in the order of the scene.

    What a work list has loaded ahead is another patient's.
    """
    bounds = _worldBounds(volumeNode)
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetClassName() == "vtkMRMLScalarVolumeNode" and node.GetImageData() is not None
            and (node is volumeNode or _overlap(bounds, _worldBounds(node)))
            and node.GetAttribute(CASE_ATTRIBUTE) in (None, volumeNode.GetAttribute(CASE_ATTRIBUTE))]


def showNextSequence(volumeNode) -> str:
    """Show the next of the volumes loaded with this one at the same place and zoom; return its name."""
    nodes = sequences(volumeNode)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = composites[0].GetBackgroundVolumeID() if composites else None
    numbers = [node.GetID() for node in nodes]
    following = nodes[(numbers.index(shown) + 1) % len(nodes) if shown in numbers else 0]
    for composite in composites:
        composite.SetBackgroundVolumeID(following.GetID())
    return following.GetName()


def keepWindow(volumeNode, sequence):
    """Remember the window that the reader has chosen for a volume, as a share of its range of values."""
    display = volumeNode.GetScalarVolumeDisplayNode()
    if display is None or display.GetAutoWindowLevel():
        return
    low, high = _range(volumeNode)
    window, level = display.GetWindow() / (high - low), (display.GetLevel() - low) / (high - low)
    qt.QSettings().setValue(_SETTING + sequence, f"{window:.5f} {level:.5f}")


def _restoreWindow(volumeNode, sequence):
    kept, display = qt.QSettings().value(_SETTING + sequence), volumeNode.GetScalarVolumeDisplayNode()
    if not kept or display is None or not display.GetAutoWindowLevel():
        return
    try:
        window, level = (float(part) for part in str(kept).split())
    except ValueError:
        # settings can be edited by hand
        return
    low, high = _range(volumeNode)
    with slicer.util.NodeModify(display):
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(window * (high - low), low + level * (high - low))


def _range(volumeNode) -> tuple[float, float]:
    """Return the 1st and 99th percentile of the values other than 0, which survive outliers and empty surroundings."""
    values = slicer.util.arrayFromVolume(volumeNode).ravel()
    values = values[::max(1, len(values) // _MOST_VOXELS)]
    values = values[np.isfinite(values) & (values != 0)]
    low, high = np.percentile(values, (1, 99)) if len(values) else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0


def registerLayout():
    """Make the layout known, so that scenes that were saved in it open in it."""
    layoutManager = slicer.app.layoutManager()
    node = layoutManager.layoutLogic().GetLayoutNode() if layoutManager is not None else None
    if node is not None and not node.IsLayoutDescription(LAYOUT_ID):
        node.AddLayoutDescription(LAYOUT_ID, _LAYOUT)


def _useLayout():
    registerLayout()
    if slicer.app.layoutManager() is not None:
        slicer.app.layoutManager().setLayout(LAYOUT_ID)


def _toWorld(volumeNode, direction) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(volumeNode.GetParentTransformNode(), None,
                                                                      matrix):
        return direction
    return slicer.util.arrayFromVTKMatrix(matrix)[:3, :3] @ direction


def _worldBounds(volumeNode) -> np.ndarray:
    bounds = np.zeros(6)
    volumeNode.GetRASBounds(bounds)
    return bounds.reshape(3, 2)


def _overlap(first, second) -> bool:
    return bool((np.maximum(first[:, 0], second[:, 0]) < np.minimum(first[:, 1], second[:, 1])).all())
