"""Scans as MicrobleedNet's networks see them, kept on disk, and the places that its training takes patches from.

A prepared case is a folder of arrays that are mapped into memory. It is made exactly as at detection with a model of
the reference (`microbleeds.reference_prepare`, with the brain mask of the mask network), once.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product, zip_longest
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from microbleeds.components import label_components
from microbleeds.errors import InputError
from microbleeds.geometry import resample_like
from microbleeds.read_write import atomic_path, read_scan, write_json
from microbleeds.reference_prepare import prepare_as_reference
from microbleeds.settings import PrepareSettings
from microbleeds.step0_prepare import find_brain
from microbleeds.training.labelled_scans import LabelledScan, read_truth
from scipy import ndimage

DETECTOR_TILE, CLASSIFIER_TILE = 48, 24
RIM_VOXELS = 2
"""Patches of the grid have an image of 0 this far into the brain, as the tiles at detection."""
_REVISION = 1
"""Raised when the same scan gives another case."""
_FACTS = "case.json"
_ARRAYS = ("images", "brain", "core", "lesions")


@dataclass(frozen=True, eq=False)
class Case:
    """One scan; arrays are (i, j, k), running towards L, A and S.

    Attributes
    ----------
    name, modality, sha256 : str
        The digest is that of image and truth.
    images : (2, i, j, k) float16
        Inverted image and its radial symmetry, in [0, 1].
    brain, core, lesions : (i, j, k) bool
        `core` is the brain without its rim.
    """

    name: str
    modality: str
    sha256: str
    images: np.ndarray
    brain: np.ndarray
    core: np.ndarray
    lesions: np.ndarray


@dataclass(frozen=True, eq=False)
class Places:
    """Where patches are cut: (n, 4) int arrays of case number and voxel."""

    positives: np.ndarray
    negatives: np.ndarray

    def sha256(self) -> str:
        """Return a digest of both arrays."""
        parts = (np.ascontiguousarray(part, np.int64).tobytes() for part in (self.positives, self.negatives))
        return hashlib.sha256(b"|".join(parts)).hexdigest()


def prepare_cases(scans: Sequence[LabelledScan], folder: Path, jobs: int,
                  tell: Callable[[str, int, int], None]) -> tuple[Case, ...]:
    """Prepare the scans that are not prepared yet and return all cases in the order of the scans.

    `tell` is called with a name, the number of finished cases and their total.

    Raises
    ------
    InputError
        If a scan cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # "spawn", because a fork of a process with threads can hang
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_one_thread) as pool:
        futures = {pool.submit(prepare_case, scan, folder): scan.name for scan in scans}
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            tell(futures[future], done, len(scans))
    return tuple(load_case(folder / scan.name) for scan in scans)


def prepare_case(scan: LabelledScan, folder: Path) -> None:
    """Prepare one scan in its own folder within `folder`, beside first and then renamed."""
    settings, path = PrepareSettings(), folder / scan.name
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in (scan.image, scan.truth))).hexdigest()
    facts = {"name": scan.name, "modality": scan.modality, "sha256": digest, "revision": _REVISION,
             "settings": json.loads(json.dumps(asdict(settings)))}
    if _is_prepared(path, facts):
        return
    read = read_scan(scan.image)
    try:
        prepared = prepare_as_reference(read.volume, find_brain(read.volume), scan.modality, settings)
    except InputError as error:
        raise InputError(f"{scan.image}: {error}") from error
    marked = read.volume.with_data(read_truth(scan, read.volume).lesions)
    inside = prepared.brain.data
    arrays = {"images": np.stack([prepared.image.data, prepared.symmetry.data]).astype(np.float16), "brain": inside,
              "core": without_rim(inside),
              # what the mask cuts off cannot be seen and would be taught as nothing
              "lesions": (resample_like(marked, prepared.image, order=0).data > 0) & inside}
    beside = folder / f".{scan.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name, data in arrays.items():
        np.save(beside / f"{name}.npy", data)
    write_json(beside / _FACTS, facts)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(beside, path)


