"""The group level: one table of all scans, histogram and regions, from the results and the reviews beside them.

Where a review lies beside the results or the scan, the reader's verdicts count; elsewhere the detector's findings,
which nobody has judged. No image is read.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..case_files import case_of
from ..errors import InputError
from ..export.guards import UNREVIEWED
from ..export.table_cells import Column, Row
from ..export.tables import SUBJECT_COLUMNS, subject_row, write_table
from ..outputs import FILE_NAMES
from ..read_write import Scan, told_if_not_writable, write_text
from ..regions import REGIONS, SIDES, category_of
from ..reviewed_case import ReviewedCase
from ..subject_counts import SubjectCounts, Tally, count_microbleeds
from ..volume import Volume
from .failures import read_failures
from .inputs import CohortScan
from .outliers import Deviation, find_outliers
from .page import MemberOnPage, PageContent, cohort_pages
from .plan import is_reviewed
from .records import DONE, THUMBNAIL, Record, are_unchanged, read_record

PAGE, TABLE, REGION_TABLE, HISTOGRAM = "cohort.html", "cohort.tsv", "regions.tsv", "histogram.tsv"

QUALITY_COLUMNS = (
    Column("results", str, "Where its results lie, from the folder of this table"),
    Column("brain_ml", float, "Volume of the brain mask", "ml"),
    Column("noise_share", float, "Noise as a share of the range of intensities in the brain"),
    Column("candidates", int, "Candidates of the detector before they were sorted out"),
    Column("has_regions", bool, "Whether the regions of the brain could be told"),
    Column("seconds", float, "Run time", "s"), Column("cpu_seconds", float, "Processor time", "s"),
    Column("peak_memory_mb", int, "Largest resident memory", "MiB"),
    Column("stands_out", str, "By which figures it stands out from the scans of its sequence"),
    Column("warnings", str, "What was told about the scan"))
HISTOGRAM_COLUMNS = (
    Column("sequence", str, "Sequence; counts of different sequences cannot be compared"),
    Column("microbleeds", int, "Number of microbleeds of a scan"), Column("scans", int, "Scans with that number"),
    Column("reviewed", int, "Of these, scans that a reader has reviewed"),
    Column("unreviewed", int, "Of these, scans that nobody has reviewed: the detector's findings"))
REGION_COLUMNS = (
    Column("sequence", str, "Sequence; counts of different sequences cannot be compared"),
    Column("region", str, "Region of the Microbleed Anatomical Rating Scale (MARS)"),
    Column("side", str, "Side of the brain"), Column("category", str, "Category of the region"),
    Column("definite", int, "Definite microbleeds, by readers"), Column("possible", int, "Possible ones, by readers"),
    Column("unreviewed", int, "The detector's findings in scans that nobody has reviewed"),
    Column("total", int, "All three"), Column("scans", int, "Scans with one or more"))


@dataclass(frozen=True)
class Member:
    """One scan of the group: where it lies, how it was made, its counts, and its row of the table."""

    scan: CohortScan
    record: Record
    counts: SubjectCounts
    row: Row
    is_stale: bool


def write_group(scans: Sequence[CohortScan], folder: Path, told: Callable[[float], None]) -> dict[str, Path]:
    """Write the tables and the page of a group; what was there before is replaced.

    Parameters
    ----------
    scans : sequence of CohortScan
        Those that are to be in it.
    folder : Path
        Output of the participant level.
    told : callable
        Gets the finished share.

    Returns
    -------
    dict
        Paths by "table", "histogram", "regions", "report".

    Raises
    ------
    InputError
        If no scan has a result, or a file cannot be written.
    """
    members, problems = [], {row["scan"]: row["reason"] for row in read_failures(folder)}
    for number, scan in enumerate(scans):
        try:
            member = read_member(scan, folder)
        except InputError as error:
            problems[scan.key] = str(error)
            continue
        finally:
            told((number + 1) / len(scans))
        if member is not None:
            members.append(member)
    if not members:
        raise InputError(f"{folder} holds no result of these scans; run the participant level first.")
    deviations = find_outliers([member.record.figures for member in members],
                               [member.row["sequence"] for member in members])
    rows = [{**member.row, "stands_out": "; ".join(one.text for one in own)}
            for member, own in zip(members, deviations, strict=True)]
    files = {"table": folder / TABLE, "histogram": folder / HISTOGRAM, "regions": folder / REGION_TABLE,
             "report": folder / PAGE}
    histogram, regions = histogram_rows(members), region_rows(members)
    for key, columns, lines in (("table", (*SUBJECT_COLUMNS, *QUALITY_COLUMNS), rows),
                                ("histogram", HISTOGRAM_COLUMNS, histogram), ("regions", REGION_COLUMNS, regions)):
        write_table(files[key], columns, lines, overwrite=True)
    _write_pages(folder, _content(scans, members, deviations, problems, histogram, regions, folder))
    return files


def read_member(scan: CohortScan, folder: Path) -> Member | None:
    """Return one scan of the group, None if it has no result.

    Raises
    ------
    InputError
        If its review or its findings cannot be read.
    """
    place = folder / scan.folder
    record = read_record(place, scan.stem)
    findings = FILE_NAMES["findings"].format(scan.stem)
    if record is None or record.status != DONE:
        return None
    # a run that was killed may have left findings that the record does not speak of
    written = {name: seen for name, seen in record.results.items() if name == findings}
    if not (is_reviewed(scan, folder) or are_unchanged([place / findings], written)):
        return None
    case = _case(scan, record, place)
    figures = record.figures
    quality = {column.name: figures.get(column.name) for column in QUALITY_COLUMNS}
    row = {**subject_row(case), **quality, "results": scan.key, "warnings": " ".join(
        dict.fromkeys((*figures["warnings"], *case.warnings)))}
    return Member(scan, record, count_microbleeds(case), row, not are_unchanged(scan.files, record.inputs))


def histogram_rows(members: Sequence[Member]) -> list[Row]:
    """Return how many scans have how many microbleeds, by sequence; numbers that no scan has are left out."""
    counts = Counter((member.row["sequence"], member.counts.total, member.counts.is_reviewed) for member in members)
    return [{"sequence": sequence, "microbleeds": number, "scans": counts[sequence, number, True]
             + counts[sequence, number, False], "reviewed": counts[sequence, number, True],
             "unreviewed": counts[sequence, number, False]}
            for sequence, number in sorted({key[:2] for key in counts})]


def region_rows(members: Sequence[Member]) -> list[Row]:
    """Return the microbleeds of all scans in each region and on each side, by sequence; what is not known last."""
    found: dict[tuple[str, str, str], list[Tally]] = defaultdict(list)
    for member in members:
        for (region, side), tally in member.counts.by_region.items():
            found[member.row["sequence"], region, side].append(tally)
    places = [(region, side) for region in (*REGIONS, "") for side in (*SIDES, "")]
    rows = []
    for sequence in sorted({member.row["sequence"] for member in members}):
        for region, side in places:
            tallies = found[sequence, region, side]
            if tallies or (region and side):
                numbers = {name: sum(getattr(tally, name) for tally in tallies)
                           for name in ("definite", "possible", "unreviewed", "total")}
                rows.append({"sequence": sequence, "region": region, "side": side,
                             "category": category_of(region) if region else "", **numbers, "scans": len(tallies)})
    return rows


def _case(scan: CohortScan, record: Record, place: Path) -> ReviewedCase:
    """Return the findings of a scan on a grid of one voxel of the right size: the counts need no more."""
    acquisition = record.acquisition
    grid = Volume(np.zeros((1, 1, 1), np.float32), np.diag([*acquisition["voxel_mm"], 1.0]))
    read = Scan(grid, scan.image, scan.stem, _digest(scan, record), (), acquisition, False)
    case = case_of(read, results=place, with_labels=False)
    return replace(case, subject=scan.subject, session=scan.session, simulated=record.figures["simulated"])


def _digest(scan: CohortScan, record: Record) -> str:
    """Return the digest of the scan's files as `read_write.files_sha256` makes it."""
    digests = sorted(bytes.fromhex(seen.sha256) for name, seen in record.inputs.items() if name != f"{scan.stem}.json")
    return digests[0].hex() if len(digests) == 1 else hashlib.sha256(b"".join(digests)).hexdigest()


