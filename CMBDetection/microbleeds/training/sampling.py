"""Patches of training cases: where to cut, and how to vary what is cut (drawing apart from applying)."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .cases import Case


@dataclass(frozen=True)
class Sites:
    """Patch centres of one case in voxels, each (n, 3): lesions, lesion-like tissue, any brain."""

    lesions: np.ndarray
    lookalikes: np.ndarray
    brain: np.ndarray


def sites_of(case: Case, rng: np.random.Generator) -> Sites:
    """Return where patches of a case may be centred; look-alikes are peaks of symmetry 5 mm away from any lesion."""
    numbers = np.unique(case.truth[case.truth > 0])
    lesions = np.array(ndimage.center_of_mass(case.truth > 0, case.truth, numbers)).reshape(-1, 3)
    far = ndimage.distance_transform_edt(case.truth == 0, sampling=case.spacing) > 5
    symmetry = np.where(case.brain & far, case.symmetry.astype(np.float32), 0)
    peaks = (symmetry == ndimage.maximum_filter(symmetry, np.maximum(1, np.rint(2.5 / case.spacing) * 2 + 1))) \
        & (symmetry > 0)
    places = np.argwhere(peaks)
    strongest = places[np.argsort(-symmetry[peaks])[:300]]
    anywhere = np.argwhere(case.brain)
    return Sites(lesions, strongest, anywhere[rng.integers(len(anywhere), size=1000)])


def cut(case: Case, centre: np.ndarray, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return image and symmetry (2, i, j, k) float32 and truth (i, j, k) bool around a voxel, 0 outside the case."""
    start = np.rint(centre).astype(int) - np.array(size) // 2
    low, high = np.maximum(start, 0), np.minimum(start + size, case.image.shape)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    images, truth = np.zeros((2, *size), np.float32), np.zeros(size, bool)
    images[(0, *target)], images[(1, *target)] = case.image[source], case.symmetry[source]
    truth[target] = case.truth[source] > 0
    return images, truth


@dataclass(frozen=True)
class Variation:
    """One drawn augmentation."""

    flips: tuple[bool, bool, bool]
    transpose: bool
    gain: float
    noise: float


def draw_variation(rng: np.random.Generator) -> Variation:
    """Draw mirrors, in-plane transposition, contrast gain and noise."""
    return Variation(tuple(bool(b) for b in rng.random(3) < 0.5), bool(rng.random() < 0.5),
                     float(np.exp(rng.normal(0, 0.2))), float(rng.uniform(0, 0.06) * (rng.random() < 0.5)))


def vary(images: np.ndarray, truth: np.ndarray, variation: Variation,
         rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Apply a variation to images (2, i, j, k) and truth; the symmetry scales with the contrast, by its formula."""
    axes = tuple(axis for axis, flip in enumerate(variation.flips) if flip)
    images, truth = np.flip(images, [axis + 1 for axis in axes]), np.flip(truth, axes)
    if variation.transpose:
        images, truth = images.transpose(0, 2, 1, 3), truth.transpose(1, 0, 2)
    images = images * np.float32(variation.gain)
    if variation.noise:
        inside = images[0] != 0
        images[0] += inside * rng.normal(0, variation.noise, images[0].shape).astype(np.float32)
    images[0] = np.clip(images[0], -1, 1)
    return images, truth
