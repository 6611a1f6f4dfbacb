"""From tissue on the fine grid to the complex image: sum over each slice, acquired k-space, scanner, reconstruction."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from ..geometry import cubic_b_spline
from .protocol import Grids, Protocol


@dataclass(frozen=True, eq=False)
class TissueMaps:
    """Tissue on the fine grid, float32 (i, j, k): proton density (relative), R2* in 1/s, susceptibility in ppm."""

    density: np.ndarray
    r2star_hz: np.ndarray
    susceptibility_ppm: np.ndarray


def acquired_kspace(maps: TissueMaps, field_ppm: np.ndarray, protocol: Protocol, grids: Grids,
                    echo_times_ms: Sequence[float], threads: int) -> np.ndarray:
    """Return the noise-free k-space that is acquired, (echo, i, j, slice) complex64, zero frequency first.

    The signal of every fine voxel, ``S = PD · exp(-TE·R2*) · exp(2πi·γ/2π·B0·ΔB·TE)``, is summed over the layers of its
    slice (box profile) and over the plane (Fourier transform, of which the scanner samples the central part), so that
    dephasing, blooming and partial volume come out of the sum. The mean over the fine voxels is the unit.
    """
    kspace = np.empty((len(echo_times_ms), *grids.acquired, grids.shape[2]), np.complex64)
    per_slice = protocol.layers + protocol.gap_layers

    def form(number: int) -> None:
        layers = slice(number * per_slice, number * per_slice + protocol.layers)
        density, r2star, field = (np.moveaxis(data[:, :, layers], 2, 0).astype(np.float32) for data in
                                  (maps.density, maps.r2star_hz, field_ppm))
        for echo, time_ms in enumerate(echo_times_ms):
            plane = _signal(density, r2star, field, protocol, time_ms).mean(axis=0)
            kspace[echo, :, :, number] = _centre(fft.fft2(plane, norm="forward"), grids.acquired)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(form, range(grids.shape[2])))
    return kspace


def _signal(density: np.ndarray, r2star_hz: np.ndarray, field_ppm: np.ndarray, protocol: Protocol,
            echo_time_ms: float) -> np.ndarray:
    seconds = echo_time_ms / 1000
    magnitude = density * np.exp(np.float32(-seconds) * r2star_hz)
    phase = np.float32(2 * np.pi * protocol.hertz_per_ppm * seconds) * field_ppm
    signal = np.empty(density.shape, np.complex64)
    signal.real = magnitude * np.cos(phase)
    signal.imag = magnitude * np.sin(phase)
    return signal


def band_limited(data: np.ndarray, protocol: Protocol, grids: Grids) -> np.ndarray:
    """Return a real map of the fine grid as the image would show it: slice means at the acquired bandwidth."""
    per_slice = protocol.layers + protocol.gap_layers
    slices = data.reshape(*data.shape[:2], grids.shape[2], per_slice)[..., :protocol.layers].mean(axis=3)
    kspace = _centre(fft.fft2(slices, axes=(0, 1), norm="forward"), grids.acquired)
    return reconstruct(kspace[None], protocol, grids)[0].real.astype(np.float32)


def reconstruct(kspace: np.ndarray, protocol: Protocol, grids: Grids) -> np.ndarray:
    """Return the image (echo, i, j, slice) complex64 of an acquired k-space: faded out, zero-filled, transformed."""
    window = np.multiply.outer(*(_fade(n, protocol.taper) for n in grids.acquired))
    padded = np.zeros((kspace.shape[0], *grids.shape), np.complex64)
    halves = [(slice(0, (n + 1) // 2), slice(-(n // 2), None)) for n in grids.acquired]
    for i in halves[0]:
        for j in halves[1]:
            padded[:, i, j] = kspace[:, i, j] * window[i, j][..., None]
    return fft.ifft2(padded, axes=(1, 2), norm="forward", overwrite_x=True).astype(np.complex64)


def add_scanner(kspace: np.ndarray, protocol: Protocol, grids: Grids, level: float,
                rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the k-space as a scanner measures it, and the coil's sensitivity on the grid of the image.

    Coil sensitivity and phase, and complex noise, which has the standard deviation `level` / SNR in each channel of
    the reconstructed image.
    """
    image = fft.ifft2(kspace, axes=(1, 2), norm="forward")
    sensitivity = smooth_random((*grids.acquired, grids.shape[2]), protocol.shading, rng)
    phase = smooth_random((*grids.acquired, grids.shape[2]), 0.7, rng)
    image *= np.exp(sensitivity + 1j * phase).astype(np.complex64)
    kspace = fft.fft2(image, axes=(1, 2), norm="forward")
    noise = rng.standard_normal((*kspace.shape, 2), np.float32).view(np.complex64)[..., 0]
    # fading out the edge of k-space takes noise too
    kept = np.sqrt(np.prod([np.mean(_fade(n, protocol.taper) ** 2) for n in grids.acquired]))
    sigma = level / protocol.signal_to_noise / kept / np.sqrt(np.prod(grids.acquired))
    kspace = (kspace + np.float32(sigma) * noise).astype(np.complex64)
    zoom = np.array(grids.shape) / (*grids.acquired, grids.shape[2])
    shown = np.exp(ndimage.zoom(sensitivity, zoom, order=1, grid_mode=True, mode="nearest"))
    return kspace, shown.astype(np.float32)


