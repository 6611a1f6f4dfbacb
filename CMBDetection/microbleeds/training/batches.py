"""Batches: which cases and places a step of training sees. Subjects take part alike, however many cases they have."""

from collections.abc import Sequence

import numpy as np
import torch

from ..networks import PATCH
from .augment import draw_variation, turn, vary_images
from .cases import Case
from .fit import Batch
from .mining import Mined
from .sampling import Patch, Sites, cut_patch
from .training_settings import TrainingSettings

_LESION_SHARE = 2 / 3
_DETECTOR_JITTER = 0.3
"""As a share of the patch: what a patch is drawn for lies anywhere in its middle 60 %."""
_CLASSIFIER_JITTER = (1, 1, 0)


class _Draw:
    """Draws cases: a subject first, then one of its cases."""

    def __init__(self, cases: Sequence[Case]):
        subjects: dict[str, list[int]] = {}
        for index, case in enumerate(cases):
            subjects.setdefault(case.subject, []).append(index)
        self._subjects = [subjects[name] for name in sorted(subjects)]

    def case(self, rng: np.random.Generator) -> int:
        own = self._subjects[rng.integers(len(self._subjects))]
        return own[rng.integers(len(own))]


def detector_batch(cases: Sequence[Case], sites: Sequence[Sites], settings: TrainingSettings) -> Batch:
    """Return a function that draws patches: two thirds lesions, the others look-alikes, false candidates, any brain.

    The tensors are images, classes, weights of lesions, known kinds, and numbers of lesions.
    """
    draw_case = _Draw(cases)
    size = settings.detector_patch
    reach = np.rint(_DETECTOR_JITTER * np.array(size)).astype(int)

    def draw(rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        patches, known = [], []
        for _ in range(settings.detector_batch):
            which = draw_case.case(rng)
            places = _places(sites[which], lesions=rng.random() < _LESION_SHARE, rng=rng)
            patch = cut_patch(cases[which], places[rng.integers(len(places))] + rng.integers(-reach, reach + 1), size)
            patches.append(_varied(patch, cases[which], settings, rng))
            known.append(cases[which].kinds_known)
        return (*_tensors(patches), torch.tensor(known), torch.from_numpy(np.stack([own.numbers for own in patches])))
    return draw


def classifier_batch(cases: Sequence[Case], mined: Sequence[Mined], settings: TrainingSettings) -> Batch:
    """Return a function that draws 24³ patches, half of them lesions: images, classes, weights, known kinds, labels."""
    positive = [index for index, places in enumerate(mined) if len(places.positives)]
    negative = [index for index, places in enumerate(mined) if len(places.negatives)]
    draws = {label: (_Draw([cases[index] for index in chosen]), chosen)
             for label, chosen in ((1, positive), (0, negative))}

    def draw(rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        patches, known, labels = [], [], []
        for index in range(settings.classifier_batch):
            label = index % 2
            draw_case, chosen = draws[label]
            which = chosen[draw_case.case(rng)]
            places = mined[which].positives if label else mined[which].negatives
            jitter = rng.integers([-reach for reach in _CLASSIFIER_JITTER], [reach + 1 for reach in _CLASSIFIER_JITTER])
            patch = cut_patch(cases[which], places[rng.integers(len(places))] + jitter, (PATCH,) * 3)
            patches.append(_varied(patch, cases[which], settings, rng))
            known.append(cases[which].kinds_known)
            labels.append(label)
        return (*_tensors(patches), torch.tensor(known), torch.tensor(labels))
    return draw


def _places(sites: Sites, lesions: bool, rng: np.random.Generator) -> np.ndarray:
    if lesions and len(sites.lesions):
        return sites.lesions
    others = [places for places in (sites.lookalikes, sites.false, sites.brain) if len(places)]
    return others[rng.integers(len(others))]


def _varied(patch: Patch, case: Case, settings: TrainingSettings, rng: np.random.Generator) -> Patch:
    variation = draw_variation(rng, settings.randomise)
    weights = patch.lesion_weights if settings.balance_lesions else (patch.lesion_weights > 0).astype(np.float32)
    return Patch(vary_images(patch.images, case.spacing, variation, rng), turn(patch.classes, variation),
                 turn(weights, variation), turn(patch.numbers, variation))


def _tensors(patches: Sequence[Patch]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images, classes, weights = (torch.from_numpy(np.stack(parts)) for parts in zip(
        *((patch.images, patch.classes, patch.lesion_weights) for patch in patches), strict=True))
    return images.contiguous(memory_format=torch.channels_last_3d), classes, weights
