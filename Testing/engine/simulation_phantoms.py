"""Objects for the tests of the simulator: bodies on grids, images of drawn maps, and a small head."""

import numpy as np
import SimpleITK as sitk
from microbleeds.simulation.anatomy import Anatomy, class_map
from microbleeds.simulation.image_formation import TissueMaps, acquired_kspace, reconstruct
from microbleeds.simulation.protocol import make_grids
from microbleeds.simulation.shapes import Part, part_fraction
from microbleeds.simulation.susceptibility import field_of
from microbleeds.volume import Volume

NO_BUMPS = np.zeros((0, 4))


def ellipsoid(shape, spacing, centre_mm, semi_axes_mm, rotation=None):
    """Return the volume fraction of an ellipsoid on a grid whose first voxel lies at 0."""
    part = Part(np.asarray(centre_mm, float), np.broadcast_to(semi_axes_mm, 3).astype(float),
                np.eye(3) if rotation is None else rotation, NO_BUMPS, 1.0, 0.0, 1.0)
    box, fraction = part_fraction(part, (shape, np.diag([*spacing, 1.0])))
    data = np.zeros(shape, np.float32)
    data[box] = fraction
    return data


def fine_points(grids):
    """Return the places of the fine voxels, (i, j, k, 3) RAS mm."""
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in grids.fine_shape), indexing="ij")
    return np.stack(axes, -1) @ grids.fine_affine[:3, :3].T.astype(np.float32) + grids.fine_affine[:3, 3]


def ball_in(grids, centre_ras, radius_mm):
    """Return the volume fraction of a ball on the fine grid."""
    part = Part(np.asarray(centre_ras, float), np.full(3, float(radius_mm)), np.eye(3), NO_BUMPS, 1.0, 0.0, 1.0)
    box, fraction = part_fraction(part, (grids.fine_shape, grids.fine_affine))
    data = np.zeros(grids.fine_shape, np.float32)
    data[box] = fraction
    return data


def uniform_maps(shape, density=1.0, r2star_hz=0.0, susceptibility_ppm=0.0):
    """Return tissue maps, each of one number or an array."""
    return TissueMaps(*(np.broadcast_to(np.asarray(value, np.float32), shape).copy()
                        for value in (density, r2star_hz, susceptibility_ppm)))


def centred_grids(protocol):
    """Return the grids of a protocol with a matrix, its middle at the origin."""
    middle = np.zeros((1, 3))
    return make_grids(protocol, middle, middle)


def image_of(maps, protocol, grids, field_ppm=None):
    """Return the noise-free image of all echoes, (echo, i, j, k); the field is that of the maps if none is given."""
    if field_ppm is None:
        field_ppm = field_of(maps.susceptibility_ppm, grids.fine_spacing, grids.b0_direction)
    kspace = acquired_kspace(maps, field_ppm, protocol, grids, protocol.echo_times_ms, 1)
    return reconstruct(kspace, protocol, grids)


_SIZE, _SPACING_MM = 60, 2.0
# code, middle (lateral, A, S) and semi-axes in mm; code + 0 at the left, and its right twin at the mirrored place
_PAIRS = (
    ((2, 41), (0, 0, 6), (44, 50, 42)),
    ((3, 42), (40, 0, 8), (4, 30, 25)),
    ((17, 53), (24, -8, -14), (4, 10, 4)),
    ((12, 51), (24, 4, 4), (5, 12, 8)),
    ((13, 52), (18, 2, 3), (4, 8, 6)),
    ((11, 50), (13, 14, 12), (4, 9, 6)),
    ((10, 49), (10, -8, 6), (7, 11, 8)),
    ((28, 60), (7, -6, -6), (6, 7, 5)),
    ((4, 43), (7, 2, 17), (5, 22, 6)),
    ((31, 63), (8, -12, 15), (3, 5, 3)),
    ((8, 47), (18, -32, -26), (18, 14, 11)),
    ((7, 46), (15, -32, -26), (12, 9, 7)),
)


def toy_labels():
    """Return a head of 60×60×60 voxels of 2 mm with FreeSurfer's codes, all structures that are needed, and skull."""
    axes = (np.arange(_SIZE) - (_SIZE - 1) / 2) * _SPACING_MM
    r, a, s = np.meshgrid(axes, axes, axes, indexing="ij")

    def inside(middle, semi_axes):
        return sum(((x - c) / w) ** 2 for x, c, w in zip((r, a, s), middle, semi_axes, strict=True)) <= 1

    labels = np.zeros((_SIZE,) * 3, np.int32)
    labels[inside((0, 0, 0), (59, 59, 59))] = 516
    labels[inside((0, 0, 0), (56, 57, 57))] = 511
    labels[inside((0, 0, 2), (52, 56, 52))] = 24
    labels[inside((0, 0, 5), (50, 54, 48)) & (r < -1)] = 3
    labels[inside((0, 0, 5), (50, 54, 48)) & (r > 1)] = 42
    for (left, right), (lateral, *rest), semi_axes in _PAIRS:
        labels[inside((-lateral, *rest), semi_axes) & (r < 0)] = left
        labels[inside((lateral, *rest), semi_axes) & (r > 0)] = right
    labels[inside((0, -14, -26), (8, 8, 22)) & (s < -8)] = 16
    labels[inside((0, -8, 4), (3, 6, 6))] = 14
    return labels


def toy_anatomy():
    """Return the small head as the simulator reads it, its middle at the origin."""
    affine = np.diag([_SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -(_SIZE - 1) / 2 * _SPACING_MM
    return Anatomy("toy", Volume(class_map(toy_labels()), affine))


def write_labels(path, labels, spacing_mm=_SPACING_MM):
    """Write labels (i, j, k) along R, A, S as NIfTI and return the path."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(labels.T))
    image.SetSpacing((spacing_mm,) * 3)
    # NIfTI's axes run left to right and back to front, those of SimpleITK the other way round
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return path
