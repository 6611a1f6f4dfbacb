"""Prepared cases: labelled scans as the networks see them, with the truth on the same grid, kept on disk.

A case is a folder of arrays that are mapped into memory, so that a data set may be larger than the memory. It is made
exactly as at detection time (`step0_prepare`, with its brain mask and bias field), once; the same scan, truth and
settings are not prepared again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..batch import most_processes
from ..errors import InputError
from ..geometry import nearest_voxels, resample_like, voxel_to_ras
from ..image_files import data_files
from ..modality import decide_modality
from ..read_write import read_mask, read_scan, sidecar_of, write_json
from ..settings import PrepareSettings
from ..step0_prepare import Prepared, find_brain, prepare
from ..volume import Volume
from .labelled_scans import IGNORED, MICROBLEED, LabelledScan, ScanTruth, read_truth
from .layouts_simulated import SIMULATED

_REVISION = 3
"""Raised when the same scan gives another case."""
_FACTS = "case.json"
_ARRAYS = ("images", "brain", "lesions", "classes")
_OTHER_FILES = 256
"""Open at a time besides those of the cases, at most."""


@dataclass(frozen=True, eq=False)
class Case:
    """One prepared scan; arrays are (i, j, k) on the working grid, slice axis last.

    Attributes
    ----------
    name, subject, modality : str
    spacing : (3,) mm
    images : (2, i, j, k) float16
        Working image and its radial symmetry.
    brain : (i, j, k) bool
    lesions : (i, j, k) int16
        Number of each microbleed, from 1 on without gaps.
    classes : (i, j, k) uint8
        `labelled_scans.TISSUE` and so on.
    kinds_known : bool
        Whether tissue means "neither vessel nor mimic", or only "no microbleed".
    """

    name: str
    subject: str
    modality: str
    spacing: np.ndarray
    images: np.ndarray
    brain: np.ndarray
    lesions: np.ndarray
    classes: np.ndarray
    kinds_known: bool

    @property
    def lesion_count(self) -> int:
        """Number of microbleeds inside the brain."""
        return len(np.unique(self.lesions)) - 1 if self.lesions.any() else 0

    def lesion_centres(self) -> np.ndarray:
        """Return the centre of each microbleed in voxels, (n, 3), in the order of their numbers."""
        numbers = np.unique(self.lesions[self.lesions > 0])
        return np.array(ndimage.center_of_mass(self.lesions > 0, self.lesions, numbers)).reshape(-1, 3)

    def prepared(self) -> Prepared:
        """Return the case as the detection steps take it, on a grid placed at the origin."""
        grid = np.diag([*self.spacing, 1.0])
        image, symmetry = (np.asarray(channel, np.float32) for channel in self.images)
        return Prepared(Volume(image, grid), Volume(symmetry, grid), Volume(np.array(self.brain), grid))


def load_case(folder: Path) -> Case:
    """Map a prepared case into memory."""
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    return Case(facts["name"], facts["subject"], facts["modality"], np.array(facts["spacing"]),
                kinds_known=facts["kinds_known"], **arrays)


def prepare_cases(scans: Sequence[LabelledScan], folder: Path, jobs: int | None,
                  tell: Callable[[str, int, int], None]) -> tuple[Case, ...]:
    """Prepare the scans that are not prepared yet, several at a time, and return all cases in the order of the scans.

    Parameters
    ----------
    folder : where the cases are kept
    jobs : processes at a time, None for one per core
    tell : is called with a name, the number of finished cases and their total

    Raises
    ------
    InputError
        If a scan cannot be used; the sentence names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _allow_open_files(len(_ARRAYS) * len(scans))
    jobs = min(jobs or most_processes(), most_processes(), max(1, len(scans)))
    if jobs == 1:
        for done, scan in enumerate(scans, 1):
            prepare_case(scan, folder)
            tell(scan.name, done, len(scans))
    else:
        # "spawn", because a fork of a process with threads can hang
        with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_one_thread) as pool:
            futures = {pool.submit(prepare_case, scan, folder): scan for scan in scans}
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    tell(futures[future].name, done, len(scans))
            except InputError:
                # cases in work become whole; a cancel cannot wait for them
                pool.shutdown(cancel_futures=True)
                raise
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return tuple(load_case(folder / scan.name) for scan in scans)