def motion_of_lines(protocol: Protocol, grids: Grids, rng: np.random.Generator) -> np.ndarray:
    """Return the factor (i, j, 1) that motion gives to k-space: each phase encoding step is measured at another place.

    A shift by d multiplies the line at k with ``exp(-2πi k·d)``: a few sudden shifts, a drift, and a periodic one
    (breathing, pulsation) whose ghosts lie at equal distances. Lines are measured from one edge of k-space to the
    other.
    """
    steps = grids.acquired[protocol.phase_axis]
    time = np.argsort(np.argsort(np.fft.fftfreq(steps))) / steps
    shifts = []
    for _ in range(2):
        jumps = np.searchsorted(np.sort(rng.random(rng.integers(1, 4))), time)
        places = rng.normal(0, 0.5, 8)[jumps]
        periodic = 0.4 * np.sin(2 * np.pi * (rng.uniform(5, 40) * time + rng.random()))
        shift = protocol.motion_mm * (places + periodic)
        # the place at which the middle of k-space is measured is the place of the image
        shifts.append(shift - shift[0])
    step_mm = protocol.in_plane_mm * np.array(grids.shape[:2]) / grids.acquired
    waves = np.meshgrid(*map(np.fft.fftfreq, grids.acquired, step_mm), indexing="ij", sparse=True)
    along = np.ones(2, int)
    along[protocol.phase_axis] = steps
    turns = sum(wave * shift.reshape(along) for wave, shift in zip(waves, shifts, strict=True))
    return np.exp(-2j * np.pi * turns).astype(np.complex64)[..., None]


def smooth_random(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth random map (float32): cubic interpolation of 4×4×4 normal values."""
    coarse = rng.normal(0, deviation, (4, 4, 4))
    for axis, n in enumerate(shape):
        coarse = ndimage.spline_filter1d(coarse, 3, axis, mode="nearest")
        coarse = np.moveaxis(np.tensordot(_cubic(n), coarse, (1, axis)), 0, axis)
    return coarse.astype(np.float32)


def _cubic(n: int) -> np.ndarray:
    """Return the matrix (n, 4) that evaluates cubic B-splines with four coefficients at n places."""
    places = np.linspace(0, 3, n)
    return cubic_b_spline(np.abs(places[:, None] - np.arange(4)))


def _centre(spectrum: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the low frequencies of the first two axes of a spectrum whose zero frequency is first."""
    for axis, n in enumerate(size):
        low = np.take(spectrum, np.arange((n + 1) // 2), axis)
        high = np.take(spectrum, np.arange(-(n // 2), 0), axis)
        spectrum = np.concatenate([low, high], axis)
    return spectrum


def _fade(n: int, taper: float) -> np.ndarray:
    """Return the window over n frequencies: 1 in the middle, a half cosine over the outer share `taper`."""
    frequency = np.abs(np.fft.fftfreq(n)) * 2
    if taper == 0:
        return np.ones(n, np.float32)
    beyond = np.clip((frequency - (1 - taper)) / taper, 0, 1)
    return (0.5 * (1 + np.cos(np.pi * beyond))).astype(np.float32)
