"""A reader's work on one scan as a list of events; what stands at the end follows from the list alone.

The list only grows: undoing is an event too. So every verdict, qualifier, move, addition and removal can be undone and
done again without limit, also after the review was saved and opened again, and the list says who did what and when.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

import numpy as np

from .components import equivalent_diameter_mm
from .errors import InputError
from .findings import DetectionResult
from .outputs import optional_number, optional_region_map, place_from_json, place_to_json, result_to_json
from .region_codes import region_from_json, region_to_json
from .region_lookup import locate, region_map_from_json
from .regions import REGIONS, SIDES, Place
from .review_files import ACCEPTED, CERTAINTIES, MIMIC_KINDS, REJECTED, UNDECIDED, VERDICTS, Review, ReviewedFinding
from .volume import Volume

DETECTED = "detected"
VERDICT, CERTAINTY, MIMIC_KIND, COMMENT = "verdict", "certainty", "mimic_kind", "comment"
REGION = "region"
MOVED, ADDED, REMOVED = "moved", "added", "removed"
OUTLINED, FINISHED = "outlined", "finished"
SKIPPED, UNDONE, REDONE = "skipped", "undone", "redone"
UNDOABLE = (VERDICT, CERTAINTY, MIMIC_KIND, COMMENT, REGION, MOVED, ADDED, REMOVED, OUTLINED, FINISHED)
ACTIONS = (DETECTED, *UNDOABLE, SKIPPED, UNDONE, REDONE)
TABLE_COLUMNS = ("at", "reader", "action", "finding", "value", "seconds")
_SAME_MM = 2.0
"""A finding of another detection is the same one if it is as near as this, or within the radius of either."""
DAMAGED = "the file is damaged, take it from a backup"
_CHOICES = {VERDICT: VERDICTS, CERTAINTY: CERTAINTIES, MIMIC_KIND: MIMIC_KINDS}


@dataclass(frozen=True)
class Event:
    """One thing that a reader or the detector did.

    Attributes
    ----------
    at : str
        ISO 8601 date and time with time zone.
    reader : str
        May be "".
    action : str
        One of `ACTIONS`.
    finding : int
        Its id; 0 where the event is not about one.
    value : plain JSON
        ``verdict``, ``certainty``, ``mimic_kind`` and ``comment``: the new value. ``moved``: the new place, RAS mm.
        ``region``: ``region`` and ``side`` (see `regions`), None for those of the region map.
        ``added``: ``ras_mm``, ``diameter_mm``, and its ``region`` (`region_codes`). ``removed``: its ``region``.
        ``outlined``: see `outline_value`. ``finished``: whether the review is. ``detected``: see
        `detection_value`. Otherwise None.
    seconds : float
        Since the finding was shown.
    """

    at: str
    reader: str
    action: str
    finding: int = 0
    value: Any = None
    seconds: float = 0.0


@dataclass(frozen=True)
class ReviewItem:
    """One finding under review.

    Attributes
    ----------
    id : int
    position_ras : (R, A, S) in mm
        Where the reader sees it.
    detected_ras : (R, A, S) in mm or None
        Where the latest detection put it; None if that did not find it, so that it is the reader's.
    probability : float or None
    diameter_mm, volume_mm3 : float
        0 where they are not known.
    verdict, certainty, mimic_kind, comment : str
        See `review_files.ReviewedFinding`.
    outlined : bool
        A reader has changed its outline.
    edge_mm : float or None
        See `findings.Finding`; None also for what a reader has added.
    place : Place or None
        Of the detected finding, by the region map; `place_of` knows where the item is now.
    chosen_region : (region, side) or None
        That a reader has chosen.
    """

    id: int
    position_ras: tuple[float, float, float]
    detected_ras: tuple[float, float, float] | None = None
    probability: float | None = None
    diameter_mm: float = 0.0
    volume_mm3: float = 0.0
    verdict: str = UNDECIDED
    certainty: str = ""
    mimic_kind: str = ""
    comment: str = ""
    outlined: bool = False
    edge_mm: float | None = None
    place: Place | None = None
    chosen_region: tuple[str, str] | None = None

    @property
    def added_by_reader(self) -> bool:
        """Whether the latest detection does not have it."""
        return self.detected_ras is None

    @property
    def touched(self) -> bool:
        """Whether a reader has said anything about it, so that it must not be lost."""
        moved = self.position_ras != self.detected_ras
        said = self.verdict != UNDECIDED or self.certainty or self.comment or self.chosen_region
        return bool(said or moved or self.outlined)


@dataclass(frozen=True)
class ReviewState:
    """What stands after all events.

    Attributes
    ----------
    items : tuple of ReviewItem
        By id.
    provenance : dict or None
        How they were found.
    region_map : dict or None
        As in the findings file.
    to_undo, to_redo : Event or None
        What undoing and redoing would concern.
    finished : bool
        A reader has said so, and has not made a verdict undecided since.
    finished_by : str
        Who said so; "" if nobody did, or without a name.
    last_id : int
        The highest id that any finding ever had: in the log a number means one finding.
    """

    items: tuple[ReviewItem, ...] = ()
    provenance: dict[str, Any] | None = None
    to_undo: Event | None = None
    to_redo: Event | None = None
    finished: bool = False
    finished_by: str = ""
    last_id: int = 0
    region_map: dict[str, Any] | None = None

    def item(self, number: int) -> ReviewItem | None:
        """Return the item of an id."""
        return next((item for item in self.items if item.id == number), None)

    @property
    def next_id(self) -> int:
        """Id for a new item."""
        return self.last_id + 1


def now() -> str:
    """Return date and time as the log has them."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def replay(events: Iterable[Event]) -> ReviewState:
    """Return what stands after the events.

    A new detection cannot be undone, nor what was done before it. After it the review is not finished.

    Raises
    ------
    ValueError
        If an event cannot follow those before it.
    """
    done: list[Event] = []
    undone: list[Event] = []
    fixed: dict[int, ReviewItem] = {}
    provenance, region_map, last_id = None, None, 0
    for event in events:
        last_id = max(last_id, event.finding)
        if event.action == DETECTED:
            last_id = max([last_id, *(candidate["id"] for candidate in event.value["candidates"])])
            fixed = _with_detection(_applied(fixed, done), event)
            provenance, region_map = event.value["provenance"], event.value.get("region_map")
            done, undone = [], []
        elif event.action in (UNDONE, REDONE):
            source, target = (done, undone) if event.action == UNDONE else (undone, done)
            if not source:
                raise ValueError(f"there is nothing to be {event.action}")
            target.append(source.pop())
        elif event.action in UNDOABLE:
            if event.action == FINISHED and (type(event.value) is not bool or event.finding):
                raise ValueError(f"finished is {event.value!r} for finding {event.finding}, not True or False for all")
            done.append(event)
            undone = []
        elif event.action != SKIPPED:
            raise ValueError(f"action {event.action!r} is none of {', '.join(ACTIONS)}")
    items = _applied(fixed, done)
    finished, finished_by = _finished(done)
    return ReviewState(tuple(items[number] for number in sorted(items)), provenance, done[-1] if done else None,
                       undone[-1] if undone else None, finished, finished_by, last_id, region_map)


