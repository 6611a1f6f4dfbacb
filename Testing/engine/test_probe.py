"""Probe of one place: shape, contrast and profiles of phantoms with known answers, other volumes, names."""


import numpy as np
import pytest
from microbleeds import probe
from microbleeds.geometry import voxel_to_ras
from microbleeds.probe import kind_of_name, probe_other, probe_scan, profiles, sphericity_of
from microbleeds.volume import Volume

THICK = (0.5, 0.5, 2.0)
THICKER = (0.9, 0.9, 3.0)
CUBES = (1.0, 1.0, 1.0)
GRIDS = (THICK, THICKER, CUBES)
SIZE_MM = 33.0
FINER = 5


def straight(spacing):
    return np.diag([*spacing, 1.0])


def phantom(spacing, inside, depth=400.0, noise=0.0, level=500.0, affine=None):
    """Return even tissue with a thing in it, partial volume included, and the RAS place of the middle of the grid.

    `inside` tells of points (..., 3), in mm from that middle along the voxel axes, which are the thing's.
    """
    shape = np.rint(SIZE_MM / np.asarray(spacing)).astype(int)
    edges = [((np.arange(n * FINER) + 0.5) / FINER - n / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    fine = inside(np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1))
    share = fine.reshape(*np.stack([shape, [FINER] * 3], axis=1).ravel()).mean(axis=(1, 3, 5))
    data = level - depth * share + np.random.default_rng(3).normal(0, noise or 1e-9, share.shape)
    volume = Volume(data.astype(np.float32), straight(spacing) if affine is None else affine)
    return volume, voxel_to_ras(volume, (shape - 1) / 2)


def ball(diameter_mm, centre_mm=(0, 0, 0)):
    return lambda points: ((points - np.asarray(centre_mm)) ** 2).sum(axis=-1) <= (diameter_mm / 2) ** 2


def cylinder(diameter_mm, length_mm, tilt_degrees):
    """A cylinder through the middle; the tilt is from the last axis towards the first and a little to the second."""
    tilt = np.radians(tilt_degrees)
    way = np.array([np.sin(tilt), 0.2 * np.sin(tilt), np.cos(tilt)])
    way /= np.linalg.norm(way)

    def inside(points):
        along = points @ way
        return (np.abs(along) <= length_mm / 2) & ((points**2).sum(axis=-1) - along**2 <= (diameter_mm / 2) ** 2)

    return inside


@pytest.mark.parametrize("noise", [0, 15])
@pytest.mark.parametrize("shift", [0, 0.5], ids=["in the middle", "half a voxel off"])
@pytest.mark.parametrize("diameter_mm", [2, 3, 6])
@pytest.mark.parametrize("spacing", GRIDS, ids=str)
def test_a_ball_is_round(spacing, diameter_mm, shift, noise):
    offset = shift * np.asarray(spacing)
    volume, middle = phantom(spacing, ball(diameter_mm, offset), noise=noise)
    found = probe_scan(volume, middle + offset, bright=False)
    assert found.shape_reading == probe.ROUND
    assert found.sphericity > 0.6
    assert found.run_slices * volume.spacing[2] == pytest.approx(found.run_mm) or spacing == CUBES
    assert abs(found.run_mm - diameter_mm) <= max(spacing) + 0.5 * diameter_mm
    assert abs(found.run_in_plane_mm - diameter_mm) <= 2 * spacing[0]
    assert found.region_diameter_mm == pytest.approx(diameter_mm, abs=max(0.8, 0.6 * max(spacing)))


@pytest.mark.parametrize("noise", [0, 40])
@pytest.mark.parametrize("tilt", [0, 30, 45, 65, 90])
@pytest.mark.parametrize("spacing", GRIDS, ids=str)
def test_a_long_cylinder_is_a_vessel_at_any_tilt(spacing, tilt, noise):
    volume, middle = phantom(spacing, cylinder(1.5, 30, tilt), noise=noise)
    assert probe_scan(volume, middle, bright=False).shape_reading == probe.VESSEL


@pytest.mark.parametrize("tilt", [0, 90])
@pytest.mark.parametrize("spacing", GRIDS, ids=str)
def test_a_short_cylinder_is_a_vessel_of_its_length_and_not_spherical(spacing, tilt):
    volume, middle = phantom(spacing, cylinder(1.5, 12, tilt))
    found = probe_scan(volume, middle, bright=False)
    assert found.shape_reading == probe.VESSEL
    assert found.sphericity < 0.6
    through = tilt == 0 or spacing == CUBES
    assert (found.run_mm if through else found.run_in_plane_mm) == pytest.approx(12, abs=spacing[2])
    assert (found.run_in_plane_mm if through else found.run_mm) <= 2 * max(2, spacing[2])
    assert not found.run_cut


def test_a_vessel_is_followed_round_a_bend_but_not_onto_a_neighbour():
    def inside(points):
        x = points[..., 0] - 0.04 * points[..., 2] ** 2
        return x**2 + points[..., 1] ** 2 <= 0.8**2

    volume, middle = phantom(THICK, inside)
    assert probe_scan(volume, middle, bright=False).run_slices == 13
    two, middle = phantom(THICK, lambda points: ball(3)(points) | ball(3, (6, 0, 2))(points))
    alone, _ = phantom(THICK, ball(3))
    assert probe_scan(two, middle, bright=False).run_slices == probe_scan(alone, middle, bright=False).run_slices


def test_contrast_is_a_share_and_positive_for_a_lesion():
    volume, middle = phantom(CUBES, ball(5), depth=300, noise=10)
    found = probe_scan(volume, middle, bright=False)
    assert found.contrast == pytest.approx(0.6, abs=0.06)
    assert found.contrast_to_noise == pytest.approx(30, rel=0.2)
    assert np.linalg.norm(np.subtract(found.focus_ras, middle)) <= 2
    bright, _ = phantom(CUBES, ball(5), depth=-300, noise=10, level=0)
    found = probe_scan(bright, middle, bright=True)
    assert found.contrast is None and found.contrast_to_noise == pytest.approx(30, rel=0.2)
    assert found.shape_reading == probe.ROUND


def test_uneven_tissue_does_not_hide_a_shape():
    """Cortex, white matter and fluid around spread over more than the depth of the lesion; the noise does not."""
    for inside, reading in ((ball(4), probe.ROUND), (cylinder(2, 30, 45), probe.VESSEL)):
        volume, middle = phantom(THICK, inside, noise=10)
        x, y = (np.indices(volume.shape)[axis] * THICK[axis] - middle[axis] for axis in (0, 1))
        sectors = 150 * np.ceil((np.arctan2(y, x) + np.pi) / (2 * np.pi) * 3) * (np.hypot(x, y) > 3.5)
        found = probe_scan(volume.with_data(volume.data + sectors), middle, bright=False)
        assert found.contrast_to_noise < 4 and found.shape_reading == reading


def test_noise_alone_has_no_shape():
    readings = []
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(500, 40, (60, 60, 15))
        volume = Volume(noise, straight(THICK))
        readings.append(probe_scan(volume, voxel_to_ras(volume, [30, 30, 7]), bright=False).shape_reading)
    assert readings.count(probe.UNCLEAR) >= 15


@pytest.mark.parametrize("left_handed", [False, True])
def test_an_oblique_grid_gives_the_same_answers(draw_affine, left_handed):
    affine = draw_affine(np.random.default_rng(5), left_handed=left_handed, spacing=THICK)
    for inside in (ball(3), cylinder(1.5, 20, 45)):
        plain, middle = phantom(THICK, inside, noise=10)
        turned, there = phantom(THICK, inside, noise=10, affine=affine)
        expected, found = vars(probe_scan(plain, middle, False)), vars(probe_scan(turned, there, False))
        for name in expected.keys() - {"focus_ras"}:
            assert found[name] == (pytest.approx(expected[name], rel=1e-2) if isinstance(expected[name], float)
                                   else expected[name]), name
        for one, other in zip(profiles(plain, middle), profiles(turned, there), strict=True):
            assert one.values == pytest.approx(other.values, abs=0.01)


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0)])
def test_slices_may_lie_along_any_axis(order):
    volume, middle = phantom(THICK, cylinder(1.5, 12, 0))
    turned = Volume(np.transpose(volume.data, order), volume.affine[:, [*order, 3]])
    assert probe_scan(turned, middle, False) == probe_scan(volume, middle, False)


