"""What the findings of one subject amount to: counts, size classes, pattern, bands, and what they may be compared to.

Sources
-------
Places and definite/possible: MARS (Gregoire et al. 2009, Neurology 73:1759). Size: MARS and STRIVE-2 (Duering et al.
2023, Lancet Neurol 22:602), up to 10 mm; classes below and from 5 mm: BOMBS (Cordonnier et al. 2009, Stroke 40:94).
Pattern: Boston criteria 2.0 (Charidimou et al. 2022, Lancet Neurol 21:714), for which cerebellar microbleeds are
neither lobar nor deep, and those of the brainstem are deep. Baseline threshold and bands of new microhaemorrhages:
trials and labels of anti-amyloid antibodies (ARIA-H).
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from .errors import InputError
from .regions import CATEGORIES, CEREBELLUM, DEEP, INFRATENTORIAL, LOBAR, REGIONS, SIDES, UNSURE, category_of
from .review_files import UNDECIDED
from .reviewed_case import Acquisition, CaseFinding, ReviewedCase

LARGEST_MM = 10.0
"""A larger bleed is not a microbleed."""
MIDDLE_MM = 5.0
SMALL, LARGE, UNKNOWN_SIZE = "< 5 mm", "5-10 mm", "unknown"
SIZES = (SMALL, LARGE, UNKNOWN_SIZE)

NONE, STRICTLY_LOBAR, STRICTLY_DEEP, MIXED, CEREBELLAR_ONLY, NOT_DETERMINED = PATTERNS = (
    "none", "strictly lobar", "strictly deep/infratentorial", "mixed", "cerebellar only", "not determined")

GROUPS = ((0, "0"), (1, "1"), (4, "2-4"), (10, "5-10"))
"""Largest total of each group; what is above is in `LAST_GROUP`."""
LAST_GROUP = "> 10"
BASELINE_THRESHOLD = 4
"""More microbleeds than this before treatment exclude from the trials of anti-amyloid antibodies."""
BANDS = ((0, "none"), (4, "mild"), (9, "moderate"))
"""Largest number of new microbleeds of each ARIA-H microhaemorrhage band; what is above is in `LAST_BAND`."""
LAST_BAND = "severe"
SIDEROSIS = ("Superficial siderosis is not detected: the band is that of new microhaemorrhages alone, "
             "and a reader has to look for siderosis.")

SEQUENCES = {"gre": "T2*-GRE", "swi": "SWI", "qsm": "QSM"}
_SAME_FIELD, _SAME_ECHO, _SAME_SLICE = 1.1, 1.2, 1.2
"""Ratios up to which two values count as the same: scanners write 2.89 T for 3 T."""


@dataclass(frozen=True)
class Tally:
    """A number of microbleeds by certainty.

    Attributes
    ----------
    definite, possible : int
        Accepted by a reader; definite unless the reader said "possible".
    unreviewed : int
        The detector's, of a case without a review.
    """

    definite: int = 0
    possible: int = 0
    unreviewed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.definite + self.possible + self.unreviewed


@dataclass(frozen=True)
class SubjectCounts:
    """Counts of one scan. What is larger than 10 mm is in `too_large` and in nothing else.

    Attributes
    ----------
    tally : Tally
        Of all microbleeds.
    by_region : dict of Tally
        By (region, side), in the order of `regions.REGIONS`, places without a microbleed left out; "" where the region
        or the side is not known.
    by_category : dict of Tally
        By category, all of `regions.CATEGORIES` and "" for those without a region.
    by_category_and_side : dict of Tally
        By (category, side), all of `regions.CATEGORIES` and "", each with left, right and "".
    by_size : dict of Tally
        By `SIZES`; the diameter of a point that a reader has set is unknown.
    too_large : Tally
        Larger than 10 mm: not microbleeds.
    pattern : str
        One of `PATTERNS`, of definite and possible microbleeds together.
    unsure : int
        Microbleeds whose region is unsure (`regions.UNSURE`); a region that a reader has chosen is sure.
    sure_pattern : str
        The pattern without them.
    is_reviewed, is_finished : bool
        See `reviewed_case.ReviewedCase`.
    undecided : int
        Findings of a reviewed case without a verdict; they are not counted.
    acquisition : str
        See `describe_acquisition`; it belongs beside every count.
    """

    tally: Tally
    by_region: dict[tuple[str, str], Tally]
    by_category: dict[str, Tally]
    by_category_and_side: dict[tuple[str, str], Tally]
    by_size: dict[str, Tally]
    too_large: Tally
    pattern: str
    unsure: int
    sure_pattern: str
    is_reviewed: bool
    is_finished: bool
    undecided: int
    acquisition: str

    @property
    def definite(self) -> int:
        """Number of definite microbleeds."""
        return self.tally.definite

    @property
    def possible(self) -> int:
        """Number of possible microbleeds."""
        return self.tally.possible

    @property
    def total(self) -> int:
        """Number of microbleeds: definite and possible, or the detector's in a case without a review."""
        return self.tally.total

    @property
    def group(self) -> str:
        """The total as "0", "1", "2-4", "5-10" or "> 10"."""
        return _name_within(self.total, GROUPS, LAST_GROUP)

    @property
    def exceeds_baseline_threshold(self) -> bool:
        """Whether the total is above `BASELINE_THRESHOLD`."""
        return self.total > BASELINE_THRESHOLD

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside the counts."""
        unplaced = self.by_category[""].total
        said = (
            (not self.is_reviewed, "Unreviewed: the count is the detector's, no reader has judged it."),
            (self.is_reviewed and self.undecided > 0,
             f"{_findings(self.undecided)} without a verdict, not counted."),
            (self.too_large.total > 0, f"{_findings(self.too_large.total)} larger than {LARGEST_MM:g} mm: "
             "no microbleed by STRIVE and MARS, not counted."),
            (unplaced > 0, f"{_findings(unplaced)} without a region, counted in no category."),
            (self.sure_pattern != self.pattern,
             f"Unsure regions decide the pattern ({self.unsure} of them): without these it is {self.sure_pattern}; "
             "check where they lie."),
            (self.by_size[UNKNOWN_SIZE].total > 0,
             f"{_findings(self.by_size[UNKNOWN_SIZE].total)} of unknown diameter, counted in no size class."),
        )
        return tuple(sentence for applies, sentence in said if applies)


def count_microbleeds(case: ReviewedCase) -> SubjectCounts:
    """Count what `ReviewedCase.microbleeds` holds.

    Each finding is counted once everywhere: the sums over regions, categories and size classes are the total.
    """
    def tally(findings: Iterable[CaseFinding]) -> Tally:
        possible = [one.is_possible for one in findings]
        if not case.is_reviewed:
            return Tally(unreviewed=len(possible))
        return Tally(possible.count(False), possible.count(True))

    def by(key: Callable[[CaseFinding], Hashable], keys: Iterable[Hashable]) -> dict:
        return {name: tally(one for one in counted if key(one) == name) for name in keys}

    counted = [one for one in case.microbleeds if one.diameter_mm <= LARGEST_MM]
    sure = [one for one in counted if one.region_confidence is None or one.region_confidence >= UNSURE]
    places = [(region, side) for region in (*REGIONS, "") for side in (*SIDES, "")]
    sides = [(category, side) for category in (*CATEGORIES, "") for side in (*SIDES, "")]
    return SubjectCounts(
        tally=tally(counted),
        by_region={place: number for place, number in by(lambda one: (one.region, one.side), places).items()
                   if number.total},
        by_category=by(lambda one: one.category, (*CATEGORIES, "")),
        by_category_and_side=by(lambda one: (one.category, one.side), sides),
        by_size=by(lambda one: size_class(one.diameter_mm), SIZES),
        too_large=tally(one for one in case.microbleeds if one.diameter_mm > LARGEST_MM),
        pattern=pattern_of([one.region for one in counted]),
        unsure=len(counted) - len(sure),
        sure_pattern=pattern_of([one.region for one in sure]),
        is_reviewed=case.is_reviewed,
        is_finished=case.is_finished,
        undecided=sum(one.verdict == UNDECIDED for one in case.findings) if case.is_reviewed else 0,
        acquisition=describe_acquisition(case.acquisition))


def size_class(diameter_mm: float) -> str:
    """Return one of `SIZES` for a diameter up to 10 mm; 0 is not known."""
    if diameter_mm <= 0:
        return UNKNOWN_SIZE
    return SMALL if diameter_mm < MIDDLE_MM else LARGE


def pattern_of(regions: Iterable[str]) -> str:
    """Return the pattern of microbleeds in these regions, "" where one is not known.

    A microbleed without a region leaves the pattern open unless it is mixed already.

    Examples
    --------
    >>> pattern_of(["frontal", "cerebellum"])
    'strictly lobar'
    >>> pattern_of(["frontal", ""])
    'not determined'
    """
    kinds = {_kind_for_pattern(region) for region in regions}
    if {LOBAR, DEEP} <= kinds:
        return MIXED
    if "" in kinds:
        return NOT_DETERMINED
    if LOBAR in kinds:
        return STRICTLY_LOBAR
    if DEEP in kinds:
        return STRICTLY_DEEP
    return CEREBELLAR_ONLY if kinds else NONE


def ariah_band(new_count: int) -> str:
    """Return the ARIA-H microhaemorrhage band of a number of new microbleeds: none, mild, moderate or severe.

    Siderosis has a band of its own, which is not known here; print `SIDEROSIS` beside it.

    Examples
    --------
    >>> ariah_band(4), ariah_band(5), ariah_band(10)
    ('mild', 'moderate', 'severe')
    """
    if new_count < 0:
        raise ValueError(f"{new_count} new microbleeds cannot be")
    return _name_within(new_count, BANDS, LAST_BAND)


def describe_acquisition(acquisition: Acquisition) -> str:
    """Return how a scan was made, as it stands beside every count.

    Examples
    --------
    >>> describe_acquisition(Acquisition("gre", 3.0, None, (0.9, 0.9, 2.0)))
    'T2*-GRE, 3 T, echo time not known, 0.9 × 0.9 × 2 mm'
    """
    field_t, echo_ms = acquisition.field_strength_t, acquisition.echo_time_ms
    return ", ".join((
        SEQUENCES.get(acquisition.modality, "sequence not known"),
        "field strength not known" if field_t is None else f"{field_t:.3g} T",
        "echo time not known" if echo_ms is None else f"TE {echo_ms:.3g} ms",
        " × ".join(f"{size:.3g}" for size in acquisition.voxel_mm) + " mm"))


def comparability(baseline: Acquisition, follow_up: Acquisition) -> tuple[str, ...]:
    """Return what speaks against comparing counts of two scans; nothing does if it is empty.

    Raises
    ------
    InputError
        If they are of different sequences.
    """
    known = [SEQUENCES.get(one.modality, "") for one in (baseline, follow_up)]
    if all(known) and known[0] != known[1]:
        raise InputError(f"The baseline is {known[0]} and the follow-up is {known[1]}; these show different numbers of "
                         "the same microbleeds, so compare two scans of the same sequence.")
    said = () if all(known) else (f"The sequence of {_which(known[0] or None, known[1] or None)} is not known; the "
                                  "counts can only be compared if it is the same.",)
    values = (
        ("field strength", "T", _SAME_FIELD, baseline.field_strength_t, follow_up.field_strength_t),
        ("echo time", "ms", _SAME_ECHO, baseline.echo_time_ms, follow_up.echo_time_ms),
        ("slice thickness", "mm", _SAME_SLICE, baseline.voxel_mm[2], follow_up.voxel_mm[2]))
    return (*said, *filter(None, (_difference(*value) for value in values)))


def _difference(what: str, unit: str, same: float, before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return (f"The {what} of {_which(before, after)} is not known; nobody knows whether it changed, and it changes "
                "how many microbleeds are seen.")
    if max(before, after) <= same * min(before, after):
        return ""
    return (f"The {what} was {before:.3g} {unit} at baseline and is {after:.3g} {unit} now; that alone can change the "
            "count.")


def _which(before: float | str | None, after: float | str | None) -> str:
    names = [name for name, value in (("the baseline", before), ("the follow-up", after)) if value is None]
    return " and ".join(names)


def _kind_for_pattern(region: str) -> str:
    """Return `LOBAR`, `DEEP`, `INFRATENTORIAL` for the cerebellum, which is neither, or "" for not known."""
    if not region:
        return ""
    if region == REGIONS[CEREBELLUM - 1]:
        return INFRATENTORIAL
    return LOBAR if category_of(region) == LOBAR else DEEP


def _name_within(number: int, classes: tuple[tuple[int, str], ...], last: str) -> str:
    """Return the name of the first class whose largest number is not exceeded."""
    return next((name for largest, name in classes if number <= largest), last)


def _findings(number: int) -> str:
    return f"{number} finding is" if number == 1 else f"{number} findings are"
