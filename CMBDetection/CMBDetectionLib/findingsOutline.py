"""Outlines of the findings: a segmentation with one segment per finding, drawn as a line without fill."""

import zlib

import numpy as np
import slicer
import vtk
from microbleeds.read_write import read_labels, write_label_map
from microbleeds.review_files import ACCEPTED, REJECTED, UNDECIDED
from microbleeds.volume import Volume
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .findingsMarkups import OUTLINE_ROLE, VOLUME_ROLE, ensureDisplay, placeBeside
from .volumeNodes import ijkToRas, removeWithOwn

_NUMBER_TAG = "CMBDetection.number"
_GEOMETRY = "Reference image geometry"
"""The conversion parameter of Slicer that holds the grid of the volume."""
_TERMINOLOGY = ("Segmentation category and type - DICOM master list"
                "~SCT^49755003^Morphologically Altered Structure~SCT^50960005^Hemorrhage~^^"
                "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^")
_COLORS = {UNDECIDED: (1.0, 0.8, 0.2), ACCEPTED: (0.3, 0.85, 0.4), REJECTED: (0.6, 0.6, 0.6)}


def readRegions(volumeNode, labelPath, numbers):
    """Return the label map of a result as (k, j, i) array on the grid of the volume, with the numbers of the review.

    Parameters
    ----------
    numbers : dict
        Number in the review by value in the file; other values are left out.

    Raises
    ------
    OSError
        If it cannot be read or is on another grid.
    """
    try:
        labels = read_labels(labelPath)
    except Exception as error:
        raise OSError(_("The label map {path} cannot be read; detect again.").format(path=labelPath)) from error
    turned = _onGridOf(volumeNode, labels)
    if turned is None:
        raise OSError(_("The label map {path} is not on the grid of the volume; detect again.").format(path=labelPath))
    table = np.zeros(int(turned.max(initial=0)) + 1, np.int32)
    for value, number in numbers.items():
        if value < len(table):
            table[value] = number
    return table[turned]


