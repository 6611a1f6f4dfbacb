"""The MARS regions of an anatomy, by rules: structures of the label map, distances, and planes that part the lobes.

The planes are ours. They run through landmarks of the ICBM 2009c template (MNI space, |R|, A, S in mm): the central
sulcus through (8, -33, 75), (38, -24, 56) and (60, -7, 22); the lateral sulcus from the temporal stem (30, 12, -18)
along (56, 10, 0) to its end (58, -40, 18); the occipital border through the junction of the calcarine and
parieto-occipital sulci (10, -57, 8), the upper end of the latter (12, -81, 42) and the preoccipital notch
(50, -66, -12). White matter is deep within 10 mm of a ventricle; the rest, the centrum semiovale too, is subcortical
and belongs to the lobe: pial arteries supply it, as the cortex, and a reader can measure the border.
"""

import numpy as np
from scipy import ndimage

from .. import regions
from ..geometry import ras_to_voxel, voxel_to_ras
from . import anatomy as tissues
from .anatomy import Anatomy

_PAIRED = {tissues.CAUDATE: (15.6, 9.5, 6.4), tissues.PUTAMEN: (25.1, -5.0, 0.9), tissues.PALLIDUM: (22.0, -3.0, -2.9),
           tissues.THALAMUS: (13.4, -17.6, 5.5), tissues.HIPPOCAMPUS: (26.0, -16.4, -17.0),
           tissues.VENTRAL_DC: (11.5, -15.2, -10.2), tissues.CEREBELLAR_WHITE: (17.8, -53.3, -33.5)}
"""Centres (|R|, A, S) in MNI space: means of the 20 SynthSeg label maps, registered to ICBM 2009c (affine)."""
_CORTEX_ENDS = ((0, 0.02, -71.5), (0, 99.98, 71.5), (1, 0.02, -107.7), (1, 99.98, 71.5), (2, 99.98, 80.3))
"""Axis, percentile and place in mm of the ends of the cortex in MNI space, from the same registrations."""
_ROUNDS = 6
_SLAB_MM = 15

_WHOLE = {tissues.BRAINSTEM: regions.BRAINSTEM, tissues.CEREBELLAR_WHITE: regions.CEREBELLUM,
          tissues.CEREBELLAR_CORTEX: regions.CEREBELLUM, tissues.CAUDATE: regions.BASAL_GANGLIA,
          tissues.PUTAMEN: regions.BASAL_GANGLIA, tissues.PALLIDUM: regions.BASAL_GANGLIA,
          tissues.THALAMUS: regions.THALAMUS, tissues.VENTRAL_DC: regions.THALAMUS,
          tissues.HIPPOCAMPUS: regions.TEMPORAL}
_PERIVENTRICULAR_MM = 10.0
_INTERNAL_CAPSULE_MM = 12.0
_EXTERNAL_CAPSULE_MM = 6.0
_GREY_WHITE_MM = 2.0
_CALLOSUM_SIDE_MM, _MIDLINE_MM = 15.0, 2.5


