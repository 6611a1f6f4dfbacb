"""Findings that were marked elsewhere, read from a file.

What can be read:

* a label map on the grid of the scan (any image format): a value is a finding; the only value of a map, or one whose
  voxels lie further apart than `WIDEST_MM`, is that of several, one per 26-connected region;
* a table (.tsv, .csv), ours of `export.tables` or another with columns R_mm, A_mm, S_mm, or L_mm, P_mm, S_mm, or x, y,
  z and a word on what they count (a column ``coordinate_system``, a first line ``# CoordinateSystem = LPS``, or the
  caller's);
* points of 3D Slicer (.mrk.json, .fcsv);
* our review and findings files (.json).

What is listed without a verdict is meant as a microbleed.
"""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from .components import equivalent_diameter_mm, label_components, region_voxels
from .errors import InputError
from .export.table_cells import CSV, TSV, parse_table, split_cells
from .export.tables import FINDING_COLUMNS
from .geometry import ras_to_voxel, voxel_to_ras
from .image_files import IMAGE_SUFFIXES, read_image
from .ordinary_files import parse_json, read_ordinary_text
from .outputs import result_from_json
from .point_regions import grow_regions
from .read_write import MAX_MARKED_SHARE, grid_text, in_order_of, lies_on, scan_stem
from .regions import REGIONS, SIDES
from .review_files import ACCEPTED, CERTAINTIES, MIMIC_KINDS, REJECTED, UNDECIDED, VERDICTS, review_from_json
from .review_log import events_from_json, replay
from .volume import Volume

RAS, LPS = "RAS", "LPS"
_TO_RAS = {RAS: (1.0, 1.0, 1.0), LPS: (-1.0, -1.0, 1.0)}
WIDEST_MM = 20.0
"""Twice the diameter of the largest microbleed; what lies further apart is not one."""
_EDGE_MM = 0.1
"""How far outside the outermost voxels a place may lie: coordinates are rounded."""
_FORMATS = ("give a label map, a table (.tsv, .csv), points of 3D Slicer (.mrk.json, .fcsv), or a review or findings "
            "file (.json)")
_NAMES = {"label": ("label", "name"), "comment": ("comment", "comments", "description", "notes"),
          "verdict": ("verdict",), "certainty": ("certainty",), "mimic_kind": ("mimic_kind", "mimic"),
          "diameter_mm": ("diameter_mm", "diameter"), "id": ("id", "finding", "finding_id")}
_SCAN_COLUMNS = ("subject", "participant_id", "session", "session_id", "scan", "image", "file", "filename", "stem")
_SYSTEM_COLUMNS = ("coordinate_system", "coordinatesystem", "space")
_NOTHING = ("", "n/a")
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_SYSTEMS = {"RAS": RAS, "0": RAS, "LPS": LPS, "1": LPS}
"""Slicer wrote numbers before 4.11 (vtkMRMLMarkupsStorageNode)."""
_FCSV_LPS_SINCE = (4, 11)


@dataclass(frozen=True, eq=False)
class ForeignFinding:
    """One finding of a review made elsewhere.

    Attributes
    ----------
    number : int
        Its place in the file, from 1 on.
    position_ras : (R, A, S) in mm
        Of the scan's own world; of a region its centre.
    diameter_mm : float or None
    label, comment : str
    verdict : str or None
        One of `review_files.VERDICTS`; None where the file does not say.
    certainty, mimic_kind : str
        See `review_files.ReviewedFinding`.
    voxels : (n, 3) int array or None
        Indices (i, j, k) of the scan.
    chosen_region : (region, side) or None
        That their reader has chosen, see `regions`; None where the file does not say that one has.
    """

    number: int
    position_ras: tuple[float, float, float]
    diameter_mm: float | None = None
    label: str = ""
    comment: str = ""
    verdict: str | None = None
    certainty: str = ""
    mimic_kind: str = ""
    voxels: np.ndarray | None = None
    chosen_region: tuple[str, str] | None = None

    @property
    def meant(self) -> str:
        """The verdict; what is listed without one is accepted."""
        return self.verdict or ACCEPTED

    @property
    def name(self) -> str:
        """How sentences call it."""
        return f"“{one_line(self.label)}”" if self.label else f"number {self.number}"


