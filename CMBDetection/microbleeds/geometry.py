"""Grids and points: millimetres and voxels, canonical orientation, resampling, cropping.

Voxel coordinates are (i, j, k) with integers at voxel centres; world coordinates are RAS mm.
"""

import numpy as np
from scipy import ndimage

from .orientation import canonical_axes
from .volume import Volume

_EQUAL_SPACING = 1e-3
"""Voxel sizes that differ by less than this share are taken as equal: headers are rounded to float32."""
_HALFWAY = 1e-6
"""Of a voxel; a point that is not this much beyond the middle between two voxels belongs to the one of lower index. So
rounding errors, which differ with the place of a scan and the order in which its axes are stored, do not decide."""


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return ``affine`` (4, 4) applied to ``points`` (..., 3).

    Examples
    --------
    >>> apply_affine(np.diag([2., 2., 2., 1.]), [1, 2, 3])
    array([2., 4., 6.])
    """
    return np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]


def voxel_to_ras(volume: Volume, points_voxel: np.ndarray) -> np.ndarray:
    """Return voxel coordinates (..., 3) of `volume` as RAS mm."""
    return apply_affine(volume.affine, points_voxel)


def ras_to_voxel(volume: Volume, points_ras: np.ndarray) -> np.ndarray:
    """Return RAS mm (..., 3) as fractional voxel coordinates of `volume`."""
    return apply_affine(np.linalg.inv(volume.affine), points_ras)


def nearest_voxels(volume: Volume, points_ras: np.ndarray) -> np.ndarray:
    """Return the voxels of `volume` (..., 3; int, may lie outside) nearest to RAS mm (..., 3).

    Halfway between two voxels it is always the one of the lower index.
    """
    return np.rint(ras_to_voxel(volume, points_ras) - _HALFWAY).astype(int)


def to_canonical(volume: Volume) -> Volume:
    """Return the volume with its axes reordered and reversed to run closest to R, A, S; no value is changed."""
    permutation, flips = canonical_axes(volume.affine)
    data = np.transpose(volume.data, permutation)
    to_input = np.zeros((4, 4))
    to_input[3, 3] = 1
    for axis, (source, flip) in enumerate(zip(permutation, flips, strict=True)):
        to_input[source, axis] = -1 if flip else 1
        to_input[source, 3] = volume.shape[source] - 1 if flip else 0
    data = np.flip(data, [axis for axis in range(3) if flips[axis]])
    return Volume(np.ascontiguousarray(data), volume.affine @ to_input)


def from_canonical(volume: Volume, like: Volume) -> Volume:
    """Return a volume on the canonical grid of `like` in the axis order of `like`; undoes `to_canonical`.

    Raises
    ------
    ValueError
        If `volume` is not on the canonical grid of `like`.
    """
    permutation, flips = canonical_axes(like.affine)
    data = np.flip(volume.data, [axis for axis in range(3) if flips[axis]])
    data = np.transpose(data, np.argsort(permutation))
    result = like.with_data(np.ascontiguousarray(data))
    if not to_canonical(result).same_grid(volume):
        raise ValueError("volume is not on the canonical grid of `like`; resample it first")
    return result


def right_handed(volume: Volume) -> Volume:
    """Return the volume as 3D Slicer loads it: where its axes are left-handed, with axis k reversed."""
    if np.linalg.det(volume.affine[:3, :3]) > 0:
        return volume
    reverse = np.diag([1.0, 1.0, -1.0, 1.0])
    reverse[2, 3] = volume.shape[2] - 1
    return Volume(np.flip(volume.data, 2), volume.affine @ reverse)


def resample_to_spacing(volume: Volume, spacing_mm: np.ndarray, order: int = 1) -> Volume:
    """Return the volume with voxels of `spacing_mm` (3 numbers, or one) over the same field of view.

    The centre of the field of view stays where it is; its size is kept to within half a new voxel on each axis.
    The volume itself is returned when its voxels have this size already. See `resample_like` for values and types.
    """
    scale = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3) / volume.spacing
    scale = np.where(np.abs(scale - 1) < _EQUAL_SPACING, 1.0, scale)
    shape = np.maximum(1, np.rint(np.array(volume.shape) / scale)).astype(int)
    to_input = np.diag([*scale, 1.0])
    to_input[:3, 3] = (np.array(volume.shape) - 1) / 2 - scale * (shape - 1) / 2
    grid = Volume(np.broadcast_to(np.uint8(0), tuple(shape)), volume.affine @ to_input)
    return resample_like(volume, grid, order)


def resample_like(volume: Volume, like: Volume, order: int) -> Volume:
    """Return the values of `volume` at the voxel centres of `like`.

    Parameters
    ----------
    volume, like : Volume
    order : int
        Spline order: 0 for labels and masks (type kept), 1 or more for images (float result). Images are smoothed
        first along axes that become coarser, so that small lesions fade instead of vanishing between samples.

    Returns
    -------
    Volume
        0 outside the field of view of `volume`, which ends half a voxel beyond the outermost voxel centres.
    """
    data = volume.data
    if order > 0 and not np.issubdtype(data.dtype, np.floating):
        data = data.astype(np.float32)
    if volume.same_grid(like):
        return volume if data is volume.data else volume.with_data(data)
    to_input = np.linalg.inv(volume.affine) @ like.affine
    matrix, offset = np.where(np.abs(to_input[:3, :3]) < 1e-9, 0, to_input[:3, :3]), to_input[:3, 3]
    if order > 0:
        data = _smooth_before_coarsening(data, np.linalg.norm(matrix, axis=1))
    diagonal = np.diag(matrix)
    # scipy is several times faster on a matrix that it knows to be diagonal
    compact = diagonal if np.array_equal(matrix, np.diag(diagonal)) else matrix
    start = offset - _HALFWAY if order == 0 else offset
    sampled = ndimage.affine_transform(data, compact, start, like.shape, order=order, mode="nearest")
    sampled[~_inside(matrix, offset, like.shape, volume.shape)] = 0
    return like.with_data(sampled)


def cubic_b_spline(distance: np.ndarray) -> np.ndarray:
    """Return the cubic B-spline at distances (in knots, not negative) from its middle."""
    inner = 2 / 3 - distance**2 + distance**3 / 2
    return np.where(distance < 1, inner, np.clip(2 - distance, 0, None) ** 3 / 6)


def _smooth_before_coarsening(data: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Gaussian-filter (i, j, k) data for samples `step` voxels apart.

    A profile as wide at half height as a voxel becomes as wide as the distance of the samples.
    """
    sigma = np.where(step > 1 + _EQUAL_SPACING, np.sqrt(np.maximum(step**2 - 1, 0) / (8 * np.log(2))), 0)
    return ndimage.gaussian_filter(data, sigma, mode="nearest") if sigma.any() else data


