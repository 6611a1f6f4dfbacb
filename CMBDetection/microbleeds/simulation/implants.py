"""What is put into the tissue: microbleeds, veins, perivascular spaces, air. Each is a map of volume fractions."""

from dataclasses import dataclass

import numpy as np

from . import anatomy

# Share of lesions per tissue: shared/data/README.md, figures of five data sets.
_LESION_SITES = ((anatomy.CORTEX, 0.30), (anatomy.WHITE, 0.38), (anatomy.PUTAMEN, 0.09), (anatomy.CAUDATE, 0.04),
                 (anatomy.PALLIDUM, 0.03), (anatomy.THALAMUS, 0.06), (anatomy.BRAINSTEM, 0.04),
                 (anatomy.CEREBELLUM, 0.06))


@dataclass(frozen=True)
class Lesion:
    """One microbleed: centre in fine voxels, semi-axes in mm with their directions, susceptibility and extra R2*."""

    centre: np.ndarray
    semi_axes_mm: np.ndarray
    rotation: np.ndarray
    susceptibility_ppm: float
    r2star: float


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Return a uniformly drawn 3x3 rotation."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


def draw_lesions(classes: np.ndarray, spacing: np.ndarray, count: int, cluster_share: float,
                 rng: np.random.Generator) -> list[Lesion]:
    """Draw microbleeds: sites by tissue, some 3 to 9 mm beside another, none within 2.5 mm of another."""
    sites = {tissue: np.flatnonzero(classes == tissue) for tissue, _ in _LESION_SITES}
    tissues = [tissue for tissue, _ in _LESION_SITES if sites[tissue].size]
    weights = np.array([share for tissue, share in _LESION_SITES if sites[tissue].size])
    lesions: list[Lesion] = []
    for _ in range(20 * count):
        if len(lesions) == count:
            break
        if lesions and rng.random() < cluster_share:
            step = random_rotation(rng)[0] * rng.uniform(3, 9) / spacing
            centre = lesions[rng.integers(len(lesions))].centre + step
            index = np.rint(centre).astype(int)
            outside = (index < 0).any() or (index >= classes.shape).any()
            if outside or classes[tuple(index)] not in tissues:
                continue
        else:
            tissue = rng.choice(tissues, p=weights / weights.sum())
            centre = np.array(np.unravel_index(rng.choice(sites[tissue]), classes.shape)) + rng.uniform(-0.5, 0.5, 3)
        if any(np.linalg.norm((other.centre - centre) * spacing) < 2.5 for other in lesions):
            continue
        lesions.append(_draw_lesion(centre, rng))
    return lesions


def _draw_lesion(centre: np.ndarray, rng: np.random.Generator) -> Lesion:
    diameter = float(np.clip(np.exp(rng.normal(np.log(1.9), 0.38)), 0.9, 5.5))
    ratio = rng.uniform([0.75, 0.75, 1.0], [1.0, 1.0, 1.5])
    semi_axes = 0.5 * diameter * ratio / np.prod(ratio) ** (1 / 3)
    # Small sources need a stronger susceptibility to be seen at all; large ones are mostly old and pale.
    susceptibility = rng.uniform(0.15, 0.7) * (2 / diameter) ** 0.7
    return Lesion(centre, semi_axes, random_rotation(rng), float(susceptibility), float(rng.uniform(5, 60)))


def ellipsoid_fraction(shape: tuple, spacing: np.ndarray, lesion: Lesion) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the box around a lesion and the volume fraction (0 to 1) of each of its voxels, 3x3x3 subsamples each."""
    reach = np.ceil(lesion.semi_axes_mm.max() / spacing).astype(int) + 1
    low = np.maximum(np.rint(lesion.centre).astype(int) - reach, 0)
    high = np.maximum(np.minimum(np.rint(lesion.centre).astype(int) + reach + 1, shape), low)
    offsets = np.array([-1, 0, 1]) / 3
    axes = [((np.arange(a, b)[:, None] + offsets).ravel() - c) * s
            for a, b, c, s in zip(low, high, lesion.centre, spacing, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ lesion.rotation / lesion.semi_axes_mm
    inside = (points**2).sum(-1) <= 1
    a, b, c = (h - w for h, w in zip(high, low, strict=True))
    fraction = inside.reshape(a, 3, b, 3, c, 3).mean(axis=(1, 3, 5), dtype=np.float32)
    return tuple(slice(w, h) for w, h in zip(low, high, strict=True)), fraction


def draw_tubes(start_voxels: np.ndarray, shape: tuple, spacing: np.ndarray, count: int,
               radius_mm: tuple[float, float], length_mm: tuple[float, float], preferred: np.ndarray | None,
               rng: np.random.Generator) -> np.ndarray:
    """Return the volume fraction of tortuous tubes that start at drawn voxels (n, 3).

    `preferred` is a direction most tubes follow, None for any. Every step of 0.3 mm deposits its volume as points
    drawn in the cross-section, so tubes thinner than a voxel get their true partial volume.
    """
    fraction = np.zeros(int(np.prod(shape)), np.float32)
    step_mm, per_step = 0.3, 8
    voxel_volume = float(np.prod(spacing))
    for start in start_voxels[rng.integers(len(start_voxels), size=count)] if len(start_voxels) else ():
        radius = float(np.exp(rng.uniform(*np.log(radius_mm))))
        steps = int(rng.uniform(*length_mm) / step_mm)
        direction = random_rotation(rng)[0] if preferred is None else preferred + 0.3 * rng.standard_normal(3)
        turns = np.cumsum(rng.normal(0, 0.06, (steps, 3)), axis=0) + direction / np.linalg.norm(direction)
        path = start * spacing + np.cumsum(turns / np.linalg.norm(turns, axis=1, keepdims=True), axis=0) * step_mm
        scatter = rng.standard_normal((steps, per_step, 3))
        scatter /= np.linalg.norm(scatter, axis=-1, keepdims=True)
        scatter *= radius * rng.random((steps, per_step, 1)) ** (1 / 3)
        voxels = np.rint((path[:, None] + scatter).reshape(-1, 3) / spacing).astype(np.int64)
        voxels = voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]
        volume = np.pi * radius**2 * step_mm / per_step / voxel_volume
        np.add.at(fraction, np.ravel_multi_index(voxels.T, shape), np.float32(volume))
    return np.minimum(fraction, 1).reshape(shape)
