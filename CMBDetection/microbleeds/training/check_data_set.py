"""Everything that is wrong with a data set, told at once and before any training starts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FaultList, InputError
from ..geometry import to_canonical
from ..image_files import read_image
from ..read_write import MAX_MARKED_SHARE, Scan, lies_on, read_mask, read_scan
from ..volume import Volume
from .labelled_scans import LabelledScan, read_truth

MOST_LISTED = 10
"""Of a reason, so many files are named, and the others counted."""

NO_IMAGE = "label without its image; add the image or remove the label"
NO_LABEL = "image without its label; add the label or remove the image"
NO_FILE = "file that belongs to a scan is missing; add it"
UNREADABLE = "cannot be used"
OTHER_GRID = "not on the grid of its image (shape or position); draw it on the image or resample it"
OTHER_IMAGE = "image changed since it was reviewed (SHA-256); add the image that was"
EMPTY = "label map without a microbleed; say that clean scans are meant, or remove it"
FULL = f"label map with more than {MAX_MARKED_SHARE:.0%} of the scan marked; that is no map of microbleeds"
NO_SUBJECT = "subject unknown (*_desc-drawn.json is missing or damaged); copy or simulate it again"
SAME_NAME = "several scans of this name; keep one, or rename and give each its own subject"
SAME_IMAGE = "the same image twice, which would stand on both sides of a split; keep one"
ONE_CLASS = "no scan has a microbleed; add scans with microbleeds"
_REASONS = (NO_IMAGE, NO_LABEL, NO_FILE, UNREADABLE, OTHER_GRID, OTHER_IMAGE, EMPTY, FULL, NO_SUBJECT, SAME_NAME,
            SAME_IMAGE, ONE_CLASS)


@dataclass(frozen=True)
class _Fault:
    """One entry of the list: a reason and a file, or a sentence that names it."""

    reason: str
    entry: str


@dataclass(frozen=True)
class _Found:
    """What one scan shows: digest of its voxels ("" if unreadable), voxels of microbleeds (None: unknown), faults."""

    content: str
    lesion_voxels: int | None
    faults: tuple[_Fault, ...]


def check_data_set(scans: Sequence[LabelledScan]) -> None:
    """Read every file of a data set, one scan at a time, and refuse it if anything is wrong.

    Raises
    ------
    FaultList
        With the offending files by reason: a missing image or label, files that cannot be read, other grids, empty
        label maps that may not be empty, maps of something else, the same name or image twice, no microbleed at all.
    """
    found = [_look_at(scan) for scan in scans]
    faults = [fault for one in found for fault in one.faults]
    faults += [_Fault(NO_SUBJECT, _short(scan.image)) for scan in scans if not scan.subject]
    faults += _same([scan.name for scan in scans], scans, SAME_NAME)
    faults += _same([one.content for one in found], scans, SAME_IMAGE)
    known = [one.lesion_voxels for one in found if one.lesion_voxels is not None]
    if known and not any(known):
        faults.append(_Fault(ONE_CLASS, f"{len(known)} scans read"))
    if faults:
        raise FaultList(_message(faults))


def _look_at(scan: LabelledScan) -> _Found:
    faults = _missing(scan)
    image = None
    if scan.image.exists():
        try:
            image = read_scan(scan.image)
        except InputError as error:
            faults.append(_Fault(UNREADABLE, f"{_short(scan.image)}: {error}"))
    maps = [path for path in (*scan.maps, scan.brain) if path is not None and path.exists()]
    map_faults = [fault for path in maps for fault in _map_faults(path, image.volume if image else None)]
    lesion_voxels = None
    if image and not faults and not map_faults:
        lesion_voxels, more = _truth_faults(scan, image)
        faults += more
    if image and scan.image_sha256 not in ("", image.sha256):
        faults.append(_Fault(OTHER_IMAGE, _short(scan.image)))
    return _Found(_digest(image.volume) if image else "", lesion_voxels, (*faults, *map_faults))


def _missing(scan: LabelledScan) -> list[_Fault]:
    faults = []
    if not scan.image.exists():
        faults.append(_Fault(NO_IMAGE, f"{_short(scan.truth)} (no {_short(scan.image)})"))
    if not scan.truth.exists():
        faults.append(_Fault(NO_LABEL, f"{_short(scan.image)} (no {_short(scan.truth)})"))
    if scan.image.exists() and scan.truth.exists():
        faults += [_Fault(NO_FILE, _short(path)) for path in (*scan.maps, scan.brain)
                   if path is not None and not path.exists()]
    return faults


def _map_faults(path: Path, image: Volume | None) -> list[_Fault]:
    try:
        label_map = read_image(path).volume
    except InputError as error:
        return [_Fault(UNREADABLE, f"{_short(path)}: {error}")]
    return [] if image is None or lies_on(label_map, image) else [_Fault(OTHER_GRID, _short(path))]


def _truth_faults(scan: LabelledScan, image: Scan) -> tuple[int | None, list[_Fault]]:
    """Return how many voxels belong to microbleeds, None if the truth cannot be read, and what is wrong with it."""
    try:
        if scan.brain is not None:
            read_mask(scan.brain, image.volume)
        marked = int(np.count_nonzero(read_truth(scan, image.volume).lesions))
    except InputError as error:
        return None, [_Fault(UNREADABLE, f"{_short(scan.truth)}: {error}")]
    if not marked and not scan.clean_allowed:
        return marked, [_Fault(EMPTY, _short(scan.truth))]
    if marked > MAX_MARKED_SHARE * image.volume.data.size:
        return marked, [_Fault(FULL, _short(scan.truth))]
    return marked, []


def _digest(volume: Volume) -> str:
    """Return a digest of the voxels alone, so that neither file format nor header hides a copy."""
    data = np.ascontiguousarray(to_canonical(volume).data)
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()


def _same(keys: Sequence[str], scans: Sequence[LabelledScan], reason: str) -> list[_Fault]:
    """Return a fault for every key ("" is none) that several scans have, with all of them."""
    places: dict[str, list[str]] = {}
    for key, scan in zip(keys, scans, strict=True):
        if key:
            places.setdefault(key, []).append(f"{_short(scan.image)} with {_short(scan.truth)}")
    return [_Fault(reason, " = ".join(own)) for own in places.values() if len(own) > 1]


def _short(path: Path) -> str:
    """Return a path with as much of its folders as tells it apart in most data sets."""
    return "/".join(path.parts[-2:])


def _message(faults: Sequence[_Fault]) -> str:
    lines = ["The data set cannot be trained on as it is; mend what is listed here."]
    for reason in _REASONS:
        own = [fault.entry for fault in faults if fault.reason == reason]
        if own:
            more = [f"and {len(own) - MOST_LISTED} more"] if len(own) > MOST_LISTED else []
            lines += [f"{len(own)} × {reason}:", *(f"  {entry}" for entry in (*own[:MOST_LISTED], *more))]
    return "\n".join(lines)