def load_case(folder: Path) -> Case:
    """Map a prepared case into memory."""
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    return Case(facts["name"], facts["modality"], facts["sha256"],
                **{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS})


def without_rim(brain: np.ndarray) -> np.ndarray:
    """Return the brain (i, j, k) without its rim, a ball of `RIM_VOXELS`; the faces of the array are no rim."""
    grid = np.indices((2 * RIM_VOXELS + 1,) * 3) - RIM_VOXELS
    return ndimage.binary_erosion(brain, (grid**2).sum(axis=0) <= RIM_VOXELS**2, border_value=1)


def tile_corners(shape: tuple[int, int, int], tile: int) -> np.ndarray:
    """Return the first voxels (n, 3) of tiles side by side; the last on each axis is moved back until it fits."""
    return np.array(list(product(*([*range(0, size - tile, tile), max(0, size - tile)] for size in shape))))


def grid_places(cases: Sequence[Case], tile: int) -> Places:
    """Return the tiles of all cases by whether they hold a lesion voxel; places are their first voxels."""
    positives, negatives = [], []
    for number, case in enumerate(cases):
        lesions = np.array(case.lesions)
        for corner in tile_corners(lesions.shape, tile).tolist():
            shown = lesions[tuple(slice(first, first + tile) for first in corner)].any()
            (positives if shown else negatives).append([number, *corner])
    return Places(np.reshape(positives, (-1, 4)).astype(int), np.reshape(negatives, (-1, 4)).astype(int))


def lesion_centres(lesions: np.ndarray) -> np.ndarray:
    """Return the rounded centroids (n, 3) of the connected regions of a bool array."""
    labels, count = label_components(lesions)
    return np.rint(ndimage.center_of_mass(lesions, labels, range(1, count + 1))).reshape(-1, 3).astype(int)


def false_centres(found: np.ndarray, lesions: np.ndarray, repaired: bool) -> np.ndarray:
    """Return where the reference takes negatives: the centroids (n, 3) of what the detector found and is no lesion.

    Its code labels only equal voxels together, so the rim that the detector finds around a true lesion is a region
    without lesion, and a negative nearly concentric with the positive. Repaired, a region that holds lesion voxels is
    no negative.
    """
    if not repaired:
        return lesion_centres(found & ~lesions)
    labels, _ = label_components(found | lesions)
    return lesion_centres(np.where(np.isin(labels, np.unique(labels[lesions])), False, found))


def choose_for_mining(cases: Sequence[Case], tiles: int, seed: int) -> list[int]:
    """Return the numbers of cases whose tiles are at most `tiles` together (at least one case), modalities in turn."""
    order = np.random.default_rng([seed, len(cases)]).permutation(len(cases)).tolist()
    by_modality = [[number for number in order if cases[number].modality == modality]
                   for modality in sorted({case.modality for case in cases})]
    chosen, left = [], tiles
    for number in (number for turn in zip_longest(*by_modality) for number in turn if number is not None):
        size = len(tile_corners(cases[number].brain.shape, DETECTOR_TILE))
        if size <= left or not chosen:
            chosen.append(number)
            left -= size
    return sorted(chosen)


def kept_centres(path: Path, of: str, find: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Return centres (n, 3), and how many seconds they took, from a file written for the same `of`; else find them."""
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["of"]) == of:
                return stored["centres"], float(stored["seconds"])
    started = time.monotonic()
    centres = find()
    seconds = time.monotonic() - started
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as beside:
        np.savez(beside, centres=centres, seconds=seconds, of=of)
    return centres, seconds


def _is_prepared(path: Path, facts: dict) -> bool:
    try:
        return json.loads((path / _FACTS).read_text(encoding="utf-8")) == facts
    except (OSError, ValueError):
        return False


def _one_thread() -> None:
    import SimpleITK as sitk
    import torch

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)
