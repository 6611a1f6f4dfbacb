"""Findings and counts of scans as tables, one row per finding or per scan; `table_cells` says how they are written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..geometry import nearest_voxels
from ..read_write import staging_folder, told_if_not_writable, write_json, write_text
from ..regions import CATEGORIES, REGIONS, SIDES
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
from .guards import FINISHED, REVIEWED, UNREVIEWED, require_free, require_reviewed, status_of
from .table_cells import Column, Row, data_dictionary, parse_table, read_table_text, require_table, table_text

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


def write_table(path: Path, columns: Sequence[Column], rows: Sequence[Row], overwrite: bool) -> None:
    """Write rows, and what their columns mean as JSON beside them; both or none. See `write_finding_table`.

    The same table as .tsv and .csv shares one dictionary.
    """
    path = Path(path)
    require_table(path)
    require_free(table_files(path, columns), overwrite)
    text = table_text(columns, rows, path.suffix.lower())
    with told_if_not_writable(path), staging_folder(path.parent) as staging:
        write_text(staging / path.name, text)
        write_json(staging / _dictionary(path).name, data_dictionary(columns))


def table_files(path: Path, columns: Sequence[Column]) -> tuple[Path, ...]:
    """Return the files that `write_table` changes: the table, and its dictionary unless it says the same already."""
    dictionary = _dictionary(path)
    return (path,) if _says(dictionary, data_dictionary(columns)) else (path, dictionary)


def _finding_row(case: ReviewedCase, finding: CaseFinding) -> Row:
    voxel = nearest_voxels(case.image, np.array(finding.position_ras)).tolist()
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


def _dictionary(table: Path) -> Path:
    return table.with_suffix(".json")


def _says(path: Path, content: dict[str, Any]) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")) == content
    except (OSError, ValueError):
        return False
