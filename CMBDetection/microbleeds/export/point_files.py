"""Findings as points for 3D Slicer and others: markups (.mrk.json) and the older point list (.fcsv); the world is RAS.

The description of each point is a JSON object in one line: id, verdict and what else is known of the finding, texts
exactly as the reader wrote them. Points of rejected findings are not selected, so Slicer shows them in grey.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..read_write import told_if_not_writable, write_json, write_text
from ..report import NOT_CLINICAL
from ..review_files import REJECTED
from ..reviewed_case import CaseFinding, ReviewedCase
from ..slicer_points import Point, point_markups
from .guards import require_free, require_reviewed, status_of

MARKUPS, POINT_LIST = ".mrk.json", ".fcsv"

_POINT_COLUMNS = ("id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc",
                  "associatedNodeID")


def write_points(path: Path, case: ReviewedCase, include_unreviewed: bool = False, overwrite: bool = False) -> None:
    """Write all findings of a scan as points.

    Parameters
    ----------
    path : Path
        Its suffix, .mrk.json or .fcsv, says the form.
    case : ReviewedCase
    include_unreviewed, overwrite : bool

    Raises
    ------
    InputError
        If the scan is not reviewed, the file exists, or it cannot be written; what was there before is still there.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith((MARKUPS, POINT_LIST)):
        raise InputError(f"{path.name} says no form of point list; end the name with {MARKUPS} or {POINT_LIST}.")
    require_reviewed(case, include_unreviewed)
    require_free((path,), overwrite)
    with told_if_not_writable(path):
        if name.endswith(MARKUPS):
            write_json(path, reviewed_markups(case))
        else:
            write_text(path, point_list(case))


def reviewed_markups(case: ReviewedCase) -> dict[str, Any]:
    """Return the findings as a locked point list in the format of 3D Slicer's Markups module."""
    points = [Point(finding.id, finding.position_ras, _description(finding), finding.verdict != REJECTED)
              for finding in case.findings]
    return {"about": _about(case), **point_markups(points)}


def point_list(case: ReviewedCase) -> str:
    """Return the findings as the text of a .fcsv file, positions in full precision."""
    text = io.StringIO(newline="")
    text.write(f"# Markups fiducial file version = 5.12\n# CoordinateSystem = RAS\n# {_about(case)}\n"
               f"# columns = {','.join(_POINT_COLUMNS)}\n")
    writer = csv.writer(text, lineterminator="\n")
    for finding in case.findings:
        writer.writerow([finding.id, *map(repr, map(float, finding.position_ras)), 0, 0, 0, 1, 1,
                         int(finding.verdict != REJECTED), 1, f"CMB-{finding.id}", _description(finding), ""])
    return text.getvalue()


def _about(case: ReviewedCase) -> str:
    return f"{NOT_CLINICAL}; {status_of(case)}{'; simulated' if case.simulated else ''}"


def _description(finding: CaseFinding) -> str:
    record = {"id": finding.id, "verdict": finding.verdict, "certainty": finding.certainty,
              "mimic_kind": finding.mimic_kind, "comment": finding.comment, "probability": finding.probability,
              "diameter_mm": finding.diameter_mm or None, "volume_mm3": finding.volume_mm3 or None,
              "added_by_reader": finding.added_by_reader, "reader": finding.reader, "region": finding.region,
              "side": finding.side}
    # as ASCII, because programs disagree on the encoding of .fcsv, and no line break of Unicode can split a row
    return json.dumps({key: value for key, value in record.items() if value not in ("", None)})