def extended(events: Sequence[Event], event: Event) -> tuple[tuple[Event, ...], ReviewState]:
    """Return the events with one more, and what stands then.

    Raises
    ------
    ValueError
        If the event cannot follow the others.
    """
    longer = (*events, event)
    return longer, replay(longer)


def detection_value(result: DetectionResult, state: ReviewState) -> dict[str, Any]:
    """Return the value of the event of a detection: ``provenance``, and ``candidates`` with the ids they get.

    Candidates that the anatomical clean-up removed are left out; those of low probability are not, because the reader
    moves the threshold. A candidate on the place of an item gets its id, so that what was said about it stays.
    ``label`` is the id within the result.
    """
    candidates = [one for one in result.candidates
                  if not (one.removed_by or "").startswith("step3_cleanup")]
    given = _same_ids(candidates, state.items)
    free = state.next_id
    listed = []
    for candidate in candidates:
        number = given.get(candidate.id)
        if number is None:
            number, free = free, free + 1
        listed.append({"id": number, "label": candidate.id, "ras_mm": list(candidate.position_ras),
                       "probability": candidate.probability, "diameter_mm": candidate.diameter_mm,
                       "volume_mm3": candidate.volume_mm3, "edge_mm": candidate.edge_mm,
                       "place": place_to_json(candidate.place)})
    content = result_to_json(result)
    return {"provenance": content["provenance"], "candidates": listed, "region_map": content["region_map"]}


