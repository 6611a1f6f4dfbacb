"""Going through the findings: what is left to judge, the counts in words, and the slice views on a finding."""

import json

import slicer
from slicer.i18n import tr as _

from .findingsMarkups import ACCEPTED, OPEN, RECORD_ATTRIBUTE, REJECTED, pointRecord

FIELD_OF_VIEW_MM = 60.0


def nextOpen(node, index) -> int | None:
    """Return the first open point after `index`, going round; None when all are judged."""
    count = node.GetNumberOfControlPoints()
    for step in range(1, count + 1):
        candidate = (index + step) % count
        if pointRecord(node, candidate)["status"] == OPEN:
            return candidate
    return None


def summary(node) -> str:
    """Return the counts in words."""
    count = node.GetNumberOfControlPoints()
    if count == 0:
        return _("No microbleeds found.")
    statuses = [pointRecord(node, index)["status"] for index in range(count)]
    parts = {"findings": count, "accepted": statuses.count(ACCEPTED), "rejected": statuses.count(REJECTED),
             "open": statuses.count(OPEN)}
    if count == 1:
        return _("1 finding: {accepted} accepted, {rejected} rejected, {open} open").format(**parts)
    return _("{findings} findings: {accepted} accepted, {rejected} rejected, {open} open").format(**parts)


def howFound(node) -> str:
    """Return one line per choice that led to the findings."""
    provenance = json.loads(node.GetAttribute(RECORD_ATTRIBUTE))["provenance"]
    return _("Image: {input_name}\nModality: {modality} ({modality_reason})\nModel: {model_name}\n"
             "Threshold: {operating_point}").format_map(provenance)


def showPosition(positionRas, volumeNode):
    """Center every slice view on a world position (RAS mm), at a fixed scale so that lesions compare in size.

    The shorter side of a view shows 60 mm. The volume is shown if no view shows it.
    """
    if volumeNode is not None:
        _showVolume(volumeNode)
    for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        width, height = (max(side, 1) for side in sliceNode.GetDimensions()[:2])
        mmPerPixel = FIELD_OF_VIEW_MM / min(width, height)
        with slicer.util.NodeModify(sliceNode):
            sliceNode.JumpSliceByCentering(*positionRas)
            sliceNode.SetFieldOfView(width * mmPerPixel, height * mmPerPixel, sliceNode.GetFieldOfView()[2])


def _showVolume(volumeNode):
    compositeNodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = {volumeId for composite in compositeNodes
             for volumeId in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())}
    if volumeNode.GetID() not in shown:
        for composite in compositeNodes:
            composite.SetBackgroundVolumeID(volumeNode.GetID())
