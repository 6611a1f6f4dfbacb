"""Regions for microbleeds of which somebody marked one point only, grown on the image around it."""

from collections.abc import Sequence

import numpy as np

from .components import label_components
from .geometry import nearest_voxels, ras_to_voxel
from .volume import Volume

SEED_MM = 2.0
"""How far from the point its darkest voxel may lie: readers click beside small lesions."""
REACH_MM = 4.0
"""How far from that voxel the region may reach: real microbleeds are smaller than 8 mm across, most than 6 mm."""
SHELL_MM = (4.0, 7.0)
"""Distances of the voxels around that are taken as the tissue of the place."""


def voxels_within(volume: Volume, centre_ras: np.ndarray, radius_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels (n, 3) of a volume around a place, and how far from it (n,) they lie in mm.

    The voxel that holds the place is always among them; there are none if the place is outside the volume.
    """
    centre, own = ras_to_voxel(volume, centre_ras), nearest_voxels(volume, centre_ras)
    if (own < 0).any() or (own >= volume.shape).any():
        return np.empty((0, 3), int), np.empty(0)
    reach = radius_mm / volume.spacing
    low = np.clip(np.ceil(centre - reach).astype(int), 0, own)
    high = np.clip(np.floor(centre + reach).astype(int), own, np.array(volume.shape) - 1)
    voxels = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"),
                      axis=-1).reshape(-1, 3)
    distance_mm = np.linalg.norm((voxels - centre) * volume.spacing, axis=1)
    kept = (distance_mm <= radius_mm) | (voxels == own).all(axis=1)
    return voxels[kept], distance_mm[kept]


def focus_voxel(volume: Volume, centre_ras: np.ndarray, bright: bool) -> np.ndarray:
    """Return the voxel (3,) that a reader means who points at a place; parameters and zeros as of `grow_region`."""
    voxels, distance_mm, values = _around(volume, centre_ras, bright)
    return voxels[_focus(distance_mm, values)]


def _around(volume: Volume, centre_ras: np.ndarray, bright: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return voxels (n, 3) around a place, their distances in mm, and their values, turned so that a focus is low."""
    voxels, distance_mm = voxels_within(volume, centre_ras, SEED_MM + SHELL_MM[1])
    values = volume.data[tuple(voxels.T)].astype(np.float64) * (-1 if bright else 1)
    if values[np.argmin(distance_mm)] == 0:
        return voxels, distance_mm, values
    return voxels[values != 0], distance_mm[values != 0], values[values != 0]


def _focus(distance_mm: np.ndarray, values: np.ndarray) -> int:
    """Return the index of the lowest of the values near enough to the place."""
    near = np.flatnonzero(distance_mm <= max(SEED_MM, distance_mm.min()))
    return int(near[np.argmin(values[near])])


def grow_region(volume: Volume, centre_ras: np.ndarray, bright: bool) -> np.ndarray:
    """Return the voxels (n, 3) of a microbleed that was marked at one place (RAS mm).

    They are connected to the darkest voxel within 2 mm of the place and darker than half way from it to the median of
    the tissue 4 to 7 mm around; that voxel itself is always one of them. Exact zeros are the outside of a masked brain
    and left out, unless the place itself lies on one.

    Parameters
    ----------
    volume : Volume
    centre_ras : (3,) in mm
        Inside the volume.
    bright : bool
        Microbleeds are bright (QSM) instead of dark.
    """
    voxels, distance_mm, values = _around(volume, centre_ras, bright)
    focus = _focus(distance_mm, values)
    seed, depth = voxels[focus], values[focus]
    from_seed_mm = np.linalg.norm((voxels - seed) * volume.spacing, axis=1)
    shell = (from_seed_mm >= SHELL_MM[0]) & (from_seed_mm <= SHELL_MM[1])
    level = (depth + np.median(values[shell])) / 2 if shell.any() else depth
    if level <= depth:
        return seed[None]
    inside = voxels[(from_seed_mm <= REACH_MM) & (values < level)]
    corner = inside.min(axis=0)
    box = np.zeros(inside.max(axis=0) - corner + 1, bool)
    box[tuple((inside - corner).T)] = True
    regions, _ = label_components(box)
    return np.argwhere(regions == regions[tuple(seed - corner)]) + corner


def grow_regions(volume: Volume, centres_ras: Sequence[np.ndarray], bright: bool) -> np.ndarray:
    """Return the regions of several places, numbered from 1 on in their order, as an (i, j, k) int32 array.

    A voxel that two regions claim belongs to the nearer place; a place that would lose all gets the voxel it lies in.
    """
    numbers = np.zeros(volume.shape, np.int32)
    nearest_mm = np.full(volume.shape, np.inf, np.float32)
    own = nearest_voxels(volume, np.reshape(centres_ras, (-1, 3)))
    for number, centre_ras in enumerate(centres_ras, 1):
        region = grow_region(volume, centre_ras, bright)
        distance_mm = np.linalg.norm((region - ras_to_voxel(volume, centre_ras)) * volume.spacing, axis=1)
        nearer = distance_mm < nearest_mm[tuple(region.T)]
        place = tuple(region[nearer].T)
        numbers[place], nearest_mm[place] = number, distance_mm[nearer]
    for number in np.setdiff1d(np.arange(1, len(own) + 1), numbers):
        numbers[tuple(own[number - 1])] = number
    return numbers