def outline_value(before: np.ndarray, after: np.ndarray, voxel_volume_mm3: float) -> dict[str, Any]:
    """Return the value of the event that an outline was changed.

    Parameters
    ----------
    before, after : (n, 3) int arrays
        Voxels (i, j, k) of the image whose ``voxels_sha256`` the review names, as Slicer counts them.
    voxel_volume_mm3 : float
    """
    volume_mm3 = len(after) * voxel_volume_mm3
    return {"before": region_to_json(before), "after": region_to_json(after), "volume_mm3": volume_mm3,
            "diameter_mm": equivalent_diameter_mm(volume_mm3)}


def place_of(state: ReviewState, item: ReviewItem) -> Place | None:
    """Return where an item lies: as a reader has chosen (then its confidences are 1), else by the region map."""
    if item.chosen_region is not None:
        return Place(*item.chosen_region, 1.0, 1.0, 1.0)
    if item.place is not None and item.position_ras == item.detected_ras:
        return item.place
    if state.region_map is None:
        return None
    return locate(_region_map(json.dumps(state.region_map)), item.position_ras)


@lru_cache(maxsize=4)
def _region_map(content: str) -> Volume:
    return region_map_from_json(json.loads(content))


def shown_items(state: ReviewState, threshold: float) -> tuple[ReviewItem, ...]:
    """Return the items that are on screen: of those that nobody has touched only the probable ones."""
    return tuple(item for item in state.items
                 if item.touched or item.probability is None or item.probability >= threshold)


def review_of(state: ReviewState, threshold: float, input_name: str, input_sha256: str, reader: str) -> Review:
    """Return the review that stands, of the items that are on screen at a threshold of the probability."""
    modality = state.provenance["modality"] if state.provenance else "auto"
    return Review(input_name, input_sha256, modality, reader,
                  tuple(_reviewed(state, item) for item in shown_items(state, threshold)))


def _reviewed(state: ReviewState, item: ReviewItem) -> ReviewedFinding:
    place = place_of(state, item)
    return ReviewedFinding(item.id, item.position_ras, item.diameter_mm, item.verdict, item.added_by_reader,
                           item.mimic_kind, item.certainty, item.comment, place.region if place else "",
                           place.side if place else "")


