"""Findings and counts as tables: tab-separated (.tsv, as BIDS wants it) or comma-separated (.csv, for Excel), UTF-8.

How a cell is written, and read back exactly:

- Numbers in full precision, with a decimal point; true and false in small letters.
- Where a text, or what follows ``, ; tab`` or a line break in it, begins with ``= + - @``, an apostrophe goes before
  it, one more if there are some, so that no spreadsheet takes it for a formula whatever separator it splits at.
- CSV: commas, quotes and line breaks are quoted as in RFC 4180, lines end with CR LF, what is not known is empty. The
  file begins with a byte order mark, without which Excel takes UTF-8 for the local code page.
- TSV: no quoting and no mark. A tab is ``\\t``, a line break ``\\n`` or ``\\r``, a backslash ``\\\\``; what is not
  known or empty is ``n/a``, and the text "n/a" itself is ``n\\/a``.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import InputError
from ..geometry import ras_to_voxel
from ..read_write import staging_folder, write_json, write_text
from ..regions import CATEGORIES, REGIONS, SIDES
from ..report import NOT_CLINICAL
from ..review_files import ACCEPTED, DEFINITE, MIMIC_KINDS, POSSIBLE, REJECTED, UNDECIDED
from ..reviewed_case import CaseFinding, ReviewedCase
from ..subject_counts import (
    BASELINE_THRESHOLD,
    LARGE,
    LAST_GROUP,
    NOT_DETERMINED,
    PATTERNS,
    SEQUENCES,
    SMALL,
    UNKNOWN_SIZE,
    Tally,
    count_microbleeds,
)

FINISHED, REVIEWED, UNREVIEWED = "finished", "reviewed", "unreviewed"
TSV, CSV = ".tsv", ".csv"

_MARK = "\ufeff"
_NOTHING = "n/a"
_FORMULA = re.compile(r"(?:^|(?<=[,;\t\r\n]))(?='* *[=+\-@＝＋－＠])")
_MADE_HARMLESS = re.compile(r"(?:^|(?<=[,;\t\r\n]))'(?='* *[=+\-@＝＋－＠])")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_ESCAPED = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r", "/": "/"}
_FORMATS = {str: "string", int: "integer", float: "number", bool: "boolean"}
"""Words of BIDS."""
_NOT_WRITABLE = re.compile("[\0\ud800-\udfff]")

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table: its name, the type of its values (None is allowed in all), and what the dictionary says.

    Attributes
    ----------
    name : str
    kind : str, int, float or bool
    description : str
    units : str
        "" where it has none.
    levels : mapping or None
        What each of its values means, where there are few.
    """

    name: str
    kind: type
    description: str
    units: str = ""
    levels: Mapping[str, str] | None = None


CASE_COLUMNS = (
    Column("subject", str, "Subject, as in the file name of the scan (BIDS sub-), else the name without suffix"),
    Column("session", str, "Session, as in the file name of the scan (BIDS ses-)"),
    Column("scan", str, "File name of the scan"))
"""Which scan it is; in every table."""
STATUS_COLUMNS = (
    Column("reviewed", str, "How far the review of the scan is",
           levels={FINISHED: "the reader has said that it is done", REVIEWED: "there is a review, not called finished",
                   UNREVIEWED: "nobody has reviewed it: these are the findings of the detector"}),
    Column("simulated", bool, "Whether the scan is simulated"))