def _onGridOf(volumeNode, labels):
    """Return the data of a label map as Slicer orders the volume's voxels, None if it is on another grid.

    Slicer turns left-handed files around, so each axis may run the other way.
    """
    own = Volume(np.empty(volumeNode.GetImageData().GetDimensions(), np.uint8), ijkToRas(volumeNode))
    data, affine = labels.data, labels.affine.copy()
    if data.shape != own.shape:
        return None
    for axis in range(3):
        if affine[:3, axis] @ own.affine[:3, axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
            data = np.flip(data, axis)
    return np.ascontiguousarray(data.T) if own.same_grid(Volume(data, affine)) else None


def showRegions(findingsNode, regions):
    """Make the outlines those of a (k, j, i) array of numbers on the grid of the volume; former ones are removed."""
    volumeNode = findingsNode.GetNodeReference(VOLUME_ROLE)
    node = _outlineNode(findingsNode)
    segmentation = slicer.vtkSegmentation()
    segmentation.SetConversionParameter(_GEOMETRY, node.GetSegmentation().GetConversionParameter(_GEOMETRY))
    image = _orientedImage(volumeNode, regions)
    for number in np.unique(regions[regions > 0]).tolist():
        segment = slicer.vtkSegment()
        _describe(segment, number)
        segment.AddRepresentation(_labelMapName(), image)
        segment.SetLabelValue(number)
        segmentation.AddSegment(segment)
    # complete before anybody watches, and without a display node, which would look at all segments for each of them
    display = node.GetDisplayNode()
    node.SetAndObserveDisplayNodeID(None)
    display.ClearSegmentDisplayProperties()
    node.SetAndObserveSegmentation(segmentation)
    node.SetAndObserveDisplayNodeID(display.GetID())


def showRegion(findingsNode, number, voxels):
    """Make the outline of one number that of voxels (n, 3), indices (i, j, k) of the volume."""
    volumeNode = findingsNode.GetNodeReference(VOLUME_ROLE)
    node = _outlineNode(findingsNode)
    segmentation = node.GetSegmentation()
    segmentId = segmentIdOf(findingsNode, number) or segmentation.AddEmptySegment()
    segment = segmentation.GetSegment(segmentId)
    with slicer.util.NodeModify(node):
        segmentation.ClearSegment(segmentId)
        if len(voxels):
            # of its own, and no larger than it needs: Slicer's own ways make it as large as the volume
            first, last = voxels.min(axis=0), voxels.max(axis=0)
            inside = np.zeros((last - first + 1)[::-1], np.uint8)
            inside[tuple((voxels - first).T[::-1])] = 1
            segment.SetLabelValue(1)
            segment.AddRepresentation(_labelMapName(), _orientedImage(volumeNode, inside, first))
    _describe(segment, number)


def segmentIdOf(findingsNode, number) -> str | None:
    """Return the id of the segment that is the outline of a number, None if it has none."""
    node = findingsNode.GetNodeReference(OUTLINE_ROLE)
    return next((segmentId for segmentId, segment in _segments(node).items() if _number(segment) == number),
                None) if node is not None else None


def areThere(findingsNode) -> bool:
    """Whether a findings node has any outlines."""
    node = findingsNode.GetNodeReference(OUTLINE_ROLE)
    return node is not None and node.GetSegmentation().GetNumberOfSegments() > 0


def fingerprint(findingsNode) -> list:
    """Return what changes when any outline does: ids, extents, checksums; faster than `regionsOf`."""
    node = findingsNode.GetNodeReference(OUTLINE_ROLE)
    if node is None:
        return []
    segmentation = node.GetSegmentation()
    name = _labelMapName()
    layers = [segmentation.GetLayerDataObject(layer, name) for layer in range(segmentation.GetNumberOfLayers(name))]
    # not their modification times: these stay when voxels are changed in place
    voxels = [layer.GetPointData().GetScalars() for layer in layers]
    return [segmentation.GetSegmentIDs(), [layer.GetExtent() for layer in layers],
            [zlib.crc32(vtk_to_numpy(values)) if values is not None else 0 for values in voxels]]


def regionsOf(findingsNode, numbers):
    """Return the outlines of these numbers as (k, j, i) int32 array on the grid of the volume; a second for many."""
    volumeNode, node = findingsNode.GetNodeReference(VOLUME_ROLE), findingsNode.GetNodeReference(OUTLINE_ROLE)
    regions = np.zeros(volumeNode.GetImageData().GetDimensions()[::-1], np.int32)
    if node is None:
        return regions
    segmentIds = {_number(segment): segmentId for segmentId, segment in _segments(node).items()}
    there = [number for number in numbers if number in segmentIds]
    if not there:
        return regions
    wanted = vtk.vtkStringArray()
    for number in there:
        wanted.InsertNextValue(segmentIds[number])
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    try:
        slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(node, wanted, labels, volumeNode)
        # the values are 1, 2, ... in the order of the segments
        return np.array([0, *there], np.int32)[slicer.util.arrayFromVolume(labels)]
    finally:
        # the export has made a color table for its labels
        display = labels.GetDisplayNode()
        colors = display.GetColorNode() if display is not None else None
        removeWithOwn(labels)
        if colors is not None and colors.GetName().startswith(node.GetName()):
            slicer.mrmlScene.RemoveNode(colors)


def _orientedImage(volumeNode, regions, first=(0, 0, 0)):
    """Return a (k, j, i) array on the grid of the volume, from voxel `first` (i, j, k) on, as segmentations have it.

    The segmentation logic's own function for this gives an object that Python never lets go of.
    """
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    image.SetExtent([side for start, size in zip(first, regions.shape[::-1], strict=True)
                     for side in (int(start), int(start) + size - 1)])
    image.GetPointData().SetScalars(numpy_to_vtk(regions.ravel(), deep=True))
    volumeNode.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    return image


def _labelMapName() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _outlineNode(findingsNode):
    """Return the segmentation of the outlines, made if there is none, with its display node."""
    node = findingsNode.GetNodeReference(OUTLINE_ROLE)
    if node is None:
        volumeNode = findingsNode.GetNodeReference(VOLUME_ROLE)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{findingsNode.GetName()} outline")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        placeBeside(node, volumeNode)
        findingsNode.SetNodeReferenceID(OUTLINE_ROLE, node.GetID())
    ensureDisplay(node, _styleDisplay)
    return node


def _styleDisplay(display):
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(1)


def colorOutlines(findingsNode, items):
    """Color each outline by the verdict of its item; hide those whose item is not shown."""
    node = findingsNode.GetNodeReference(OUTLINE_ROLE)
    if node is None:
        return
    ensureDisplay(node, _styleDisplay)
    verdicts, display = {item.id: item.verdict for item in items}, node.GetDisplayNode()
    for segmentId, segment in _segments(node).items():
        number = _number(segment)
        if number is None:
            # somebody else's
            continue
        verdict = verdicts.get(number)
        if bool(display.GetSegmentVisibility(segmentId)) != (verdict is not None):
            display.SetSegmentVisibility(segmentId, verdict is not None)
        if verdict is not None and tuple(segment.GetColor()) != _COLORS[verdict]:
            segment.SetColor(*_COLORS[verdict])


def writeRegions(volumeNode, regions, path):
    """Write a (k, j, i) array of numbers as a label map on the grid of the volume.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    write_label_map(path, Volume(regions.T, ijkToRas(volumeNode)))


def _segments(node) -> dict:
    segmentation = node.GetSegmentation()
    return {segmentId: segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()}


def _describe(segment, number):
    segment.SetTag(_NUMBER_TAG, str(number))
    segment.SetTag("TerminologyEntry", _TERMINOLOGY)
    segment.SetName(_("Microbleed {id}").format(id=number))
    segment.SetColor(*_COLORS[UNDECIDED])


def _number(segment) -> int | None:
    value = vtk.reference("")
    return int(str(value)) if segment.GetTag(_NUMBER_TAG, value) else None
