"""What a step of the reference's training sees: which patches, and the changes that it makes to them."""

from collections.abc import Sequence

import numpy as np
import torch
from microbleeds.tiling import cut
from reference_recipe_cases import CLASSIFIER_TILE, Case, Places

VERSIONS = 5
"""Of each patch: itself and four changed copies. Theirs are all in one batch; here each time one of the five."""
SHIFT_VOXELS = 5
NOISE_VARIANCE = 0.01
CHANGE_SHARE = 0.5
"""Of each change. How theirs are combined is not known to us."""


def pairs_of_step(places: Places, step: int, pairs: int, seed: int) -> np.ndarray:
    """Return the places (2 · pairs, 4) of a step, positive and negative in turn.

    An epoch has every positive once, in random order, and as many negatives, drawn without replacement.
    """
    count = len(places.positives)
    chosen = []
    for number in range(step * pairs, (step + 1) * pairs):
        epoch, place = divmod(number, count)
        rng = np.random.default_rng([seed, epoch])
        positive = rng.permutation(count)[place]
        # fewer negatives than positives: as often as needed
        negative = rng.permutation(len(places.negatives))[place % len(places.negatives)]
        chosen += [places.positives[positive], places.negatives[negative]]
    return np.array(chosen)


def grid_batch(cases: Sequence[Case], chosen: np.ndarray, rng: np.random.Generator, repaired: bool, *,
               tile: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images (n, 2, tile³) float32, lesions (n, tile³) uint8, and classes (n,) int64 of tiles of the grid."""
    patches = []
    for number, *corner in chosen.tolist():
        case = cases[number]
        image, symmetry, core, lesions = cut((*case.images, case.core, case.lesions), corner, (tile,) * 3)
        patches.append(vary(np.stack([image * core, symmetry, lesions]), rng, repaired))
    return _tensors(patches)


def centred_batch(cases: Sequence[Case], chosen: np.ndarray, rng: np.random.Generator,
                  repaired: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the same of 24³ patches around voxels, as `step2_classify` cuts them at detection."""
    patches = []
    for number, *centre in chosen.tolist():
        case = cases[number]
        start = np.array(centre) - CLASSIFIER_TILE // 2
        patches.append(vary(cut((*case.images, case.lesions), start, (CLASSIFIER_TILE,) * 3), rng, repaired))
    return _tensors(patches)


def vary(patch: np.ndarray, rng: np.random.Generator, repaired: bool) -> np.ndarray:
    """Return a patch (image, symmetry, lesions; i, j, k) itself or, four times of five, changed.

    Mirrored along the slices, moved up to 5 voxels within them, noise of variance 0.01 on the image.
    """
    if rng.integers(VERSIONS) == 0:
        return patch
    mirrored, moved, noisy = rng.random(3) < CHANGE_SHARE
    if mirrored:
        patch = patch[..., ::-1]
    if moved:
        patch = shift(patch, rng.integers(-SHIFT_VOXELS, SHIFT_VOXELS + 1, 2), repaired)
    if noisy:
        noise = rng.normal(0, NOISE_VARIANCE**0.5, patch[0].shape)
        patch = np.stack([np.clip(patch[0] + noise, 0, 1), *patch[1:]])
    return patch


def shift(patch: np.ndarray, by: np.ndarray, repaired: bool) -> np.ndarray:
    """Roll (channels, i, j, k) along i and j and blank what came round.

    The reference's code blanks on the wrong axis: what it rolled round stays, and a valid border goes.
    """
    result = np.roll(patch, by, axis=(1, 2))
    for axis, width in zip((1, 2), by if repaired else by[::-1], strict=True):
        border = slice(0, width) if width > 0 else slice(patch.shape[axis] + width, None)
        result[(slice(None),) * axis + (border,)] = 0
    return result


def _tensors(patches: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Split patches, positive and negative in turn, into images, lesions and classes."""
    whole = torch.from_numpy(np.stack(patches).astype(np.float32))
    images = whole[:, :2].contiguous(memory_format=torch.channels_last_3d)
    return images, whole[:, 2].to(torch.uint8), torch.arange(1, len(patches) + 1) % 2
