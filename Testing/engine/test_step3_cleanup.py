"""Clean-up rules on drawn shapes: both sides of each limit, on the voxel sizes that occur."""

import time
from dataclasses import replace

import numpy as np
import pytest
from microbleeds.settings import CleanupSettings
from microbleeds.step3_cleanup import edge_distance_mm, linearity, removal_rules
from microbleeds.volume import Volume

GRIDS_MM = [(0.5, 0.5, 1.0), (1.0, 1.0, 3.0), (0.45, 0.45, 4.0)]
OFF = CleanupSettings(min_volume_mm3=None, min_diameter_mm=None, max_diameter_mm=None, max_elongation=None,
                      min_edge_distance_mm=None, max_linearity=None)
HALF_MM = 12.0


def draw(shape, spacing_mm, shift=(0, 0, 0), contrast=0.5, noise=0.0):
    """Render `shape(x, y, z)` (mm from its centre) with partial volume; shift in voxels. Image, brain, centre voxel."""
    spacing = np.array(spacing_mm)
    half = np.ceil(HALF_MM / spacing).astype(int)
    parts = np.maximum(2, np.ceil(spacing / 0.4)).astype(int)
    axes = [(np.arange(-h, h + 1)[:, None] + (np.arange(p) + 0.5) / p - 0.5 - o).ravel() * s
            for h, p, o, s in zip(half, parts, shift, spacing, strict=True)]
    drawn = shape(*np.meshgrid(*axes, indexing="ij", sparse=True)).astype(np.float32)
    sides = [n for h, p in zip(half, parts, strict=True) for n in (2 * h + 1, p)]
    data = contrast * drawn.reshape(sides).mean(axis=(1, 3, 5))
    data += noise * np.random.default_rng(1).normal(size=data.shape)
    image = Volume(data.astype(np.float32), np.diag([*spacing, 1]))
    return image, image.with_data(np.ones(image.shape, bool)), half + np.array(shift)


def ellipsoid(a, b=None, c=None):
    b, c = b or a, c or a
    return lambda x, y, z: (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 <= 1


def tube(radius, direction, at=(0, 0, 0)):
    d = np.array(direction) / np.linalg.norm(direction)

    def inside(x, y, z):
        x, y, z = x - at[0], y - at[1], z - at[2]
        return x * x + y * y + z * z - (x * d[0] + y * d[1] + z * d[2]) ** 2 <= radius**2
    return inside


def arc(radius, bend, through_plane=False):
    """Draw a ring of this bending radius that passes through the centre, in the slice or across slices."""
    def inside(x, y, z):
        u, w = (z, y) if through_plane else (y, z)
        return (np.sqrt((x - bend) ** 2 + u**2) - bend) ** 2 + w**2 <= radius**2
    return inside


def both(one, other):
    return lambda x, y, z: one(x, y, z) | other(x, y, z)


def line_of(shape, spacing_mm, diameter_mm=3.0, **kwargs):
    return linearity(*draw(shape, spacing_mm, **kwargs), diameter_mm)


LIMIT = CleanupSettings().max_linearity
SHIFTS = [(0, 0, 0), (0.2, 0.4, 0.5)]
BALL_DIAMETERS_MM = [1.5, 3, 5, 10]
OVOIDS = [(ellipsoid(1, 2, 1.3), 2.7), (ellipsoid(1.2, 1.2, 2.4), 3.0), (ellipsoid(3, 1.5, 1.5), 3.8)]
LINES = [tube(0.75, (1, 0, 0)), tube(0.75, (1, 1, 0)), tube(0.5, (0, 0, 1)), tube(1.25, (0, 0, 1)), arc(0.75, 15),
         arc(0.75, 8)]


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("spacing_mm", GRIDS_MM)
@pytest.mark.parametrize("diameter_mm", BALL_DIAMETERS_MM)
def test_balls_are_not_lines(diameter_mm, spacing_mm, shift):
    assert line_of(ellipsoid(diameter_mm / 2), spacing_mm, diameter_mm, shift=shift) < 0.1


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("spacing_mm", GRIDS_MM)
@pytest.mark.parametrize("ovoid", range(len(OVOIDS)))
def test_ovoids_stay(ovoid, spacing_mm, shift):
    shape, diameter_mm = OVOIDS[ovoid]
    assert line_of(shape, spacing_mm, diameter_mm, shift=shift) < LIMIT - 0.1


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("spacing_mm", GRIDS_MM)
@pytest.mark.parametrize("line", range(len(LINES)))
def test_tubes_are_lines(line, spacing_mm, shift):
    assert line_of(LINES[line], spacing_mm, shift=shift) > 0.75


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 1.0), (0.8, 0.8, 0.8)])
@pytest.mark.parametrize("direction", [(1, 0, 1), (1, 1, 1), (0.94, 0, 0.34), (0.34, 0, 0.94)])
def test_oblique_tubes_on_thin_slices(spacing_mm, direction):
    assert line_of(tube(0.75, direction), spacing_mm) > 0.85


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 3.0), (0.45, 0.45, 4.0)])
def test_oblique_tubes_on_thick_slices(spacing_mm):
    # 20 degrees off the slice; steeper ones show as pieces that lie apart from slice to slice, and stay.
    assert line_of(tube(0.75, (0.94, 0, 0.34)), spacing_mm) > 0.85


