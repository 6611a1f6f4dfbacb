"""Connected regions and their measures; the one home of connectivity (26 neighbours)."""

import numpy as np
from scipy import ndimage

_CONNECTIVITY = np.ones((3, 3, 3), bool)


def label_components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the 26-connected regions of a bool array (i, j, k).

    Returns
    -------
    labels : (i, j, k) int32 array
        0 outside, 1 to `count` in the regions.
    count : int
    """
    labels = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask, _CONNECTIVITY, output=labels)
    return labels, int(count)


def region_voxels(labels: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the voxels of regions 1 to `count`, one (n, 3) int array of indices (i, j, k) each.

    One sort of the labelled voxels, so thousands of regions cost no more than one.
    """
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    places = places[np.argsort(flat[places], kind="stable")]
    voxels = np.stack(np.unravel_index(places, labels.shape), axis=1)
    sizes = np.bincount(flat[places], minlength=count + 1)[1:]
    return np.split(voxels, np.cumsum(sizes)[:-1]) if count else []


def principal_axes_mm(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the lengths of the principal axes of a region, at the resolution of its grid.

    They are twice the standard deviations of the voxel centres, to which the variance of the longest voxel edge,
    ``edge² / 12``, is added in every direction. The grid cannot show anything thinner than that edge, so a single
    thick slice, or two of them, must not look elongated next to the finer in-plane axes.

    Parameters
    ----------
    voxels : (n, 3) int array
        Voxel indices, n >= 1.
    affine : (4, 4) array
        Voxel indices to RAS mm.

    Returns
    -------
    (3,) float64 array
        Longest first, in mm; a ball of diameter d gives about .45 d plus the voxel's share.
    """
    centred = (voxels - voxels.mean(axis=0)) @ affine[:3, :3].T
    covariance = centred.T @ centred / len(voxels)
    edge_mm = np.linalg.norm(affine[:3, :3], axis=0).max()
    variances = np.linalg.eigvalsh(covariance)[::-1]
    return 2 * np.sqrt(np.maximum(variances, 0) + edge_mm**2 / 12)


def equivalent_diameter_mm(volume_mm3: float) -> float:
    """Return the diameter in mm of the ball of this volume."""
    return float(np.cbrt(6 * volume_mm3 / np.pi))


def box_ras(voxels: np.ndarray, affine: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the lowest and highest RAS corner in mm of the box around whole voxels (n, 3)."""
    centres = voxels @ affine[:3, :3].T + affine[:3, 3]
    half_mm = 0.5 * np.abs(affine[:3, :3]).sum(axis=1)
    low, high = centres.min(axis=0) - half_mm, centres.max(axis=0) + half_mm
    return tuple(low.tolist()), tuple(high.tolist())