def _inside(matrix: np.ndarray, offset: np.ndarray, shape: tuple, input_shape: tuple) -> np.ndarray:
    """Return which voxels of a grid of `shape` lie in the field of view of the input, as an (i, j, k) bool array."""
    inside = np.ones(shape, dtype=bool)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    for row in range(3):
        where = offset[row]
        for axis in range(3):
            # zero terms are skipped to keep the arrays one-dimensional wherever the grids are aligned
            if matrix[row, axis]:
                where = where + matrix[row, axis] * axes[axis]
        inside &= (where >= -0.5 - 1e-6) & (where <= input_shape[row] - 0.5 + 1e-6)
    return inside


def bounding_box(mask: np.ndarray, margin_mm: float, spacing: np.ndarray) -> np.ndarray:
    """Return the box around the true voxels of a mask, widened by a margin and cut at the image border.

    Parameters
    ----------
    mask : (i, j, k) bool array
    margin_mm : float
        Rounded up to whole voxels on each axis.
    spacing : (3,) mm

    Returns
    -------
    (2, 3) int array
        First voxel, and one past the last.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    first, last = np.zeros(3, dtype=int), np.zeros(3, dtype=int)
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if filled.size == 0:
            raise ValueError("mask is empty; it has no bounding box")
        first[axis], last[axis] = filled[0], filled[-1] + 1
    margin = np.ceil(margin_mm / np.asarray(spacing) - 1e-6).astype(int)
    return np.stack([np.maximum(first - margin, 0), np.minimum(last + margin, mask.shape)])


def crop(volume: Volume, box_voxel: np.ndarray) -> Volume:
    """Return the part of a volume in a box (first voxel, one past the last; (2, 3) int), affine moved along.

    Raises
    ------
    ValueError
        If the box is empty or reaches out of the volume.
    """
    first, last = np.asarray(box_voxel)
    if (first < 0).any() or (last > volume.shape).any() or (first >= last).any():
        raise ValueError(f"box {np.asarray(box_voxel).tolist()} does not fit a volume of shape {volume.shape}")
    affine = volume.affine.copy()
    affine[:3, 3] = apply_affine(volume.affine, first)
    return Volume(volume.data[tuple(slice(a, b) for a, b in zip(first, last, strict=True))], affine)
