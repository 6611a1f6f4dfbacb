"""The five result files of one scan; the JSON one holds everything and is read back by `read_result`.

Its schema is documented in ``Resources/findings-schema.md`` of the repository.
"""

import csv
import io
import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .findings import KEPT, REMOVED, DetectionResult, Extrema, Finding, Provenance
from .read_write import read_json, staging_folder, write_json, write_label_map, write_text
from .region_lookup import region_map_from_json, region_map_to_json
from .regions import REGIONS, SIDES, Place
from .slicer_points import Point, point_markups
from .volume import Volume

SCHEMA_VERSION = "1.2"
"""The first number changes when a reader of the old files would misread the new ones."""

_USUAL_NAME_BYTES = 255
FILE_NAMES = {"findings": "{}_desc-cmb_findings.json", "table": "{}_desc-cmb_findings.tsv",
              "labels": "{}_desc-cmb_dseg.nii.gz", "markups": "{}_desc-cmb_markups.mrk.json",
              "report": "{}_desc-cmb_report.html"}

TABLE_COLUMNS = ("id", "R_mm", "A_mm", "S_mm", "probability", "detector_probability", "volume_mm3", "diameter_mm",
                 "box_min_R_mm", "box_min_A_mm", "box_min_S_mm", "box_max_R_mm", "box_max_A_mm", "box_max_S_mm",
                 "minimum", "minimum_R_mm", "minimum_A_mm", "minimum_S_mm",
                 "maximum", "maximum_R_mm", "maximum_A_mm", "maximum_S_mm", "region", "side", "region_confidence")


def require_short_name(stem: str, folder: Path) -> None:
    """Refuse a scan whose results would have longer names than the file system of a folder, which exists, allows.

    Raises
    ------
    InputError
    """
    longest = max((name.format(stem) for name in FILE_NAMES.values()), key=len)
    try:
        most = os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        most = _USUAL_NAME_BYTES
    if len(os.fsencode(longest)) > most:
        raise InputError(f"{stem} is too long a name: its results would have names of {len(os.fsencode(longest))} "
                         f"bytes and {most} are allowed there; rename the scan.")


def write_result(result: DetectionResult, labels: Volume, scan_volume: Volume, stem: str, folder: Path,
                 report_html: str) -> dict[str, Path]:
    """Write the findings, table, label map, markups and report of one scan; all of them or none.

    Parameters
    ----------
    result : DetectionResult
    labels : Volume
        Value = finding id, 0 elsewhere; on the grid of the scan.
    scan_volume : Volume
        The scan as it was read.
    stem : str
        Beginning of the file names.
    folder : Path
        Made if missing.
    report_html : str

    Returns
    -------
    dict
        Paths by "findings", "table", "labels", "markups", "report".

    Raises
    ------
    InputError
        If the files cannot be written; what was in the folder before is still there.
    """
    if not labels.same_grid(scan_volume):
        raise ValueError(f"labels of shape {labels.shape} are not on the grid of the scan, shape {scan_volume.shape}")
    folder = Path(folder)
    names = {key: name.format(stem) for key, name in FILE_NAMES.items()}
    try:
        with staging_folder(folder) as staging:
            write_json(staging / names["findings"], result_to_json(result))
            write_text(staging / names["table"], findings_table(result))
            write_label_map(staging / names["labels"], scan_volume.with_data(labels.data))
            write_json(staging / names["markups"], markups_json(result))
            write_text(staging / names["report"], report_html)
    except OSError as error:
        raise InputError(f"The results of {stem} cannot be written to {folder} ({error.strerror}); free space there or "
                         "choose another folder.") from error
    return {key: folder / name for key, name in names.items()}


def result_to_json(result: DetectionResult) -> dict[str, Any]:
    """Return a result as plain dicts and lists, ready for JSON."""
    return {"schema_version": SCHEMA_VERSION, "provenance": _plain(asdict(result.provenance)),
            "findings": [_finding_to_json(finding) for finding in result.findings],
            "candidates": [_finding_to_json(finding) for finding in result.candidates],
            "region_map": region_map_to_json(result.regions) if result.regions is not None else None}


