"""Rigid registration of two scans of one head, and how far to believe it.

Mattes mutual information (Mattes et al. 2003, IEEE Trans Med Imaging 22:120), from many starting poses on a coarse grid
to one result on a fine one. Whether it succeeded is told by something that it has not maximised: how alike the fine
structure of both scans is. Two heads agree in their outline and little in their folds; how much depends on slices and
noise, and a head agrees with its own mirror image more than with another head. So where there is doubt the mirror image
is tried too: one head agrees better as it is, two heads agree about as well either way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .geometry import resample_like, resample_to_spacing, to_canonical, voxel_to_ras
from .volume import Volume

LEAST_AGREEMENT, BEYOND_DOUBT = 0.4, 0.8
"""Agreement below which no registration is trusted, and from which every one is; of simulated pairs and of strangers,
which Testing/Benchmarks/longitudinal_pairs.py measures."""
LEAST_ADVANTAGE = 0.1
"""Between them: by how much the agreement has to be above that of the mirror image."""
SEED = 1
_START_MM = 8.0
_LEVELS = ((4.0, 1.0, 2.0), (2.0, 0.25, 1.0))
"""Voxel size in mm, share of the voxels that are looked at, and first step in mm."""
_TURNS_DEGREES = tuple((x, 0, 0) for x in (-20, -10, 0, 10, 20)) + tuple(
    (x, y, z) for x in (-15, 0, 15) for y, z in ((-12, 0), (12, 0), (0, -12), (0, 12)))
_LIFTS_MM = (-24.0, 0.0, 24.0)
"""Along S, because slabs end at different heights."""
_BEST_STARTS = 4
_BINS = 64
_STEPS = 60
_MASKED_SHARE, _MUCH_SMALLER = 0.1, 0.8
"""Share of 0 from which a scan has a mask, and share of the other's volume below which one is the brain alone."""
_OUTLIERS_PERCENT = 1.0
_FINE_SIGMA_MM, _COARSE_SIGMA_MM = 1.0, 4.0
_TISSUE_SHARE = 0.05
_LIFTED = 0.3
"""Least value of a signed scan's tissue, of 1."""
_RIM_VOXELS = 3
_HOLE_VOXELS, _FILLED = 5, 0.6
_LEAST_VOXELS = 2000