def test_bend_across_thin_slices():
    assert line_of(arc(0.75, 8, through_plane=True), (0.5, 0.5, 1)) > 0.75


@pytest.mark.parametrize("spacing_mm", GRIDS_MM)
@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, 1)])
def test_ball_on_or_beside_a_vessel_stays(direction, spacing_mm, shift):
    on = both(ellipsoid(1.5), tube(0.4, direction))
    beside = both(ellipsoid(1.5), tube(0.8, direction, (0, 2.5, 0)))
    assert line_of(on, spacing_mm, shift=shift) < LIMIT - 0.1
    assert line_of(beside, spacing_mm, shift=shift) < 0.1


@pytest.mark.parametrize("spacing_mm", GRIDS_MM)
@pytest.mark.parametrize("axis", [0, 2])
def test_lesions_in_a_row_stay(spacing_mm, axis):
    # Real ones cluster: a quarter have a neighbour within 5 mm. Across slices that takes one slice free between them.
    apart = max(5.0, 2 * spacing_mm[2]) if axis == 2 else 5.0

    def row(x, y, z):
        axes = [x, y, z]
        return np.logical_or.reduce([ellipsoid(1.5)(*axes[:axis], axes[axis] - n * apart, *axes[axis + 1:])
                                     for n in (-1, 0, 1)])
    assert line_of(row, spacing_mm) < 0.35


@pytest.mark.parametrize("spacing_mm", GRIDS_MM)
def test_planes_noise_and_dark_structures_are_not_lines(spacing_mm):
    assert line_of(lambda x, y, z: (abs(y) + 0 * x + 0 * z) < 1, spacing_mm) == 0
    assert line_of(ellipsoid(2), spacing_mm, contrast=-0.5) == 0
    image, brain, _ = draw(ellipsoid(0.1), spacing_mm, noise=0.06)
    points = np.random.default_rng(2).uniform(0.3, 0.7, (50, 3)) * image.shape
    assert sum(linearity(image, brain, p, 3.0) > LIMIT for p in points) <= 1


@pytest.mark.parametrize("spacing_mm", GRIDS_MM)
def test_faint_lesions_in_noise_stay(spacing_mm):
    # The contrast of most real lesions, at the noise of a real scan.
    for shift in SHIFTS:
        assert line_of(ellipsoid(1.5), spacing_mm, shift=shift, contrast=0.3, noise=0.06) < 0.4
    assert line_of(tube(1.25, (0, 0, 1)), spacing_mm, contrast=0.5, noise=0.05) > LIMIT


def test_missing_slices_keep_a_ball():
    for cut in (slice(4, None), slice(None, 5), slice(4, 5)):
        image, brain, centre = draw(ellipsoid(1.5), (1, 1, 3))
        part = Volume(image.data[:, :, cut], image.affine)
        centre = centre - [0, 0, cut.start or 0]
        assert linearity(part, part.with_data(brain.data[:, :, cut]), centre, 3.0) < 0.35


def test_linearity_without_brain_or_signal():
    image, brain, centre = draw(tube(1, (0, 0, 1)), (1, 1, 3))
    assert linearity(image.with_data(0 * image.data), brain, centre, 3.0) == 0
    assert linearity(image, image.with_data(~brain.data), centre, 3.0) > 0.8


def test_edge_distance_on_anisotropic_voxels():
    mask = np.zeros((40, 40, 10), bool)
    mask[5:35, 5:35, 3:8] = True
    brain = Volume(mask, np.diag([0.5, 0.5, 4, 1]))
    assert edge_distance_mm(brain, np.array([6, 20, 5]), 5) == pytest.approx(0.75)
    assert edge_distance_mm(brain, np.array([6.5, 20, 5.3]), 5) == pytest.approx(1.0)
    assert edge_distance_mm(brain, np.array([20, 20, 3]), 5) == pytest.approx(2)
    assert edge_distance_mm(brain, np.array([2, 20, 5]), 5) == 0
    assert edge_distance_mm(brain, np.array([-3, 20, 5]), 5) == 0
    assert edge_distance_mm(brain, np.array([20, 20, 5]), 1) == np.inf


