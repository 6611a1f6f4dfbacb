"""Findings as one markups node per scan: a mirror of the review for Slicer's views, tables and files.

What counts is the review's log (`reviewSession`). A point's description (JSON) says which item it shows.
"""

import json

import slicer
import vtk
from microbleeds.review_files import REJECTED

from .volumeNodes import gridOf, isSameGrid, removeWithOwn, worldRas

FINDINGS_ATTRIBUTE = "CMBDetection.findings"
"""Marks a node as ours."""
VOLUME_ROLE = "referenceVolume"
OUTLINE_ROLE = "outline"
LOG_ROLE = "reviewLog"
_GRID_ATTRIBUTE = "CMBDetection.grid"
"""The grid of the volume for which the findings were made."""
_STYLED_ATTRIBUTE = "CMBDetection.styled"
"""Of a display node that has got our style."""
_ASIDE_ATTRIBUTE = "CMBDetection.aside"
"""Of a display node that is hidden because another review is open, and not by the user."""
_GLYPH_SIZE_MM = 12.0
"""The rays begin at about a quarter of this from the center, outside all but the largest microbleeds."""
_POINT_COLOR = (1.0, 0.8, 0.2)
_REJECTED_POINT_COLOR = (0.6, 0.6, 0.6)
_MOVED_MM = 0.01
"""Less is rounding."""


def createFindingsNode(volumeNode):
    """Add a locked node without points to the scene, under the same parent transform as the volume.

    So positions in the volume's own RAS give the right world positions.
    """
    scene = slicer.mrmlScene
    node = scene.CreateNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(f"{volumeNode.GetName()} microbleeds"))
    node.SetAttribute(FINDINGS_ATTRIBUTE, "1")
    node.SetAttribute(_GRID_ATTRIBUTE, json.dumps(gridOf(volumeNode)))
    scene.AddNode(node)
    with slicer.util.NodeModify(node):
        node.SetLocked(True)
        node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    ensureDisplay(node, _styleDisplay)
    placeBeside(node, volumeNode)
    return node


def ensureDisplay(node, style):
    """Give a node its display node, anew if somebody has deleted it; `style(displayNode)` is called once for each.

    Slicer gives nodes one by itself, for instance when they come into the scene or a view.
    """
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    displayNode = node.GetDisplayNode()
    if not displayNode.GetAttribute(_STYLED_ATTRIBUTE):
        displayNode.SetAttribute(_STYLED_ATTRIBUTE, "1")
        style(displayNode)


def _styleDisplay(displayNode):
    displayNode.SetGlyphTypeFromString("StarBurst2D")
    displayNode.SetUseGlyphScale(False)
    displayNode.SetGlyphSize(_GLYPH_SIZE_MM)
    displayNode.SetPointLabelsVisibility(False)
    displayNode.SetPropertiesLabelVisibility(False)
    displayNode.SetSelectedColor(*_POINT_COLOR)
    displayNode.SetColor(*_REJECTED_POINT_COLOR)


