"""Baseline and follow-up of one subject: which microbleeds are new, which were there, which are no longer seen.

Two findings are compared by the distance of their places, relative to the distance at which they are as likely the same
as not: d / t. A pair costs (d / t)²; staying alone costs 1/2 for each finding of either scan. Of all one-to-one
pairings the cheapest is taken. A finding is only given a verdict if every pairing in which it fares otherwise costs at
least 0.5 more; else it is a question for the reader. So a lone pair is surely the same up to 0.7 t, surely two
different ones from 1.2 t on, and a question in between; and two candidates at nearly the same distance are a question
too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from .errors import InputError
from .geometry import apply_affine, ras_to_voxel, resample_like, to_canonical, voxel_to_ras
from .reviewed_case import CaseFinding, ReviewedCase
from .rigid_registration import Registration, register
from .snapshots import CROP_MM, PLANES, Plane, crop, grey_window
from .subject_counts import LARGEST_MM, Tally, ariah_band, comparability
from .volume import Volume

NEW, STABLE, NOT_SEEN, OUTSIDE, AMBIGUOUS = STATUSES = ("new", "stable", "not seen", "outside", "ambiguous")
"""Outside: its place is not in the other scan, so that nobody knows. Ambiguous: a reader has to say."""

REGISTRATION_MM = 1.0
"""Error of the registration, which Testing/Benchmarks/longitudinal_pairs.py measures, and what a brain changes between
two visits."""
SURELY = 0.5
"""Cost by which another pairing must be worse."""
_ALONE = 0.5
_NEAR = 2 * _ALONE + SURELY
"""Above this two findings are never partners, nor plausible ones: staying alone costs them too little."""
_NEVER = 1e6
_MASKED_SHARE = 0.1
_HIDDEN_MM = 3.0


@dataclass(frozen=True)
class Answer:
    """What a reader says of a finding of the follow-up.

    Attributes
    ----------
    same_as : int or None
        Id of the same one in the baseline, None for a new one.
    reader, answered_at : str
        Who and when (ISO 8601); "" where that is not known.
    """

    same_as: int | None
    reader: str = ""
    answered_at: str = ""


@dataclass(frozen=True)
class Partner:
    """A finding of the other scan that may be the same: its id, and the distance in mm."""

    id: int
    distance_mm: float


@dataclass(frozen=True)
class PairedFinding:
    """What became of one finding, or of one pair.

    Attributes
    ----------
    status : str
        One of `STATUSES`.
    follow_up_id, baseline_id : int or None
        Both of a stable one.
    follow_up_ras, baseline_ras : (R, A, S) mm
        Its place in the world of each scan; where it was not found, the place that it would have there.
    distance_mm : float or None
        Between the two places of a stable one.
    candidates : tuple of Partner
        Of an ambiguous one, or one that was ambiguous before the answer: which it may be, the nearest first.
    is_possible, is_too_large : bool
        Of the follow-up's finding if there is one, else of the baseline's; larger than 10 mm is not a microbleed.
    remark : str
        What a reader should know about it; "" for nothing.
    answer : Answer or None
        Of a reader, who has said what the status says.
    """

    status: str
    follow_up_id: int | None
    baseline_id: int | None
    follow_up_ras: tuple[float, float, float]
    baseline_ras: tuple[float, float, float]
    distance_mm: float | None = None
    candidates: tuple[Partner, ...] = ()
    is_possible: bool = False
    is_too_large: bool = False
    remark: str = ""
    answer: Answer | None = None


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two scans of one subject.

    Attributes
    ----------
    findings : tuple of PairedFinding
        Every finding of the follow-up by its id, then those of the baseline that are not stable, by their id.
    registration : Registration
        From the follow-up (fixed) to the baseline (moving).
    is_reviewed : bool
        Both scans are.
    warnings : tuple of str
        Sentences for the reader.
    """

    findings: tuple[PairedFinding, ...]
    registration: Registration
    is_reviewed: bool
    warnings: tuple[str, ...] = ()

    def of_status(self, status: str) -> tuple[PairedFinding, ...]:
        """Return the findings of a status."""
        return tuple(one for one in self.findings if one.status == status)

    @property
    def questions(self) -> tuple[PairedFinding, ...]:
        """The follow-up's ambiguous findings: each needs an answer."""
        return tuple(one for one in self.of_status(AMBIGUOUS) if one.follow_up_id is not None)


