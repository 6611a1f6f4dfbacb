"""The slice views on a finding."""

import slicer

FIELD_OF_VIEW_MM = 60.0
NEVER_PLACED = (0.0, 0.0, 0.0)
"""Position of a crosshair that nobody has placed."""


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


def pointedAt(stale) -> tuple[float, float, float] | None:
    """Return the world position (RAS mm) under the mouse, or of the crosshair if the mouse is in no slice view.

    None if the crosshair was never placed, or is still at the position `stale`, where it meant something else.
    """
    position = [0.0, 0.0, 0.0]
    if _crosshair().GetCursorPositionRAS(position):
        return tuple(position)
    return crosshairPosition() if crosshairPosition() not in (stale, NEVER_PLACED) else None


def crosshairPosition() -> tuple[float, float, float]:
    """Return the world position (RAS mm) of the crosshair, `NEVER_PLACED` if it was not."""
    return tuple(_crosshair().GetCrosshairRAS())


def _crosshair():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")


def _showVolume(volumeNode):
    compositeNodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = {volumeId for composite in compositeNodes
             for volumeId in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())}
    if volumeNode.GetID() not in shown:
        for composite in compositeNodes:
            composite.SetBackgroundVolumeID(volumeNode.GetID())
