"""Step 2: the student network looks at a patch around every candidate; with the detector it gives the probability."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from .calibration import Calibration, apply, logit
from .geometry import nearest_voxels
from .networks import PATCH
from .settings import ClassifySettings
from .step0_prepare import Prepared
from .step1_candidates import Candidate
from .tiling import cut, probabilities, ready


def classify(candidates: Sequence[Candidate], prepared: Prepared, student: nn.Module, settings: ClassifySettings,
             calibration: Calibration, device: str, progress: Callable[[float], None]) -> tuple[Candidate, ...]:
    """Return the candidates with their calibrated probability, in the same order.

    Patches are cut batch by batch, so memory does not grow with the number of candidates. Patches reach beyond the
    working grid with 0, the value of tissue.
    """
    student = ready(student, device)
    result = []
    for first in range(0, len(candidates), settings.batch_size):
        progress(first / len(candidates))
        batch = candidates[first:first + settings.batch_size]
        patches = np.stack([patch(candidate, prepared) for candidate in batch])
        values = apply(calibration, logit(probabilities(student, patches, device)),
                       logit([candidate.detector_probability for candidate in batch]))
        result += [replace(candidate, probability=float(value))
                   for candidate, value in zip(batch, values, strict=True)]
    return tuple(result)


def patch(candidate: Candidate, prepared: Prepared) -> np.ndarray:
    """Return what the student sees of a candidate: (2, 24, 24, 24) float32, the centre at voxel 12 on each axis."""
    centre = nearest_voxels(prepared.image, candidate.position_ras)
    return cut((prepared.image.data, prepared.symmetry.data), centre - PATCH // 2, (PATCH,) * 3)