def result_from_json(content: Any, name: str = "The findings file") -> DetectionResult:
    """Return the result that `result_to_json` made `content` from; keys that it does not know are left out.

    Raises
    ------
    InputError
        If it is of another version or not of the documented form; `name` says whose content it is.
    """
    version = content.get("schema_version") if isinstance(content, dict) else None
    if str(version).split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise InputError(f"{name} has schema version {version}, this program reads {SCHEMA_VERSION}; make it again "
                         "with the same version.")
    try:
        result = DetectionResult(candidates=tuple(_finding_from_json(entry) for entry in content["candidates"]),
                                 provenance=_provenance_from_json(content["provenance"]),
                                 regions=optional_region_map(content.get("region_map")))
        kept = tuple(_finding_from_json(entry) for entry in content["findings"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{name} is not as documented ({type(error).__name__}: {error}); run the detection "
                         "again.") from error
    if kept != result.findings:
        raise InputError(f"{name} contradicts itself (findings are not the kept candidates); run the detection again.")
    return result


def read_result(path: str | Path) -> DetectionResult:
    """Read a findings file.

    Raises
    ------
    InputError
        If it cannot be read, or see `result_from_json`.
    """
    path = Path(path)
    return result_from_json(read_json(path, "run the detection again"), path.name)


def findings_table(result: DetectionResult) -> str:
    """Return the kept findings as tab-separated values with one header row, numbers in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE_COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_table_row(_finding_to_json(finding)) for finding in result.findings)
    return text.getvalue()


def markups_json(result: DetectionResult) -> dict[str, Any]:
    """Return the kept findings as a locked point list in the format of 3D Slicer's Markups module."""
    points = []
    for finding in map(_finding_to_json, result.findings):
        record = {key: finding[key] for key in ("id", "probability", "diameter_mm", "volume_mm3")}
        points.append(Point(finding["id"], finding["ras_mm"], json.dumps({**record, "status": "open"})))
    return point_markups(points)


def _finding_to_json(finding: Finding) -> dict[str, Any]:
    extrema = finding.extrema
    return _plain({
        "id": finding.id, "ras_mm": finding.position_ras, "probability": finding.probability,
        "detector_probability": finding.detector_probability, "volume_mm3": finding.volume_mm3,
        "diameter_mm": finding.diameter_mm, "box_ras_mm": finding.box_ras,
        "extrema": {"minimum": extrema.minimum, "maximum": extrema.maximum,
                    "minimum_ras_mm": extrema.minimum_ras, "maximum_ras_mm": extrema.maximum_ras},
        "status": finding.status, "removed_by": finding.removed_by, "edge_mm": finding.edge_mm,
        "place": place_to_json(finding.place)})


def _finding_from_json(entry: dict[str, Any]) -> Finding:
    extrema = entry["extrema"]
    if entry["status"] not in (KEPT, REMOVED):
        raise ValueError(f"status {entry['status']!r}")
    return Finding(
        id=int(entry["id"]), position_ras=_position(entry["ras_mm"]), probability=float(entry["probability"]),
        detector_probability=float(entry["detector_probability"]), volume_mm3=float(entry["volume_mm3"]),
        diameter_mm=float(entry["diameter_mm"]), box_ras=tuple(_position(corner) for corner in entry["box_ras_mm"]),
        extrema=Extrema(float(extrema["minimum"]), float(extrema["maximum"]), _position(extrema["minimum_ras_mm"]),
                        _position(extrema["maximum_ras_mm"])),
        status=entry["status"], removed_by=entry["removed_by"], edge_mm=optional_number(entry.get("edge_mm")),
        place=place_from_json(entry.get("place")))


def place_to_json(place: Place | None) -> dict[str, Any] | None:
    """Return a place as plain JSON, None where there is none."""
    return None if place is None else dict(vars(place))


def place_from_json(content: dict[str, Any] | None) -> Place | None:
    """Return the place that `place_to_json` made `content` from.

    Raises
    ------
    ValueError, KeyError, TypeError
        If it is not of that form.
    """
    if content is None:
        return None
    if content["region"] not in REGIONS or content["side"] not in SIDES:
        raise ValueError(f"place {content!r}")
    return Place(content["region"], content["side"], *(float(content[name]) for name in (
        "confidence", "category_confidence", "side_confidence")))


def optional_region_map(content: dict[str, Any] | None) -> Volume | None:
    """Return a region map of JSON, None where there is none; see `region_lookup.region_map_from_json`."""
    return None if content is None else region_map_from_json(content)


def optional_number(value: Any) -> float | None:
    """Return a number of JSON, None where there is none."""
    return None if value is None else float(value)


def _position(values: list[float]) -> tuple[float, float, float]:
    right, anterior, superior = map(float, values)
    return right, anterior, superior


def _provenance_from_json(content: dict[str, Any]) -> Provenance:
    values = {field.name: content[field.name] for field in fields(Provenance)}
    for name, kind in (("input_name", str), ("input_sha256", str), ("modality", str), ("model_name", str),
                       ("model_sha256", str), ("parameters", dict), ("versions", dict), ("seconds", dict)):
        if not isinstance(values[name], kind):
            raise TypeError(f"{name} is {values[name]!r}")
    if not all(isinstance(part, dict) for part in values["parameters"].values()):
        raise TypeError("parameters are not grouped by step")
    return Provenance(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _table_row(finding: dict[str, Any]) -> dict[str, Any]:
    extrema = finding["extrema"]
    row = {key: finding[key] for key in ("id", "probability", "detector_probability", "volume_mm3", "diameter_mm")}
    row |= {key: extrema[key] for key in ("minimum", "maximum")}
    positions = {"": finding["ras_mm"], "box_min_": finding["box_ras_mm"][0], "box_max_": finding["box_ras_mm"][1],
                 "minimum_": extrema["minimum_ras_mm"], "maximum_": extrema["maximum_ras_mm"]}
    for name, position in positions.items():
        row |= {f"{name}{axis}_mm": value for axis, value in zip("RAS", position, strict=True)}
    place = finding["place"] or {"region": "", "side": "", "confidence": ""}
    return row | {"region": place["region"], "side": place["side"], "region_confidence": place["confidence"]}


def _plain(value: Any) -> Any:
    """Return tuples as lists and numpy numbers as Python ones."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
