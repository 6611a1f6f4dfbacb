"""The review of a scan as its files, gone on with without the panel: opened, longer by some events, written.

The panel knows a scan again by its voxels as 3D Slicer loads them, and the log counts voxels in that order: so does
this.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .case_files import detection_of, find_review
from .errors import InputError
from .geometry import right_handed
from .modality import decide_modality
from .read_write import Scan, read_on_grid, staging_folder, told_if_not_writable, write_label_map, write_text
from .region_codes import region_from_json
from .review_log import ADDED, DETECTED, Event, ReviewState, detection_value, now, replay
from .review_sidecar import (
    Sidecar,
    is_of_scan,
    labels_beside,
    read_sidecar,
    sidecar_places,
    sidecar_text,
    stored_digest,
)
from .volume import Volume


@dataclass(frozen=True, eq=False)
class StoredReview:
    """A review and where it is kept.

    Attributes
    ----------
    path : Path
        Of the review file; its label map lies beside it.
    sidecar : Sidecar
    state : ReviewState
        What stands after its events.
    image : Volume
        The scan as 3D Slicer loads it.
    labels : Volume
        int32 on the grid of `image`, value = id of a finding.
    is_bright : bool
        Microbleeds are bright on the scan (QSM).
    labels_changed : bool
        The label map is not on disk as it is here.
    """

    path: Path
    sidecar: Sidecar
    state: ReviewState
    image: Volume
    labels: Volume
    is_bright: bool
    labels_changed: bool = False


def open_review(scan: Scan, review: Path | None = None, results: Path | None = None) -> StoredReview:
    """Return the review of a scan; where there is none, a new one of the detection's findings, or without findings.

    Parameters
    ----------
    scan : Scan
    review : Path, optional
        The review file; else see `case_files.find_review`. A new one shall be beside the scan, where the panel finds
        it.
    results : Path, optional
        Folder of reviews or of a detection's results, besides the scan's own.

    Raises
    ------
    InputError
        If a file cannot be read or is of another scan, there is no label map where the detection has found anything, or
        that of a new review would replace somebody else's.
    """
    image, digest = right_handed(scan.volume), stored_digest(scan.path)
    found = _find(scan, digest, review, results)
    if found is not None:
        path, sidecar = found
        state = replay(sidecar.events)
        labels = _read_labels(labels_beside(path), image, scan, {item.id: item.id for item in state.items},
                              any(not item.added_by_reader for item in state.items))
        return StoredReview(path, sidecar, state, image, labels, _is_bright(state, scan))
    path = sidecar_places(Path(os.path.abspath(scan.path)), digest)[0]
    detection, own = detection_of(scan, results), labels_beside(path)
    if own.exists() and not (detection is not None and detection[1].exists() and own.samefile(detection[1])):
        raise InputError(f"{own} has the name of the label map of a new review, but belongs to no detection that is "
                         "used; move it away.")
    events, threshold, labels = (), 0.0, image.with_data(np.zeros(image.shape, np.int32))
    if detection is not None:
        result, label_map = detection
        value = detection_value(result, ReviewState())
        events, threshold = (Event(now(), "", DETECTED, 0, value),), result.threshold
        labels = _read_labels(label_map, image, scan, {one["label"]: one["id"] for one in value["candidates"]},
                              bool(result.findings))
    state = replay(events)
    return StoredReview(path, Sidecar(events, scan.path.name, scan.sha256, digest, "", threshold), state, image, labels,
                        _is_bright(state, scan), True)


def with_events(stored: StoredReview, events: Iterable[Event], reader: str) -> StoredReview:
    """Return a review that is longer by events of `reader`; what they add has its outline in the label map.

    Raises
    ------
    ValueError
        If an event cannot follow those before it.
    """
    events = tuple(events)
    longer = (*stored.sidecar.events, *events)
    labels = stored.labels.data.copy()
    for event in events:
        if event.action == ADDED:
            labels[tuple(region_from_json(event.value["region"]).T)] = event.finding
    changed = stored.labels_changed or not np.array_equal(labels, stored.labels.data)
    return replace(stored, sidecar=replace(stored.sidecar, events=longer, reader=reader), state=replay(longer),
                   labels=stored.labels.with_data(labels), labels_changed=changed)


def write_stored(stored: StoredReview) -> dict[str, Path]:
    """Write the review file, and the label map if it has changed; both or none. Return them as "review" and "labels".

    Raises
    ------
    InputError
        If they cannot be written; what was there before is still there.
    """
    path, files = stored.path, {"review": stored.path}
    with told_if_not_writable(path), staging_folder(path.parent) as staging:
        write_text(staging / path.name, sidecar_text(stored.sidecar))
        if stored.labels_changed:
            files["labels"] = labels_beside(path)
            write_label_map(staging / files["labels"].name, stored.labels)
    return files


def _find(scan: Scan, digest: str, review: Path | None, results: Path | None) -> tuple[Path, Sidecar] | None:
    """Return the review that is there; that of another scan, or a damaged one, is an error."""
    path = review or find_review(scan, results)
    if path is None:
        return None
    sidecar = read_sidecar(path)
    if not is_of_scan(sidecar.input_sha256, sidecar.voxels_sha256, scan.sha256, digest):
        raise InputError(f"{path.name} is a review of another scan than {scan.path.name} (neither file nor voxels are "
                         "the same); name the right one with --review, or move it away.")
    return path, sidecar


def _read_labels(path: Path, image: Volume, scan: Scan, numbers: Mapping[int, int], needed: bool) -> Volume:
    """Return a label map on the grid of `image` with its values as `numbers` says; others are left out."""
    if not path.exists():
        if needed:
            raise InputError(f"{path} is missing, the label map that belongs to the findings; take it from a backup or "
                             "detect again.")
        return image.with_data(np.zeros(image.shape, np.int32))
    labels = read_on_grid(path, image, scan.path)
    table = np.zeros(max(int(labels.data.max(initial=0)), 0) + 1, np.int32)
    for value, number in numbers.items():
        if value < len(table):
            table[value] = number
    return labels.with_data(table[np.maximum(labels.data, 0)])


def _is_bright(state: ReviewState, scan: Scan) -> bool:
    if state.provenance is not None:
        return state.provenance["modality"] == "qsm"
    return decide_modality(scan.volume, None, scan.stem, scan.metadata)[0] == "qsm"