def prepare_case(scan: LabelledScan, folder: Path) -> None:
    """Prepare one scan in its own folder within `folder`, beside first and then renamed."""
    facts, path = _identity(scan), folder / scan.name
    if _is_prepared(path, facts):
        return
    read = read_scan(scan.image)
    try:
        # of a simulated scan the brain is known too well: the networks shall see what the mask network makes of it
        given = None if scan.layout == SIMULATED or scan.brain is None else read_mask(scan.brain, read.volume)
        brain = find_brain(read.volume, given)
        modality = decide_modality(read.volume, brain, read.stem, read.metadata)[0] if scan.modality == "auto" \
            else scan.modality
        prepared = prepare(read.volume, brain, modality, PrepareSettings())
    except InputError as error:
        raise InputError(f"{scan.image}: {error}") from error
    truth = read_truth(scan, read.volume)
    lesions, classes = _on_grid_of(prepared.image, truth, read.volume)
    inside = prepared.brain.data
    # what the mask cuts off cannot be seen: neither right nor wrong
    classes = np.where((classes == MICROBLEED) & ~inside, IGNORED, classes)
    arrays = {"images": np.stack([prepared.image.data, prepared.symmetry.data]).astype(np.float16), "brain": inside,
              "lesions": _renumbered(np.where(inside, lesions, 0)), "classes": classes.astype(np.uint8)}
    beside = folder / f".{scan.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name, data in arrays.items():
        np.save(beside / f"{name}.npy", data)
    write_json(beside / _FACTS, {**facts, "modality": modality, "spacing": prepared.image.spacing.tolist(),
                                 "kinds_known": truth.kinds_known})
    shutil.rmtree(path, ignore_errors=True)
    os.replace(beside, path)


def _on_grid_of(image: Volume, truth: ScanTruth, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return lesions and classes of a scan (`volume`) on the working grid; a lesion on it has at least one voxel."""
    lesions, classes = (np.array(resample_like(volume.with_data(data), image, order=0).data)
                        for data in (truth.lesions, truth.classes))
    # one that was marked with few voxels may lie between the samples, and would be learned as tissue
    for number in np.setdiff1d(truth.lesions[truth.lesions > 0], lesions[lesions > 0]):
        voxels = nearest_voxels(image, voxel_to_ras(volume, np.argwhere(truth.lesions == number)))
        voxels = voxels[((voxels >= 0) & (voxels < image.shape)).all(axis=1)]
        place = tuple(voxels[lesions[tuple(voxels.T)] == 0].T)
        lesions[place], classes[place] = number, MICROBLEED
    return lesions, classes


def fingerprint(scan: LabelledScan) -> str:
    """Return a digest of what the case of a scan depends on, wherever its files lie."""
    return hashlib.sha256(json.dumps(_identity(scan), sort_keys=True).encode()).hexdigest()


def _renumbered(lesions: np.ndarray) -> np.ndarray:
    """Return lesions numbered 1, 2, ..., because label maps may hold numbers that do not fit 16 bits."""
    numbers = np.unique(lesions[lesions > 0])
    return np.where(lesions > 0, np.searchsorted(numbers, lesions) + 1, 0).astype(np.int16)


def _identity(scan: LabelledScan) -> dict:
    """Return what the case depends on."""
    # not by name: an image and its label map often have the same one
    files = [scan.image, scan.truth, *scan.maps, *([scan.brain] if scan.brain else []), *scan.described_by]
    if scan.modality == "auto":
        files.append(sidecar_of(scan.image))
    hashes = [_digest(path) for path in files]
    return json.loads(json.dumps({
        "name": scan.name, "subject": scan.subject, "asked_modality": scan.modality, "layout": scan.layout,
        "sha256": hashes, "settings": asdict(PrepareSettings()), "revision": _REVISION}))


def _digest(path: Path) -> str:
    """Return the digest of a file with that of its voxels elsewhere, or of a folder's files; "" of what is missing."""
    if not path.exists():
        return ""
    parts = sorted(part for part in path.iterdir() if part.is_file()) if path.is_dir() else [path, *data_files(path)]
    return hashlib.sha256(b"".join(hashlib.sha256(part.read_bytes()).digest() for part in parts)).hexdigest()


def _is_prepared(path: Path, facts: dict) -> bool:
    try:
        stored = json.loads((path / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(stored.get(name) == value for name, value in facts.items())


def _allow_open_files(count: int) -> None:
    """Let this process keep so many more files open, if the system lets it: every mapped array is one.

    macOS starts programs with 256 and most of Linux with 1024, which both let a program raise; Windows has no limit.
    """
    try:
        import resource
    except ImportError:
        return
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if least != resource.RLIM_INFINITY and least < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        except (OSError, ValueError):
            # the system's own limit is lower than it says; few cases still fit
            return


def _one_thread() -> None:
    import SimpleITK as sitk
    import torch

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)
