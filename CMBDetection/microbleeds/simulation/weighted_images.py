"""What a scanner derives from the complex image: SWI, its minimum-intensity slabs, and R2*."""

import numpy as np
from scipy import ndimage

from .protocol import Protocol

_HIGH_PASS_MM = 3.0
_SLAB_MM = 8.0
_MAX_R2STAR_HZ = 500.0


def high_pass_phase(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Return the phase (radians) of a complex image (i, j, k) less that of its in-plane Gaussian average.

    The homodyne filter of SWI (Haacke et al. 2004, Magn Reson Med 52:612); it needs no unwrapping.
    """
    sigma = (_HIGH_PASS_MM / protocol.in_plane_mm,) * 2 + (0,)
    smooth = ndimage.gaussian_filter(image.real, sigma) + 1j * ndimage.gaussian_filter(image.imag, sigma)
    return np.angle(image * np.conj(smooth)).astype(np.float32)


def phase_mask(phase: np.ndarray) -> np.ndarray:
    """Return the positive phase mask to the fourth power: 1 at phase <= 0, falling linearly to 0 at π."""
    return np.clip(1 - np.maximum(phase, 0) / np.pi, 0, 1).astype(np.float32) ** 4


def susceptibility_weighted(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Return the SWI of a complex image (i, j, k): magnitude times phase mask (Haacke et al. 2004), float32."""
    return np.abs(image) * phase_mask(high_pass_phase(image, protocol))


def minimum_intensity(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Return the minimum over a sliding slab of 8 mm of slices (at least two of them), on the grid of the image."""
    slices = max(2, round(_SLAB_MM / protocol.spacing[2]))
    return ndimage.minimum_filter1d(image, slices, axis=2, mode="nearest")


def r2star_map(magnitudes: np.ndarray, echo_times_ms: tuple[float, ...]) -> np.ndarray:
    """Return R2* (1/s) of magnitudes (echo, i, j, k) by the weighted straight line through their logarithms.

    Weights are the squared magnitudes, which is the inverse variance of the logarithm; values are cut to 0 to 500.
    """
    seconds = np.array(echo_times_ms, np.float32)[:, None, None, None] / 1000
    weights = magnitudes**2
    logarithms = np.log(np.maximum(magnitudes, 1e-6))
    total = np.maximum(weights.sum(0), 1e-12)
    mean_time = (weights * seconds).sum(0) / total
    mean_log = (weights * logarithms).sum(0) / total
    slope = (weights * (seconds - mean_time) * (logarithms - mean_log)).sum(0)
    spread = np.maximum((weights * (seconds - mean_time) ** 2).sum(0), 1e-12)
    return np.clip(-slope / spread, 0, _MAX_R2STAR_HZ).astype(np.float32)