FINDING_COLUMNS = (
    *CASE_COLUMNS,
    Column("id", int, "Number of the finding in its scan; its value in the label map, unless it has no voxels"),
    *(Column(f"{axis}_mm", float, f"Position towards {way}, in the scan's own world (RAS)", "mm")
      for axis, way in zip("RAS", ("the right", "the front", "the top"), strict=True)),
    *(Column(axis, int, f"Index of the nearest voxel along axis {number} of the scan's file, from 0 on")
      for number, axis in enumerate("ijk", start=1)),
    Column("diameter_mm", float, "Diameter of the sphere of equal volume; depends on sequence, field strength and echo "
           "time (blooming)", "mm"),
    Column("volume_mm3", float, "Volume of its region", "mm^3"),
    Column("probability", float, "Of being a microbleed, by the detector; none if a reader has added it"),
    Column("verdict", str, "What the reader made of it",
           levels={ACCEPTED: "a microbleed", REJECTED: "not a microbleed", UNDECIDED: "not judged"}),
    Column("certainty", str, "How certain the reader was",
           levels={DEFINITE: "definite microbleed (MARS)", POSSIBLE: "possible microbleed (MARS)"}),
    Column("mimic", str, "What a rejected finding is",
           levels={kind: f"a {kind}" if kind != "other" else "something else" for kind in MIMIC_KINDS if kind}),
    Column("added_by_reader", bool, "Whether a reader has added it; the detector does not have it"),
    Column("outlined", bool, "Whether a reader has changed its outline"),
    Column("region", str, "Region of the Microbleed Anatomical Rating Scale (MARS)",
           levels={region: f"MARS region {region}" for region in REGIONS}),
    Column("side", str, "Side of the brain", levels={side: f"{side} side of the subject" for side in SIDES}),
    Column("category", str, "Category of the region", levels={category: f"MARS category {category}"
                                                              for category in CATEGORIES}),
    Column("region_confidence", float, "That the region is right, from 0 to 1; none where the reader has chosen it"),
    Column("edge_mm", float, "Distance of its centre to the edge of the brain mask; none if it is 10 mm or more", "mm"),
    Column("reader", str, "Who gave the verdict"),
    Column("seconds", float, "How long it was on screen before it was judged, all in all", "s"),
    Column("comment", str, "The reader's words"),
    *STATUS_COLUMNS)

_PLACES = {"": "all sides together", **{side: f"{side} side" for side in SIDES}}
_GROUPS = {"0": "0", "1": "1", "2-4": "2 to 4", "5-10": "5 to 10", LAST_GROUP: "more than 10"}
"""In words, because Excel takes 2-4 for a date."""
_SIZES = {SMALL: "below_5_mm", LARGE: "from_5_to_10_mm", UNKNOWN_SIZE: "size_unknown"}


def _count_name(place: str, side: str = "") -> str:
    """Return the column of the count of a region or category."""
    name = place.replace(" ", "_")
    return f"{name}_{side}" if side else name


SUBJECT_COLUMNS = (
    *CASE_COLUMNS,
    Column("reader", str, "Who reviewed the scan last"),
    *STATUS_COLUMNS,
    Column("sequence", str, "Sequence; counts of different sequences cannot be compared",
           levels={"gre": "T2*-weighted gradient echo", "swi": "susceptibility-weighted image",
                   "qsm": "quantitative susceptibility map"}),
    Column("field_strength_t", float, "Field strength", "T"),
    Column("echo_time_ms", float, "Echo time", "ms"),
    Column("voxel_1_mm", float, "Voxel size in plane", "mm"),
    Column("voxel_2_mm", float, "Voxel size in plane, across", "mm"),
    Column("slice_mm", float, "Distance of the slices", "mm"),
    Column("total", int, "Microbleeds up to 10 mm: definite and possible; the detector's where nobody has reviewed"),
    Column("definite", int, "Definite microbleeds (MARS); none where nobody has reviewed"),
    Column("possible", int, "Possible microbleeds (MARS); none where nobody has reviewed"),
    Column("undecided", int, "Findings without a verdict, which are not counted; none where nobody has reviewed"),
    *(Column(_count_name(category, side), int, f"Microbleeds in the MARS category {category}, {place}")
      for category in CATEGORIES for side, place in _PLACES.items()),
    Column("no_region", int, "Microbleeds whose region is not known; they are in no category"),
    *(Column(_count_name(region, side), int, f"Microbleeds in the MARS region {region}, {place}")
      for region in REGIONS for side, place in _PLACES.items()),
    Column("below_5_mm", int, "Microbleeds of less than 5 mm"),
    Column("from_5_to_10_mm", int, "Microbleeds of 5 to 10 mm"),
    Column("size_unknown", int, "Microbleeds of unknown diameter"),
    Column("above_10_mm", int, "Findings larger than 10 mm, which are no microbleeds and not counted"),
    Column("pattern", str, "Where the definite and possible microbleeds are", levels={
        name: "not every region is known" if name == NOT_DETERMINED else f"{name} microbleeds" for name in PATTERNS}),
    Column("group", str, "Group of the total", levels={group: f"{group} microbleeds" for group in _GROUPS.values()}),
    Column("exceeds_baseline_threshold", bool, f"Whether the total is above {BASELINE_THRESHOLD}, as trials of "
           "anti-amyloid antibodies ask before treatment"),
    Column("reviewed_at", str, "When it was reviewed last, ISO 8601"),
    Column("threshold", float, "Candidates of lower probability were not shown"),
    Column("model", str, "Model of the detector"),
    Column("model_sha256", str, "SHA-256 of the model"),
    Column("scan_sha256", str, "SHA-256 of the file of the scan"),
    Column("program_version", str, "Version of CMBDetection that wrote the row"))


