"""What the report of a reviewed case says, as plain words, tables and places of pictures; `page` and `pdf` draw it."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ..geometry import to_canonical
from ..longitudinal import (
    AMBIGUOUS,
    NEW,
    NOT_SEEN,
    OUTSIDE,
    STABLE,
    PairedFinding,
    Pairing,
    new_since,
    picture_pair,
)
from ..regions import CATEGORIES, LEFT, REGIONS, RIGHT, category_of
from ..report import NOT_CLINICAL, SIMULATED, _position
from ..review_files import REJECTED, UNDECIDED
from ..reviewed_case import CaseFinding, ReviewedCase
from ..snapshots import CROP_MM, PLANES, Plane, crop, grey_window
from ..subject_counts import (
    BANDS,
    BASELINE_THRESHOLD,
    LARGEST_MM,
    LAST_BAND,
    SIDEROSIS,
    SIZES,
    SubjectCounts,
    Tally,
    count_microbleeds,
)
from ..volume import Volume

SCHEMATIC = "Schematic, not to scale; numbers as in the table. The patient's right is on the left."
MAX_PICTURED = 40
"""Findings with pictures; the table lists all of them."""
UNREVIEWED = "Unreviewed - these are the detector's findings, nobody has read them"
NO_SIDEROSIS = "Superficial siderosis is not detected; a reader has to look for it."

_UNKNOWN = "–"
_SIDES = (RIGHT, LEFT)
"""In the order of radiological pictures."""


@dataclass(frozen=True)
class Table:
    """Cells by row, all texts; `strong` holds the rows that sum up others."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Comparison:
    """The baseline of a case, and what became of the findings of both (see `longitudinal.pair_cases`)."""

    baseline: ReviewedCase
    pairing: Pairing


@dataclass(frozen=True, eq=False)
class Picture:
    """A crop, (n, n) uint8, and its plane."""

    pixels: np.ndarray
    plane: Plane
    caption: str


