"""What has to be known of a real scan before anything is implanted: noise, bandwidth, free places; and what is drawn.

Arrays are (i, j, k) with the slices along k.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..geometry import apply_affine
from ..volume import Volume
from .bleeds import draw_microbleed
from .mimics import calcification_at, grains_at
from .shapes import VEIN, Focus, Vessel, random_rotation

CLOSEST_MM = 4.0
"""Surfaces of two implants are at least this far apart."""
EDGE_MM = 3.0
"""A centre is at least this far from the edge of the brain and from any focus or vessel that is there already."""
_SURFACE_MM = 2.0
_DARK_RATIO, _BRIGHT_RATIO = 0.84, 1.2
_TISSUE_PPM, _FOCUS_PPM = 0.05, 0.09
_SMOOTH_MM, _LEVEL_MM = 0.6, 8.0
_TRIES = 200
_TILE, _SMALLEST_TILE, _MAX_TILES = 48, 24, 300
_CUT_RATIO, _LEFT = 10.0, 0.01
_PPB_SPREAD = 1.0


@dataclass(frozen=True)
class Quality:
    """What was measured on a scan.

    Attributes
    ----------
    kept : acquired share of k-space along i and j; the rest was zero-filled
    noise : standard deviation of the noise in the units of the image
    level : median of the brain
    per_ppm : units of the image per ppm (QSM; 1000 where it is in ppb)
    """

    kept: tuple[float, float]
    noise: float
    level: float
    per_ppm: float


def measure(volume: Volume, brain: np.ndarray, modality: str) -> Quality:
    """Measure noise and bandwidth from the spectra of tiles that lie in the brain, so that no edge of a mask counts."""
    values = volume.data[brain]
    level = float(np.median(values))
    low, high = np.percentile(values, [25, 75])
    # tissue is spread over .03 to .05 ppm
    per_ppm = 1000.0 if modality == "qsm" and high - low > _PPB_SPREAD else 1.0
    spectra = _tile_spectra(volume.data, brain)
    if spectra is None:
        difference = np.diff(volume.data, axis=0)[brain[1:] & brain[:-1]]
        noise = float(np.median(np.abs(difference)) / 0.6745 / np.sqrt(2)) if difference.size else 0.0
        return Quality((1.0, 1.0), noise, level, per_ppm)
    mean = spectra.mean(axis=0)
    half = mean.shape[0] // 2
    kept = (_kept_share(mean[:, :half // 2].mean(axis=1)[:half]), _kept_share(mean[:half // 2].mean(axis=0)[:half]))
    frequency = np.abs(np.fft.fftfreq(mean.shape[0])) * 2
    rings = [(frequency > 0.55 * share) & (frequency < 0.8 * share) for share in kept]
    # tiles with little structure tell the noise, and of a tile the frequencies that are high along both axes
    powers = spectra[:, rings[0]][:, :, rings[1]].mean(axis=(1, 2))
    noise = np.sqrt(np.percentile(powers, 30) * kept[0] * kept[1])
    return Quality(kept, float(noise), level, per_ppm)


def _tile_spectra(data: np.ndarray, brain: np.ndarray) -> np.ndarray | None:
    """Return the power spectra (tile, n, n) per voxel of in-plane tiles wholly in the brain, None if there are none."""
    for n in (_TILE, _SMALLEST_TILE):
        tiles = [(slice(i, i + n), slice(j, j + n), k) for k in range(data.shape[2])
                 for i in range(0, data.shape[0] - n + 1, n // 2) for j in range(0, data.shape[1] - n + 1, n // 2)
                 if brain[i + n // 2, j + n // 2, k] and brain[i:i + n, j:j + n, k].all()]
        if tiles:
            break
    else:
        return None
    tiles = tiles[::max(1, len(tiles) // _MAX_TILES)]
    window = np.multiply.outer(np.hanning(n), np.hanning(n))
    spectra = []
    for tile in tiles:
        values = data[tile].astype(np.float64)
        values = (values - np.average(values, weights=window)) * window
        spectra.append(np.abs(np.fft.fft2(values)) ** 2 / (window**2).sum())
    return np.array(spectra)


def _kept_share(power: np.ndarray) -> float:
    """Return the share of k-space that was acquired from the power at 0 to the highest frequency.

    Zero filling leaves a cliff: power falls by more than a factor of 10 within a sixth of the axis, where tissue falls
    by 2. The edge is where hardly any power is left, less one step by which the window of the tiles spreads it.
    """
    n = len(power)
    step = max(2, n // 6)
    drop = power[:-step] / np.maximum(power[step:], 1e-12 * power.max())
    drop[:int(0.25 * n)] = 0
    start = int(drop.argmax())
    if drop[start] < _CUT_RATIO:
        return 1.0
    gone = np.flatnonzero(power[start:] < _LEFT * power[start])
    return float(np.clip((start + (gone[0] if gone.size else step) - 1) / n, 0.3, 1))


def free_places(volume: Volume, brain: np.ndarray, modality: str, quality: Quality) -> tuple[np.ndarray, np.ndarray]:
    """Return where tissue is, (i, j, k) bool, and the distance in mm of each voxel to the next edge or focus.

    Tissue is what is from 16 % below to 20 % above the local level (QSM: within .05 ppm), neither fluid nor iron-rich
    nucleus. What is darker than that (QSM: .09 ppm off) is a focus or a vessel, and nothing is put on top of it; that
    leaves out even the faintest of the labelled microbleeds of public data.
    """
    inner = brain & (volume.data != 0)
    for axis in range(3):
        ends = [slice(None)] * 3
        ends[axis] = [0, -1]
        inner[tuple(ends)] = False
    smooth = _blurred(volume.data, inner, _SMOOTH_MM / volume.spacing)
    if modality == "qsm":
        off = np.abs(smooth - np.float32(quality.level)) / quality.per_ppm
        tissue, foci = off < _TISSUE_PPM, off > _FOCUS_PPM
    else:
        ordinary = inner & (np.abs(volume.data / quality.level - 1) < 0.5)
        ratio = smooth / np.maximum(_blurred(volume.data, ordinary, _LEVEL_MM / volume.spacing), 1e-6)
        tissue = (ratio > _DARK_RATIO) & (ratio < _BRIGHT_RATIO)
        foci = ratio < _DARK_RATIO
    room = ndimage.distance_transform_edt(inner & ~foci, volume.spacing).astype(np.float32)
    return tissue & inner, room


def _blurred(data: np.ndarray, mask: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return the Gaussian mean (float32) of the voxels in the mask; 0 where there are none."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(mask, data, 0).astype(np.float32), sigma)
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0)


def draw_implants(tissue: np.ndarray, room_mm: np.ndarray, affine: np.ndarray, counts: tuple[int, int],
                  rng: np.random.Generator) -> tuple[tuple[Focus, ...], tuple[Focus | Vessel, ...]]:
    """Draw microbleeds and mimics into free tissue, `counts` of each or as many as have room.

    Parameters
    ----------
    tissue, room_mm : see `free_places`
    affine : voxel to RAS mm
    counts : how many microbleeds, how many mimics
    """
    voxels = np.flatnonzero(tissue & (room_mm >= EDGE_MM))
    to_voxel = np.linalg.inv(affine)
    taken: list[tuple[np.ndarray, float]] = []

    def fits(points: np.ndarray, radius_mm: float) -> bool:
        index = np.rint(apply_affine(to_voxel, points)).astype(int)
        if ((index < 0) | (index >= room_mm.shape)).any():
            return False
        if room_mm[tuple(index.T)].min() < _SURFACE_MM + radius_mm:
            return False
        return all(_distance(points, others) >= CLOSEST_MM + radius_mm + other for others, other in taken)

    def draw(kind: Callable) -> Focus | Vessel | None:
        for _ in range(_TRIES if len(voxels) else 0):
            voxel = np.unravel_index(voxels[rng.integers(len(voxels))], tissue.shape)
            thing = kind(apply_affine(affine, np.array(voxel) + rng.uniform(-0.5, 0.5, 3)), rng)
            body = body_of(thing)
            if fits(*body):
                taken.append(body)
                return thing
        return None

    mimics = (_calcification, _vein, _grains)
    bleeds = [draw(draw_microbleed) for _ in range(counts[0])]
    others = [draw(mimics[rng.choice(3, p=(0.3, 0.5, 0.2))]) for _ in range(counts[1])]
    return tuple(thing for thing in bleeds if thing), tuple(thing for thing in others if thing)


def body_of(thing: Focus | Vessel) -> tuple[np.ndarray, float]:
    """Return points (n, 3) RAS mm and a radius in mm whose balls cover a thing."""
    if isinstance(thing, Vessel):
        return thing.points_ras, float(thing.radii_mm.max())
    radius = max(part.semi_axes_mm.max() * (1 + np.abs(part.bumps[:, 3]).sum()) for part in thing.parts)
    return np.array([part.centre_ras for part in thing.parts]), float(radius)


def _distance(points: np.ndarray, others: np.ndarray) -> float:
    return float(np.linalg.norm(points[:, None] - others, axis=-1).min())


def _calcification(centre_ras: np.ndarray, rng: np.random.Generator) -> Focus:
    return calcification_at(centre_ras, rng)


def _grains(centre_ras: np.ndarray, rng: np.random.Generator) -> Focus:
    """Return mineral grains within 4 mm of a place."""
    places = centre_ras + rng.uniform(-1, 1, (40, 3)) * 4 / np.sqrt(3)
    return grains_at(places, int(rng.integers(4, 16)), rng)


def _vein(centre_ras: np.ndarray, rng: np.random.Generator) -> Vessel:
    """Return a bent piece of vein through a place, 5 to 15 mm long; blood as in `vessels`."""
    step_mm = 0.3
    steps = int(rng.uniform(5, 15) / step_mm)
    heading, side = random_rotation(rng)[:2]
    turn = rng.uniform(-0.08, 0.08) * (np.arange(steps) - steps / 2) * step_mm
    directions = np.cos(turn)[:, None] * heading + np.sin(turn)[:, None] * side
    path = np.cumsum(directions * step_mm, axis=0)
    radius = float(np.exp(rng.uniform(np.log(0.2), np.log(0.7))))
    return Vessel(VEIN, centre_ras + path - path[steps // 2], np.full(steps, radius), np.full(steps, step_mm),
                  float(rng.uniform(0.3, 0.76)), float(rng.uniform(30, 60)), 1.0)
