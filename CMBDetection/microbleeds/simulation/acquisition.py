"""From tissue maps on the fine grid to what the scanner shows: GRE magnitude, SWI or QSM on the acquired grid."""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from .susceptibility import susceptibility_from

GYROMAGNETIC_MHZ_PER_TESLA = 42.577


@dataclass(frozen=True)
class Acquisition:
    """One protocol. `factor` is how many fine voxels make an acquired one along i, j, k."""

    modality: str
    in_plane_mm: float
    slice_mm: float
    echo_time_ms: float
    field_tesla: float
    signal_to_noise: float
    kept_bandwidth: float
    tilt_degrees: tuple[float, float, float]
    factor: tuple[int, int, int]

    @property
    def spacing(self) -> np.ndarray:
        """Acquired voxel size in mm."""
        return np.array([self.in_plane_mm, self.in_plane_mm, self.slice_mm])

    @property
    def fine_spacing(self) -> np.ndarray:
        """Voxel size of the simulation in mm."""
        return self.spacing / self.factor


def draw_acquisition(rng: np.random.Generator, modality: str) -> Acquisition:
    """Draw a protocol from the ranges of published data sets (shared/data/README.md, section on protocols)."""
    if modality == "gre":
        in_plane = rng.choice([rng.uniform(0.43, 0.55), rng.uniform(0.75, 1.05)])
        slice_mm = rng.choice([rng.uniform(0.8, 2.0), rng.uniform(2.5, 5.0)], p=[0.25, 0.75])
        echo_time = rng.uniform(17, 40)
    else:
        in_plane = rng.uniform(0.45, 1.0)
        slice_mm = rng.uniform(1.0, 2.5)
        echo_time = rng.uniform(18, 35)
    in_plane_factor = 1 if in_plane < 0.6 else 2
    interpolated = in_plane < 0.6 and rng.random() < 0.6
    return Acquisition(
        modality, float(in_plane), float(slice_mm), float(echo_time), float(rng.choice([1.5, 3.0])),
        float(np.exp(rng.uniform(np.log(12), np.log(60)))), float(rng.uniform(0.5, 0.8) if interpolated else 1.0),
        tuple(float(angle) for angle in rng.normal(0, (12, 4, 4))),
        (in_plane_factor, in_plane_factor, int(np.ceil(slice_mm / 1.0))))


def complex_image(density: np.ndarray, r2star: np.ndarray, field_ppm: np.ndarray,
                  acquisition: Acquisition) -> np.ndarray:
    """Return the noise-free complex image: the sum over the fine voxels of each acquired one.

    ``S = PD · exp(-TE·R2*) · exp(2πi·γ·B0·ΔB·TE)``, R2* in 1/s, field in ppm (MHz/T times T times ppm is Hz).
    """
    seconds = acquisition.echo_time_ms / 1000
    signal = (density * np.exp(-seconds * r2star)).astype(np.complex64)
    hertz_per_ppm = GYROMAGNETIC_MHZ_PER_TESLA * acquisition.field_tesla
    signal *= np.exp(np.complex64(2j * np.pi * hertz_per_ppm * seconds) * field_ppm.astype(np.float32))
    return block_mean(signal, acquisition.factor)


def block_mean(data: np.ndarray, factor: tuple[int, int, int]) -> np.ndarray:
    """Return the mean over blocks of `factor` voxels; an incomplete last block is dropped."""
    shape = [n // f for n, f in zip(data.shape, factor, strict=True)]
    data = data[tuple(slice(n * f) for n, f in zip(shape, factor, strict=True))]
    return data.reshape(shape[0], factor[0], shape[1], factor[1], shape[2], factor[2]).mean(axis=(1, 3, 5))


def add_scanner(image: np.ndarray, acquisition: Acquisition, level: float, rng: np.random.Generator) -> np.ndarray:
    """Add complex noise (level / SNR) and cut the in-plane k-space to the acquired bandwidth (zero filling)."""
    noise = rng.standard_normal((*image.shape, 2), np.float32).view(np.complex64)[..., 0]
    image = image + noise * np.float32(level / acquisition.signal_to_noise / acquisition.kept_bandwidth)
    return band_limited(image, acquisition)


def band_limited(image: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Keep the acquired part of the in-plane k-space, with the scanner's smooth (Fermi) edge."""
    if acquisition.kept_bandwidth == 1:
        return image
    radius = np.hypot(*np.meshgrid(*(2 * fft.fftfreq(n) for n in image.shape[:2]), indexing="ij"))
    window = 1 / (1 + np.exp((radius - acquisition.kept_bandwidth) / 0.04))
    spectrum = fft.fft2(image, axes=(0, 1))
    spectrum *= window[..., None].astype(np.float32)
    return fft.ifft2(spectrum, axes=(0, 1))


def susceptibility_weighted(image: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Return the SWI: magnitude times the fourth power of the high-pass phase mask (Haacke et al. 2004)."""
    sigma = 8 / acquisition.in_plane_mm / 2
    smooth = (ndimage.gaussian_filter(image.real, (sigma, sigma, 0))
              + 1j * ndimage.gaussian_filter(image.imag, (sigma, sigma, 0)))
    phase = np.angle(image * np.conj(smooth))
    mask = np.where(phase > 0, 1 - phase / np.pi, 1)
    return (np.abs(image) * mask**4).astype(np.float32)


def quantitative_susceptibility(field_ppm: np.ndarray, magnitude: np.ndarray, brain: np.ndarray,
                                acquisition: Acquisition, b0_direction: np.ndarray, level: float,
                                rng: np.random.Generator) -> np.ndarray:
    """Return the QSM (ppm) from the acquired field: phase noise, brain mask, thresholded inversion."""
    hertz_per_ppm = GYROMAGNETIC_MHZ_PER_TESLA * acquisition.field_tesla
    phase_noise = level / acquisition.signal_to_noise / np.maximum(magnitude, 0.1 * level)
    noise_ppm = phase_noise / (2 * np.pi * hertz_per_ppm * acquisition.echo_time_ms / 1000)
    noisy = np.where(brain, field_ppm + noise_ppm * rng.standard_normal(field_ppm.shape, np.float32), 0)
    result = susceptibility_from(noisy, acquisition.spacing, b0_direction, float(rng.uniform(0.1, 0.2)))
    smooth = ndimage.gaussian_filter(result, rng.uniform(0.3, 0.6) / np.minimum(acquisition.spacing, 1))
    return np.where(brain, smooth, 0).astype(np.float32)
