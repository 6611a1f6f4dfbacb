"""Point lists in the format of 3D Slicer's Markups module (.mrk.json), as everything here writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SCHEMA = ("https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
           "markups-schema-v1.0.3.json#")
_ORIENTATION = (-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0)
"""What Slicer writes for a point without an orientation."""
_DISPLAY = {"visibility": True, "glyphType": "StarBurst2D", "useGlyphScale": False, "glyphSize": 12.0,
            "selectedColor": [1.0, 0.8, 0.2], "color": [0.6, 0.6, 0.6], "propertiesLabelVisibility": False,
            "pointLabelsVisibility": True, "textScale": 2.5}
"""Rays that leave the middle free, so that the lesion stays visible."""


@dataclass(frozen=True)
class Point:
    """One finding as a point: number, position (R, A, S) in mm, description, whether Slicer shows it in color."""

    number: int
    position_ras: tuple[float, float, float]
    description: str
    selected: bool = True


def point_markups(points: Sequence[Point]) -> dict[str, Any]:
    """Return points as a locked list, the content of a .mrk.json file."""
    entries = [{"id": str(point.number), "label": f"CMB-{point.number}", "description": point.description,
                "associatedNodeID": "", "position": list(point.position_ras), "orientation": list(_ORIENTATION),
                "selected": point.selected, "locked": True, "visibility": True, "positionStatus": "defined"}
               for point in points]
    markup = {"type": "Fiducial", "coordinateSystem": "RAS", "coordinateUnits": "mm", "locked": True,
              "labelFormat": "CMB-%d", "controlPoints": entries, "display": _DISPLAY}
    return {"@schema": _SCHEMA, "markups": [markup]}
