"""A review that was made elsewhere, matched to the findings here, and turned into events of the review's log.

Nothing that a reader here has said is changed unless that is asked for: it becomes a conflict.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .findings import CENTRE_LIMIT_MM
from .geometry import nearest_voxels
from .import_files import ForeignFinding, one_line
from .region_codes import region_to_json
from .review_files import ACCEPTED, UNDECIDED
from .review_log import ADDED, CERTAINTY, COMMENT, MIMIC_KIND, REGION, VERDICT, Event, ReviewItem
from .reviewed_case import CaseFinding, ReviewedCase
from .volume import Volume

ONE_NEAR_SEVERAL, SEVERAL_NEAR_ONE = "one near several", "several near one"
TOLERANCE_MM = CENTRE_LIMIT_MM
"""Places nearer than this may be of one finding (VALDO's limit)."""
_AS_NEAR = 0.5
"""The nearest finding is taken without asking if it is nearer than this share of the distance of the next."""
_OVERLAP = 0.5
"""Two regions are of one finding if they share this part of the smaller one."""
_SHORT = 60
"""Characters of a comment in a sentence."""


@dataclass(frozen=True)
class Change:
    """What an event of the log would say: its action, the id of a finding here, and the new value."""

    action: str
    finding: int
    value: Any


@dataclass(frozen=True, eq=False)
class Match:
    """A finding here (its id) and one from elsewhere that are the same; `overlapping` if their regions are."""

    own: int
    foreign: ForeignFinding
    distance_mm: float
    overlapping: bool


@dataclass(frozen=True, eq=False)
class Conflict:
    """What a reader has to decide; keeping one's own is the rule.

    Attributes
    ----------
    kind : str
        "verdict", "certainty", "mimic_kind", "comment", "region", "one near several" or "several near one".
    own : tuple of int
        Ids of the findings here that it is about, nearest first.
    foreign : ForeignFinding
    sentence : str
        For the reader.
    changes : tuple of Change
        What taking theirs does to findings here.
    """

    kind: str
    own: tuple[int, ...]
    foreign: ForeignFinding
    sentence: str
    changes: tuple[Change, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether taking theirs adds their finding."""
        return self.kind == SEVERAL_NEAR_ONE


@dataclass(frozen=True, eq=False)
class ImportPlan:
    """What an import would do. Every foreign finding is matched, an addition, or in a conflict of places.

    Attributes
    ----------
    matched : tuple of Match
        One to one, by the id here.
    additions : tuple of ForeignFinding
        There is no finding near them.
    missing : tuple of int
        Ids of the findings here that the import does not have.
    changes : tuple of Change
        What the import says of matched findings that nobody here has said anything about.
    conflicts : tuple of Conflict
    """

    matched: tuple[Match, ...]
    additions: tuple[ForeignFinding, ...]
    missing: tuple[int, ...]
    changes: tuple[Change, ...]
    conflicts: tuple[Conflict, ...]


def match_foreign(own: ReviewedCase | Sequence[CaseFinding] | Sequence[ReviewItem], foreign: Sequence[ForeignFinding],
                  labels: Volume | None = None, tolerance_mm: float = TOLERANCE_MM) -> ImportPlan:
    """Match a review made elsewhere to the findings here, one to one, and list what has to be decided.

    A pair may be one if half of the smaller region lies in the other (a point: it lies in the region), or the places
    are near enough. Pairs by region come first, then the nearest. It is asked

    * if one of theirs lies near several here that nothing else belongs to, unless one is nearer than half the distance
      of the next;
    * if several of theirs lie near one here: the nearest is taken, the others are only added if wanted;
    * if verdict, certainty, kind of mimic, comment or chosen region differ from what is said here.

    Parameters
    ----------
    own : ReviewedCase, or sequence of CaseFinding or ReviewItem
        The latter may hold candidates that are not on screen, so that they are not added once more.
    foreign : sequence of ForeignFinding
    labels : Volume or None
        Regions of the findings here, value = id; those of a case are its own.
    tolerance_mm : float
    """
    labels = own.labels if isinstance(own, ReviewedCase) else labels
    items = {item.id: item for item in (own.findings if isinstance(own, ReviewedCase) else own)}
    pairs = _Pairs(items, foreign, labels, tolerance_mm)
    given = pairs.nearest_first()
    taken = set(given.values())
    rivals = {index: pairs.rivals(index, number, taken) for index, number in given.items()}
    matched, changes, conflicts, additions = [], [], [], []
    for index, one in enumerate(foreign):
        if index in given and not rivals[index]:
            number = given[index]
            matched.append(Match(number, one, pairs.distance_mm[index, number], pairs.overlap[index, number]))
            agreed, contested = _compare(items[number], one)
            changes += agreed
            conflicts += contested
        elif index in given:
            conflicts.append(_one_near_several(items, one, (given[index], *rivals[index]), pairs, index))
        elif pairs.near[index]:
            number = pairs.near[index][0]
            conflicts.append(_several_near_one(_on_free_voxels(one, labels), number, pairs.distance_mm[index, number]))
        else:
            additions.append(_on_free_voxels(one, labels))
    named = {*taken, *(number for numbers in rivals.values() for number in numbers)}
    order = sorted(matched, key=lambda match: match.own)
    return ImportPlan(tuple(order), tuple(additions), tuple(sorted(set(items) - named)),
                      tuple(sorted(changes, key=lambda change: change.finding)), tuple(conflicts))


def events_of(plan: ImportPlan, reader: str, at: str, next_id: int,
              take: Collection[Conflict] = ()) -> tuple[Event, ...]:
    """Return the events that carry out an import.

    Parameters
    ----------
    plan : ImportPlan
    reader : str
        Who imports.
    at : str
        ISO 8601 date and time with time zone.
    next_id : int
        Of the log's state (`review_log.ReviewState.next_id`): in a log a number means one finding for ever.
    take : collection of Conflict
        Those of the plan in which theirs is taken; in the others one's own is kept.
    """
    if any(all(one is not known for known in plan.conflicts) for one in take):
        raise ValueError("a conflict to be decided is not one of this plan")
    chosen = [conflict for conflict in plan.conflicts if any(conflict is one for one in take)]
    changes = [*plan.changes, *(change for conflict in chosen for change in conflict.changes)]
    events = [Event(at, reader, change.action, change.finding, change.value) for change in changes]
    additions = [*plan.additions, *(conflict.foreign for conflict in chosen if conflict.adds)]
    for number, one in enumerate(additions, next_id):
        voxels = np.empty((0, 3), int) if one.voxels is None else one.voxels
        events.append(Event(at, reader, ADDED, number, {
            "ras_mm": list(one.position_ras), "diameter_mm": one.diameter_mm or 0.0,
            "region": region_to_json(voxels)}))
        told = ((VERDICT, one.meant if one.meant != ACCEPTED else ""), (CERTAINTY, one.certainty),
                (MIMIC_KIND, one.mimic_kind), (COMMENT, one.comment), (REGION, _region_value(one)))
        events += [Event(at, reader, action, number, value) for action, value in told if value]
    return tuple(events)


class _Pairs:
    """Which of theirs may be which finding here: distances, and whether the regions are of one.

    `near` lists for each of theirs, by index, the ids of all candidates, nearest first.
    """

    def __init__(self, items: Mapping[int, Any], foreign: Sequence[ForeignFinding], labels: Volume | None,
                 tolerance_mm: float):
        sizes = np.bincount(labels.data.ravel()) if labels is not None else np.empty(0, int)
        self.distance_mm: dict[tuple[int, int], float] = {}
        self.overlap: dict[tuple[int, int], bool] = {}
        self.near: list[list[int]] = []
        for index, one in enumerate(foreign):
            voxels = _voxels_of(one, labels)
            there = np.bincount(labels.data[tuple(voxels.T)], minlength=1) if labels is not None else np.empty(0, int)
            for number, item in items.items():
                away_mm = math.dist(one.position_ras, item.position_ras)
                shared = int(there[number]) if number < len(there) else 0
                overlap = shared > 0 and shared >= _OVERLAP * min(len(voxels), sizes[number])
                if overlap or away_mm <= tolerance_mm:
                    self.distance_mm[index, number], self.overlap[index, number] = away_mm, overlap
            own = [pair for pair in self.distance_mm if pair[0] == index]
            self.near.append([number for _, number in sorted(own, key=self._rank)])

    def _rank(self, pair: tuple[int, int]) -> tuple[bool, float, int, int]:
        return not self.overlap[pair], self.distance_mm[pair], *pair

    def nearest_first(self) -> dict[int, int]:
        """Return the id that each of theirs (by index) gets, those that get none left out."""
        given: dict[int, int] = {}
        for index, number in sorted(self.distance_mm, key=self._rank):
            if index not in given and number not in given.values():
                given[index] = number
        return given

    def rivals(self, index: int, number: int, taken: Collection[int]) -> tuple[int, ...]:
        """Return the ids that nothing else belongs to and that could be meant as well as `number`."""
        overlap, away_mm = self.overlap[index, number], self.distance_mm[index, number]
        free = [other for other in self.near[index] if other not in taken]
        return tuple(other for other in free if self.overlap[index, other] == overlap
                     and (overlap or away_mm > _AS_NEAR * self.distance_mm[index, other]))


def _voxels_of(one: ForeignFinding, labels: Volume | None) -> np.ndarray:
    """Return the voxels (n, 3) of a finding, of a point that which holds it."""
    if one.voxels is not None or labels is None:
        return np.empty((0, 3), int) if one.voxels is None else one.voxels
    return np.clip(nearest_voxels(labels, np.array(one.position_ras)), 0, np.array(labels.shape) - 1)[None]


def _on_free_voxels(one: ForeignFinding, labels: Volume | None) -> ForeignFinding:
    """Return a finding without voxels that are another one's here."""
    if one.voxels is None or labels is None:
        return one
    return replace(one, voxels=one.voxels[labels.data[tuple(one.voxels.T)] == 0])


def _one_near_several(items: Mapping[int, Any], one: ForeignFinding, numbers: tuple[int, ...], pairs: _Pairs,
                      index: int) -> Conflict:
    agreed, contested = _compare(items[numbers[0]], one)
    places = " and ".join(f"{number} ({pairs.distance_mm[index, number]:.1f} mm)" for number in numbers)
    return Conflict(ONE_NEAR_SEVERAL, numbers, one, f"Their {one.name} ({one.meant}) may be finding {places}; taking "
                    f"theirs counts it as {numbers[0]}.",
                    (*agreed, *(change for conflict in contested for change in conflict.changes)))


def _several_near_one(one: ForeignFinding, number: int, away_mm: float) -> Conflict:
    return Conflict(SEVERAL_NEAR_ONE, (number,), one, f"Their {one.name} ({one.meant}) lies {away_mm:.1f} mm from "
                    f"finding {number}, which another of theirs belongs to; taking theirs adds it as one more finding.")


def _compare(item: CaseFinding | ReviewItem, one: ForeignFinding) -> tuple[list[Change], list[Conflict]]:
    """Return what theirs says that nobody has said here, and where the two differ."""
    agreed: list[Change] = []
    contested: list[Conflict] = []

    def differ(kind: str, here: str, there: str, changes: Iterable[Change]) -> None:
        contested.append(Conflict(kind, (item.id,), one, f"Finding {item.id} {here} here, and {there} by their "
                                  f"{one.name}.", tuple(changes)))

    verdict = [Change(VERDICT, item.id, one.meant)]
    mimic = [Change(MIMIC_KIND, item.id, one.mimic_kind)] if one.mimic_kind else []
    certainty = [Change(CERTAINTY, item.id, one.certainty)] if one.certainty not in ("", item.certainty) else []
    if UNDECIDED not in (one.meant, item.verdict) and one.meant != item.verdict:
        differ(VERDICT, _told(item.verdict, item), _told(one.meant, one), [*verdict, *mimic, *certainty])
        certainty = []
    elif one.meant != item.verdict and one.meant != UNDECIDED:
        agreed += [*verdict, *mimic]
    elif mimic and not item.mimic_kind:
        agreed += mimic
    elif mimic and one.mimic_kind != item.mimic_kind:
        differ(MIMIC_KIND, f"is rejected as “{item.mimic_kind}”", f"as “{one.mimic_kind}”", mimic)
    if certainty and item.certainty:
        differ(CERTAINTY, f"is {item.certainty}", one.certainty, certainty)
    else:
        agreed += certainty
    comment = [Change(COMMENT, item.id, one.comment)] if one.comment not in ("", item.comment) else []
    if comment and item.comment:
        differ(COMMENT, f"has the comment “{_short(item.comment)}”", f"“{_short(one.comment)}”", comment)
    else:
        agreed += comment
    other = one.chosen_region not in (None, item.chosen_region)
    region = [Change(REGION, item.id, _region_value(one))] if other else []
    if region and item.chosen_region:
        differ(REGION, f"lies in “{', '.join(item.chosen_region)}”", f"in “{', '.join(one.chosen_region)}”", region)
    else:
        agreed += region
    return agreed, contested


def _region_value(one: ForeignFinding) -> dict[str, str] | None:
    """Return the value of the event that a reader has chosen a region; None where theirs has not."""
    return dict(zip(("region", "side"), one.chosen_region, strict=True)) if one.chosen_region else None


def said_of(one: ReviewItem | ForeignFinding) -> str:
    """Return all that is said of a finding, in one line."""
    verdict = one.meant if isinstance(one, ForeignFinding) else one.verdict
    region = ", ".join(one.chosen_region or ())
    comment = f"“{_short(one.comment)}”" if one.comment else ""
    return ", ".join(filter(None, (_told(verdict, one).removeprefix("is "), region, comment)))


def _short(text: str) -> str:
    """Return a text in one line of at most `_SHORT` characters."""
    line = one_line(text)
    return line if len(line) <= _SHORT else f"{line[:_SHORT - 1]}…"


def _told(verdict: str, one: Any) -> str:
    more = ", ".join(filter(None, (one.mimic_kind, one.certainty)))
    return f"is {verdict} ({more})" if more else f"is {verdict}"
