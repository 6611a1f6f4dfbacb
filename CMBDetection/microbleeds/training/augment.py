"""Variations of a patch: geometry, contrast, shading, resolution, noise. Drawn first, then applied.

The paper moves, blurs and adds noise; contrast, shading, zoom, thickness and correlated noise are varied on top, as
Billot et al. (SynthSeg, Med Image Anal 2023) do, but gently: real lesions of one or two pixels must not vanish
(paper: "no down-scaling"). All of it works on the scale on which microbleeds are bright, whatever the modality.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..radial_symmetry import radial_symmetry
from ..settings import PrepareSettings

_RADII_MM = PrepareSettings().symmetry_radii_mm


@dataclass(frozen=True)
class Variation:
    """One drawn variation.

    Attributes
    ----------
    flips : mirror each axis or not
    transpose : swap the two axes in plane
    gain, gamma : contrast of the working image, ``gain · sign(v) |v|^gamma``
    shading : relative change of the raw signal from end to end along each axis
    blur : standard deviation in plane, in voxels
    thicken : share that each neighbouring slice contributes
    noise : standard deviation on the working scale
    noise_grain : standard deviation in voxels by which the noise is smoothed in plane
    """

    flips: tuple[bool, bool, bool] = (False, False, False)
    transpose: bool = False
    gain: float = 1.0
    gamma: float = 1.0
    shading: tuple[float, float, float] = (0.0, 0.0, 0.0)
    blur: float = 0.0
    thicken: float = 0.0
    noise: float = 0.0
    noise_grain: float = 0.0

    @property
    def moves_only(self) -> bool:
        """Whether the radial symmetry merely moves and scales with the image."""
        return self.gamma == 1 and not any((*self.shading, self.blur, self.thicken, self.noise))


def draw_variation(rng: np.random.Generator, randomise: bool = True) -> Variation:
    """Draw a variation; without `randomise` only mirrors, transposition and a little noise."""
    flips, transpose = tuple(bool(b) for b in rng.random(3) < 0.5), bool(rng.random() < 0.5)
    if not randomise:
        return Variation(flips, transpose, noise=float(rng.uniform(0, 0.05)) * bool(rng.random() < 0.3))

    def some(share: float, low: float, high: float, neutral: float) -> float:
        value = float(rng.uniform(low, high))
        return value if rng.random() < share else neutral

    shaded = rng.random() < 0.3
    return Variation(
        flips, transpose, gain=float(np.exp(rng.normal(0, 0.2))), gamma=some(0.3, 0.8, 1.25, 1.0),
        shading=tuple(float(slope) * shaded for slope in rng.uniform(-0.15, 0.15, 3)),
        blur=some(0.15, 0.2, 0.7, 0.0), thicken=some(0.15, 0.05, 0.25, 0.0), noise=some(0.35, 0.01, 0.08, 0.0),
        noise_grain=some(0.5, 0.3, 0.8, 0.0))


def vary_images(images: np.ndarray, spacing_mm: np.ndarray, variation: Variation,
                rng: np.random.Generator) -> np.ndarray:
    """Apply a variation to image and symmetry, (2, i, j, k) float32.

    Outside the brain, where the image is 0, it stays 0. The symmetry is computed anew from the varied image unless it
    merely scales with it.
    """
    image, symmetry = images
    inside = image != 0
    if not variation.moves_only:
        image = _varied(image, inside, variation, rng)
    image = np.clip(image * np.float32(variation.gain), -1, 1)
    if variation.moves_only:
        symmetry = symmetry * np.float32(variation.gain)
    else:
        symmetry = radial_symmetry(image, spacing_mm, _RADII_MM, inside).astype(np.float32)
    return turn(np.stack([image, symmetry]), variation)


def turn(array: np.ndarray, variation: Variation) -> np.ndarray:
    """Mirror and transpose the last three axes of an image or a label map."""
    axes = tuple(axis - 3 for axis, flip in enumerate(variation.flips) if flip)
    array = np.flip(array, axes)
    return array.swapaxes(-3, -2) if variation.transpose else array


def _varied(image: np.ndarray, inside: np.ndarray, variation: Variation, rng: np.random.Generator) -> np.ndarray:
    shade = np.float32(1)
    for axis, slope in enumerate(variation.shading):
        shape = [1, 1, 1]
        shape[axis] = -1
        shade = shade + np.linspace(-slope / 2, slope / 2, image.shape[axis], dtype=np.float32).reshape(shape)
    # the working image is 1 - signal/median, so the raw signal is 1 - image
    image = 1 - (1 - image) * shade
    image = np.sign(image) * np.abs(image) ** np.float32(variation.gamma)
    if variation.blur:
        image = ndimage.gaussian_filter(image, (variation.blur, variation.blur, 0))
    if variation.thicken:
        image = ndimage.correlate1d(image, [variation.thicken, 1 - 2 * variation.thicken, variation.thicken], axis=2)
    if variation.noise:
        grain = rng.standard_normal(image.shape, np.float32)
        if variation.noise_grain:
            grain = ndimage.gaussian_filter(grain, (variation.noise_grain, variation.noise_grain, 0))
            grain /= grain.std()
        image = image + np.float32(variation.noise) * grain
    return np.where(inside, image, 0).astype(np.float32)