def finding_rows(case: ReviewedCase) -> list[Row]:
    """Return one row per finding of a scan, whatever its verdict, by the names of `FINDING_COLUMNS`."""
    return [_finding_row(case, finding) for finding in case.findings]


def write_finding_table(path: Path, cases: Sequence[ReviewedCase], include_unreviewed: bool = False,
                        overwrite: bool = False) -> None:
    """Write all findings of some scans as one table, and its data dictionary (.json) beside it.

    Parameters
    ----------
    path : Path
        Its suffix, .tsv or .csv, says the form.
    cases : sequence of ReviewedCase
    include_unreviewed : bool
        Write the detector's findings of scans that nobody has reviewed too; the column "reviewed" tells them.
    overwrite : bool

    Raises
    ------
    InputError
        If a scan is not reviewed, a file exists, or it cannot be written; what was there before is still there.
    """
    for case in cases:
        require_reviewed(case, include_unreviewed)
    write_table(path, FINDING_COLUMNS, [row for case in cases for row in finding_rows(case)], overwrite)


def read_finding_table(path: Path) -> list[Row]:
    """Return the rows of a table of findings just as they were written; further columns are left out.

    Raises
    ------
    InputError
        See `parse_table`, or if it cannot be read.
    """
    return parse_table(*read_table_text(Path(path)), FINDING_COLUMNS)


def subject_row(case: ReviewedCase) -> Row:
    """Return the counts of a scan, and how it was made, by the names of `SUBJECT_COLUMNS`."""
    counts, provenance, acquisition = count_microbleeds(case), case.provenance or {}, case.acquisition
    row = {**_case_cells(case), "reader": case.reader,
           "sequence": acquisition.modality if acquisition.modality in SEQUENCES else "",
           "field_strength_t": acquisition.field_strength_t, "echo_time_ms": acquisition.echo_time_ms,
           **dict(zip(("voxel_1_mm", "voxel_2_mm", "slice_mm"), acquisition.voxel_mm, strict=True)),
           "total": counts.total}
    judged = {"definite": counts.definite, "possible": counts.possible, "undecided": counts.undecided}
    row |= judged if case.is_reviewed else dict.fromkeys(judged)
    for (category, side), tally in counts.by_category_and_side.items():
        if category and side:
            row[_count_name(category, side)] = tally.total
    row |= {category or "no_region": tally.total for category, tally in counts.by_category.items()}
    for region in REGIONS:
        sides = {side: counts.by_region.get((region, side), Tally()).total for side in (*SIDES, "")}
        row |= {_count_name(region, side): sides[side] for side in SIDES} | {_count_name(region): sum(sides.values())}
    row |= {_SIZES[size]: tally.total for size, tally in counts.by_size.items()}
    return row | {"above_10_mm": counts.too_large.total, "pattern": counts.pattern, "group": _GROUPS[counts.group],
                  "exceeds_baseline_threshold": counts.exceeds_baseline_threshold, "reviewed_at": case.reviewed_at,
                  "threshold": case.threshold, "model": str(provenance.get("model_name") or ""),
                  "model_sha256": str(provenance.get("model_sha256") or ""), "scan_sha256": case.scan_sha256,
                  "program_version": __version__}


def write_subject_table(path: Path, cases: Sequence[ReviewedCase], include_unreviewed: bool = False,
                        overwrite: bool = False) -> None:
    """Write the counts of some scans, one row each; see `write_finding_table`."""
    for case in cases:
        require_reviewed(case, include_unreviewed)
    write_table(path, SUBJECT_COLUMNS, [subject_row(case) for case in cases], overwrite)


