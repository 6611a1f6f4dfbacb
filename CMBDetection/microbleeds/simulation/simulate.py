"""One simulated scan: draw a subject, its veins and microbleeds, form the image, and say where everything is.

A first, simple version (spheroids of susceptibility, their dipole field, T2* loss, partial volume): a beginning for
the first weights, not a full simulator.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..volume import Volume
from . import anatomy, implants
from .acquisition import (
    Acquisition,
    add_scanner,
    band_limited,
    block_mean,
    complex_image,
    quantitative_susceptibility,
    susceptibility_weighted,
)
from .susceptibility import field_of

VISIBLE_LOSS = 0.12
"""Share of the local signal that a microbleed must take for a voxel to belong to its visible region."""
VISIBLE_PPM = 0.06
"""The same for QSM, in ppm."""
_NECK_MM = 8.0


@dataclass(frozen=True)
class SimulatedScan:
    """Image, brain mask (bool) and truth (int32, value = lesion number; 0 elsewhere) on one grid, RAS affine.

    `invisible` lists the numbers of lesions that were drawn but cannot be seen; they have no voxel in the truth.
    """

    image: Volume
    brain: Volume
    truth: Volume
    invisible: tuple[int, ...]
    acquisition: Acquisition


def simulate_scan(classes: Volume, acquisition: Acquisition, lesion_count: int, rng: np.random.Generator,
                  whole_head: bool = False) -> SimulatedScan:
    """Simulate one scan from a map of tissue classes (`anatomy.class_map`, canonical RAS grid).

    Parameters
    ----------
    classes : uint8 tissue classes
    acquisition : the protocol
    lesion_count : microbleeds to draw
    rng : source of every random number
    whole_head : False keeps the brain's surroundings only

    Returns
    -------
    SimulatedScan
    """
    fine = acquisition.fine_spacing
    to_fine, shape, affine = _fine_grid(classes, acquisition, whole_head, rng)
    b0_direction = np.linalg.inv(affine[:3, :3] / fine)[:, 2]
    tissue = anatomy.fine_tissue(classes, to_fine, shape, fine, acquisition.field_tesla, rng)
    veins, air = _surroundings(tissue, fine, b0_direction, acquisition, rng)
    lesions = implants.draw_lesions(tissue.classes, fine, lesion_count, 0.35, rng)
    bleeds, bleed_r2star = _rasterise(lesions, shape, fine)

    r2star = tissue.r2star + veins * rng.uniform(20, 45) * acquisition.field_tesla / 3
    clean_ppm = tissue.susceptibility * (1 - veins) + veins * rng.uniform(0.12, 0.4)
    clean_field = field_of(clean_ppm, fine, b0_direction)
    bleed_field = field_of(bleeds, fine, b0_direction)
    without = complex_image(tissue.density, r2star, clean_field + air, acquisition)
    with_bleeds = complex_image(tissue.density, r2star + bleed_r2star, clean_field + air + bleed_field, acquisition)
    brain = block_mean(anatomy.brain_of(tissue.classes).astype(np.float32), acquisition.factor) > 0.5
    level = float(np.median(np.abs(without)[brain]))
    if acquisition.modality == "qsm":
        field = block_mean(clean_field + bleed_field, acquisition.factor)
        image = quantitative_susceptibility(field, np.abs(with_bleeds), brain, acquisition, b0_direction, level, rng)
        effect = block_mean(bleeds, acquisition.factor) / VISIBLE_PPM
    else:
        measured = add_scanner(with_bleeds, acquisition, level, rng)
        weighted = susceptibility_weighted(measured, acquisition) if acquisition.modality == "swi" else np.abs(measured)
        image = (weighted * _shading(weighted.shape, rng)).astype(np.float32)
        before, after = (np.abs(band_limited(signal, acquisition)) for signal in (without, with_bleeds))
        effect = (1 - after / np.maximum(before, 0.15 * level)) / VISIBLE_LOSS
    truth, invisible = _truth(effect, lesions, acquisition, brain)
    grid = affine.copy()
    grid[:3, :3] *= acquisition.factor
    # The isocentre of the scanner is the middle of the image.
    grid[:3, 3] = -grid[:3, :3] @ ((np.array(truth.shape) - 1) / 2)
    return SimulatedScan(Volume(image, grid), Volume(brain, grid), Volume(truth, grid), invisible, acquisition)


def _fine_grid(classes, acquisition, whole_head, rng):
    """Return (fine voxel -> class voxel), the fine shape, and the fine affine to RAS mm."""
    angles = np.deg2rad(acquisition.tilt_degrees)
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        rotation = rotation @ turn
    growth = rng.normal(1, 0.04, 3)
    shown = classes.data > 0 if whole_head else anatomy.brain_of(classes.data)
    points = (np.argwhere(shown)[::97] @ (classes.affine[:3, :3] * growth).T) @ rotation
    margin = np.array([3.0, 3.0, 3.0])
    low, high = points.min(0) - margin, points.max(0) + margin
    if not whole_head:
        low[2] -= _NECK_MM
    shape = np.ceil((high - low) / acquisition.spacing).astype(int) * acquisition.factor
    affine = np.eye(4)
    affine[:3, :3] = rotation * acquisition.fine_spacing
    affine[:3, 3] = rotation @ low + acquisition.fine_spacing / 2
    classes_to_world = np.eye(4)
    classes_to_world[:3, :3] = classes.affine[:3, :3] * growth
    return np.linalg.inv(classes_to_world) @ affine, tuple(int(n) for n in shape), affine


def _surroundings(tissue, fine, b0_direction, acquisition, rng):
    """Return the volume fraction of veins and the field (ppm) of air outside the brain."""
    classes, shape = tissue.classes, tissue.classes.shape
    deep = np.argwhere(np.isin(classes, (anatomy.PUTAMEN, anatomy.CAUDATE, anatomy.PALLIDUM)))[::7]
    cerebrum = np.argwhere(np.isin(classes, (anatomy.WHITE, anatomy.CORTEX, anatomy.CEREBELLUM)))[::31]
    sulci = np.argwhere(classes == anatomy.CSF)[::31]
    veins = implants.draw_tubes(cerebrum, shape, fine, int(rng.integers(60, 350)), (0.15, 0.6), (8, 40), None, rng)
    veins = np.maximum(veins, implants.draw_tubes(sulci, shape, fine, int(rng.integers(40, 150)), (0.3, 1.2), (15, 60),
                                                  None, rng))
    veins = np.maximum(veins, implants.draw_tubes(deep, shape, fine, int(rng.integers(10, 90)), (0.12, 0.45), (6, 25),
                                                  b0_direction, rng))
    if acquisition.modality == "qsm":
        return veins, np.float32(0)
    air = np.zeros(shape, np.float32)
    extent = np.array(shape) * fine
    for _ in range(rng.integers(1, 4)):
        centre = extent * rng.uniform((0.3, 0.55, -0.12), (0.7, 1.05, -0.02))
        lesion = implants.Lesion(centre / fine, np.full(3, rng.uniform(6, 13)), np.eye(3), 0, 0)
        box, fraction = implants.ellipsoid_fraction(shape, fine, lesion)
        air[box] = np.maximum(air[box], fraction)
    return veins, field_of(9.2 * air * ~anatomy.brain_of(classes), fine, b0_direction)


def _rasterise(lesions, shape, fine):
    """Return the maps of added susceptibility (ppm) and R2* (1/s)."""
    added = np.zeros((2, *shape), np.float32)
    for lesion in lesions:
        box, fraction = implants.ellipsoid_fraction(shape, fine, lesion)
        for target, value in zip(added, (lesion.susceptibility_ppm, lesion.r2star), strict=True):
            target[box] = np.maximum(target[box], fraction * value)
    return added


def _shading(shape, rng):
    coarse = rng.normal(0, 0.12, (3, 3, 3))
    return np.exp(ndimage.zoom(coarse, np.array(shape) / 3, order=1, grid_mode=True, mode="nearest"))


def _truth(effect, lesions, acquisition, brain):
    """Return the visible region of each lesion and the numbers of those that have none.

    A voxel belongs to the nearest lesion, within 1.5 times its size plus the blooming that a source can reach.
    """
    truth = np.zeros(effect.shape, np.int32)
    nearest = np.full(effect.shape, np.inf, np.float32)
    for number, lesion in enumerate(lesions, 1):
        centre = (lesion.centre + 0.5) / acquisition.factor - 0.5
        reach_mm = 1.5 * lesion.semi_axes_mm.max() + 2.0 + acquisition.slice_mm / 2
        reach = np.ceil(reach_mm / acquisition.spacing).astype(int)
        low = np.maximum(np.rint(centre).astype(int) - reach, 0)
        high = np.minimum(np.rint(centre).astype(int) + reach + 1, effect.shape)
        if (high <= low).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        axes = [((np.arange(a, b) - c) * s) for a, b, c, s in zip(low, high, centre, acquisition.spacing, strict=True)]
        distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))
        own = (distance < np.minimum(nearest[box], reach_mm)) & (effect[box] >= 1) & brain[box]
        truth[box][own] = number
        nearest[box][own] = distance[own]
    kept = set(np.unique(truth).tolist())
    return truth, tuple(number for number in range(1, len(lesions) + 1) if number not in kept)


def implant_into_crop(magnitude: Volume, acquisition: Acquisition, lesion_count: int,
                      rng: np.random.Generator) -> SimulatedScan:
    """Put microbleeds into a real magnitude image: each voxel is multiplied by what the complex sum loses there.

    `magnitude` is taken as brain throughout; the acquisition's spacing must be the volume's own.
    """
    fine = acquisition.fine_spacing
    shape = tuple(int(n * f) for n, f in zip(magnitude.shape, acquisition.factor, strict=True))
    everywhere = np.full(shape, anatomy.WHITE, np.uint8)
    lesions = implants.draw_lesions(everywhere, fine, lesion_count, 0.2, rng)
    bleeds, r2star = _rasterise(lesions, shape, fine)
    field = field_of(bleeds, fine, np.array([0, 0, 1]))
    kept = np.abs(complex_image(np.ones(shape, np.float32), r2star, field, acquisition))
    brain = np.ones(magnitude.shape, bool)
    truth, invisible = _truth((1 - kept) / VISIBLE_LOSS, lesions, acquisition, brain)
    image = (magnitude.data * kept).astype(np.float32)
    return SimulatedScan(magnitude.with_data(image), magnitude.with_data(brain), magnitude.with_data(truth), invisible,
                         acquisition)
