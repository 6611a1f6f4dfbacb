"""The magnetic field that a distribution of susceptibility makes, and two ways back."""

import numpy as np
from scipy import fft

_PADDING = 16
_ROWS = 16


def dipole_kernel(shape: tuple[int, int, int], spacing: np.ndarray, b0_direction: np.ndarray,
                  rows: slice = slice(None)) -> np.ndarray:
    """Return the unit dipole response in k-space, ``1/3 - (k·b)²/k²``, on the grid of `scipy.fft.rfftn`.

    Salomir et al. 2003 (Concepts Magn Reson 19B:26); Marques & Bowtell 2005. `spacing` in mm, `b0_direction` a vector
    along the grid's own axes, `rows` the part of the first axis that is wanted. The value at k = 0, which is not
    defined, is 0.
    """
    direction = np.asarray(b0_direction, np.float64) / np.linalg.norm(b0_direction)
    axes = [fft.fftfreq(n, d) for n, d in zip(shape[:2], spacing[:2], strict=True)]
    axes.append(fft.rfftfreq(shape[2], spacing[2]))
    axes[0] = axes[0][rows]
    k = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
    along = sum(component * np.float32(weight) for component, weight in zip(k, direction, strict=True))
    square = sum(component**2 for component in k)
    zero = square == 0
    square[zero] = 1
    along *= along
    along /= square
    kernel = np.subtract(np.float32(1 / 3), along, out=along)
    kernel[zero] = 0
    return kernel


def field_of(susceptibility_ppm: np.ndarray, spacing: np.ndarray, b0_direction: np.ndarray,
             threads: int | None = None) -> np.ndarray:
    """Return the field perturbation relative to B0, in ppm, of a susceptibility map in ppm, (i, j, k) float32.

    The map is continued with zeros for `_PADDING` voxels, beyond which its copies follow (the transform is periodic).
    """
    shape = tuple(fft.next_fast_len(n + _PADDING, real=True) for n in susceptibility_ppm.shape)
    padded = np.zeros(shape, np.float32)
    inner = tuple(slice(n) for n in susceptibility_ppm.shape)
    padded[inner] = susceptibility_ppm
    spectrum = fft.rfftn(padded, workers=threads)
    del padded
    # by parts, because the kernel of a whole head would need as much memory as the spectrum
    for first in range(0, shape[0], _ROWS):
        rows = slice(first, first + _ROWS)
        spectrum[rows] *= dipole_kernel(shape, spacing, b0_direction, rows)
    return fft.irfftn(spectrum, shape, workers=threads, overwrite_x=True)[inner]


def truncated_inverse(field_ppm: np.ndarray, spacing: np.ndarray, b0_direction: np.ndarray,
                      threshold: float) -> np.ndarray:
    """Return the susceptibility map (ppm) of a field map (ppm) by thresholded k-space division, streaks included.

    Shmueli et al. 2009 (Magn Reson Med 62:1510): where the kernel is smaller than `threshold`, divide by the
    threshold with the kernel's sign.
    """
    kernel = dipole_kernel(field_ppm.shape, spacing, b0_direction)
    sign = np.where(kernel < 0, -1, 1).astype(np.float32)
    return _filtered(field_ppm, 1 / np.where(np.abs(kernel) < threshold, sign * threshold, kernel))


def tikhonov_inverse(field_ppm: np.ndarray, spacing: np.ndarray, b0_direction: np.ndarray, weight: float) -> np.ndarray:
    """Return the susceptibility map (ppm) of a field map (ppm) with the smallest ``|D χ - f|² + weight² |χ|²``.

    Closed form in k-space (Kressler et al. 2010, IEEE Trans Med Imaging 29:273): ``D / (D² + weight²)``.
    """
    kernel = dipole_kernel(field_ppm.shape, spacing, b0_direction)
    return _filtered(field_ppm, kernel / (kernel**2 + np.float32(weight) ** 2))


def _filtered(data: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    spectrum = fft.rfftn(data.astype(np.float32, copy=False))
    spectrum *= transfer
    return fft.irfftn(spectrum, data.shape, overwrite_x=True)