@dataclass(frozen=True, eq=False)
class Registration:
    """Where the points of one scan lie in another.

    Attributes
    ----------
    to_moving : (4, 4) float
        RAS mm of the fixed scan to RAS mm of the moving one; a rotation and a shift.
    agreement : float in [-1, 1]
        Correlation of the fine structure (1 to 4 mm) of both scans where both show tissue; 0 for strangers.
    mirrored_agreement : float or None
        That of the mirror image of the moving scan, where it was tried.
    """

    to_moving: np.ndarray
    agreement: float
    mirrored_agreement: float | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether both scans show the same head at the same place."""
        if self.mirrored_agreement is None:
            return self.agreement >= LEAST_AGREEMENT
        return self.agreement >= max(LEAST_AGREEMENT, self.mirrored_agreement + LEAST_ADVANTAGE)

    @property
    def is_mirrored(self) -> bool:
        """Whether left and right are exchanged in one of the scans."""
        return self.mirrored_agreement is not None and self.mirrored_agreement >= self.agreement + LEAST_ADVANTAGE

    def moving_to_fixed(self, moving: Volume) -> Volume:
        """Return the moving scan with its affine in the world of the fixed one; no value is changed."""
        return Volume(moving.data, np.linalg.inv(self.to_moving) @ moving.affine)


_NO_RESULT = Registration(np.eye(4), 0.0)


def register(fixed: Volume, moving: Volume) -> Registration:
    """Find the rigid motion between two scans of the same sequence; the same input gives the same result.

    Parameters
    ----------
    fixed, moving : Volume
        Raw intensities in any orientation and spacing; whole heads, slabs, or brains with 0 around.

    Returns
    -------
    Registration
        With an agreement of 0 where there is nothing to register.
    """
    fixed, moving = _prepared(fixed), _prepared(moving)
    found = _best_pose(fixed, moving)
    if not LEAST_AGREEMENT <= found.agreement < BEYOND_DOUBT:
        return found
    mirrored = _best_pose(fixed, moving.with_data(moving.data[::-1]))
    return replace(found, mirrored_agreement=mirrored.agreement)


def _best_pose(fixed: Volume, moving: Volume) -> Registration:
    if not (fixed.data.any() and moving.data.any()):
        return _NO_RESULT
    transform = _coarse_search(*_at_spacing(fixed, moving, _START_MM))
    if transform is None:
        return _NO_RESULT
    for spacing_mm, share, step_mm in _LEVELS:
        images = _at_spacing(fixed, moving, spacing_mm)
        try:
            _optimise(transform, *images, share, step_mm, _masks(*images))
        except RuntimeError:
            return _NO_RESULT
    to_moving = _matrix_of(transform)
    return Registration(to_moving, _agreement(*_at_spacing(fixed, moving, _LEVELS[-1][0]), to_moving))


def _prepared(volume: Volume) -> Volume:
    """Return the scan in canonical axes, finite, without outliers, up to 1; 0 stays 0.

    A signed scan is lifted off the 0 around the brain, which would pass for tissue.
    """
    canonical = to_canonical(volume)
    data = np.nan_to_num(canonical.data.astype(np.float32), posinf=0, neginf=0)
    seen = data[data != 0]
    if seen.size == 0:
        return canonical.with_data(data)
    low, high = np.percentile(seen, (_OUTLIERS_PERCENT, 100 - _OUTLIERS_PERCENT))
    if low >= 0:
        return canonical.with_data((np.minimum(data, high) / max(high, 1e-12)).astype(np.float32))
    share = (np.clip(data, low, high) - low) / max(high - low, 1e-12)
    return canonical.with_data(np.where(data != 0, _LIFTED + (1 - _LIFTED) * share, 0).astype(np.float32))


def _at_spacing(fixed: Volume, moving: Volume, spacing_mm: float) -> tuple[Volume, Volume]:
    spacing = np.full(3, spacing_mm)
    return resample_to_spacing(fixed, spacing), resample_to_spacing(moving, spacing)


def _coarse_search(fixed: Volume, moving: Volume) -> sitk.Euler3DTransform | None:
    """Return the best pose of many starts, the most promising of them optimised; None where none can be compared."""
    images = _itk_image(fixed), _itk_image(moving)
    starts: list[tuple[float, int, sitk.Euler3DTransform]] = []
    for transform in _starting_poses(fixed, moving):
        try:
            starts.append((_method(transform, 1.0, 1.0).MetricEvaluate(*images), len(starts), transform))
        except RuntimeError:  # no overlap
            continue
    results = []
    for _, number, transform in sorted(starts, key=lambda start: start[:2])[:_BEST_STARTS]:
        try:
            results.append((_optimise(transform, fixed, moving, 1.0, _START_MM / 2), number, transform))
        except RuntimeError:
            continue
    return min(results, key=lambda result: result[:2])[2] if results else None


def _starting_poses(fixed: Volume, moving: Volume) -> Iterator[sitk.Euler3DTransform]:
    """Turn and lift the head around its centre, with centre on centre and as the scanner says."""
    centre, other = _centre(fixed), _centre(moving)
    for shift, lift, turn in product((other - centre, np.zeros(3)), _LIFTS_MM, _TURNS_DEGREES):
        yield sitk.Euler3DTransform(centre.tolist(), *np.deg2rad(turn).tolist(), (shift + [0, 0, lift]).tolist())


def _centre(volume: Volume) -> np.ndarray:
    weights = np.where(volume.data > _TISSUE_SHARE, 1.0, 0.0)
    if not weights.any():
        return voxel_to_ras(volume, (np.array(volume.shape) - 1) / 2)
    return voxel_to_ras(volume, np.array(ndimage.center_of_mass(weights)))


def _optimise(transform: sitk.Euler3DTransform, fixed: Volume, moving: Volume, share: float, step_mm: float,
              masks: tuple[Volume | None, Volume | None] = (None, None)) -> float:
    """Improve a pose in place and return its metric, which is lower where it is better."""
    method = _method(transform, share, step_mm)
    for mask, set_mask in zip(masks, (method.SetMetricFixedMask, method.SetMetricMovingMask), strict=True):
        if mask is not None:
            set_mask(_itk_image(mask))
    method.Execute(_itk_image(fixed), _itk_image(moving))
    return method.GetMetricValue()


def _method(transform: sitk.Euler3DTransform, share: float, step_mm: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    # the sums of several threads come in any order
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    if share < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(share, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step_mm, 1e-3, _STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    return method


def _masks(fixed: Volume, moving: Volume) -> tuple[Volume | None, Volume | None]:
    """Return where to look in each scan (uint8), None for everywhere.

    A brain with 0 around is compared to a whole head in the brain only: else its edge looks for an edge there. Two
    brains, or two heads, are best registered with their edges.
    """
    shown = [image.data != 0 for image in (fixed, moving)]
    volumes = [mask.sum() * image.voxel_volume_mm3 for mask, image in zip(shown, (fixed, moving), strict=True)]
    smaller = int(np.argmin(volumes))
    masks: list[Volume | None] = [None, None]
    if volumes[smaller] < _MUCH_SMALLER * volumes[1 - smaller] and 1 - shown[smaller].mean() > _MASKED_SHARE:
        filled = ndimage.binary_fill_holes(shown[smaller])
        masks[smaller] = (fixed, moving)[smaller].with_data(filled.astype(np.uint8))
    return masks[0], masks[1]


def _itk_image(volume: Volume) -> sitk.Image:
    """Return an ITK image whose physical space is RAS mm, so that transforms are those of RAS points."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.T))
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection((volume.affine[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    return image


def _matrix_of(transform: sitk.Euler3DTransform) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    centre = np.array(transform.GetCenter())
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


def _agreement(fixed: Volume, moving: Volume, to_moving: np.ndarray) -> float:
    """Return the correlation of both scans' fine structure, outliers cut, at some distance from any edge of tissue."""
    there = resample_like(Registration(to_moving, 0.0).moving_to_fixed(moving), fixed, order=1)
    both = (fixed.data > _TISSUE_SHARE) & (there.data > _TISSUE_SHARE)
    inner = ndimage.uniform_filter(both.astype(np.float32), _HOLE_VOXELS, mode="constant") > _FILLED
    inner = ndimage.binary_erosion(ndimage.binary_fill_holes(inner), iterations=_RIM_VOXELS)
    if inner.sum() < _LEAST_VOXELS:
        return 0.0
    details = [_detail(image.data, both, fixed.spacing)[inner] for image in (fixed, there)]
    cut = [np.clip(detail, *np.percentile(detail, (2, 98))) for detail in details]
    if min(detail.std() for detail in cut) <= 0:
        return 0.0
    return float(np.corrcoef(*cut)[0, 1])


def _detail(data: np.ndarray, where: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the difference of two Gaussian means (i, j, k), both taken over the voxels in `where`."""
    def mean(sigma_mm: float) -> np.ndarray:
        weight = ndimage.gaussian_filter(where.astype(np.float32), sigma_mm / spacing)
        return ndimage.gaussian_filter(data * where, sigma_mm / spacing) / np.maximum(weight, 1e-3)

    return mean(_FINE_SIGMA_MM) - mean(_COARSE_SIGMA_MM)
