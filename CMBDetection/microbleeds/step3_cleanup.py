"""Step 3: remove candidates that are too small, too large, elongated, at the brain's edge, or part of a line.

Rules, in this order: "volume", "size", "shape", "edge", "linearity". They are lenient: the student network (step 2) has
done most of the work, microbleeds sit in the cortex and beside vessels, and losing one is worse than keeping a vessel.
"""

from collections.abc import Sequence

import numpy as np

from .components import equivalent_diameter_mm, principal_axes_mm
from .geometry import ras_to_voxel
from .settings import CleanupSettings
from .volume import Volume

_MIN_SIGMA_MM = 0.8
_SIGMA_OF_DIAMETER = 0.25
# Along each axis, this many voxels are added (in squares) to the scale: thick slices cannot be differentiated finer.
_SIGMA_VOXELS = 0.5
_KERNEL_SIGMAS = 3.0
_PLANE_BELOW = 0.1
# A line is followed this far to both sides, at a finer scale, and compared with what lies as far across it.
_FOLLOW_SIGMAS = 2.5 * np.array([-1, -2 / 3, -1 / 3, 1 / 3, 2 / 3, 1])
_FOLLOW_SCALE = 0.6


def removal_rules(regions: Sequence[np.ndarray], centres_ras: np.ndarray, image: Volume, brain: Volume,
                  settings: CleanupSettings) -> tuple[str | None, ...]:
    """Name the first rule that removes each candidate.

    Parameters
    ----------
    regions : sequence of (n, 3) int arrays
        Voxel indices of each candidate on the grid of `image`.
    centres_ras : (m, 3) array
        Their centres in RAS mm.
    image : Volume
        Working image of step 0 (`intensity.normalise`): tissue near 0, microbleeds bright, 0 outside the brain.
    brain : Volume
        Bool mask on the same grid.
    settings : CleanupSettings
        A limit of None switches its rule off.

    Returns
    -------
    tuple of m names, or None for the candidates that stay
    """
    centres_voxel = ras_to_voxel(image, np.reshape(centres_ras, (-1, 3)))
    return tuple(_first_rule(voxels, centre, image, brain, settings)
                 for voxels, centre in zip(regions, centres_voxel, strict=True))


def _first_rule(voxels: np.ndarray, centre_voxel: np.ndarray, image: Volume, brain: Volume,
                settings: CleanupSettings) -> str | None:
    volume_mm3 = len(voxels) * image.voxel_volume_mm3
    if _under(volume_mm3, settings.min_volume_mm3):
        return "volume"
    diameter_mm = equivalent_diameter_mm(volume_mm3)
    if _under(diameter_mm, settings.min_diameter_mm) or _over(diameter_mm, settings.max_diameter_mm):
        return "size"
    longest, middle, _ = principal_axes_mm(voxels, image.affine)
    if _over(longest / middle, settings.max_elongation):
        return "shape"
    reach_mm = settings.min_edge_distance_mm
    if reach_mm is not None and edge_distance_mm(brain, centre_voxel, reach_mm) < reach_mm:
        return "edge"
    limit = settings.max_linearity
    if limit is not None and linearity(image, brain, centre_voxel, diameter_mm) > limit:
        return "linearity"
    return None


def _under(value: float, limit: float | None) -> bool:
    return limit is not None and value < limit


def _over(value: float, limit: float | None) -> bool:
    return limit is not None and value > limit


def edge_distance_mm(brain: Volume, centre_voxel: np.ndarray, reach_mm: float) -> float:
    """Return the distance in mm from a point to the nearest voxel outside the brain, that voxel's extent included.

    Voxels up to about `reach_mm` away are looked at; infinity if none is outside. The faces of the array are not an
    edge: where the field of view cuts the brain, nothing is known to end. A point outside the brain has distance 0.
    """
    nearest = np.rint(centre_voxel).astype(int)
    if (nearest < 0).any() or (nearest >= brain.shape).any() or not brain.data[tuple(nearest)]:
        return 0.0
    reach = np.ceil(reach_mm / brain.spacing).astype(int) + 1
    low, high = np.maximum(nearest - reach, 0), np.minimum(nearest + reach + 1, brain.shape)
    outside = np.argwhere(~brain.data[tuple(map(slice, low, high))].astype(bool))
    if len(outside) == 0:
        return float("inf")
    gaps = np.maximum(np.abs(outside + low - centre_voxel) - 0.5, 0)
    return float(np.linalg.norm(gaps * brain.spacing, axis=1).min())