def _content(scans: Sequence[CohortScan], members: Sequence[Member], deviations: Sequence[tuple[Deviation, ...]],
             problems: dict[str, str], histogram: list[Row], regions: list[Row], folder: Path) -> PageContent:
    shown = [_on_page(member, own, folder) for member, own in zip(members, deviations, strict=True)]
    shown.sort(key=lambda one: (-one.largest_deviation, one.name))
    with_result = {member.scan.key for member in members}
    failures = [(scan.key, problems[scan.key]) for scan in scans if scan.key in problems
                and scan.key not in with_result]
    return PageContent(
        scans=len(scans), members=tuple(shown), reviewed=sum(member.counts.is_reviewed for member in members),
        finished=sum(member.counts.is_finished for member in members), failures=tuple(failures),
        open=len(scans) - len(members) - len(failures), simulated=sum(member.row["simulated"] for member in members),
        notes=tuple(_notes(members)), histogram=tuple(histogram), regions=tuple(regions))


def _on_page(member: Member, deviations: tuple[Deviation, ...], folder: Path) -> MemberOnPage:
    counts, row = member.counts, member.row
    said = [*(one.text for one in deviations), row["warnings"]]
    if member.is_stale:
        said.append("Its input has changed since; run the participant level again.")
    if counts.is_reviewed and counts.undecided:
        said.append(f"{counts.undecided} findings have no verdict and are not counted.")
    return MemberOnPage(
        name=member.scan.key.rpartition("/")[2], participant=member.scan.subject, session=member.scan.session,
        report=f"{member.scan.folder.as_posix()}/{FILE_NAMES['report'].format(member.scan.stem)}",
        thumbnail=folder / member.scan.folder / THUMBNAIL.format(member.scan.stem), total=counts.total,
        status=row["reviewed"] if row["reviewed"] == UNREVIEWED or not row["reader"]
        else f"{row['reviewed']} by {row['reader']}", definite=counts.definite, possible=counts.possible,
        sequence=row["sequence"], pattern=counts.pattern, figures=member.record.figures,
        odd=tuple(one.figure.name for one in deviations), remarks=tuple(filter(None, said)),
        largest_deviation=abs(deviations[0].deviations) if deviations else 0.0)


def _notes(members: Sequence[Member]) -> list[str]:
    """Return what speaks against taking the scans as one group."""
    notes = []
    made = Counter(json.dumps(member.record.fingerprint, sort_keys=True) for member in members)
    if len(made) > 1:
        notes.append(f"The results were made with {len(made)} different models or settings; run the participant level "
                     "again with the ones you want.")
    stale = sum(member.is_stale for member in members)
    if stale:
        notes.append(f"{stale} results were made of an input that has changed since; run the participant level again.")
    sequences = sorted({member.row["sequence"] for member in members})
    if len(sequences) > 1:
        notes.append("The scans are of different sequences, which show different numbers of the same microbleeds; "
                     "compare within a sequence only.")
    unplaced = sum(member.counts.by_category[""].total for member in members)
    if unplaced:
        notes.append(f"{unplaced} microbleeds have no region.")
    return notes


def _write_pages(folder: Path, content: PageContent) -> None:
    with told_if_not_writable(folder / PAGE):
        names = set()
        for name, text in cohort_pages(content):
            write_text(folder / name, text)
            names.add(name)
        for old in folder.glob("cohort_*.html"):
            if old.name not in names:
                old.unlink()
