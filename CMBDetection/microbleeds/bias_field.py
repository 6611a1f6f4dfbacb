"""Bias field: the slow brightness drift of the receive coil, estimated with N4 on a coarse grid and divided out."""

import numpy as np
import SimpleITK as sitk
from scipy.interpolate import CubicSpline
from scipy.ndimage import find_objects

from .volume import Volume

# Spline knots end up about a quarter of the domain apart (three levels), so the domain is padded to this width: a thin
# slab would otherwise get knots a few millimetres apart and lose its lesions and its tissue contrast.
_MIN_DOMAIN_MM = 160.0
# Few: longer runs start to flatten the slow contrast between core and cortex.
_ITERATIONS = (15, 10, 5)
_CONVERGENCE = 1e-3
_MIN_VOXELS = 500
_CEILING = 3.0


def correct_bias(volume: Volume, brain: Volume, grid_mm: float = 4.0) -> Volume:
    """Divide out the bias field of a magnitude image (GRE or SWI, not QSM).

    The field is estimated by N4 (Tustison et al., IEEE Trans Med Imaging 2010, doi:10.1109/TMI.2010.2046908) inside
    the brain, on means over blocks of about `grid_mm`, and interpolated by cubic splines. Its mean over the brain is
    1, so the image keeps its scale.

    Parameters
    ----------
    volume : Volume
        Magnitude image; zero, negative and not finite voxels take no part in the estimate.
    brain : Volume
        Bool mask on the same grid.
    grid_mm : float
        Voxel size of the estimate in mm.

    Returns
    -------
    Volume
        float32 image on the same grid; `volume` itself where there is nothing to estimate a field from (a constant
        brain, fewer than 500 blocks of brain) or where N4 gives up, so that callers can tell with ``is``.
    """
    factors = np.maximum(1, np.round(grid_mm / volume.spacing)).astype(int)
    values, mask = _block_means(volume.data, np.asarray(brain.data, bool), factors)
    if mask.sum() < _MIN_VOXELS or np.ptp(values[mask]) <= 1e-6 * values[mask].max():
        return volume
    log_field = _n4_log_field(values, mask, volume.spacing * factors)
    if log_field is None:
        return volume
    log_field -= np.log(np.exp(log_field[mask]).mean())
    return volume.with_data(volume.data.astype(np.float32) * _expand(np.exp(-log_field), factors, volume.shape))


def _block_means(data: np.ndarray, mask: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the usable brain voxels of each block, and the blocks at least half of which are usable."""
    usable = mask & np.isfinite(data) & (data > 0)
    if not usable.any():
        return np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), bool)
    # A hot voxel must not colour its block.
    ceiling = _CEILING * np.median(data[usable])
    total = _block_sums(np.where(usable, np.minimum(data, ceiling), 0).astype(np.float32), factors)
    count = _block_sums(usable.astype(np.float32), factors)
    return total / np.maximum(count, 1), count >= 0.5 * np.prod(factors)


def _block_sums(data: np.ndarray, factors: np.ndarray) -> np.ndarray:
    for axis, factor in enumerate(factors):
        data = np.add.reduceat(data, np.arange(0, data.shape[axis], factor), axis=axis)
    return data


def _n4_log_field(values: np.ndarray, mask: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray | None:
    """Natural logarithm of the bias field at every block, or None where N4 gives up."""
    box = find_objects(mask.view(np.uint8))[0]
    lacking = np.maximum(0, np.ceil(_MIN_DOMAIN_MM / spacing_mm).astype(int) - values[box].shape)
    padding = [(n // 2, n - n // 2) for n in lacking]
    inner = tuple(slice(low, low + size) for (low, _), size in zip(padding, values[box].shape, strict=True))
    image = sitk.GetImageFromArray(np.pad(values[box], padding))
    inside = sitk.GetImageFromArray(np.pad(mask[box], padding).astype(np.uint8))
    # SimpleITK counts the axes of an array backwards.
    image.SetSpacing(spacing_mm[::-1].tolist())
    inside.CopyInformation(image)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(_ITERATIONS)
    n4.SetConvergenceThreshold(_CONVERGENCE)
    try:
        n4.Execute(image, inside)
        log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))[inner].astype(np.float64)
    except RuntimeError:
        return None
    around = [(part.start, size - part.stop) for part, size in zip(box, values.shape, strict=True)]
    return np.pad(log_field, around, mode="edge") if np.isfinite(log_field).all() else None


def _expand(coarse: np.ndarray, factors: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Interpolate block values to voxels, float32; constant beyond the outer block centres."""
    for axis, factor in enumerate(factors):
        if coarse.shape[axis] == 1:
            coarse = np.repeat(coarse, shape[axis], axis=axis)
            continue
        blocks = np.arange(coarse.shape[axis])
        at = np.clip((np.arange(shape[axis]) + 0.5) / factor - 0.5, 0, blocks[-1])
        # Splines act on each axis alone, so a matrix product does what a spline per line would do, faster.
        weights = CubicSpline(blocks, np.eye(len(blocks)))(at).astype(np.float32)
        coarse = np.moveaxis(np.tensordot(weights, coarse.astype(np.float32), axes=(1, axis)), 0, axis)
    return coarse
