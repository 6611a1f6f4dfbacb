"""From the measured phase of all echoes to a susceptibility map: background removed, field inverted."""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from .protocol import Grids, Protocol
from .susceptibility import tikhonov_inverse, truncated_inverse

_PADDING = 12
_LOWEST_WAVELENGTH_MM = 40.0
_EDGE_MM = 2.5
_AREA_MM, _LEAST_SIGNAL = 3.0, 0.4


@dataclass(frozen=True)
class Inversion:
    """How phase becomes susceptibility.

    Attributes
    ----------
    method : "truncated" or "tikhonov"
    strength : threshold or weight of the method
    smoothing_mm : standard deviation of a final Gaussian
    background_left : share of the background field that removal misses
    """

    method: str
    strength: float
    smoothing_mm: float
    background_left: float


def draw_inversion(rng: np.random.Generator) -> Inversion:
    """Draw one of the two inversions with a strength from the range in use."""
    method = str(rng.choice(["truncated", "tikhonov"]))
    strength = rng.uniform(0.1, 0.2) if method == "truncated" else rng.uniform(0.03, 0.12)
    return Inversion(method, float(strength), float(rng.uniform(0, 0.5)), float(rng.uniform(0.02, 0.15)))


def local_field(echoes: np.ndarray, inside: np.ndarray, known_ppm: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Return the field (ppm) of sources in the mask `inside` from complex echoes (echo, i, j, k).

    `known_ppm` is the part of the background that is known and taken off the phase first: on thick slices the steps
    below alone would leave more of it than the methods of clinical QSM do. The Laplacian of the rest follows from the
    phase differences of neighbours, wrapped to ±π, so whole wraps do not matter (Schofield & Zhu 2003, Opt Lett
    28:1194); echoes are averaged by their precision. Fields of sources outside have no Laplacian inside: setting it to
    0 outside the mask and solving Poisson's equation leaves those from inside (Li et al. 2014, NMR Biomed 27:219).
    Wavelengths beyond 40 mm are dropped. With several echoes the phase of the first, which holds that of the coil, is
    taken from the others.
    """
    times_ms = np.array(protocol.echo_times_ms)
    if len(times_ms) > 1:
        echoes, times_ms = echoes[1:] * np.conj(echoes[0]), times_ms[1:] - times_ms[0]
    total, weights = np.zeros(inside.shape, np.float32), np.full(inside.shape, 1e-12, np.float32)
    for echo, time_ms in zip(echoes, times_ms, strict=True):
        radians_per_ppm = np.float32(2 * np.pi * protocol.hertz_per_ppm * time_ms / 1000)
        phase = np.angle(echo).astype(np.float32) - radians_per_ppm * known_ppm
        weight = (np.abs(echo) * radians_per_ppm) ** 2
        total += weight * _laplacian(phase, protocol.spacing) / radians_per_ppm
        weights += weight
    return np.where(inside, _solve_poisson(np.where(inside, total / weights, 0), protocol.spacing), 0)


def susceptibility_map(echoes: np.ndarray, brain: np.ndarray, background_ppm: np.ndarray, protocol: Protocol,
                       grids: Grids, inversion: Inversion) -> np.ndarray:
    """Return the QSM (ppm, float32, 0 outside) of complex echoes (echo, i, j, k), referenced to the brain's mean."""
    inside = _reliable(np.abs(echoes[-1]), brain, protocol.spacing)
    if not inside.any():
        return np.zeros(brain.shape, np.float32)
    known = np.float32(1 - inversion.background_left) * background_ppm
    field = local_field(echoes, inside, known, protocol)
    shape = [fft.next_fast_len(n + 2 * _PADDING, real=True) for n in field.shape]
    pad = [((m - n) // 2, m - n - (m - n) // 2) for n, m in zip(field.shape, shape, strict=True)]
    invert = {"truncated": truncated_inverse, "tikhonov": tikhonov_inverse}[inversion.method]
    result = invert(np.pad(field, pad), protocol.spacing, grids.b0_direction, inversion.strength)
    result = result[tuple(slice(a, a + n) for (a, _), n in zip(pad, field.shape, strict=True))]
    if inversion.smoothing_mm:
        result = ndimage.gaussian_filter(result, inversion.smoothing_mm / protocol.spacing)
    return np.where(inside, result - result[inside].mean(), 0).astype(np.float32)


def _reliable(magnitude: np.ndarray, brain: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the mask for QSM: the brain less its edge and less areas (not foci) that have hardly any signal left."""
    signal = ndimage.gaussian_filter(magnitude, _AREA_MM / spacing)
    kept = brain & (signal > _LEAST_SIGNAL * np.median(signal[brain])) if brain.any() else brain
    return ndimage.binary_erosion(kept, _ball(_EDGE_MM, spacing))


def _laplacian(phase: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the Laplacian (1/mm²) of a wrapped phase (radians) from wrapped differences; 0 beyond the border."""
    result = np.zeros_like(phase)
    for axis, step in enumerate(spacing):
        difference = np.diff(phase, axis=axis)
        difference -= np.float32(2 * np.pi) * np.rint(difference / np.float32(2 * np.pi))
        difference /= np.float32(step**2)
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        result[tuple(first)] += difference
        result[tuple(last)] -= difference
    return result


def _solve_poisson(source: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the field whose discrete Laplacian is `source`, long wavelengths faded out."""
    shape = tuple(fft.next_fast_len(n + _PADDING, real=True) for n in source.shape)
    axes = [fft.fftfreq(n) for n in shape[:2]] + [fft.rfftfreq(shape[2])]
    waves = np.meshgrid(*axes, indexing="ij", sparse=True)
    eigenvalue = sum((2 * np.cos(2 * np.pi * wave) - 2) / step**2 for wave, step in zip(waves, spacing, strict=True))
    lowest = (2 * np.pi / _LOWEST_WAVELENGTH_MM) ** 2
    spectrum = fft.rfftn(source, shape)
    # tends to 1 / eigenvalue above the lowest wavelength and to 0 below it
    spectrum *= (eigenvalue / (eigenvalue**2 + lowest**2)).astype(np.float32)
    return fft.irfftn(spectrum, shape)[tuple(slice(n) for n in source.shape)]


def _ball(radius_mm: float, spacing: np.ndarray) -> np.ndarray:
    reach = np.maximum(np.floor(radius_mm / spacing), 1).astype(int)
    axes = [np.arange(-r, r + 1) * s for r, s in zip(reach, spacing, strict=True)]
    # one voxel at least in every direction, because differences to the outside are noise
    return sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) <= max(radius_mm, spacing.max()) ** 2
