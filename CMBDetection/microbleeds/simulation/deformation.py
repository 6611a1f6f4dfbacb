"""Many brains from one label map: another size and pose, a smooth warp, wider ventricles and sulci."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..geometry import cubic_b_spline
from ..volume import Volume
from .anatomy import CHOROID, CSF, VENTRICLE, Anatomy
from .protocol import slab_rotation

_WARP_KNOT_MM = 28.0
_VENTRICLE_REACH_MM = 7.0
_SULCUS_REACH_MM = 1.5


@dataclass(frozen=True)
class Deformation:
    """How a head differs from its label map.

    Attributes
    ----------
    mirrored : left and right exchanged
    scale : growth along R, A, S
    tilt_degrees : rotation of the head about R, A, S
    warp_mm : standard deviation of the smooth random displacement
    ventricles_mm : how far a flat ventricular wall would move outward (negative: inward); real ones move about .4 of it
    sulci_mm : how far the cortex withdraws from the fluid around it
    seed : of the random displacement
    """

    mirrored: bool
    scale: tuple[float, float, float]
    tilt_degrees: tuple[float, float, float]
    warp_mm: float
    ventricles_mm: float
    sulci_mm: float
    seed: int


def draw_deformation(rng: np.random.Generator, age: float) -> Deformation:
    """Draw a deformation; ventricles and sulci widen with age (years), by about 0.1 mm and .015 mm per year over 50."""
    older = max(age - 50, 0)
    return Deformation(
        mirrored=bool(rng.random() < 0.5),
        scale=tuple(float(factor) for factor in rng.normal(1, 0.03) * rng.normal(1, 0.02, 3)),
        tilt_degrees=tuple(float(angle) for angle in rng.normal(0, (7, 3, 3))),
        warp_mm=float(rng.uniform(0.5, 2.0)),
        ventricles_mm=float(np.clip(rng.normal(-0.5 + 0.1 * older, 1.5), -1.5, 6)),
        sulci_mm=float(np.clip(rng.normal(0.015 * older, 0.25), -0.2, 1.0)),
        seed=int(rng.integers(2**31)))


def deform(anatomy: Anatomy, deformation: Deformation) -> Anatomy:
    """Return the deformed head on a grid of 1 mm along RAS, the middle of its brain at the origin."""
    classes = anatomy.classes
    if deformation.mirrored:
        classes = Volume(classes.data[::-1], classes.affine)
    data, widening = classes.data, _widening(classes, deformation)
    linear = slab_rotation(deformation.tilt_degrees) * np.array(deformation.scale)
    inside = anatomy.brain if not deformation.mirrored else anatomy.brain[::-1]
    middle = classes.affine[:3, :3] @ (np.argwhere(inside)[::53].mean(0)) + classes.affine[:3, 3]
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(data.shape) - 1)
    corners = (corners @ classes.affine[:3, :3].T + classes.affine[:3, 3] - middle) @ linear.T
    low = np.floor(corners.min(0))
    shape = tuple((np.ceil(corners.max(0)) - low + 1).astype(int).tolist())
    affine = np.eye(4)
    affine[:3, 3] = low
    back = np.linalg.inv(classes.affine[:3, :3])
    matrix = back @ np.linalg.inv(linear)
    offset = matrix @ low + back @ (middle - classes.affine[:3, 3])
    places = _warp(shape, deformation)
    for axis in range(3):
        grid = sum(matrix[axis, a] * np.arange(n, dtype=np.float32).reshape([-1 if a == b else 1 for b in range(3)])
                   for a, n in enumerate(shape))
        places[axis] = grid + np.float32(offset[axis]) + places[axis] / np.float32(classes.spacing[axis])
    # in one step with the warp, because whole voxels of the label map are coarser than sulci widen
    nearest = tuple(np.clip(np.rint(own), 0, n - 1).astype(np.int32) for own, n in zip(places, data.shape, strict=True))
    flat = np.ravel_multi_index(nearest, data.shape)
    for axis in range(3):
        places[axis] += widening[axis].ravel()[flat]
    warped = ndimage.map_coordinates(data, places, order=0, mode="constant", cval=0)
    return Anatomy(anatomy.name, Volume(warped, affine))


def _warp(shape: tuple[int, int, int], deformation: Deformation) -> np.ndarray:
    """Return a smooth random displacement (3, i, j, k) in mm, float32."""
    rng = np.random.default_rng(deformation.seed)
    knots = [int(np.ceil(n / _WARP_KNOT_MM)) + 3 for n in shape]
    field = np.empty((3, *shape), np.float32)
    for axis in range(3):
        coarse = rng.normal(0, deformation.warp_mm * 1.6, knots).astype(np.float32)
        for direction, n in enumerate(shape):
            coarse = np.moveaxis(np.tensordot(_spline(n, knots[direction]), coarse, (1, direction)), 0, direction)
        field[axis] = coarse
    return field


def _spline(n: int, knots: int) -> np.ndarray:
    """Return the matrix (n, knots) float32 that evaluates a cubic B-spline with a knot every `_WARP_KNOT_MM`."""
    distance = np.abs(np.arange(n)[:, None] / _WARP_KNOT_MM + 1 - np.arange(knots))
    return cubic_b_spline(distance).astype(np.float32)


def _widening(classes: Volume, deformation: Deformation) -> np.ndarray:
    """Return how far, (3, i, j, k) in voxels, towards the fluid each voxel takes its class from, which widens it.

    The displacement is the gradient of the smoothed fluid, scaled to the wanted length at a flat wall.
    """
    data, spacing = classes.data, classes.spacing
    box = ndimage.find_objects((data > 0).astype(np.int8))[0]
    part = data[box]
    shift = np.zeros((3, *data.shape), np.float32)
    for tissues, length_mm, reach_mm in (((VENTRICLE, CHOROID), deformation.ventricles_mm, _VENTRICLE_REACH_MM),
                                         ((CSF,), deformation.sulci_mm, _SULCUS_REACH_MM)):
        fluid = ndimage.gaussian_filter(np.isin(part, tissues).astype(np.float32), reach_mm / spacing, truncate=3)
        scale = length_mm * np.sqrt(2 * np.pi) * reach_mm
        for axis in range(3):
            shift[axis][box] += np.float32(scale / spacing[axis] ** 2) * np.gradient(fluid, axis=axis)
    return shift
