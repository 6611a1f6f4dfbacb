"""Outlines of the findings: a segmentation with one segment per finding, drawn as a line without fill."""

import slicer
import vtk
from slicer.i18n import tr as _

from .findingsMarkups import ACCEPTED, OPEN, OUTLINE_ROLE, REJECTED, placeBeside, pointRecord

_ID_TAG = "CMBDetection.findingId"
_TERMINOLOGY = ("Segmentation category and type - DICOM master list"
                "~SCT^49755003^Morphologically Altered Structure~SCT^50960005^Hemorrhage~^^"
                "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^")
_COLORS = {OPEN: (1.0, 0.8, 0.2), ACCEPTED: (0.3, 0.85, 0.4), REJECTED: (0.6, 0.6, 0.6)}


def createOutline(volumeNode, labelPath):
    """Add the outlines from the engine's label map (value = finding id, volume's own RAS) to the scene.

    Raises
    ------
    OSError
        If the label map cannot be read; the scene is as before.
    """
    scene = slicer.mrmlScene
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    try:
        # not by slicer.util.load..., which would put the temporary file on the list of recent files
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(labelPath))
        if not storage.ReadData(labels):
            raise OSError(_("The label map {path} cannot be read; detect again.").format(path=labelPath))
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    finally:
        scene.RemoveNode(labels)
    # after the import, which would take a difference of parent transforms into account
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    for segment in _segments(node):
        segment.SetTag(_ID_TAG, str(segment.GetLabelValue()))
        segment.SetTag("TerminologyEntry", _TERMINOLOGY)
        segment.SetName(_("Microbleed {id}").format(id=segment.GetLabelValue()))
        segment.SetColor(*_COLORS[OPEN])
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(1)
    placeBeside(node, volumeNode)
    return node


def colorOutline(findingsNode):
    """Color each outline by the status of its point; hide it when the point is gone."""
    node = findingsNode.GetNodeReference(OUTLINE_ROLE)
    if node is None or node.GetDisplayNode() is None:
        return
    records = [pointRecord(findingsNode, index) for index in range(findingsNode.GetNumberOfControlPoints())]
    statuses = {str(record.get("id")): record["status"] for record in records}
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    for index, segment in enumerate(_segments(node)):
        status = statuses.get(_findingId(segment))
        segmentId = segmentation.GetNthSegmentID(index)
        if bool(display.GetSegmentVisibility(segmentId)) != (status is not None):
            display.SetSegmentVisibility(segmentId, status is not None)
        if status is not None and tuple(segment.GetColor()) != _COLORS[status]:
            segment.SetColor(*_COLORS[status])


def removeOutline(findingsNode):
    """Remove the outlines of a findings node that is about to be replaced."""
    node = findingsNode.GetNodeReference(OUTLINE_ROLE)
    if node is not None:
        slicer.mrmlScene.RemoveNode(node)


def _segments(segmentationNode):
    segmentation = segmentationNode.GetSegmentation()
    return [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]


def _findingId(segment):
    value = vtk.reference("")
    return str(value) if segment.GetTag(_ID_TAG, value) else None
