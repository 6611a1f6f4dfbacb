"""In-plane patches on a common grid, with the trivial cues taken out.

Removed: voxel size (all scans are smoothed to one in-plane resolution, coarser than that of any of them, and sampled
on one grid), slice thickness as geometry (one slice only), intensity scale (magnitude and SWI divided by the median of
the patch, QSM less its median in ppm), the brain mask (what lies outside gets the median), extreme values (cut off).
Left in: partial volume of thick slices, resolution that differs along the two in-plane axes, texture and all contrast.
What is finer than the grid (ringing, the sharpness of edges) is not looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from microbleeds.geometry import ras_to_voxel, voxel_to_ras
from microbleeds.volume import Volume
from real_and_simulated_data import Labelled
from scipy import ndimage

PATCH_MM = {"gre": 24.0, "swi": 16.0, "qsm": 24.0}
"""The permissive SWI crop is only 24 mm wide; smaller patches give it more than one place."""
COARSER = 1.2
"""The common grid is so much coarser than the coarsest scan."""
INSIDE = {"tissue": 0.98, "foci": 0.7}
"""Share of a patch that has to lie in the brain."""
LIMITS = {"gre": (0.0, 3.0), "swi": (0.0, 3.0), "qsm": (-0.5, 0.5)}
SHIFTS, SHIFT_MM = 6, 2.0
"""Patches around a focus: so many each, moved about by up to so much, for there are few real ones."""


@dataclass(frozen=True, eq=False)
class Patches:
    """Normalised patches.

    Attributes
    ----------
    values : (n, p, p) float32 array
    scan : (n,) array of str
    real : (n,) bool array
    above_mm : (n,) array
        How far the patch is above the middle slice of its scan's brain.
    """

    values: np.ndarray
    scan: np.ndarray
    real: np.ndarray
    above_mm: np.ndarray


def common_grid_mm(scans: Sequence[Labelled]) -> float:
    """Return the pixel size of the patches: `COARSER` than the coarsest in-plane voxel among scans."""
    return COARSER * max(float(scan.volume.spacing[:2].max()) for scan in scans)


def tissue_patches(scan: Labelled, grid_mm: float, count: int, rng: np.random.Generator) -> Patches:
    """Return up to `count` patches from anywhere in the brain."""
    size_voxel = np.maximum(1, np.rint(PATCH_MM[scan.modality] / scan.volume.spacing[:2])).astype(int)
    filled = ndimage.uniform_filter(scan.brain.astype(np.float32), (*size_voxel, 1), mode="constant")
    places = np.flatnonzero(filled > INSIDE["tissue"])
    chosen = rng.choice(places, min(count, len(places)), replace=False)
    voxels = np.stack(np.unravel_index(chosen, scan.brain.shape), axis=1)
    return _patches(scan, voxel_to_ras(scan.volume, voxels), grid_mm, INSIDE["tissue"])


def foci_patches(scan: Labelled, grid_mm: float, rng: np.random.Generator) -> Patches:
    """Return `SHIFTS` patches around every focus of a scan."""
    axes = scan.volume.affine[:3, :2] / scan.volume.spacing[:2]
    shifts_ras = rng.uniform(-SHIFT_MM, SHIFT_MM, (len(scan.centres_ras), SHIFTS, 2)) @ axes.T
    return _patches(scan, (scan.centres_ras[:, None] + shifts_ras).reshape(-1, 3), grid_mm, INSIDE["foci"])


def join(parts: Sequence[Patches]) -> Patches:
    """Return the patches of several scans as one record."""
    return Patches(*(np.concatenate([getattr(part, name) for part in parts])
                     for name in ("values", "scan", "real", "above_mm")))


def sample(volume: Volume, centre_ras: np.ndarray, grid_mm: float, size_mm: float, order: int = 1) -> np.ndarray:
    """Return an in-plane patch (p, p) of the nearest slice, rows running from anterior to posterior; NaN outside."""
    pixels = round(size_mm / grid_mm)
    offsets_mm = (np.arange(pixels) - (pixels - 1) / 2) * grid_mm
    centre = ras_to_voxel(volume, centre_ras)
    slice_index = int(np.clip(np.rint(centre[2]), 0, volume.shape[2] - 1))
    # splines reach some voxels beyond the patch, but need not be fitted to the whole slice
    reach = size_mm / 2 / volume.spacing[:2] + 8
    first = np.clip(np.floor(centre[:2] - reach), 0, np.array(volume.shape[:2]) - 1).astype(int)
    last = np.clip(np.ceil(centre[:2] + reach), 1, volume.shape[:2]).astype(int)
    data = volume.data[first[0]:last[0], first[1]:last[1], slice_index]
    rows, columns = np.meshgrid(centre[1] - offsets_mm / volume.spacing[1] - first[1],
                                centre[0] + offsets_mm / volume.spacing[0] - first[0], indexing="ij")
    return ndimage.map_coordinates(data, [columns, rows], output=np.float32, order=order, mode="constant", cval=np.nan)


def _patches(scan: Labelled, centres_ras: np.ndarray, grid_mm: float, inside: float) -> Patches:
    """Return the normalised patches that lie in the brain well enough."""
    volume = scan.volume.with_data(_smoothed(scan.volume, grid_mm))
    brain = scan.volume.with_data(scan.brain.astype(np.uint8))
    size_mm = PATCH_MM[scan.modality]
    middle = float(np.median(np.flatnonzero(scan.brain.any(axis=(0, 1)))))
    values, above_mm = [], []
    for centre in centres_ras:
        known = sample(brain, centre, grid_mm, size_mm, order=0) == 1
        if known.mean() >= inside:
            values.append(normalised(sample(volume, centre, grid_mm, size_mm, order=3), known, scan.modality))
            above_mm.append((ras_to_voxel(volume, centre)[2] - middle) * volume.spacing[2])
    pixels = round(size_mm / grid_mm)
    return Patches(np.array(values, np.float32).reshape(-1, pixels, pixels), np.full(len(values), scan.name),
                   np.full(len(values), scan.real), np.array(above_mm, float))


def normalised(values: np.ndarray, known: np.ndarray, modality: str) -> np.ndarray:
    """Return a patch without its scale; what is not `known` gets the median."""
    known = known & np.isfinite(values)
    middle = float(np.median(values[known]))
    scaled = values - middle if modality == "qsm" else values / max(middle, 1e-6)
    return np.clip(np.where(known, scaled, 0 if modality == "qsm" else 1), *LIMITS[modality]).astype(np.float32)


def _smoothed(volume: Volume, grid_mm: float) -> np.ndarray:
    """Return the scan at the in-plane resolution of the grid: a voxel's profile gets as wide as a grid cell."""
    sigma_mm = np.sqrt(np.maximum(grid_mm**2 - volume.spacing[:2] ** 2, 0) / (8 * np.log(2)))
    return ndimage.gaussian_filter(volume.data.astype(np.float32), (*(sigma_mm / volume.spacing[:2]), 0))