def placeBeside(node, volumeNode):
    """Put `node` into the same patient, study or folder as the volume."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item, volumeItem = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volumeNode)
    if item and volumeItem:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(volumeItem))


def showItems(node, items):
    """Make the points those of the review items, in their order; points that are right are left alone."""
    ensureDisplay(node, _styleDisplay)
    wanted = [(item, _description(item)) for item in items]
    with slicer.util.NodeModify(node):
        if itemIds(node) != [item.id for item in items]:
            node.RemoveAllControlPoints()
            for item, _text in wanted:
                node.AddControlPoint(vtk.vtkVector3d(*item.position_ras), f"CMB-{item.id}")
        for index, (item, text) in enumerate(wanted):
            if node.GetNthControlPointDescription(index) != text:
                node.SetNthControlPointDescription(index, text)
                node.SetNthControlPointSelected(index, item.verdict != REJECTED)
                node.SetNthControlPointLocked(index, True)
            if _distance(node.GetNthControlPointPosition(index), item.position_ras) > _MOVED_MM:
                node.SetNthControlPointPosition(index, *item.position_ras)


def followVolume(node):
    """Put points and outlines under the parent transform of the volume: they are where it shows them."""
    transform = node.GetNodeReference(VOLUME_ROLE).GetTransformNodeID()
    for moved in filter(None, (node, node.GetNodeReference(OUTLINE_ROLE))):
        if moved.GetTransformNodeID() != transform:
            moved.SetAndObserveTransformNodeID(transform)


def isOnGrid(node) -> bool:
    """Whether the volume still has the grid for which the findings were made.

    It has not when it was hardened, centered or resampled since: then the points lie elsewhere than what they mean.
    """
    volumeNode, grid = node.GetNodeReference(VOLUME_ROLE), node.GetAttribute(_GRID_ATTRIBUTE)
    present = gridOf(volumeNode) if volumeNode is not None else None
    return grid is None or present is None or isSameGrid(json.loads(grid), present)


def showOnly(node):
    """Show rays and outlines of this findings node alone (None: of none).

    Which ones are hidden only for that is kept with the scene: what the user has hidden himself stays hidden when its
    turn comes.
    """
    for findings in findingsNodes():
        for part in filter(None, (findings, findings.GetNodeReference(OUTLINE_ROLE))):
            for index in range(part.GetNumberOfDisplayNodes()):
                _putAside(part.GetNthDisplayNode(index), findings is not node)


def _putAside(displayNode, aside):
    if displayNode is None:
        return
    if aside and displayNode.GetVisibility():
        displayNode.SetAttribute(_ASIDE_ATTRIBUTE, "1")
        displayNode.SetVisibility(False)
    elif not aside and displayNode.GetAttribute(_ASIDE_ATTRIBUTE):
        displayNode.RemoveAttribute(_ASIDE_ATTRIBUTE)
        displayNode.SetVisibility(True)


def toggleVisibility(node):
    """Show or hide rays and outlines in all views."""
    visible = not node.GetDisplayVisibility()
    for shown in filter(None, (node, node.GetNodeReference(OUTLINE_ROLE))):
        shown.SetDisplayVisibility(visible)


def remove(node):
    """Remove a findings node with its outlines and its review from the scene."""
    removeParts(node)
    removeWithOwn(node)


def removeParts(node):
    """Remove the outlines and the review of a findings node, which may be out of the scene already."""
    for role in (OUTLINE_ROLE, LOG_ROLE):
        number = node.GetNodeReferenceID(role)
        own = slicer.mrmlScene.GetNodeByID(number) if number else None
        if own is not None:
            removeWithOwn(own) if own.IsA("vtkMRMLDisplayableNode") else slicer.mrmlScene.RemoveNode(own)


def _description(item) -> str:
    record = {"id": item.id, "verdict": item.verdict, "certainty": item.certainty, "mimic_kind": item.mimic_kind,
              "comment": item.comment, "probability": item.probability, "diameter_mm": item.diameter_mm}
    return json.dumps({key: value for key, value in record.items() if value not in ("", None)}, ensure_ascii=False)


def itemIds(node) -> list[int | None]:
    """Return the id of the item that each point shows; None for a point that is not ours."""
    return [_itemId(node.GetNthControlPointDescription(index)) for index in range(node.GetNumberOfControlPoints())]


def _itemId(text) -> int | None:
    try:
        return int(json.loads(text)["id"])
    except (ValueError, TypeError, KeyError):
        return None


def ownPosition(node, index) -> tuple[float, float, float]:
    """Return the position of a point in the volume's own RAS, mm."""
    return tuple(node.GetNthControlPointPosition(index))


def worldPositions(node) -> dict[int, tuple[float, float, float]]:
    """Return the position of every item on screen in world RAS mm, parent transforms applied."""
    return {number: tuple(node.GetNthControlPointPositionWorld(index)) for index, number in enumerate(itemIds(node))}


def isMoved(node, index, item) -> bool:
    """Whether a point is elsewhere than its item."""
    return _distance(ownPosition(node, index), item.position_ras) > _MOVED_MM


def isHardened(node, index, item) -> bool:
    """Whether a point is where the transform of the volume shows its item: it was hardened into the point."""
    volumeNode = node.GetNodeReference(VOLUME_ROLE)
    return volumeNode is not None and \
        _distance(ownPosition(node, index), worldRas(volumeNode, item.position_ras)) <= _MOVED_MM


def findingsNodes() -> list:
    """Return all findings nodes of the scene, in its order."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
            if node.GetAttribute(FINDINGS_ATTRIBUTE)]


def findingsNodeOf(volumeNode):
    """Return the findings node of a volume as it is, or None."""
    nodes = [node for node in findingsNodes()
             if node.GetNodeReference(VOLUME_ROLE) is volumeNode and isOnGrid(node)]
    return nodes[-1] if nodes else None


def _distance(first, second) -> float:
    return vtk.vtkMath.Distance2BetweenPoints(first, second) ** 0.5