@dataclass(frozen=True, eq=False)
class Card:
    """The pictures of one finding under its number and a few facts."""

    number: str
    facts: tuple[str, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class ReportContent:
    """The report of one case; pairs are (name, text).

    Attributes
    ----------
    title : str
        Subject and session.
    banners : tuple of str
        The first is `NOT_CLINICAL`.
    facts : pairs
        Subject, session, scan, reader, date.
    acquisition : str
        Stands beside every count.
    tiles : pairs
        The three counts in large letters.
    meaning : pairs
    notes : tuple of str
        Sentences that belong beside the counts.
    regions : Table
        As the sheet of the MARS.
    region_counts : dict of int by (region, side)
    comparison : pairs
        With a baseline; empty without.
    comparison_notes : tuple of str
    findings : Table
        Counted findings, then those too large to count, then undecided ones; with a baseline it has a column for what
        became of them.
    findings_notes, warnings : tuple of str
    cards : tuple of Card
    cards_note : str
    rejected : str
        Kinds of mimics and the numbers of their findings; "" if there are none.
    provenance : pairs
    """

    title: str
    banners: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    acquisition: str
    tiles: tuple[tuple[str, str], ...]
    meaning: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    regions: Table
    region_counts: dict[tuple[str, str], int]
    comparison: tuple[tuple[str, str], ...]
    comparison_notes: tuple[str, ...]
    findings: Table
    findings_notes: tuple[str, ...]
    cards: tuple[Card, ...]
    cards_note: str
    rejected: str
    provenance: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def report_content(case: ReviewedCase, counts: SubjectCounts, comparison: Comparison | None = None) -> ReportContent:
    """Return what the report of a case says.

    Parameters
    ----------
    case : ReviewedCase
    counts : SubjectCounts
        Of this case.
    comparison : Comparison or None
        With the baseline.
    """
    found = case.microbleeds
    listed = (*(one for one in found if one.diameter_mm <= LARGEST_MM),
              *(one for one in found if one.diameter_mm > LARGEST_MM),
              *(one for one in case.findings if one.verdict == UNDECIDED and one not in found))
    return ReportContent(
        title=" · ".join(filter(None, (f"Subject {shown(case.subject)}",
                                       f"session {shown(case.session)}" if case.session else ""))),
        banners=_banners(case), facts=_facts(case), acquisition=counts.acquisition,
        tiles=_tiles(counts), meaning=_meaning(counts), notes=counts.notes,
        regions=_region_table(counts),
        region_counts={place: tally.total for place, tally in counts.by_region.items()},
        comparison=_comparison(case, comparison) if comparison else (),
        comparison_notes=_comparison_notes(comparison) if comparison else (),
        findings=_finding_table(listed, comparison), findings_notes=_finding_notes(listed),
        cards=_cards(case, comparison), cards_note=_cards_note(len(found), comparison),
        rejected=_rejected(case.findings), provenance=_provenance(case), warnings=tuple(map(shown, case.warnings)))


def shown(text: str) -> str:
    """Return a text with U+FFFD for what neither a page nor a PDF can show: control characters and half characters.

    Examples
    --------
    >>> shown("a\\x00b")
    'a\N{REPLACEMENT CHARACTER}b'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t"
                   else one for one in text)


def _banners(case: ReviewedCase) -> tuple[str, ...]:
    marks = ((not case.is_reviewed, UNREVIEWED), (case.simulated, SIMULATED))
    return (NOT_CLINICAL, *(text for holds, text in marks if holds))


def _facts(case: ReviewedCase) -> tuple[tuple[str, str], ...]:
    if case.is_reviewed:
        finished = "finished" if case.is_finished else "not marked as finished"
        reviewed = ", ".join(filter(None, (_date(case.reviewed_at), finished)))
    else:
        reviewed = "unreviewed"
    return (("Subject", shown(case.subject)), ("Reader", shown(case.reader) or _UNKNOWN),
            ("Session", shown(case.session) or _UNKNOWN), ("Reviewed", reviewed), ("Scan", shown(case.scan_name)))


def _date(text: str) -> str:
    """Return "2026-03-04 10:30" of an ISO 8601 time, as it was on the reader's clock."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return shown(text)


def _tiles(counts: SubjectCounts) -> tuple[tuple[str, str], ...]:
    if not counts.is_reviewed:
        return ("Definite", _UNKNOWN), ("Possible", _UNKNOWN), ("Total, unreviewed", str(counts.total))
    return ("Definite", str(counts.definite)), ("Possible", str(counts.possible)), ("Total", str(counts.total))


def _meaning(counts: SubjectCounts) -> tuple[tuple[str, str], ...]:
    above = "above" if counts.exceeds_baseline_threshold else "not above"
    sides = {side: sum(tally.total for (_, where), tally in counts.by_region.items() if where == side)
             for side in _SIDES}
    return (("Group", counts.group), ("Pattern", counts.pattern),
            ("Category", ", ".join(f"{name} {counts.by_category[name].total}" for name in reversed(CATEGORIES))),
            ("Side", ", ".join(f"{side} {number}" for side, number in sides.items())),
            ("Size", ", ".join(f"{size}: {counts.by_size[size].total}" for size in SIZES)),
            ("Threshold", f"Total {counts.total}, {above} the baseline threshold of {BASELINE_THRESHOLD}. More than "
             f"{BASELINE_THRESHOLD} microbleeds before treatment exclude from trials of anti-amyloid antibodies."),
            ("Siderosis", NO_SIDEROSIS))


def _region_table(counts: SubjectCounts) -> Table:
    """Return the counts by region and side, with sums by category, as the sheet of the MARS."""
    def row(number: str, name: str, regions: Sequence[str]) -> tuple[str, ...]:
        tallies = [[counts.by_region.get((region, side), Tally()) for region in regions] for side in _SIDES]
        return (number, name, *(str(sum(map(kind, side))) for kind in kinds for side in tallies))

    kinds: tuple[Callable[[Tally], int], ...]
    if counts.is_reviewed:
        head, kinds = ("Definite", "Possible"), (lambda one: one.definite, lambda one: one.possible)
    else:
        head, kinds = ("Unreviewed",), (lambda one: one.unreviewed,)
    rows, strong = [], set()
    for category in CATEGORIES:
        regions = [region for region in REGIONS if category_of(region) == category]
        strong.add(len(rows))
        rows.append(row("", category.capitalize(), regions))
        rows += [row(str(REGIONS.index(region) + 1), region, [region]) for region in regions]
    strong.add(len(rows))
    rows.append(row("", "All regions", REGIONS))
    if elsewhere := counts.total - sum(map(int, rows[-1][2:])):
        rows.append(("", f"Region or side not known: {elsewhere}", *[""] * len(kinds) * len(_SIDES)))
    return Table(("No.", "Region", *(f"{kind} {side[0].upper()}" for kind in head for side in _SIDES)), tuple(rows),
                 frozenset(strong))


def _comparison(case: ReviewedCase, comparison: Comparison) -> tuple[tuple[str, str], ...]:
    baseline, pairing = comparison.baseline, comparison.pairing
    before, new = count_microbleeds(baseline), new_since(pairing)
    scale = [f"{name} {low}-{high}" if high else f"{name} 0" for low, (high, name) in
             zip((0, *(high + 1 for high, _ in BANDS)), BANDS, strict=False)]
    band = f"{new.band}, {new.total} new ({', '.join(scale)}, {LAST_BAND} {BANDS[-1][0] + 1} or more)."
    if new.highest_band != new.band:
        band += (f" If all that are ambiguous ({new.unanswered}) or outside the baseline ({new.outside}) were new: "
                 f"{new.highest_band}.")
    reviewed = f"reviewed {_date(baseline.reviewed_at)}".rstrip() if baseline.is_reviewed else "unreviewed"
    state = ", ".join(filter(None, (reviewed, shown(baseline.reader))))
    rows = [("Baseline", f"{shown(baseline.scan_name)}, {state}: {before.total} in all; {before.acquisition}"),
            ("ARIA-H band", f"Microhaemorrhages: {band} {SIDEROSIS}")]
    rows += [(name, _numbers(pairing.of_status(status))) for name, status in
             (("New", NEW), ("Stable", STABLE), ("Not seen", NOT_SEEN), ("Ambiguous", AMBIGUOUS))]
    outside = pairing.of_status(OUTSIDE)
    return (*rows, ("Outside", _numbers(outside))) if outside else tuple(rows)


def _numbers(findings: Sequence[PairedFinding]) -> str:
    """Return how many findings there are, and for each its number in both scans and their distance."""
    texts = []
    for one in findings:
        if one.follow_up_id is None:
            text = f"baseline No. {one.baseline_id}"
        elif one.distance_mm is not None:
            text = f"No. {one.follow_up_id} was {one.baseline_id} ({one.distance_mm:.1f} mm apart)"
        elif one.status == AMBIGUOUS and one.candidates:
            others = " or ".join(f"{other.id} ({other.distance_mm:.1f} mm apart)" for other in one.candidates)
            text = f"No. {one.follow_up_id} may have been {others}"
        else:
            text = f"No. {one.follow_up_id}"
        texts.append(text + (", larger than 10 mm" if one.is_too_large else "")
                     + (f", answered by {_answerer(one)}" if one.answer else ""))
    return f"{len(findings)}: {'; '.join(texts)}" if findings else "0"


def _comparison_notes(comparison: Comparison) -> tuple[str, ...]:
    findings = comparison.pairing.findings
    remarks = [f"{_paired_name(one)}: {one.remark}" for one in findings if one.remark]
    notes = ["Outside: the other scan does not show the place."] if comparison.pairing.of_status(OUTSIDE) else []
    if comparison.pairing.questions:
        notes.append("Ambiguous: a reader has to say which is which, in the panel or in the table of pairs beside this "
                     "report; these are not counted as new.")
    return (*map(shown, comparison.pairing.warnings), *notes, *remarks)


def _answerer(one: PairedFinding) -> str:
    return shown(one.answer.reader) or "a reader"


def _change(one: PairedFinding) -> str:
    """Return what became of a finding of the follow-up, in few words."""
    return f"{one.status}, answered by {_answerer(one)}" if one.answer else one.status


def _paired_name(one: PairedFinding) -> str:
    return f"Baseline No. {one.baseline_id}" if one.follow_up_id is None else f"No. {one.follow_up_id}"


def _by_follow_up(comparison: Comparison | None) -> dict[int, PairedFinding]:
    findings = comparison.pairing.findings if comparison else ()
    return {one.follow_up_id: one for one in findings if one.follow_up_id is not None}


def _finding_table(findings: Sequence[CaseFinding], comparison: Comparison | None) -> Table:
    head = ("No.", "Position (mm)", "Region", "Side", "Size (mm)", "Verdict", "Certainty", "Prob.", "Comment")
    rows = tuple(map(_finding_row, findings))
    if comparison:
        paired = _by_follow_up(comparison)
        head = (*head[:-1], "Change", head[-1])
        rows = tuple((*row[:-1], _change(paired[one.id]) if one.id in paired else _UNKNOWN, row[-1])
                     for one, row in zip(findings, rows, strict=True))
    return Table(head, rows)


def _finding_row(one: CaseFinding) -> tuple[str, ...]:
    marks = ((one.added_by_reader, "added"), (one.outlined, "outlined"), (one.diameter_mm > LARGEST_MM, "not counted"))
    verdict = ", ".join((one.verdict, *(mark for holds, mark in marks if holds)))
    return (str(one.id), _place(one), _region(one), one.side or _UNKNOWN, _number(one.diameter_mm, 1), verdict,
            one.certainty or _UNKNOWN, _UNKNOWN if one.probability is None else f"{one.probability:.2f}",
            shown(one.comment))


def _place(one: CaseFinding) -> str:
    return "  ".join(_position(one))


def _region(one: CaseFinding) -> str:
    if not one.region:
        return "not known"
    return one.region if one.region_confidence is None else f"{one.region} ({one.region_confidence:.0%})"


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if value else _UNKNOWN


def _finding_notes(listed: Sequence[CaseFinding]) -> tuple[str, ...]:
    notes = ["Position: from the origin of the scan's coordinates to the right or left (R, L), front or back (A, P), "
             "top or bottom (S, I). Size: diameter of a sphere of the same volume; blooming makes it depend on "
             "sequence, field strength and echo time."]
    if any(one.region and one.region_confidence is not None for one in listed):
        notes.append("Per cent: confidence of the region; none where the reader has chosen it.")
    return tuple(notes)


def _cards_note(found: int, comparison: Comparison | None) -> str:
    note = (f"{CROP_MM:.0f} × {CROP_MM:.0f} mm along the axes of the scan, centred on the finding: the ticks outside "
            "each picture meet at it. The patient's right is on the left.")
    if comparison:
        note += " The baseline is turned so that it shows the same slice."
    if found > MAX_PICTURED:
        note += f" The first {MAX_PICTURED} of {found} findings are shown; the table lists all."
    return note


def _cards(case: ReviewedCase, comparison: Comparison | None) -> tuple[Card, ...]:
    canonical, paired = to_canonical(case.image), _by_follow_up(comparison)
    cards = []
    for one in case.microbleeds[:MAX_PICTURED]:
        before = _pair_pictures(case, comparison, paired[one.id], PLANES[0])[:1] if comparison else ()
        facts = (_name(one), f"{one.diameter_mm:.1f} mm" if one.diameter_mm else "", one.certainty,
                 _change(paired[one.id]) if comparison else "")
        cards.append(Card(str(one.id), tuple(filter(None, facts)), (*before, *_crops(one, canonical))))
    if comparison:
        lost = [one for one in comparison.pairing.findings if one.follow_up_id is None][:MAX_PICTURED]
        regions = {one.id: _name(one) for one in comparison.baseline.findings}
        cards += [Card(f"Baseline {one.baseline_id}", tuple(filter(None, (regions[one.baseline_id], one.status))),
                       tuple(picture for plane in PLANES[:2]
                             for picture in _pair_pictures(case, comparison, one, plane)))
                  for one in lost]
    return tuple(cards)


def _name(one: CaseFinding) -> str:
    return " ".join(filter(None, (one.side, one.region)))


def _crops(one: CaseFinding, canonical: Volume) -> tuple[Picture, ...]:
    window = grey_window(canonical, one.position_ras)
    return tuple(Picture(crop(canonical, one.position_ras, plane, window), plane, plane.name) for plane in PLANES)


def _pair_pictures(case: ReviewedCase, comparison: Comparison, one: PairedFinding, plane: Plane) -> tuple[Picture, ...]:
    pictures = picture_pair(comparison.baseline, case, comparison.pairing, one, plane)
    return tuple(Picture(pixels, plane, f"{plane.name}, {when}")
                 for pixels, when in zip(pictures, ("before", "now"), strict=True))


def _rejected(findings: Sequence[CaseFinding]) -> str:
    """Return the kinds of mimics with the numbers of the findings, the most frequent kind first."""
    kinds: dict[str, list[int]] = {}
    for one in findings:
        if one.verdict == REJECTED:
            kinds.setdefault(one.mimic_kind or "without a kind", []).append(one.id)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return "; ".join(f"{len(numbers)} {kind} (No. {', '.join(map(str, numbers))})" for kind, numbers in ordered)


def _provenance(case: ReviewedCase) -> tuple[tuple[str, str], ...]:
    made = case.provenance or {}
    versions = made.get("versions") or {}
    readers = Counter(one.reader for one in case.findings if one.reader)
    rows = (("Scan", (case.scan_name, f"{' × '.join(map(str, case.image.shape))} voxels",
                      case.scan_sha256 and f"SHA-256 {case.scan_sha256}")),
            ("Model", (made.get("model_name"), made.get("model_sha256") and f"SHA-256 {made['model_sha256']}")),
            ("Operating point", (made.get("operating_point"), "" if case.threshold is None
                                 else f"shown from a probability of {case.threshold:.3g} on")),
            ("Verdicts by", [f"{reader} ({count})" for reader, count in readers.items()]),
            ("Versions", [f"{name} {version}" for name, version in versions.items()]))
    return tuple((name, shown(", ".join(filter(None, texts))) or _UNKNOWN) for name, texts in rows)