def linearity(image: Volume, brain: Volume, centre_voxel: np.ndarray, diameter_mm: float) -> float:
    """Return how much the bright structure at a point looks like a line, 0 (ball, ovoid, plane, noise) to 1.

    It is the smaller one of two values:

    - Shape. With a1 >= a2 >= a3 the eigenvalues of the negative Hessian, ``(a2 - a3 - e) / (a2 + a3)``: a line has
      a3 = 0, a ball a2 = a3. This is the pair of eigenvalues that also tells tubes from blobs in Frangi et al. (MICCAI
      1998, doi:10.1007/BFb0056195). e is the standard error of a second derivative, from the noise around the point,
      so that a faint lesion is not called a line by chance.
    - Continuity. The lowest contrast on the way along the direction of a3, over the contrast at the point. Lesions in
      a row and chance neighbours pass for a line in the Hessian, but not here.

    The scale sigma is .8 mm, or a quarter of the diameter of large candidates. Each axis has its own,
    ``sqrt(sigma² + (0.5 spacing)²)``, and lengths are counted in it: a ball that shows on one slice of 4 mm then stays
    a ball, and a vein is followed through the slices. What lies beyond the array counts as tissue, which makes a line
    that is cut there look shorter.
    """
    sigma_mm = np.hypot(max(_MIN_SIGMA_MM, _SIGMA_OF_DIAMETER * diameter_mm), _SIGMA_VOXELS * image.spacing)
    sigma_voxel = sigma_mm / image.spacing
    starts, weights = _kernels(centre_voxel, sigma_voxel)
    crop, inside = _crop(image.data, starts, weights), _crop(brain.data, starts, weights).astype(bool)
    values, directions = np.linalg.eigh(_hessian(crop, weights))
    largest, middle, smallest = -values
    if middle <= max(0, _PLANE_BELOW * largest):
        return 0.0
    smallest = max(smallest, 0.0)
    error = _noise(crop, inside, image.slice_axis) * _second_derivative_norm(weights)
    shape = (middle - smallest - error) / (middle + smallest)
    if shape <= 0:
        return 0.0
    return float(min(shape, _continuity(image, centre_voxel, sigma_voxel, directions)))


def _continuity(image: Volume, centre_voxel: np.ndarray, sigma_voxel: np.ndarray, directions: np.ndarray) -> float:
    def smoothed(steps: np.ndarray) -> float:
        starts, weights = _kernels(centre_voxel + steps * sigma_voxel, _FOLLOW_SCALE * sigma_voxel)
        return float(np.einsum("ijk,i,j,k", _crop(image.data, starts, weights), *(w[0] for w in weights)))

    across = [smoothed(sign * _FOLLOW_SIGMAS[-1] * directions[:, axis]) for axis in (0, 1) for sign in (-1, 1)]
    along = [smoothed(step * directions[:, 2]) for step in _FOLLOW_SIGMAS]
    contrast = smoothed(np.zeros(3)) - np.mean(across)
    return float(np.clip((min(along) - np.mean(across)) / contrast, 0, 1)) if contrast > 0 else 0.0


def _kernels(centre_voxel: np.ndarray, sigma_voxel: np.ndarray) -> tuple[tuple[int, ...], tuple[np.ndarray, ...]]:
    """First voxel and weights of `_derivative_kernels` for the three axes."""
    pairs = [_derivative_kernels(c, s) for c, s in zip(centre_voxel, sigma_voxel, strict=True)]
    return tuple(start for start, _ in pairs), tuple(weights for _, weights in pairs)


def _derivative_kernels(centre_voxel: float, sigma_voxel: float) -> tuple[int, np.ndarray]:
    """First voxel, and weights (3, n) of the Gaussian and its two derivatives around a point, per sigma.

    The derivatives are Gaussian times polynomials made orthogonal on the voxels themselves: sums over a few thick
    slices are not the integrals, and a constant or a slope would leak into the second derivative.
    """
    middle, reach = int(np.rint(centre_voxel)), int(np.ceil(_KERNEL_SIGMAS * sigma_voxel))
    u = (np.arange(middle - reach, middle + reach + 1) - centre_voxel) / sigma_voxel
    gauss = np.exp(-u * u / 2)
    gauss /= gauss.sum()
    first = u - gauss @ u
    second = u * u - gauss @ (u * u)
    second = second - first * (gauss @ (second * first)) / (gauss @ (first * first))
    scale = np.array([1, gauss @ (first * u), gauss @ (second * u * u) / 2])
    return middle - reach, gauss * np.array([np.ones_like(u), first, second]) / scale[:, None]


def _hessian(crop: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    # Entry (a, b, c) is the derivative of order a, b, c along the three axes.
    d = np.einsum("ijk,ai,bj,ck->abc", crop, *weights, optimize=True)
    return np.array([[d[2, 0, 0], d[1, 1, 0], d[1, 0, 1]],
                     [d[1, 1, 0], d[0, 2, 0], d[0, 1, 1]],
                     [d[1, 0, 1], d[0, 1, 1], d[0, 0, 2]]])


def _second_derivative_norm(weights: Sequence[np.ndarray]) -> float:
    """Standard deviation of a second derivative in noise of standard deviation 1, mean over the axes."""
    norms = np.array([np.linalg.norm(w, axis=1) for w in weights])
    return float(np.mean(np.prod(norms[:, 0]) * norms[:, 2] / norms[:, 0]))


def _noise(crop: np.ndarray, inside: np.ndarray, slice_axis: int) -> float:
    """Noise and fine texture: robust standard deviation of the differences between in-plane neighbours."""
    steps = []
    for axis in {0, 1, 2} - {slice_axis}:
        pairs = np.minimum(inside.take(range(1, inside.shape[axis]), axis),
                           inside.take(range(inside.shape[axis] - 1), axis))
        steps.append(np.abs(np.diff(crop, axis=axis))[pairs])
    steps = np.concatenate(steps)
    return float(np.median(steps) / 0.6745 / np.sqrt(2)) if steps.size else 0.0


def _crop(data: np.ndarray, starts: Sequence[int], weights: Sequence[np.ndarray]) -> np.ndarray:
    """Cut the box that the weights cover; 0 where it reaches beyond the array."""
    shape = tuple(w.shape[1] for w in weights)
    result = np.zeros(shape, data.dtype)
    low = np.maximum(starts, 0)
    high = np.maximum(np.minimum(np.add(starts, shape), data.shape), low)
    result[tuple(map(slice, low - starts, high - starts))] = data[tuple(map(slice, low, high))]
    return result