def events_to_json(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return events as plain dicts, ready for JSON."""
    # not `asdict`, which copies all candidates of a detection
    return [dict(vars(event)) for event in events]


def events_from_json(content: Any, name: str) -> tuple[Event, ...]:
    """Return the events that `events_to_json` made `content` from.

    Raises
    ------
    InputError
        If it is not of that form, or an event cannot follow those before it; `name` says whose content it is.
    """
    known = [field.name for field in fields(Event)]
    try:
        events = tuple(Event(**{key: entry[key] for key in known}) for entry in content)
        for event in events:
            if not (isinstance(event.at, str) and isinstance(event.reader, str) and type(event.finding) is int
                    and isinstance(event.seconds, int | float)):
                raise ValueError(f"event {event} has fields of the wrong type")
            if event.action == OUTLINED:
                for side in ("before", "after"):
                    region_from_json(event.value[side])
            elif event.action in (ADDED, REMOVED) and event.value:
                region_from_json(event.value.get("region"))
            elif event.action == DETECTED:
                provenance = event.value["provenance"]
                if not all(isinstance(provenance[key], str) for key in ("modality", "model_name")):
                    raise TypeError("the provenance names no modality or no model")
                optional_region_map(event.value.get("region_map"))
        replay(events)
    except KeyError as error:
        raise InputError(f"The log of {name} has an entry without {error.args[0]!r}; {DAMAGED}.") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"The log of {name} is not as documented ({error}); {DAMAGED}.") from None
    return events


def events_table(events: Iterable[Event]) -> str:
    """Return the log as tab-separated values with one header row; values as JSON, detections by their model's name."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    for event in events:
        value = event.value
        if event.action == DETECTED:
            value = {"model_name": value["provenance"]["model_name"], "candidates": len(value["candidates"])}
        told = "" if value is None else json.dumps(value, ensure_ascii=False)
        writer.writerow([event.at, event.reader, event.action, event.finding or "", told, f"{event.seconds:.1f}"])
    return text.getvalue()


def _applied(items: dict[int, ReviewItem], events: Iterable[Event]) -> dict[int, ReviewItem]:
    items = dict(items)
    for event in events:
        if event.action == FINISHED:
            continue
        if event.action == ADDED:
            if event.finding in items or event.finding < 1:
                raise ValueError(f"finding {event.finding} cannot be added, the number is taken or not above 0")
            items[event.finding] = ReviewItem(event.finding, _place(event.value["ras_mm"]),
                                              diameter_mm=float(event.value["diameter_mm"]), verdict=ACCEPTED)
            continue
        item = items.get(event.finding)
        if item is None:
            raise ValueError(f"there is no finding {event.finding} to be {event.action}")
        if event.action == REMOVED:
            if not item.added_by_reader:
                raise ValueError(f"finding {item.id} is the detector's and cannot be removed, only rejected")
            del items[item.id]
        else:
            items[item.id] = _changed(item, event)
    return items


def _finished(events: Iterable[Event]) -> tuple[bool, str]:
    """Return whether the review is finished, and who said so."""
    finished, reader = False, ""
    for event in events:
        if event.action == FINISHED:
            finished, reader = event.value, event.reader if event.value else ""
        elif event.action == VERDICT and event.value == UNDECIDED:
            finished, reader = False, ""
    return finished, reader


def _changed(item: ReviewItem, event: Event) -> ReviewItem:
    if event.action == MOVED:
        return replace(item, position_ras=_place(event.value))
    if event.action == OUTLINED:
        return replace(item, outlined=True, volume_mm3=float(event.value["volume_mm3"]),
                       diameter_mm=float(event.value["diameter_mm"]))
    if event.action == REGION:
        return replace(item, chosen_region=_region(event.value))
    if event.action in _CHOICES and event.value not in _CHOICES[event.action]:
        raise ValueError(f"{event.value!r} is no {event.action}")
    if event.action == COMMENT and not isinstance(event.value, str):
        raise ValueError(f"the comment {event.value!r} is not a text")
    if event.action == MIMIC_KIND and event.value and item.verdict != REJECTED:
        raise ValueError(f"finding {item.id} is {item.verdict} and cannot be a {event.value}")
    item = replace(item, **{event.action: event.value})
    # a reason to reject goes with the rejection
    return item if item.verdict == REJECTED else replace(item, mimic_kind="")


def _with_detection(items: dict[int, ReviewItem], event: Event) -> dict[int, ReviewItem]:
    """Give every candidate what was said about the item of its id; items said something about stay as the reader's."""
    found = {}
    for candidate in event.value["candidates"]:
        number, place = candidate["id"], _place(candidate["ras_mm"])
        former = items.get(number, ReviewItem(number, place, place))
        moved = former.detected_ras is not None and former.position_ras != former.detected_ras
        found[number] = replace(
            former, detected_ras=place, position_ras=former.position_ras if moved or former.added_by_reader else place,
            probability=float(candidate["probability"]), edge_mm=optional_number(candidate.get("edge_mm")),
            place=place_from_json(candidate.get("place")))
        if not former.outlined:
            found[number] = replace(found[number], diameter_mm=float(candidate["diameter_mm"]),
                                    volume_mm3=float(candidate["volume_mm3"]))
    left = {number: replace(item, detected_ras=None, place=None) for number, item in items.items()
            if number not in found and item.touched}
    return {**left, **found}


def _same_ids(candidates: Sequence[Any], items: Sequence[ReviewItem]) -> dict[int, int]:
    """Return the ids of the items that candidates lie on, nearest pairs first, one to one."""
    pairs = []
    for candidate in candidates:
        for item in items:
            away_mm = float(np.linalg.norm(np.subtract(candidate.position_ras, item.position_ras)))
            if away_mm <= max(_SAME_MM, candidate.diameter_mm / 2, item.diameter_mm / 2):
                pairs.append((away_mm, candidate.id, item.id))
    given: dict[int, int] = {}
    for _, candidate_id, item_id in sorted(pairs):
        if candidate_id not in given and item_id not in given.values():
            given[candidate_id] = item_id
    return given


def _region(value: Any) -> tuple[str, str] | None:
    if value is None:
        return None
    region, side = value["region"], value["side"]
    if region not in REGIONS or side not in SIDES:
        raise ValueError(f"{value!r} is no region")
    return region, side


def _place(values: Any) -> tuple[float, float, float]:
    place = np.asarray(values, float)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise ValueError(f"{values!r} is not a place in mm")
    return tuple(place.tolist())