@dataclass(frozen=True)
class NewMicrobleeds:
    """What has come since the baseline.

    Attributes
    ----------
    tally : Tally
        New microbleeds by certainty.
    unanswered, outside : int
        Those of the follow-up that are not counted, because a question is open or the baseline does not show the place.
    """

    tally: Tally
    unanswered: int
    outside: int

    @property
    def total(self) -> int:
        """Number of new microbleeds."""
        return self.tally.total

    @property
    def band(self) -> str:
        """ARIA-H microhaemorrhage band of the total; see `subject_counts.ariah_band`."""
        return ariah_band(self.total)

    @property
    def highest_band(self) -> str:
        """The band if all that are not counted were new."""
        return ariah_band(self.total + self.unanswered + self.outside)


def pair_cases(baseline: ReviewedCase, follow_up: ReviewedCase, answers: Mapping[int, Answer] | None = None,
               registration: Registration | None = None) -> Pairing:
    """Register two scans and pair their microbleeds.

    Parameters
    ----------
    baseline, follow_up : ReviewedCase
        Of one subject and one sequence; their accepted findings count, without a review all of them.
    answers : dict of Answer or None
        By the ids of findings of the follow-up. One that fits the findings no longer is left out, with a warning.
    registration : Registration or None
        An earlier one of the same two scans, from the follow-up to the baseline, which saves the time of another.

    Raises
    ------
    InputError
        If the scans are of different sequences, one and the same, mirrored, or cannot be registered, or a finding of
        the baseline is the answer for two.
    """
    names = f"{baseline.scan_name} and {follow_up.scan_name}"
    if baseline.scan_sha256 and baseline.scan_sha256 == follow_up.scan_sha256:
        raise InputError(f"{names} are the same scan; choose another baseline.")
    try:
        warnings = comparability(baseline.acquisition, follow_up.acquisition)
    except InputError as error:
        raise InputError(f"{names} cannot be compared: {error}") from None
    registration = registration or register(follow_up.image, baseline.image)
    if registration.is_mirrored:
        raise InputError(f"{names} agree better if one of them is mirrored; left and right are exchanged in one of the "
                         "files, so convert it again from the DICOM series.")
    if not registration.is_trusted:
        raise InputError(f"{names} could not be registered (agreement {registration.agreement:.2f}); check that both "
                         "are scans of the same head with the same sequence.")
    if baseline.subject != follow_up.subject:
        warnings += (f"The names are of two subjects, {baseline.subject} and {follow_up.subject}.",)
    for case, name, fate in ((baseline, "baseline", NEW), (follow_up, "follow-up", NOT_SEEN)):
        if not case.is_reviewed:
            warnings += (f"The {name} is unreviewed: its findings are the detector's, and a microbleed that it missed "
                         f"there is called {fate} here.",)
        elif not case.is_finished:
            warnings += (f"The review of the {name} is not finished.",)
    fitting, unused = _fitting(answers or {}, baseline, follow_up)
    return Pairing(pair_findings(baseline, follow_up, registration, fitting), registration,
                   baseline.is_reviewed and follow_up.is_reviewed, (*warnings, *unused))


def new_since(pairing: Pairing) -> NewMicrobleeds:
    """Count what is new; findings larger than 10 mm are not microbleeds and left out."""
    def of_follow_up(status: str) -> list[PairedFinding]:
        return [one for one in pairing.of_status(status) if one.follow_up_id is not None and not one.is_too_large]

    new = of_follow_up(NEW)
    possible = sum(one.is_possible for one in new)
    tally = Tally(len(new) - possible, possible) if pairing.is_reviewed else Tally(unreviewed=len(new))
    return NewMicrobleeds(tally, len(of_follow_up(AMBIGUOUS)), len(of_follow_up(OUTSIDE)))


