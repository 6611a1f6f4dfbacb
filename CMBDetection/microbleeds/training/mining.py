"""The detector's own candidates on the training cases: which are lesions, which are false, which are neither."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ..read_write import atomic_path
from ..settings import CandidateSettings
from ..step1_candidates import Candidate, find_candidates
from .cases import Case
from .labelled_scans import IGNORED
from .precision import autocast

MINING_SETTINGS = CandidateSettings(threshold=0.1, max_candidates=200)
"""Lower than any threshold in use, so that the second step sees what it will have to judge and more."""
_NEGATIVE_DISTANCE_MM = 4.0
"""Candidates nearer to a true lesion than this are no negatives: the patch would show the lesion in its middle."""


@dataclass(frozen=True, eq=False)
class Mined:
    """Patch centres in one case, (n, 3) voxels each: lesions (their own centres and where they were found), false."""

    positives: np.ndarray
    negatives: np.ndarray


def mine(case: Case, candidates: Sequence[Candidate]) -> Mined:
    """Sort the candidates of a case (positions on its grid, mm); lesions that were not found are positives too."""
    positives, negatives = list(case.lesion_centres()), []
    lesion_mm = np.argwhere(case.lesions > 0) * case.spacing
    for candidate in candidates:
        centre_mm = np.array(candidate.position_ras)
        centre = centre_mm / case.spacing
        place = tuple(np.clip(np.rint(centre), 0, np.array(case.brain.shape) - 1).astype(int))
        if case.lesions[place]:
            positives.append(centre)
            continue
        distance = np.linalg.norm(lesion_mm - centre_mm, axis=1).min() if len(lesion_mm) else np.inf
        ignored = (case.classes[tuple(candidate.voxels.T)] == IGNORED).any()
        if distance > _NEGATIVE_DISTANCE_MM and not ignored:
            negatives.append(centre)
    return Mined(np.array(positives).reshape(-1, 3), np.array(negatives).reshape(-1, 3))


def mine_cases(cases: Sequence[Case], detector: nn.Module, folder: Path, device: str,
               tell: Callable[[str, float, str], None]) -> list[Mined]:
    """Mine every case, in an order of its own; finished cases are kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = b"".join(value.cpu().numpy().tobytes() for value in detector.state_dict().values())
    of_detector = hashlib.sha256(state).hexdigest()
    result = []
    for done, case in enumerate(cases, 1):
        path = folder / f"{case.name}.npz"
        mined = _read(path, of_detector)
        if mined is None:
            # half precision is as good for this and twice as fast
            with autocast(device):
                candidates = find_candidates(case.prepared(), detector, MINING_SETTINGS, device, lambda fraction: None)
            mined = mine(case, candidates)
            with atomic_path(path) as beside:
                np.savez(beside, positives=mined.positives, negatives=mined.negatives, detector=of_detector)
        tell(folder.name, done / len(cases), f"candidates of {done} of {len(cases)} cases")
        result.append(mined)
    return result


def _read(path: Path, of_detector: str) -> Mined | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        if str(stored["detector"]) != of_detector:
            return None
        return Mined(stored["positives"], stored["negatives"])