def to_mni(anatomy: Anatomy) -> np.ndarray:
    """Return the affine (4, 4) from RAS mm of an anatomy to MNI space: its nuclei and the ends of its cortex, fitted.

    Each axis is a least-squares fit to the centres of seven paired structures and to the ends of the cortex along it,
    which are looked up again as the fit turns. An end counts on the line through the middle of the cortex, wherever it
    lies aside of that, so that it says how large the head is but does not shear it. The midline is where slabs of the
    cortex have their middle.
    """
    classes = anatomy.classes
    centres, places = [], []
    for tissue, (right, *rest) in _PAIRED.items():
        points = voxel_to_ras(classes, np.argwhere(classes.data == tissue))
        middle = np.median(points[:, 0])
        for side in (-1, 1):
            centres.append(points[(points[:, 0] - middle) * side > 0].mean(axis=0))
            places.append((side * right, *rest))
    centres, places = _with_one(np.array(centres)), np.array(places)
    matrix = np.vstack([np.linalg.lstsq(centres, places, rcond=None)[0].T, (0, 0, 0, 1)])
    cortex = _with_one(voxel_to_ras(classes, np.argwhere(classes.data == tissues.CORTEX)))
    for _ in range(_ROUNDS):
        rows, back = [], np.linalg.inv(matrix)
        moved = cortex @ matrix.T
        middle = moved.mean(axis=0)
        for axis in range(3):
            points, targets = list(centres), list(places[:, axis])
            for own, share, place in _CORTEX_ENDS:
                if own == axis:
                    end = middle.copy()
                    end[axis] = np.percentile(moved[:, axis], share)
                    points.append(back @ end)
                    targets.append(place)
            if axis == 0:
                points += [back @ _with_one(point[None])[0] for point in _midline(moved[:, :3])]
                targets += [0.0] * (len(points) - len(targets))
            rows.append(np.linalg.lstsq(np.array(points), np.array(targets), rcond=None)[0])
        matrix = np.vstack([rows, (0, 0, 0, 1)])
    return matrix


def _midline(cortex: np.ndarray) -> list[np.ndarray]:
    """Return the middle (3,) between the left and right ends of slabs of points (n, 3), across A and across S."""
    middles = []
    for axis, (low, high) in ((1, (-90, 60)), (2, (-10, 70))):
        for start in range(low, high, _SLAB_MM):
            slab = cortex[(cortex[:, axis] >= start) & (cortex[:, axis] < start + _SLAB_MM)]
            if len(slab):
                middle = slab.mean(axis=0)
                middle[0] = np.percentile(slab[:, 0], (0.5, 99.5)).mean()
                middles.append(middle)
    return middles