def picture_pair(baseline: ReviewedCase, follow_up: ReviewedCase, pairing: Pairing, finding: PairedFinding,
                 plane: Plane = PLANES[0]) -> tuple[np.ndarray, np.ndarray]:
    """Return the same place in the baseline and in the follow-up, each (n, n) uint8; see `snapshots.crop`.

    The baseline is resampled to the grid of the follow-up, so that both show the same slice; each has its own grey
    window. What a scan does not show is black.
    """
    there, here = pairing.registration.moving_to_fixed(baseline.image), to_canonical(follow_up.image)
    centre = ras_to_voxel(here, np.array(finding.follow_up_ras))
    # a cube about the place, which may reach out of the follow-up's field of view
    reach = np.ceil(CROP_MM / here.spacing).astype(int)
    first = np.floor(centre).astype(int) - reach
    affine = here.affine.copy()
    affine[:3, 3] = voxel_to_ras(here, first)
    grid = Volume(np.broadcast_to(np.uint8(0), tuple(2 * reach + 2)), affine)
    pictures = [crop(shown, finding.follow_up_ras, plane, grey_window(shown, finding.follow_up_ras))
                for shown in (resample_like(there, grid, order=1), here)]
    return pictures[0], pictures[1]


def pair_findings(baseline: ReviewedCase, follow_up: ReviewedCase, registration: Registration,
                  answers: Mapping[int, Answer]) -> tuple[PairedFinding, ...]:
    """Pair the findings of two registered scans; see `pair_cases`, which calls this, and the top of this file."""
    places = _Places(baseline, follow_up, registration)
    now, before = follow_up.microbleeds, baseline.microbleeds
    squares = np.array([places.ratio(one, other) ** 2 for one in now for other in before])
    squares = squares.reshape(len(now), len(before))
    fates, plausible = _pair(_with_answers(squares, now, before, answers))
    asked = _pair(squares)[1] if answers else plausible
    result = []
    for number, one in enumerate(now):
        partners = (asked if one.id in answers else plausible).get(number, ())
        candidates = [before[other] for other in partners if other >= 0]
        if one.id in answers:
            result.append(places.answered(one, answers[one.id], candidates))
        elif candidates:
            result.append(places.of_follow_up(AMBIGUOUS, one, candidates))
        elif fates[number] >= 0:
            result.append(places.stable(one, before[fates[number]]))
        else:
            result.append(places.unpaired(one))
    taken = {one.baseline_id for one in result}
    open_ones = {other for partners in plausible.values() for other in partners}
    return (*result, *(places.of_baseline(other, number in open_ones)
                       for number, other in enumerate(before) if other.id not in taken))


class _Places:
    """Places of the findings of two registered scans in both worlds, how far apart they are, and what is there."""

    def __init__(self, baseline: ReviewedCase, follow_up: ReviewedCase, registration: Registration):
        self._baseline, self._follow_up = baseline, follow_up
        self._to_baseline = registration.to_moving
        self._to_follow_up = np.linalg.inv(registration.to_moving)
        axes = [image.affine[:3, :3] for image in (follow_up.image, registration.moving_to_fixed(baseline.image))]
        # of a place that is only known to its voxel, a uniform distribution, in both scans
        self._covariance = sum(axis @ axis.T for axis in axes) / 12 + REGISTRATION_MM**2 * np.eye(3)
        self._shown_before, self._shown_now = _Shown(baseline.image), _Shown(follow_up.image)

    def ratio(self, one: CaseFinding, other: CaseFinding) -> float:
        """Distance over the distance at which they are as likely the same as not."""
        between = self._between(one, other)
        return float(np.linalg.norm(between)) / tolerance_mm(between, self._covariance, one, other)

    def stable(self, one: CaseFinding, other: CaseFinding, candidates: Sequence[CaseFinding] = ()) -> PairedFinding:
        return replace(self.of_follow_up(STABLE, one, candidates), baseline_id=other.id,
                       baseline_ras=other.position_ras, distance_mm=self._distance_mm(one, other))

    def answered(self, one: CaseFinding, answer: Answer, candidates: Sequence[CaseFinding]) -> PairedFinding:
        """What a reader has said; the candidates are those that there would be without the answer."""
        candidates = candidates or self._not_accepted_before(one)
        if answer.same_as is None:
            return replace(self.of_follow_up(NEW, one, candidates), answer=answer)
        partner = next(other for other in self._baseline.findings if other.id == answer.same_as)
        return replace(self.stable(one, partner, candidates), answer=answer)

    def unpaired(self, one: CaseFinding) -> PairedFinding:
        """A finding of the follow-up that the baseline does not count: new, unless the baseline's reader saw it."""
        if seen := self._not_accepted_before(one):
            return self.of_follow_up(AMBIGUOUS, one, seen, _remark("baseline", seen))
        shown = self._shown_before.has(apply_affine(self._to_baseline, np.array(one.position_ras)))
        return self.of_follow_up(NEW if shown else OUTSIDE, one)

    def of_follow_up(self, status: str, one: CaseFinding, candidates: Sequence[CaseFinding] = (),
                     remark: str = "") -> PairedFinding:
        partners = sorted((Partner(other.id, self._distance_mm(one, other)) for other in candidates),
                          key=lambda partner: partner.distance_mm)
        place = tuple(apply_affine(self._to_baseline, np.array(one.position_ras)).tolist())
        return PairedFinding(status, one.id, None, one.position_ras, place, None, tuple(partners), one.is_possible,
                             one.diameter_mm > LARGEST_MM, remark)

    def of_baseline(self, other: CaseFinding, is_open: bool) -> PairedFinding:
        """A finding of the baseline without a partner; open if it is the candidate of a question."""
        place = apply_affine(self._to_follow_up, np.array(other.position_ras))
        status = AMBIGUOUS if is_open else NOT_SEEN if self._shown_now.has(place) else OUTSIDE
        rejected = [one for one in _not_counted(self._follow_up) if self._is_surely(one, other)]
        return PairedFinding(status, None, other.id, tuple(place.tolist()), other.position_ras, None, (),
                             other.is_possible, other.diameter_mm > LARGEST_MM, _remark("follow-up", rejected))

    def _between(self, one: CaseFinding, other: CaseFinding) -> np.ndarray:
        return apply_affine(self._to_follow_up, np.array(other.position_ras)) - np.array(one.position_ras)

    def _distance_mm(self, one: CaseFinding, other: CaseFinding) -> float:
        return float(np.linalg.norm(self._between(one, other)))

    def _is_surely(self, one: CaseFinding, other: CaseFinding) -> bool:
        """Whether a lone pair would be the same beyond doubt."""
        return self.ratio(one, other) ** 2 <= 1 - SURELY

    def _not_accepted_before(self, one: CaseFinding) -> list[CaseFinding]:
        return [other for other in _not_counted(self._baseline) if self._is_surely(one, other)]