@dataclass(frozen=True)
class _Origin:
    """The scan that a file says it is of: its name, and the SHA-256 of its file (None: such files do not say it)."""

    name: str
    sha256: str | None = None


def one_line(text: str) -> str:
    """Return a text of somebody else in one line of characters that can be printed."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def read_foreign(path: str | Path, image: Volume, scan_name: str = "the scan", coordinate_system: str | None = None,
                 scan_sha256: str = "") -> tuple[ForeignFinding, ...]:
    """Read the findings of a review that was made elsewhere; none is a review too.

    Parameters
    ----------
    path : str or Path
    image : Volume
        The scan that was reviewed.
    scan_name : str
        Its file, for sentences.
    coordinate_system : "RAS", "LPS" or None
        What columns x, y, z of a table count, in mm; None if the table says it.
    scan_sha256 : str
        Of the scan's file; "" where it is not known, then our files are not asked whether they are of this scan.

    Raises
    ------
    InputError
        If it cannot be read, is of no known form, of another scan, lies on another grid or outside the scan, or does
        not say what its numbers count.
    """
    path, name = Path(path), Path(path).name.lower()
    if name.endswith(IMAGE_SUFFIXES):
        return _read_label_map(path, image, scan_name)
    if name.endswith((TSV, CSV)):
        found, origin = _read_table(path, coordinate_system)
    elif name.endswith(".fcsv"):
        found, origin = _read_fcsv(path), None
    elif name.endswith(".json"):
        found, origin = _read_json(path)
    else:
        raise InputError(f"{path.name} is in no form that can be imported; {_FORMATS}.")
    if origin is not None and scan_sha256:
        _refuse_other_scan(origin, path.name, scan_name, scan_sha256)
    _refuse_unwritable(found, path.name)
    _refuse_outside(found, image, path.name, scan_name)
    return tuple(found)


def with_grown_regions(foreign: Sequence[ForeignFinding], image: Volume, bright: bool) -> tuple[ForeignFinding, ...]:
    """Return findings in which points have a region, grown on the scan; see `point_regions`. Places stay as they are.

    Diameters that are not known become those of the regions. `bright`: microbleeds are bright (QSM) instead of dark.
    """
    points = [one for one in foreign if one.voxels is None]
    # what lies a little outside, see `_EDGE_MM`, grows from the edge
    voxels = np.clip(ras_to_voxel(image, np.reshape([one.position_ras for one in points], (-1, 3))), 0,
                     np.array(image.shape) - 1)
    grown = grow_regions(image, list(voxel_to_ras(image, voxels)), bright)
    regions = dict(zip((one.number for one in points), region_voxels(grown, len(points)), strict=True))
    return tuple(one if one.voxels is not None else replace(
        one, voxels=regions[one.number],
        diameter_mm=one.diameter_mm or equivalent_diameter_mm(len(regions[one.number]) * image.voxel_volume_mm3))
        for one in foreign)


def _read_label_map(path: Path, image: Volume, scan_name: str) -> tuple[ForeignFinding, ...]:
    found = read_image(path).volume
    if not lies_on(found, image):
        raise InputError(f"{path.name} has a grid of {grid_text(found)} that does not lie on that of {scan_name}, "
                         f"{grid_text(image)}; resample it to the scan.")
    data = in_order_of(image, found).data
    # some programs write NaN outside the brain
    data = np.where(np.isnan(data), 0, data)
    whole = np.rint(np.where(np.isfinite(data), data, -1))
    if not np.allclose(whole, data, rtol=0, atol=1e-3) or whole.min() < 0:
        raise InputError(f"{path.name} holds values that are negative or not whole numbers; give a label map with 0 "
                         "for background and 1 or more for findings.")
    if np.count_nonzero(whole) > MAX_MARKED_SHARE * whole.size:
        raise InputError(f"{path.name} has more than {MAX_MARKED_SHARE:.0%} of the scan marked; that is no map of "
                         "microbleeds.")
    values = np.unique(whole[whole > 0])
    regions = region_voxels(np.where(whole > 0, np.searchsorted(values, whole) + 1, 0), len(values))
    found_regions = []
    for value, voxels in zip(values, regions, strict=True):
        wide_mm = float(np.linalg.norm(np.ptp(voxels, axis=0) * image.spacing))
        pieces = _pieces(voxels) if len(values) == 1 or wide_mm > WIDEST_MM else [voxels]
        found_regions += [(f"value {value:.0f}" if len(values) > 1 else "", piece) for piece in pieces]
    return tuple(ForeignFinding(
        number, tuple(voxel_to_ras(image, voxels.mean(axis=0)).tolist()),
        equivalent_diameter_mm(len(voxels) * image.voxel_volume_mm3), label, voxels=voxels)
        for number, (label, voxels) in enumerate(found_regions, 1))


def _pieces(voxels: np.ndarray) -> list[np.ndarray]:
    """Return the 26-connected regions of voxels (n, 3)."""
    corner = voxels.min(axis=0)
    box = np.zeros(np.ptp(voxels, axis=0) + 1, bool)
    box[tuple((voxels - corner).T)] = True
    return [piece + corner for piece in region_voxels(*label_components(box))]


def _read_table(path: Path, coordinate_system: str | None) -> tuple[list[ForeignFinding], _Origin | None]:
    text = _read_text(path)
    own = _own_rows(text, path)
    rows, stated = (own, None) if own is not None else _foreign_rows(text, path)
    if not rows:
        return [], None
    _refuse_several_scans(rows, path.name)
    place_of = _place_reader(rows, path.name, stated, coordinate_system)
    ids: dict[str, str] = {}
    found = []
    for number, row in enumerate(rows, 1):
        where = f"Row {number} of {path.name}"
        told = {key: next((row[name] for name in names if name in row), "") for key, names in _NAMES.items()}
        identity = str(told.pop("id"))
        if identity and ids.setdefault(identity, where) != where:
            raise InputError(f"{where} has the id {identity} of an earlier row; give every finding its own.")
        told["label"] = told["label"] or identity
        one = _finding(where, number, place_of(row, where), **told)
        found.append(one if own is None else replace(one, chosen_region=_chosen(row, where)))
    return found, _Origin(str(rows[0]["scan"])) if own is not None else None


def _chosen(row: Mapping[str, Any], where: str) -> tuple[str, str] | None:
    """Return the region and side in a row of ours, if a reader has chosen them: then they have no confidence."""
    if not row["region"] or row["region_confidence"] != "":
        return None
    return _word(where, "region", row["region"], REGIONS), _word(where, "side", row["side"], SIDES)


def _own_rows(text: str, path: Path) -> list[dict[str, Any]] | None:
    """Return the rows of a table of ours, None if it is another's."""
    form = path.suffix.lower()
    try:
        header = split_cells(text, form)[0]
    except (ValueError, IndexError):
        return None
    if not {column.name for column in FINDING_COLUMNS} <= set(header):
        return None
    return [{name.lower(): "" if value is None else value for name, value in row.items()}
            for row in parse_table(text, form, path.name, FINDING_COLUMNS)]