def read_subject_table(path: Path) -> list[Row]:
    """Return the rows of a table of counts, or of a cohort table; see `read_finding_table`."""
    return parse_table(*read_table_text(Path(path)), SUBJECT_COLUMNS)


def require_reviewed(case: ReviewedCase, include_unreviewed: bool) -> None:
    """Refuse a scan that nobody has reviewed, unless it is wanted.

    Raises
    ------
    InputError
    """
    if not (case.is_reviewed or include_unreviewed):
        raise InputError(f"{case.scan_name} is not reviewed; review it first, or ask for unreviewed findings too.")


def require_free(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse to write over a file, unless it is wanted.

    Raises
    ------
    InputError
    """
    taken = next((path for path in paths if path.exists()), None)
    if taken is not None and not overwrite:
        raise InputError(f"{taken} exists already; choose another name, or ask for it to be overwritten.")


@contextmanager
def told_if_not_writable(path: Path) -> Iterator[None]:
    """Turn an operating system error of the block into an InputError about `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); free space there, close it in other programs, "
                         "or choose another folder.") from error


def status_of(case: ReviewedCase) -> str:
    """Return finished, reviewed or unreviewed."""
    if not case.is_reviewed:
        return UNREVIEWED
    return FINISHED if case.is_finished else REVIEWED


def write_table(path: Path, columns: Sequence[Column], rows: Sequence[Row], overwrite: bool) -> None:
    """Write rows, and what their columns mean as JSON beside them; both or none. See `write_finding_table`.

    The same table as .tsv and .csv shares one dictionary.
    """
    path = Path(path)
    require_table(path)
    dictionary, words = path.with_suffix(".json"), data_dictionary(columns)
    require_free((path,) if _says(dictionary, words) else (path, dictionary), overwrite)
    text = table_text(columns, rows, path.suffix.lower())
    with told_if_not_writable(path), staging_folder(path.parent) as staging:
        write_text(staging / path.name, text)
        write_json(staging / dictionary.name, words)


def require_table(path: Path) -> None:
    """Refuse a file name that is neither .tsv nor .csv.

    Raises
    ------
    InputError
    """
    if path.suffix.lower() not in (TSV, CSV):
        raise InputError(f"{path.name} says no form of table; end the name with .tsv or .csv.")


def table_text(columns: Sequence[Column], rows: Sequence[Row], form: str) -> str:
    """Return a table as it stands in the file.

    Parameters
    ----------
    columns : sequence of Column
    rows : sequence of dict
        By the names of the columns; other keys are left out.
    form : ".tsv" or ".csv"
    """
    cells = [[column.name for column in columns]]
    cells += [[cell_text(row[column.name], column, form) for column in columns] for row in rows]
    return join_cells(cells, form)


def join_cells(cells: Sequence[Sequence[str]], form: str) -> str:
    """Return written cells as the text of a file; undoes `split_cells`."""
    if form == TSV:
        return "".join("\t".join(line) + "\n" for line in cells)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(cells)
    return _MARK + text.getvalue()


def split_cells(text: str, form: str) -> list[list[str]]:
    """Return the cells of a file as they are written, the header first; empty lines are left out.

    Raises
    ------
    ValueError
        If it is no table.
    """
    text = text.removeprefix(_MARK)
    try:
        cells = ([line.removesuffix("\r").split("\t") for line in text.split("\n") if line.strip()] if form == TSV
                 else [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line])
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if not cells:
        raise ValueError("it is empty")
    return cells


def read_table_text(path: Path) -> tuple[str, str, str]:
    """Return the text of a table, its form (".tsv" or ".csv") and its name.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    require_table(path)
    try:
        return path.read_bytes().decode("utf-8"), path.suffix.lower(), path.name
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the path.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not UTF-8; save it as UTF-8 or export it again.") from None


def parse_table(text: str, form: str, name: str, columns: Sequence[Column]) -> list[Row]:
    """Return the rows that `table_text` made `text` from; further columns are left out.

    Raises
    ------
    InputError
        If a column is missing, or a line is not as documented; `name` says whose text it is.
    """
    try:
        header, *lines = split_cells(text, form)
    except ValueError as error:
        raise InputError(f"{name} is no table with a header ({error}); export it again.") from None
    missing = [column.name for column in columns if column.name not in header]
    if missing:
        raise InputError(f"{name} has no column {', '.join(missing)}; export it again.")
    places = [(header.index(column.name), column) for column in columns]
    rows = []
    for number, line in enumerate(lines, start=1):
        if len(line) != len(header):
            raise InputError(f"Row {number} of {name} has {len(line)} cells, not {len(header)}; export it again.")
        try:
            rows.append({column.name: value_of(line[place], column, form) for place, column in places})
        except ValueError as error:
            raise InputError(f"Row {number} of {name} cannot be read ({error}); export it again.") from None
    return rows


def cell_text(value: Any, column: Column, form: str) -> str:
    """Return a value as it is written.

    Raises
    ------
    InputError
        If a text has a character that no table can hold.
    """
    if value is None or value == "":
        return _NOTHING if form == TSV else ""
    if column.kind is bool:
        return "true" if value else "false"
    if column.kind is float:
        return repr(float(value))
    if column.kind is int:
        return str(int(value))
    if _NOT_WRITABLE.search(value):
        raise InputError(f"The {column.name} {value!r} has a character that no table can hold; change it.")
    if form == TSV and value == _NOTHING:
        return r"n\/a"
    value = _FORMULA.sub("'", value)
    return re.sub(r"[\\\t\n\r]", lambda found: _ESCAPES[found[0]], value) if form == TSV else value


def value_of(cell: str, column: Column, form: str) -> Any:
    """Return the value that `cell_text` made a cell from; nothing is "" for texts and None for others.

    Raises
    ------
    ValueError
        If it is none of the column's.
    """
    if not cell or (form == TSV and cell == _NOTHING):
        return "" if column.kind is str else None
    if column.kind is bool:
        if cell.lower() not in ("true", "false"):
            raise ValueError(f"{column.name} is {cell!r}, neither true nor false")
        return cell.lower() == "true"
    if column.kind is not str:
        try:
            return column.kind(cell)
        except ValueError:
            raise ValueError(f"{column.name} is {cell!r}, not a number") from None
    return _MADE_HARMLESS.sub("", re.sub(r"\\(.?)", _unescaped, cell, flags=re.DOTALL) if form == TSV else cell)


def data_dictionary(columns: Sequence[Column]) -> dict[str, Any]:
    """Return what the columns mean, in the form of BIDS."""
    words = {"MeasurementToolMetadata": {"Description": f"Cerebral microbleeds by CMBDetection. {NOT_CLINICAL}."}}
    for column in columns:
        words[column.name] = {"Description": column.description, "Format": _FORMATS[column.kind]}
        if column.units:
            words[column.name]["Units"] = column.units
        if column.levels is not None:
            words[column.name]["Levels"] = dict(column.levels)
    return words


def _finding_row(case: ReviewedCase, finding: CaseFinding) -> Row:
    voxel = np.rint(ras_to_voxel(case.image, np.array(finding.position_ras))).astype(int).tolist()
    return {**_case_cells(case), "id": finding.id, **dict(zip(("R_mm", "A_mm", "S_mm"), finding.position_ras,
                                                              strict=True)), **dict(zip("ijk", voxel, strict=True)),
            "diameter_mm": finding.diameter_mm or None, "volume_mm3": finding.volume_mm3 or None,
            "probability": finding.probability, "verdict": finding.verdict, "certainty": finding.certainty,
            "mimic": finding.mimic_kind, "added_by_reader": finding.added_by_reader, "outlined": finding.outlined,
            "region": finding.region, "side": finding.side, "category": finding.category,
            "region_confidence": finding.region_confidence, "edge_mm": finding.edge_mm, "reader": finding.reader,
            "seconds": finding.seconds, "comment": finding.comment}


def _case_cells(case: ReviewedCase) -> Row:
    """Return the values of `CASE_COLUMNS` and `STATUS_COLUMNS`."""
    return {"subject": case.subject, "session": case.session, "scan": case.scan_name, "reviewed": status_of(case),
            "simulated": case.simulated}


def _says(path: Path, content: dict[str, Any]) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")) == content
    except (OSError, ValueError):
        return False


def _unescaped(found: re.Match) -> str:
    if found[1] not in _ESCAPED or not found[1]:
        raise ValueError(f"unknown escape {found[0]!r}")
    return _ESCAPED[found[1]]