class _Shown:
    """What a scan shows of the world."""

    def __init__(self, image: Volume):
        self._image = image
        self._is_masked = (image.data == 0).mean() >= _MASKED_SHARE

    def has(self, place_ras: np.ndarray) -> bool:
        """Whether a place is shown: the field of view reaches beyond it, and it is not in the 0 around a brain."""
        image = self._image
        voxel = ras_to_voxel(image, place_ras)
        margin = REGISTRATION_MM / image.spacing - 0.5
        if (voxel < margin).any() or (voxel > np.array(image.shape) - 1 - margin).any():
            return False
        if not self._is_masked:
            return True
        reach = np.ceil(_HIDDEN_MM / image.spacing)
        low, high = np.maximum(np.rint(voxel) - reach, 0).astype(int), (np.rint(voxel) + reach).astype(int) + 1
        return bool(image.data[tuple(map(slice, low, high))].any())


def tolerance_mm(between_mm: np.ndarray, covariance_mm2: np.ndarray, one: CaseFinding, other: CaseFinding) -> float:
    """Return the distance at which two findings are as likely the same as not.

    Twice the error of a distance in this direction, which 95 % of the same stay below, and the mean of both radii: a
    bleed that blooms more has another centre within itself.

    Parameters
    ----------
    between_mm : (3,)
        From one finding to the other.
    covariance_mm2 : (3, 3)
        Of the error of `between_mm`: registration, and the voxels of both scans, so that more is allowed across thick
        slices than within them.
    """
    length_mm = float(np.linalg.norm(between_mm))
    direction = between_mm / length_mm if length_mm else np.zeros(3)
    return 2 * float(np.sqrt(direction @ covariance_mm2 @ direction)) + (one.diameter_mm + other.diameter_mm) / 4


def _pair(squares: np.ndarray) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Return the cheapest one-to-one pairing, and what else is plausible.

    Parameters
    ----------
    squares : (n, m)
        (d / t)² of each finding of the follow-up and of the baseline.

    Returns
    -------
    fates : (n,) int
        Partner of each finding of the follow-up, -1 for none.
    plausible : dict
        Of each finding that could fare otherwise at little cost: every plausible partner, -1 for none.
    """
    fates, plausible = np.full(len(squares), -1), {}
    for rows, columns in _groups(squares < _NEAR):
        for row, (fate, ways) in zip(rows, _fates_of(squares[np.ix_(rows, columns)]), strict=True):
            fates[row] = columns[fate] if fate >= 0 else -1
            if len(ways) > 1:
                plausible[int(row)] = sorted(int(columns[way]) if way >= 0 else -1 for way in ways)
    return fates, plausible


def _groups(near: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and columns that chains of what is near (n, m) connect; the others never concern them."""
    if not near.size:
        return
    graph = np.zeros((sum(near.shape), sum(near.shape)), bool)
    graph[:len(near), len(near):] = near
    count, groups = connected_components(graph, directed=False)
    for group in range(count):
        rows, columns = (np.flatnonzero(own == group) for own in np.split(groups, [len(near)]))
        if len(rows) and len(columns):
            yield rows, columns