def test_what_leaves_the_volume_or_the_mask_is_not_called_round():
    volume, middle = phantom(THICK, ball(3))
    assert probe_scan(volume, middle, False).shape_reading == probe.ROUND
    cut = Volume(volume.data[:, :, volume.shape[2] // 2:], volume.affine)
    place = voxel_to_ras(cut, [(n - 1) / 2 for n in cut.shape[:2]] + [0])
    found = probe_scan(cut, place, False)
    assert found.run_cut and found.shape_reading == probe.UNCLEAR
    data = volume.data.copy()
    data[:, :, :volume.shape[2] // 2] = 0
    found = probe_scan(volume.with_data(data), voxel_to_ras(volume, [(n - 1) / 2 for n in volume.shape[:2]] + [8]),
                       False)
    assert found.run_cut and found.contrast > 0.5
    assert found.shape_reading == probe.UNCLEAR


def test_zeros_and_nans_around_do_not_count():
    volume, middle = phantom(THICK, ball(3), noise=5)
    expected = probe_scan(volume, middle, False)
    for unknown in (0, np.nan, np.inf, -np.inf):
        data = volume.data.copy()
        data[40:] = unknown
        found = probe_scan(volume.with_data(data), middle, False)
        assert found.contrast == pytest.approx(expected.contrast, abs=0.01)
        assert (found.run_mm, found.shape_reading) == (expected.run_mm, expected.shape_reading)


@pytest.mark.parametrize("data", [
    np.zeros((20, 20, 8)), np.full((20, 20, 8), 7, np.int16), np.full((20, 20, 8), np.nan), np.ones((1, 1, 1)),
    np.random.default_rng(1).integers(0, 900, (20, 20, 2)).astype(np.uint16), np.full((20, 20, 8), np.inf),
    np.random.default_rng(1).normal(size=(3, 40, 2)), np.ones((20, 20, 8), bool)], ids=lambda data: str(data.dtype))
def test_nothing_breaks_on_odd_images(data):
    volume = Volume(data, straight(THICK))
    for voxel in (np.zeros(3), np.array(data.shape) - 1, (np.array(data.shape) - 1) / 2, np.array([-0.4, 0, 0])):
        place = voxel_to_ras(volume, voxel)
        for bright in (False, True):
            found = probe_scan(volume, place, bright)
            assert all(np.isfinite(value) for value in (found.contrast, found.contrast_to_noise, found.sphericity,
                                                        found.run_mm) if value is not None)
        for kind in probe.KINDS:
            other = probe_other(volume, place, kind)
            assert other is None or other.difference is None or np.isfinite(other.difference)
        assert all(np.isfinite(line.values).all() for line in profiles(volume, place))


def test_outside_nothing_is_told():
    volume, middle = phantom(THICK, ball(3))
    outside = middle + [0, 0, 50]
    assert probe_scan(volume, outside, False) == probe.ScanProbe(tuple(outside.tolist()))
    assert probe_other(volume, outside, probe.QSM) is None
    assert all(line.offsets_mm == () == line.values for line in profiles(volume, outside))


def test_integers_give_the_same_as_floats():
    volume, middle = phantom(THICK, ball(3))
    whole = volume.with_data(np.rint(volume.data).astype(np.uint16))
    assert probe_scan(whole, middle, False) == probe_scan(whole.with_data(whole.data.astype(np.float64)), middle, False)
    assert probe_scan(whole, middle, False).shape_reading == probe.ROUND


def test_profiles_are_linear_and_named_by_the_world():
    affine = np.array([[0, -0.5, 0, 10], [0.5, 0, 0, -3], [0, 0, 2.0, 4], [0, 0, 0, 1]])
    grid = np.indices((40, 40, 9)).astype(np.float32)
    volume = Volume(grid[0] + 10 * grid[1] + 100 * grid[2], affine)
    lines = profiles(volume, voxel_to_ras(volume, [20.2, 19.0, 1.25]), reach_mm=3)
    assert [line.axis_ras for line in lines] == [("P", "A"), ("R", "L"), ("I", "S")]
    assert lines[0].offsets_mm == tuple(np.arange(-3, 3.5, 0.5))
    for axis, (line, weight) in enumerate(zip(lines, (1, 10, 100), strict=True)):
        expected = 20.2 + 190 + 125 + np.array(line.offsets_mm) / volume.spacing[axis] * weight
        inside = np.array(line.offsets_mm) >= -2.5
        assert np.array(line.values)[inside] == pytest.approx(expected[inside], abs=1e-3)
    assert lines[2].offsets_mm[0] == -3.0 and lines[2].values[0] == pytest.approx(20.2 + 190)
    data = volume.data.copy()
    data[24] = np.nan
    broken = profiles(volume.with_data(data), voxel_to_ras(volume, [20, 19, 1]), reach_mm=3)[0]
    assert broken.offsets_mm == tuple(mm for mm in np.arange(-3, 3.5, 0.5).tolist() if mm != 2.0)


@pytest.mark.parametrize("kind, words", [
    (probe.QSM, (probe.DIAMAGNETIC, probe.PARAMAGNETIC)), (probe.PHASE, (probe.NEGATIVE, probe.POSITIVE)),
    (probe.T1, (probe.DARK, probe.BRIGHT)), (probe.T2, (probe.DARK, probe.BRIGHT)),
    (probe.OTHER, (probe.DARK, probe.BRIGHT))])
@pytest.mark.parametrize("noise", [0, 0.02])
@pytest.mark.parametrize("sign", [-1, 1])
def test_other_volumes_tell_the_sign_on_their_own_grid(draw_affine, kind, words, noise, sign):
    affine = draw_affine(np.random.default_rng(8), left_handed=True, spacing=(0.8, 1.1, 1.6))
    volume, middle = phantom((0.8, 1.1, 1.6), ball(4), depth=-0.4 * sign, noise=noise, level=0.03, affine=affine)
    found = probe_other(volume, middle + [0.5, -0.5, 0.5], kind)
    assert found.reading == words[sign > 0]
    assert found.difference == pytest.approx(0.4 * sign, abs=0.1)
    assert noise == 0 or found.ratio_to_noise * sign > 10


@pytest.mark.parametrize("spacing", GRIDS, ids=str)
def test_noise_is_seldom_called_a_difference(spacing):
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(0, 1, (66, 66, 33)), straight(spacing))
    places = voxel_to_ras(volume, rng.uniform(0.2, 0.8, (100, 3)) * volume.shape)
    assert sum(probe_other(volume, place, probe.QSM).reading != probe.UNCLEAR for place in places) <= 12
    assert probe_other(volume, places[0], probe.T1).reading in (probe.ISO, probe.DARK, probe.BRIGHT)


def test_both_signs_at_once_are_unclear_on_phase():
    volume, middle = phantom(CUBES, ball(2, (1, 0, 0)), depth=-100, noise=1, level=0)
    turned, _ = phantom(CUBES, ball(2, (-1, 0, 0)), depth=100, level=0)
    dipole = volume.with_data(volume.data + turned.data)
    assert probe_other(dipole, middle, probe.PHASE).reading == probe.UNCLEAR
    assert probe_other(dipole, middle, probe.T1).reading in (probe.DARK, probe.BRIGHT)


def test_no_difference_is_iso():
    volume, middle = phantom(CUBES, ball(3), depth=0, level=300)
    constant = volume.with_data(np.full(volume.shape, 300, np.int16))
    assert probe_other(constant, middle, probe.T1) == probe.OtherProbe(0.0, None, probe.ISO)
    assert probe_other(constant, middle, probe.QSM).reading == probe.UNCLEAR


def test_sphericity_of_one_voxel_is_one():
    assert sphericity_of(np.zeros((1, 3), int), straight(THICK)) == pytest.approx(1)


@pytest.mark.parametrize("kind, names", [
    (probe.QSM, "sub-01_Chimap sub-1_ses-2_QSM.nii.gz chi_map iLSQR_QSM 3D_QSM2 QuantitativeSusceptibilityMap"),
    (probe.PHASE, "sub-1_part-phase_GRE sub-01_phase SWI_Pha_Images gre_e2_ph subjectPhase SWI_phase T2star_phase"),
    (probe.T1, "sub-01_T1w T1 t1_mprage_sag 3DT1 MPRAGE AxT1 SagT1MPRAGE eT1W_3D_TFE T1_FLAIR T1_gre MP2RAGE"),
    (probe.T2, "sub-01_T2w T2 t2_tse_tra FLAIR T2_FLAIR AxT2FLAIR sub-01_FLAIR T2_sag"),
    (probe.OTHER, "sub-01_T2starw T2star T2* T2*w t2s SWI sub-01_ses-T1_T2starw sub-T2_GRE t2_gre magnitude T2_FFE "
                  "swi_mag PhaseContrast part-mag_QSM T1map T2map R2star mIP DWI china scan sub-T1001 minIP T12")])
def test_the_kind_is_read_from_the_name(kind, names):
    assert {name: kind_of_name(name) for name in names.split()} == dict.fromkeys(names.split(), kind)
