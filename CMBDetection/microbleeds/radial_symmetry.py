"""The radial symmetry channel: a fast radial symmetry transform in three dimensions, in millimetres.

Loy & Zelinsky 2003 (IEEE PAMI 25:959), with three changes for MR volumes: gradients and radii are in mm, so
anisotropic voxels need no resampling; only bright centres vote (the working image has microbleeds bright); and the
result is scaled by the radius, so that it reads as a contrast whatever the size.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_STRICTNESS = 2
"""Loy & Zelinsky's alpha: how strongly lines are punished against blobs."""
_SMOOTHING = 0.25
"""Width of the final Gaussian, as a share of the radius (Loy & Zelinsky)."""


def radial_symmetry(data: np.ndarray, spacing: np.ndarray, radii_mm: Sequence[float], mask: np.ndarray) -> np.ndarray:
    """Return how much each voxel is the bright centre of something round.

    Parameters
    ----------
    data : (i, j, k) float array
        Image in which the structures sought are bright.
    spacing : (3,) voxel size in mm
    radii_mm : radii of the transform; the result is the mean over them
    mask : (i, j, k) bool array
        Voxels that may vote; steps at the edge of the mask do not vote.

    Returns
    -------
    (i, j, k) float32 array, >= 0
        Proportional to the contrast of `data`: ``radial_symmetry(c * data) == c * radial_symmetry(data)``.
    """
    spacing = np.asarray(spacing, np.float64)
    voxels, direction, magnitude = _gradients(data, spacing, mask)
    total = np.zeros(data.shape, np.float32)
    for radius in radii_mm:
        total += _one_radius(data.shape, spacing, voxels, direction, magnitude, radius)
    return total / len(radii_mm)


def _gradients(data, spacing, mask):
    """Return the voting voxels (n, 3), their unit directions (n, 3) and gradient magnitudes (n,) per mm."""
    # A step into the outside of the mask is no gradient of the tissue.
    voting = ndimage.binary_erosion(mask, structure=ndimage.generate_binary_structure(3, 1), border_value=1)
    components = []
    for axis in range(3):
        if data.shape[axis] < 2:
            components.append(np.zeros(np.count_nonzero(voting), np.float32))
        else:
            components.append(np.gradient(data.astype(np.float32), spacing[axis], axis=axis)[voting])
    gradient = np.stack(components, axis=1)
    magnitude = np.sqrt(np.einsum("ij,ij->i", gradient, gradient))
    # Half of the voxels, the flat ones, carry only noise directions.
    strong = magnitude > np.median(magnitude) if magnitude.size else np.zeros(0, bool)
    voxels = np.argwhere(voting)[strong]
    return voxels, gradient[strong] / magnitude[strong, None], magnitude[strong]


def _one_radius(shape, spacing, voxels, direction, magnitude, radius_mm):
    target = voxels + np.rint(direction * (radius_mm / spacing)).astype(np.int64)
    inside = ((target >= 0) & (target < shape)).all(axis=1)
    flat = np.ravel_multi_index(target[inside].T, shape)
    size = int(np.prod(shape))
    expected = _votes_of_a_ball(spacing, radius_mm)
    votes = np.bincount(flat, minlength=size).astype(np.float32) / expected
    strength = np.bincount(flat, weights=magnitude[inside], minlength=size).astype(np.float32) / expected
    symmetry = (np.minimum(votes, 1) ** _STRICTNESS * strength * radius_mm).reshape(shape)
    return ndimage.gaussian_filter(symmetry, _SMOOTHING * radius_mm / spacing, mode="nearest")


def _votes_of_a_ball(spacing, radius_mm):
    """Return how many voxels vote for the centre of a ball: those whose rounded offset cancels."""
    reach = np.ceil(radius_mm / spacing).astype(int) + 1
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[(grid != 0).any(axis=1)]
    position = grid * spacing
    inward = -position / np.linalg.norm(position, axis=1, keepdims=True)
    return max(1, int((grid == -np.rint(inward * (radius_mm / spacing))).all(axis=1).sum()))