def _foreign_rows(text: str, path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows of a table by the names of their columns in small letters, and the system of coordinates that
    its first lines state."""
    stated, lines = None, text.splitlines(keepends=True)
    while lines and (lines[0].startswith("#") or not lines[0].strip()):
        found = re.match(r"#\s*coordinate_?system\s*[=:]\s*(\S+)", lines.pop(0), re.IGNORECASE)
        stated = found[1] if found else stated
    header = lines[0] if lines else ""
    delimiter = "\t" if path.suffix.lower() == TSV or "\t" in header else max(",;", key=header.count)
    try:
        cells = [row for row in csv.reader(io.StringIO("".join(lines), newline=""), delimiter=delimiter, strict=True)
                 if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path.name} is no table ({error}); check its quotation marks.") from None
    if not cells:
        raise InputError(f"{path.name} has no cells with anything in them; export it again.")
    names = [cell.strip().lower() for cell in cells[0]]
    double = [name for name, count in Counter(names).items() if name and count > 1]
    if double:
        raise InputError(f"{path.name} has two columns {double[0]}; keep one.")
    for number, row in enumerate(cells[1:], 1):
        if len(row) > len(names):
            raise InputError(f"Row {number} of {path.name} has {len(row)} cells for {len(names)} columns; correct it.")
    # a comma in a number is its decimal point where commas do not part the cells
    number_of = (lambda cell: cell) if delimiter == "," else lambda cell: re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", cell)
    rows = [{name: number_of(cell) if name not in _NAMES["comment"] else cell
             for name, cell in zip_longest(names, row, fillvalue="")} for row in cells[1:]]
    rows = [{name: "" if cell.strip().lower() in _NOTHING else cell for name, cell in row.items()} for row in rows]
    return rows, stated


def _place_reader(rows: Sequence[Mapping[str, Any]], name: str, stated: str | None,
                  asked: str | None) -> Callable[[Mapping[str, Any], str], np.ndarray]:
    """Return what reads the place of a row in RAS mm: its columns and what they count.

    Raises
    ------
    InputError
        If there are no such columns, or nothing says what x, y and z count.
    """
    columns = {re.sub(r"[\s_(\[]*mm[)\]]*$", "", column): column for row in rows for column in row}
    letters = next((letters for letters in ("ras", "lps", "xyz") if set(letters) <= set(columns)), None)
    if letters is None:
        voxels = {"i", "j", "k"} <= set(columns) or any("voxel" in column or "vox" == column[:3] for column in columns)
        reason = "only voxel numbers, which programs count from 0 or from 1 and along other axes" if voxels \
            else "no columns with places"
        raise InputError(f"{name} has {reason}; give columns R_mm, A_mm, S_mm, or L_mm, P_mm, S_mm.")
    system = letters.upper()
    if system not in _TO_RAS:
        said = {str(row[column]).strip().upper() for row in rows for column in _SYSTEM_COLUMNS if row.get(column)}
        said |= {word.upper() for word in (stated, asked) if word}
        if not said:
            raise InputError(f"{name} does not say what its columns x, y, z count (RAS, LPS, or voxels from 0 or 1); "
                             "name them R_mm, A_mm, S_mm, or add a column coordinate_system with RAS or LPS.")
        if len(said) > 1 or not said <= set(_TO_RAS):
            raise InputError(f"{name} has places in {' and '.join(sorted(said))}; give all of them in mm, in RAS or in "
                             "LPS.")
        system = said.pop()

    def place_of(row: Mapping[str, Any], where: str) -> np.ndarray:
        return _place([row.get(columns[letter], "") for letter in letters], where) * _TO_RAS[system]

    return place_of


def _refuse_several_scans(rows: Sequence[Mapping[str, Any]], name: str) -> None:
    scans = sorted({" ".join(str(row[column]) for column in _SCAN_COLUMNS if row.get(column)) for row in rows})
    if len(scans) > 1:
        raise InputError(f"{name} lists findings of several scans ({', '.join(scans[:3])}); keep the rows of one.")


def _read_fcsv(path: Path) -> list[ForeignFinding]:
    lines = _read_text(path).splitlines(keepends=True)
    header = {}
    for line in lines:
        entry = re.match(r"#\s*(.+?)\s*=\s*(.*?)\s*$", line)
        if entry:
            header[entry[1].lower()] = entry[2]
    version = re.match(r"(\d+)\.(\d+)", header.get("markups fiducial file version", ""))
    if version is None:
        raise InputError(f"{path.name} does not begin as a point list of 3D Slicer (file version); save it again as "
                         ".mrk.json.")
    # without a word on it, it is what that version of Slicer wrote
    usual = LPS if tuple(map(int, version.groups())) >= _FCSV_LPS_SINCE else RAS
    told = header.get("coordinatesystem", usual)
    if told.upper() not in _SYSTEMS:
        raise InputError(f"{path.name} has places in {told}; save it again in LPS or RAS.")
    system = _SYSTEMS[told.upper()]
    names = [name.strip() for name in header.get("columns", _FCSV_COLUMNS).split(",")]
    if not {"x", "y", "z"} <= set(names):
        raise InputError(f"{path.name} has no columns x, y and z; save it again as .mrk.json.")
    body = io.StringIO("".join(line for line in lines if not line.startswith("#")), newline="")
    try:
        rows = [row for row in csv.reader(body) if row]
    except csv.Error as error:
        raise InputError(f"{path.name} holds no points that can be read ({error}); save it again as "
                         ".mrk.json.") from None
    found = []
    for number, row in enumerate(rows, 1):
        where, cells = f"Point {number} of {path.name}", dict(zip(names, row, strict=False))
        place = _place([cells.get(axis, "") for axis in "xyz"], where) * _TO_RAS[system]
        found.append(_finding(where, number, place, **_described(cells.get("label", ""), cells.get("desc", ""))))
    return found


def _read_json(path: Path) -> tuple[list[ForeignFinding], _Origin | None]:
    try:
        content = parse_json(_read_text(path), foreign=True)
    except ValueError:
        raise InputError(f"{path.name} is not JSON or is damaged; export it again.") from None
    keys = content.keys() if isinstance(content, dict) else ()
    if "markups" in keys:
        return _markups(content["markups"], path.name), None
    if "candidates" in keys:
        result = result_from_json(content, path.name)
        places = [(one, f"Finding {one.id} of {path.name}") for one in result.findings]
        found = [_finding(where, number, _place(one.position_ras, where), label=f"CMB-{one.id}",
                          diameter_mm=one.diameter_mm, verdict=UNDECIDED)
                 for number, (one, where) in enumerate(places, 1)]
        return found, _Origin(result.provenance.input_name, result.provenance.input_sha256)
    if "findings" in keys:
        review = review_from_json(content, path.name)
        # only the log tells a reader's regions from those of the region map
        state = replay(events_from_json(content.get("log", []), path.name))
        chosen = {item.id: item.chosen_region for item in state.items}
        found = [ForeignFinding(number, one.position_ras, one.diameter_mm or None, f"CMB-{one.id}", one.comment,
                                one.verdict, one.certainty, one.mimic_kind, chosen_region=chosen.get(one.id))
                 for number, one in enumerate(review.findings, 1)]
        return found, _Origin(review.input_name, review.input_sha256)
    raise InputError(f"{path.name} is neither a review or findings file nor points of 3D Slicer; {_FORMATS}.")


def _markups(markups: Any, name: str) -> list[ForeignFinding]:
    found: list[ForeignFinding] = []
    try:
        lists = [markup for markup in markups if markup.get("type") == "Fiducial"]
        if not lists:
            raise InputError(f"{name} holds no point list; save the points of the findings.")
        for markup in lists:
            # Slicer reads a list that does not say it as LPS
            told = str(markup.get("coordinateSystem", LPS)).upper()
            if told not in _SYSTEMS:
                raise InputError(f"{name} has places in {told}; save it again in LPS or RAS.")
            if markup.get("coordinateUnits", "mm") not in ("mm", ["mm"], ["mm", "UCUM", "millimeter"]):
                raise InputError(f"{name} has places in {markup['coordinateUnits']}; save it again in mm.")
            ids: set[str] = set()
            for point in markup.get("controlPoints", ()):
                if point.get("positionStatus", "defined") != "defined":
                    continue
                number = len(found) + 1
                where, identity = f"Point {number} of {name}", str(point.get("id", ""))
                if identity and identity in ids:
                    raise InputError(f"{where} has the id {identity} of an earlier point; give every point its own.")
                ids.add(identity)
                place = _place(point["position"], where) * _TO_RAS[_SYSTEMS[told]]
                found.append(_finding(where, number, place, **_described(str(point.get("label", "")),
                                                                         str(point.get("description", "")))))
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{name} is not as 3D Slicer writes points ({type(error).__name__}: {error}); save it "
                         "again.") from None
    return found


def _described(label: str, description: str) -> dict[str, Any]:
    """Return what a point says; the description of ours is JSON, that of others a comment."""
    try:
        record = parse_json(description, foreign=True)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not {"verdict", "status", "id"} & set(record):
        return {"label": label, "comment": description}
    told = {key: record[key] for key in _NAMES if key in record and key not in ("label", "id")}
    # as the detection writes it, for what nobody has judged
    return {"label": label, **({"verdict": UNDECIDED} if record.get("status") == "open" else {}), **told}


def _finding(where: str, number: int, place: np.ndarray, label: str = "", comment: str = "", verdict: str = "",
             certainty: str = "", mimic_kind: str = "", diameter_mm: Any = None) -> ForeignFinding:
    """Return a finding of what a file says of it; `where` is its place in the file, for sentences."""
    verdict, certainty, mimic_kind = (_word(where, *told) for told in (
        ("verdict", verdict, ("", *VERDICTS)), ("certainty", certainty, CERTAINTIES),
        ("mimic", mimic_kind, MIMIC_KINDS)))
    if mimic_kind and (verdict or REJECTED) != REJECTED:
        raise InputError(f"{where} is {verdict} and rejected as “{mimic_kind}” at once; correct one of them.")
    try:
        wide_mm = float(diameter_mm or 0)
    except (TypeError, ValueError):
        wide_mm = math.nan
    if not 0 <= wide_mm < math.inf:
        raise InputError(f"{where} has the diameter {diameter_mm!r}, which is no number of mm; correct or remove it.")
    right, anterior, superior = map(float, place)
    return ForeignFinding(number, (right, anterior, superior), wide_mm or None, label, str(comment),
                          verdict or (REJECTED if mimic_kind else None), certainty, mimic_kind)


def _word(where: str, what: str, value: Any, choices: Sequence[str]) -> str:
    word = str(value).strip().lower()
    if word not in choices:
        raise InputError(f"{where} has the {what} {value!r}; write one of {', '.join(filter(None, choices))}, or "
                         "nothing.")
    return word


def _place(values: Sequence[Any], where: str) -> np.ndarray:
    try:
        place = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        place = np.empty(0)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise InputError(f"{where} has the place {', '.join(map(str, values)) or 'nowhere'}, which is not three "
                         "numbers in mm; correct or remove it.")
    return place


def _refuse_other_scan(origin: _Origin, name: str, scan_name: str, scan_sha256: str) -> None:
    """Refuse what is of a scan of another name and of other bytes; a copy of the same name may be in another format."""
    if origin.sha256 in ("", scan_sha256) or scan_stem(origin.name) == scan_stem(scan_name):
        return
    if origin.sha256 is None:
        raise InputError(f"{name} lists findings of {origin.name}, not of {scan_name}; give the table of this scan, or "
                         "correct its column scan if that is a copy.")
    raise InputError(f"{name} is of {origin.name}, not of {scan_name} (names and SHA-256 differ); give the file of "
                     "this scan, or export the points if that is a copy.")


def _refuse_unwritable(found: Sequence[ForeignFinding], name: str) -> None:
    """Refuse halves of characters, which JSON may hold and UTF-8 cannot."""
    for one in found:
        try:
            (one.label + one.comment).encode()
        except UnicodeEncodeError:
            raise InputError(f"{name} has a character in the words of finding {one.number} that no file can hold; "
                             "correct it.") from None


def _refuse_outside(found: Sequence[ForeignFinding], image: Volume, name: str, scan_name: str) -> None:
    if not found:
        return
    voxels = ras_to_voxel(image, np.array([one.position_ras for one in found]))
    margin = 0.5 + _EDGE_MM / image.spacing
    outside = ((voxels < -margin) | (voxels > np.array(image.shape) - 1 + margin)).any(axis=1)
    if outside.any():
        first = found[int(np.argmax(outside))]
        place = ", ".join(f"{value:g}" for value in first.position_ras)
        raise InputError(f"{name} has {outside.sum()} of {len(found)} places outside {scan_name}, the first one "
                         f"{first.name} at R, A, S = {place} mm; check that it is of this scan, in mm, and in the "
                         "system of coordinates that it says.")


def _read_text(path: Path) -> str:
    try:
        text = read_ordinary_text(path, "utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the path.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not UTF-8; save it as UTF-8 or export it again.") from None
    if not text.strip():
        raise InputError(f"{path.name} is empty; export it again.")
    return text
