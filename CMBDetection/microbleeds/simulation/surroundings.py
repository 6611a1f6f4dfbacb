"""The field that a head makes in its own brain: air around it, air in sinuses and temporal bone, bone; shimmed."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..geometry import voxel_to_ras
from ..volume import Volume
from .anatomy import AIR, SKULL, Anatomy, brain_of
from .protocol import Protocol
from .shapes import AIR_INTERFACE, Focus, Part, draw_bumps, part_fraction
from .susceptibility import field_of

AIR_PPM, BONE_PPM = 9.2, -2.1
"""Susceptibility relative to tissue, as in published phantoms (Marques et al. 2021)."""
_NECK_MM, _AROUND_BRAIN_MM = 40, 12
_SMOOTHING_VOXELS = 0.8
_WALL_MM = (3.0, 9.0)
"""Bone, mucosa and fluid between air and brain."""


@dataclass(frozen=True)
class _Sinus:
    """Where air lies below the brain: range of the distance from the midline in mm (both sides), of the place from
    back (0) to front (1) of the brain, of the radius in mm, and how often."""

    lateral_mm: tuple[float, float]
    forward: tuple[float, float]
    radius_mm: tuple[float, float]
    share: float


_SINUSES = (
    _Sinus((0, 8), (0.62, 0.72), (6, 12), 1.0),
    _Sinus((3, 14), (0.80, 0.95), (5, 10), 0.9),
    _Sinus((35, 55), (0.38, 0.55), (4, 9), 0.9),
    _Sinus((30, 50), (0.60, 0.72), (3, 7), 0.5),
)
"""Sphenoid, ethmoid and frontal, mastoid and tympanic air, air below the temporal pole."""


def draw_air(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Focus, ...]:
    """Draw the air spaces below the brain, each as a focus whose body lies outside the brain."""
    brain = anatomy.brain
    voxels = np.argwhere(brain)
    low, high = voxels.min(0), voxels.max(0)
    middle = np.median(voxels[:, 0])
    spaces = []
    for sinus in _SINUSES:
        for side in (-1, 1):
            if rng.random() > sinus.share:
                continue
            i = int(middle + side * rng.uniform(*sinus.lateral_mm) / anatomy.classes.spacing[0])
            j = int(low[1] + rng.uniform(*sinus.forward) * (high[1] - low[1]))
            column = np.flatnonzero(brain[np.clip(i, 0, brain.shape[0] - 1), j])
            if not len(column):
                continue
            axes = rng.uniform(*sinus.radius_mm) * rng.uniform(0.7, 1.3, 3)
            k = column[0] - (axes[2] + rng.uniform(*_WALL_MM)) / anatomy.classes.spacing[2]
            centre = voxel_to_ras(anatomy.classes, [i, j, k])
            part = Part(centre, axes, np.eye(3), draw_bumps(rng, 0.15), AIR_PPM, 0.0, 0.0)
            spaces.append(Focus(AIR_INTERFACE, (part,)))
    return tuple(spaces)


def hollowed(anatomy: Anatomy, air: tuple[Focus, ...]) -> Anatomy:
    """Return the head with its air spaces empty, as far as they lie outside the brain."""
    classes = anatomy.classes.data.copy()
    for focus in air:
        for part in focus.parts:
            box, fraction = part_fraction(part, (classes.shape, anatomy.classes.affine))
            classes[box][(fraction > 0.5) & ~brain_of(classes[box])] = AIR
    return Anatomy(anatomy.name, anatomy.classes.with_data(classes))


def background_field(anatomy: Anatomy, air: tuple[Focus, ...], threads: int) -> Volume:
    """Return the field (ppm, on the grid of the anatomy) in and around the brain of everything outside it, shimmed.

    Air around the head and in its spaces and bone are sources; below the label map the head goes on as it ends there.
    The shim takes away the best second-order field over the brain, as scanners do.
    """
    classes, affine = anatomy.classes, anatomy.classes.affine.copy()
    below, around = (int(np.ceil(length / classes.spacing.min())) for length in (_NECK_MM, _AROUND_BRAIN_MM))
    padded = np.pad(np.pad(classes.data, [(0, 0), (0, 0), (below, 0)], mode="edge"), around)[:, :, around:]
    affine[:3, 3] -= affine[:3, :3] @ [around, around, below]
    # relative to air, so that the space around the head, and the copies of the periodic transform, add nothing
    head = _filled(padded > 0)
    if not (padded >= SKULL).any():
        # a label map of the brain alone: what lies around it in a head is about this thick
        head = ndimage.distance_transform_edt(~head, classes.spacing) <= _AROUND_BRAIN_MM
    sources = np.where(head, -AIR_PPM, 0).astype(np.float32)
    sources[padded == SKULL] += BONE_PPM
    for focus in air:
        for part in focus.parts:
            box, fraction = part_fraction(part, (padded.shape, affine))
            sources[box] *= 1 - fraction * ~brain_of(padded[box])
    # without the smoothing, borders of this height ring far into the brain
    sources = ndimage.gaussian_filter(sources, _SMOOTHING_VOXELS)
    spacing = classes.spacing
    field = field_of(sources, spacing, (affine[:3, :3] / spacing)[2], threads)
    return Volume(field - _shim(field, spacing, brain_of(padded)), affine)


def _filled(head: np.ndarray) -> np.ndarray:
    """Return the head with its hollows: what label maps leave empty there is mostly tissue without a label.

    Closing by about 20 mm, on every fourth voxel; the air spaces that matter are drawn (`draw_air`).
    """
    step, reach = 4, 5
    coarse = np.pad(head[::step, ::step, ::step], reach)
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(coarse, iterations=reach))
    closed = closed[(slice(reach, -reach),) * 3]
    for axis in range(3):
        closed = np.repeat(closed, step, axis)
    return head | closed[tuple(slice(n) for n in head.shape)]


def dephasing_of(field_ppm: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Return the share of signal (0 to 1) that the background field's gradient through the slice takes.

    ``1 - |sinc(γ/2π·B0·G·d·TE)|`` with the field's gradient G along the slice normal over the thickness d;
    `field_ppm` is the field on the grid of the image.
    """
    gradient = np.gradient(field_ppm, protocol.spacing[2], axis=2)
    turns = protocol.hertz_per_ppm * gradient * protocol.slice_mm * protocol.echo_times_ms[-1] / 1000
    return (1 - np.abs(np.sinc(turns))).astype(np.float32)


def _shim(field: np.ndarray, spacing: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Return the sum of solid harmonics up to second order that fits the field best in the brain, on the whole grid.

    Shim coils make these fields only; they satisfy Laplace's equation, which background removal relies on.
    """
    axes = [(np.arange(n, dtype=np.float32) - n / 2) * np.float32(s / 100)
            for n, s in zip(field.shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    terms = [np.broadcast_to(term, field.shape) for term in (
        np.float32(1), x, y, z, x * y, x * z, y * z, x**2 - y**2, z**2 - (x**2 + y**2) / 2)]
    some = np.unravel_index(np.flatnonzero(brain)[::97], field.shape)
    weights = np.linalg.lstsq(np.stack([term[some] for term in terms], axis=1), field[some], rcond=None)[0]
    return sum(np.float32(weight) * term for weight, term in zip(weights, terms, strict=True))