def _fates_of(squares: np.ndarray) -> list[tuple[int, list[int]]]:
    """Return of each finding of a group its partner in the cheapest pairing, and with it all that are plausible."""
    costs, found = _augmented(squares), []
    fates, least = _cheapest(costs, squares.shape)
    for row, fate in enumerate(fates.tolist()):
        near = np.flatnonzero(squares[row] < _NEAR).tolist()
        others = [column for column in (*near, -1) if column != fate]
        found.append((fate, [fate, *(column for column in others
                                     if _cost_if(costs, squares.shape, row, column) < least + SURELY)]))
    return found


def _augmented(squares: np.ndarray) -> np.ndarray:
    """Return costs (n + m, m + n) in which every finding may stay alone."""
    rows, columns = squares.shape
    costs = np.full((rows + columns, columns + rows), _NEVER)
    costs[:rows, :columns] = np.minimum(squares, _NEVER)
    costs[:rows, columns:][np.eye(rows, dtype=bool)] = _ALONE
    costs[rows:, :columns][np.eye(columns, dtype=bool)] = _ALONE
    costs[rows:, columns:] = 0
    return costs


def _cheapest(costs: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    rows, columns = linear_sum_assignment(costs)
    fates = columns[:shape[0]]
    return np.where(fates < shape[1], fates, -1), float(costs[rows, columns].sum())


def _cost_if(costs: np.ndarray, shape: tuple[int, int], row: int, column: int) -> float:
    """Return the least cost of all pairings in which a finding has this partner (-1: none)."""
    forced = costs.copy()
    keep = shape[1] + row if column < 0 else column
    forced[row] = _NEVER
    forced[row, keep] = costs[row, keep]
    return _cheapest(forced, shape)[1]


def _with_answers(squares: np.ndarray, now: tuple[CaseFinding, ...], before: tuple[CaseFinding, ...],
                  answers: Mapping[int, Answer]) -> np.ndarray:
    """Return the squares with every answered finding, and its partner, out of the question."""
    squares, partners = squares.copy(), {answer.same_as for answer in answers.values()}
    squares[[one.id in answers for one in now]] = _NEVER
    squares[:, [other.id in partners for other in before]] = _NEVER
    return squares


def _fitting(answers: Mapping[int, Answer], baseline: ReviewedCase,
             follow_up: ReviewedCase) -> tuple[dict[int, Answer], tuple[str, ...]]:
    """Return the answers that fit the findings as they are now, and a sentence on each of the others."""
    now, before = {one.id for one in follow_up.microbleeds}, {other.id for other in baseline.findings}
    fitting, unused = {}, []
    for number, answer in answers.items():
        if number not in now:
            unused.append(f"The answer for finding {number} is not used: {follow_up.scan_name} has no such microbleed.")
        elif answer.same_as is not None and answer.same_as not in before:
            unused.append(f"The answer for finding {number} is not used: {baseline.scan_name} has no finding "
                          f"{answer.same_as}.")
        else:
            fitting[number] = answer
    partners = [answer.same_as for answer in fitting.values() if answer.same_as is not None]
    twice = next((partner for partner in partners if partners.count(partner) > 1), None)
    if twice is not None:
        raise InputError(f"Finding {twice} of {baseline.scan_name} is the answer for two findings of the follow-up; "
                         "give it to one of them.")
    return fitting, tuple(unused)


def _not_counted(case: ReviewedCase) -> list[CaseFinding]:
    counted = {one.id for one in case.microbleeds}
    return [one for one in case.findings if one.id not in counted]


def _remark(scan: str, findings: list[CaseFinding]) -> str:
    if not findings:
        return ""
    return f"The {scan}'s review has finding {findings[0].id} here, {findings[0].verdict}."
