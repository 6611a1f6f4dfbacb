"""The radial symmetry channel that MicrobleedNet's weights were trained with, which is not ours (`radial_symmetry`).

Loy & Zelinsky 2003 (IEEE PAMI 25:959) slice by slice, in voxels, for dark centres, as the authors' code does it and not
as the paper says: the weights know no other map. Two of its habits matter: gradients are cut to whole numbers, and a
direction is the floor of the unit gradient, so a vote goes 0 or n voxels along each axis and more often one way than
the other.
"""

import numpy as np
from scipy import ndimage

_RADII_VOXEL = (2, 3)
_STRICTNESS = 2
_SMOOTHING = 0.1
"""Width of the Gaussian as a share of the radius."""
_FULL_SCALE = 1000.0
"""The largest value before gradients are cut to whole numbers: in the authors' code the units of the scan decide what
is cut, and a scan in units of about 1 has no gradient left."""


def reference_symmetry(darkness: np.ndarray) -> np.ndarray:
    """Return the authors' radial symmetry of an image in which the structures sought are bright.

    Parameters
    ----------
    darkness : (i, j, k) float array
        The third axis counts the slices. The map of an image with dark structures is that of its negative.

    Returns
    -------
    (i, j, k) float32 array
        In [0, 1]; the same for any multiple of the image. 0 where a slice has no gradient.
    """
    largest = np.abs(darkness).max(initial=0)
    result = np.zeros(darkness.shape, np.float32)
    if largest == 0:
        return result
    for index in range(darkness.shape[2]):
        result[..., index] = _slice(darkness[..., index] * (_FULL_SCALE / largest))
    low, high = result.min(), result.max()
    return (result - low) / (high - low) if high > low else np.zeros_like(result)


def _slice(image: np.ndarray) -> np.ndarray:
    if min(image.shape) < 2:
        return np.zeros(image.shape)
    gradient = np.trunc(np.stack(np.gradient(-image), axis=-1))
    magnitude = np.linalg.norm(gradient, axis=-1)
    pixels = np.argwhere(magnitude > 0)
    strength = magnitude[magnitude > 0]
    direction = np.floor_divide(gradient[magnitude > 0], strength[:, None]).astype(int)
    total = np.zeros(image.shape)
    for radius in _RADII_VOXEL:
        total += _one_radius(image.shape, pixels - radius * direction, strength, radius)
    return total


def _one_radius(shape: tuple[int, int], targets: np.ndarray, strength: np.ndarray, radius: int) -> np.ndarray:
    """Count votes and their strength on the slice and a margin around it, each as a share of its largest."""
    margin = max(_RADII_VOXEL)
    wide = tuple(size + 2 * margin for size in shape)
    flat = np.ravel_multi_index((targets + margin).T, wide)
    size = int(np.prod(wide))
    votes, strengths = np.bincount(flat, minlength=size), np.bincount(flat, weights=strength, minlength=size)
    if not len(flat):
        return np.zeros(shape)
    symmetry = (votes / votes.max()) ** _STRICTNESS * (strengths / strengths.max())
    smooth = ndimage.gaussian_filter(symmetry.reshape(wide), _SMOOTHING * radius)
    return smooth[margin:-margin, margin:-margin]
