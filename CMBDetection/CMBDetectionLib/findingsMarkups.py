"""Findings as one markups node per scan. A point's description (JSON) is the only store of its review state.

The `selected` flag mirrors the state (rejected = not selected) for Slicer's own views and tables.
"""

import json
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

OPEN, ACCEPTED, REJECTED = "open", "accepted", "rejected"
STATUSES = (OPEN, ACCEPTED, REJECTED)
RECORD_ATTRIBUTE = "CMBDetection.record"
"""JSON: the provenance that the engine wrote, and the number of findings it made. Marks a node as ours."""
VOLUME_ROLE = "referenceVolume"
OUTLINE_ROLE = "outline"
_GLYPH_SIZE_MM = 12.0
"""The rays begin at about a quarter of this from the center, outside all but the largest microbleeds."""
_POINT_COLOR = (1.0, 0.8, 0.2)
_REJECTED_POINT_COLOR = (0.6, 0.6, 0.6)


def readResult(path) -> dict:
    """Return the engine's findings file as a dict with ``provenance`` and ``findings``.

    Raises
    ------
    ValueError
        If the file is not of a version that this panel understands.
    """
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    if str(result.get("schema_version")).split(".")[0] != "1":
        raise ValueError(_("The findings file has version {version}, expected 1.x; install engine and panel from the "
                           "same release.").format(version=result.get("schema_version")))
    return result


def createFindingsNode(volumeNode, result, outlineNode):
    """Add a locked node with the findings of `result` (positions in the volume's own RAS) to the scene.

    It hangs under the same parent transform as the volume, so its world positions are right. `outlineNode` (or None)
    is linked to it.
    """
    records = [{name: finding[name] for name in ("id", "probability", "diameter_mm", "volume_mm3")}
               for finding in result["findings"]]
    positions = [vtk.vtkVector3d(*finding["ras_mm"]) for finding in result["findings"]]
    scene = slicer.mrmlScene
    node = scene.CreateNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(f"{volumeNode.GetName()} microbleeds"))
    record = {"provenance": result["provenance"], "findingCount": len(records)}
    node.SetAttribute(RECORD_ATTRIBUTE, json.dumps(record))
    scene.AddNode(node)
    with slicer.util.NodeModify(node):
        for record, position in zip(records, positions, strict=True):
            index = node.AddControlPoint(position, f"CMB-{record['id']}")
            node.SetNthControlPointDescription(index, json.dumps({**record, "status": OPEN}))
            node.SetNthControlPointLocked(index, True)
        node.SetLocked(True)
        node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
        if outlineNode is not None:
            outlineNode.SetName(f"{node.GetName()} outline")
            node.SetNodeReferenceID(OUTLINE_ROLE, outlineNode.GetID())
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    _styleDisplay(node.GetDisplayNode())
    placeBeside(node, volumeNode)
    return node


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


def pointRecord(node, index) -> dict:
    """Return what is stored with a point; a point that the user added has a status only."""
    text = node.GetNthControlPointDescription(index)
    try:
        record = json.loads(text)
    except ValueError:
        record = {"note": text} if text else {}
    if not isinstance(record, dict):
        record = {"note": text}
    if record.get("status") not in STATUSES:
        record["status"] = OPEN
    return record


def setStatus(node, index, status):
    """Store the verdict on a point."""
    record = {**pointRecord(node, index), "status": status}
    with slicer.util.NodeModify(node):
        node.SetNthControlPointDescription(index, json.dumps(record))
        node.SetNthControlPointSelected(index, status != REJECTED)


def worldPosition(node, index) -> tuple[float, float, float]:
    """Return the position of a point in world RAS mm, parent transforms applied."""
    return tuple(node.GetNthControlPointPositionWorld(index))


def isUntouched(node) -> bool:
    """Whether nobody has judged, added or removed a point, so that the node may be replaced."""
    records = [pointRecord(node, index) for index in range(node.GetNumberOfControlPoints())]
    record = json.loads(node.GetAttribute(RECORD_ATTRIBUTE))
    return len(records) == record["findingCount"] and all(r["status"] == OPEN and "id" in r for r in records)


def latestFindingsNode(volumeNode):
    """Return the newest findings node made from `volumeNode`, or None."""
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
             if node.GetAttribute(RECORD_ATTRIBUTE) and node.GetNodeReference(VOLUME_ROLE) is volumeNode]
    return nodes[-1] if nodes else None