def test_edge_distance_to_a_corner():
    brain = Volume(np.ones((9, 9, 9), bool), np.diag([1, 1, 2, 1]))
    mask = brain.data.copy()
    mask[0, 0, 0] = False
    expected_mm = np.linalg.norm([3.5, 2.5, 3])
    assert edge_distance_mm(brain.with_data(mask), np.array([4, 3, 2]), 9) == pytest.approx(expected_mm)


def test_array_faces_are_not_an_edge():
    brain = Volume(np.ones((6, 6, 6), bool), np.eye(4))
    assert edge_distance_mm(brain, np.array([0, 0, 5]), 10) == np.inf


def box(i, j, k):
    return np.indices((i, j, k)).reshape(3, -1).T


def rules(regions, settings, centres=None, spacing_mm=(0.5, 0.5, 2.0), image=None):
    """Apply the rules in a brain without its first ten planes along x."""
    if image is None:
        image = Volume(np.zeros((60, 60, 20), np.float32), np.diag([*spacing_mm, 1]))
    mask = np.ones(image.shape, bool)
    mask[:10] = False
    centres = np.full((len(regions), 3), 15.0) if centres is None else centres
    return removal_rules(regions, np.array(centres), image, image.with_data(mask), settings)


def test_volume_rule():
    small, large = box(3, 3, 1)[:4], box(5, 1, 1)
    assert rules([small, large], CleanupSettings()) == ("volume", None)
    assert rules([small], OFF) == (None,)


def test_size_rule():
    # 0.5 mm³ voxels: 2 mm and 10 mm balls hold 4.19 and 523.6 mm³.
    settings = CleanupSettings(min_volume_mm3=None, min_diameter_mm=2, max_elongation=None)
    regions = [box(8, 1, 1), box(9, 1, 1), box(10, 10, 10), box(11, 10, 10)]
    assert rules(regions, settings) == ("size", None, None, "size")
    assert rules(regions, OFF) == (None,) * 4


def test_shape_rule():
    # An x b voxels of 0.5 mm on 1 mm slices: variances a²/48 and b²/48, plus 1/12 for the slice.
    round_one, long_one = box(9, 3, 1), box(14, 3, 1)
    settings = CleanupSettings()
    assert rules([round_one, long_one], settings, spacing_mm=(0.5, 0.5, 1)) == (None, "shape")
    assert rules([long_one], OFF, spacing_mm=(0.5, 0.5, 1)) == (None,)


def test_edge_rule():
    # The outermost voxel outside ends at x = 4.75 mm.
    centres = [(6.2, 15, 15), (6.3, 15, 15), (2, 15, 15)]
    assert rules([box(3, 3, 3)] * 3, CleanupSettings(), centres) == ("edge", None, "edge")
    assert rules([box(3, 3, 3)] * 3, OFF, centres) == (None,) * 3


def test_linearity_rule():
    for shape, expected in ((tube(0.75, (0, 0, 1)), "linearity"), (ellipsoid(1.5), None)):
        image, brain, centre = draw(shape, (0.5, 0.5, 2.0))
        centre_ras = (centre * image.spacing)[None]
        assert removal_rules([box(3, 3, 3)], centre_ras, image, brain, CleanupSettings()) == (expected,)
        assert removal_rules([box(3, 3, 3)], centre_ras, image, brain, OFF) == (None,)


def test_first_rule_is_named_and_nothing_is_fine():
    assert rules([box(1, 1, 1)], CleanupSettings(), [(0, 0, 0)]) == ("volume",)
    assert rules([], CleanupSettings(), np.zeros((0, 3))) == ()


def test_oblique_affine_places_the_centres():
    image, _, centre = draw(tube(0.75, (0, 0, 1)), (0.5, 0.5, 2.0))
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * image.spacing, (40, -20, 7)
    turned = Volume(image.data, affine)
    brain = turned.with_data(np.ones(image.shape, bool))
    centre_ras = affine[:3, :3] @ centre + affine[:3, 3]
    assert removal_rules([box(3, 3, 3)], centre_ras[None], turned, brain, CleanupSettings()) == ("linearity",)


def test_500_candidates_take_under_two_seconds():
    # Vessels everywhere, and a limit that none exceeds, so that no candidate ends early.
    i, j = np.indices((200, 200)) % 8
    data = np.repeat(((i < 3) & (j < 3))[..., None], 60, axis=2).astype(np.float32)
    image = Volume(data, np.diag([0.5, 0.5, 1, 1]))
    brain = image.with_data(np.ones(image.shape, bool))
    centres = (8 * np.random.default_rng(0).integers(5, 20, (500, 3)) + 1) * [0.5, 0.5, 0.25]
    begin = time.process_time()
    found = removal_rules([box(4, 4, 2)] * 500, centres, image, brain, replace(CleanupSettings(), max_linearity=1.0))
    assert time.process_time() - begin < 2
    assert found == (None,) * 500