def region_map(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Return the region of every voxel of the brain, and whether it lies on the right.

    Returns
    -------
    (i, j, k) uint8 array, (i, j, k) bool array
        Numbers as in `regions`, 0 outside the brain; fluid belongs to the nearest tissue.
    """
    cut = _box(anatomy.brain)
    classes, spacing = anatomy.classes.data[cut], anatomy.classes.spacing
    place = _mni_places(anatomy, cut)
    aside, forward, up = np.abs(place[0]), place[1], place[2]
    white = classes == tissues.WHITE
    found = np.zeros(classes.shape, np.uint8)
    for tissue, region in _WHOLE.items():
        found[classes == tissue] = region
    lobar = white | (classes == tissues.CORTEX)
    found[lobar] = _lobes(aside, forward, up)[lobar]

    putamen = _large_parts(classes == tissues.PUTAMEN)
    found[(classes == tissues.PUTAMEN) & ~putamen] = 0
    to_putamen, nearest = ndimage.distance_transform_edt(~putamen, spacing, return_indices=True)
    to_cortex = _distance(classes == tissues.CORTEX, spacing)
    insular = (to_putamen <= 16) & (aside > 27) & (aside < 46) & (np.abs(forward) <= 25) & (up > -14) & (up < 20)
    insular &= lobar & (to_cortex <= _GREY_WHITE_MM)
    found[insular] = regions.INSULA

    deep = _distance(classes == tissues.VENTRICLE, spacing) <= _PERIVENTRICULAR_MM
    found[white & deep & ~insular] = regions.DEEP_WHITE_MATTER
    between = _distance(np.isin(classes, (tissues.CAUDATE, tissues.THALAMUS)), spacing)
    between += np.minimum(to_putamen, _distance(classes == tissues.PALLIDUM, spacing))
    found[white & (between <= _INTERNAL_CAPSULE_MM)] = regions.INTERNAL_CAPSULE
    lateral = aside - aside[tuple(nearest)] > 0.5 * to_putamen
    found[white & lateral & (to_putamen <= _EXTERNAL_CAPSULE_MM)] = regions.EXTERNAL_CAPSULE
    found[white & _callosum(white, aside, forward, up)] = regions.CORPUS_CALLOSUM

    nearest = ndimage.distance_transform_edt(found == 0, spacing, return_distances=False, return_indices=True)
    whole, right = np.zeros(anatomy.classes.shape, np.uint8), np.zeros(anatomy.classes.shape, bool)
    whole[cut], right[cut] = found[tuple(nearest)], place[0] > 0
    whole[~anatomy.brain] = 0
    return whole, right


def regions_at(anatomy: Anatomy, points_ras: np.ndarray) -> list[str]:
    """Return the region of points (n, 3) RAS mm, such as ``"left basal ganglia, deep"``.

    Points outside the brain belong to the nearest voxel of its bounding box that has a region.
    """
    numbers, right = region_map(anatomy)
    voxels = np.rint(ras_to_voxel(anatomy.classes, np.atleast_2d(points_ras))).astype(int)
    voxels = tuple(np.clip(voxels, 0, np.array(numbers.shape) - 1).T)
    own = numbers[voxels]
    if (own == 0).any():
        # every second voxel is near enough for what lies outside
        coarse = numbers[::2, ::2, ::2]
        nearest = ndimage.distance_transform_edt(coarse == 0, return_distances=False, return_indices=True)
        places = tuple(np.minimum(axis // 2, size - 1) for axis, size in zip(voxels, coarse.shape, strict=True))
        own = np.where(own == 0, coarse[tuple(axis[places] for axis in nearest)], own)
    names = [regions.REGIONS[number - 1] for number in own]
    return [f"{regions.RIGHT if on_the_right else regions.LEFT} {name}, {regions.category_of(name)}"
            for name, on_the_right in zip(names, right[voxels], strict=True)]


def _lobes(aside: np.ndarray, forward: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return the lobe of places in MNI space, whatever lies there."""
    central = 6 - 0.03 * aside - 0.52 * up
    occipital = -46 - 0.56 * aside - 0.67 * up
    lateral = 3 - np.where(forward > 0, 0.5, 0.35) * np.maximum(forward, -40) + 0.35 * (aside - 50)
    lobes = np.where(forward > central, regions.FRONTAL, regions.PARIETAL)
    lobes = np.where((up < lateral) & (forward < 24), regions.TEMPORAL, lobes)
    return np.where(forward < occipital, regions.OCCIPITAL, lobes)


def _callosum(white: np.ndarray, aside: np.ndarray, forward: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return what lies beside the white matter of the midline, above the thalamus, seen from the side."""
    midline = white & (aside <= _MIDLINE_MM) & (forward > -50) & (forward < 35) & (up > -8)
    labels, count = ndimage.label(midline)
    if count == 0:
        return midline
    largest = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    silhouette = ndimage.binary_dilation(largest.any(axis=0), iterations=2)
    return silhouette[None] & (aside <= _CALLOSUM_SIDE_MM)


def _large_parts(mask: np.ndarray) -> np.ndarray:
    """Return a mask without its small parts; label maps have rare codes of the putamen along the ventricles."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=2)
    sizes[0] = 0
    return (sizes >= max(1, 0.2 * sizes.max()))[labels]


def _distance(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_edt(~mask, spacing).astype(np.float32)


def _box(brain: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the bounding box of the brain."""
    ends = [np.flatnonzero(brain.any(axis=others))[[0, -1]] for others in ((1, 2), (0, 2), (0, 1))]
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)


def _mni_places(anatomy: Anatomy, cut: tuple[slice, slice, slice]) -> np.ndarray:
    """Return the place (3, i, j, k) in MNI space of the voxels in a box, float32 mm."""
    matrix = to_mni(anatomy) @ anatomy.classes.affine
    axes = np.meshgrid(*(np.arange(side.start, side.stop, dtype=np.float32) for side in cut), indexing="ij",
                       sparse=True)
    return np.stack([sum(np.float32(factor) * axis for factor, axis in zip(row[:3], axes, strict=True))
                     + np.float32(row[3]) for row in matrix[:3]])


def _with_one(points: np.ndarray) -> np.ndarray:
    return np.column_stack([points, np.ones(len(points))])
