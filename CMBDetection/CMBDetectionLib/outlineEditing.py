"""The Segment Editor on the outline of one finding."""

import numpy as np
import slicer

from . import findingsOutline
from .findingsMarkups import OUTLINE_ROLE, VOLUME_ROLE


def openEditor(findingsNode, number):
    """Go to Slicer's Segment Editor with the outline of a finding selected; a finding without one gets an empty one."""
    segmentId = findingsOutline.segmentIdOf(findingsNode, number)
    if segmentId is None:
        findingsOutline.showRegion(findingsNode, number, np.empty((0, 3), int))
        segmentId = findingsOutline.segmentIdOf(findingsNode, number)
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    editor.setSegmentationNode(findingsNode.GetNodeReference(OUTLINE_ROLE))
    editor.setSourceVolumeNode(findingsNode.GetNodeReference(VOLUME_ROLE))
    editor.setCurrentSegmentID(segmentId)
