import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.geometry import canonical_axes, ras_to_voxel, voxel_to_ras
from microbleeds.settings import PrepareSettings
from microbleeds.step0_prepare import find_brain, prepare
from microbleeds.volume import Volume

PLAIN = PrepareSettings(correct_bias=False)


def phantom(affine, shape, lesion=None, radius_mm=2.0):
    """An ellipsoid brain of 1000 in air, with a dark ball at a voxel; and its mask."""
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    middle, semi_axes = (np.array(shape) - 1) / 2, 0.38 * np.array(shape)
    brain = (((points - middle) / semi_axes) ** 2).sum(axis=-1) <= 1
    data = np.where(brain, 1000, 0).astype(np.float32)
    if lesion is not None:
        offset_mm = (points - lesion) @ affine[:3, :3].T
        data[np.linalg.norm(offset_mm, axis=-1) <= radius_mm] = 300
    return Volume(data, affine), Volume(brain, affine)


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 3.0), (3.0, 0.5, 0.5), (0.5, 3.0, 0.5)])
@pytest.mark.parametrize("left_handed", [False, True])
def test_working_grid_is_the_scans_own_with_slices_last_and_the_lesion_in_place(draw_affine, spacing, left_handed):
    shape = tuple(18 if s == 3 else 60 for s in spacing)
    affine = draw_affine(np.random.default_rng(4), left_handed, spacing)
    lesion = np.array([n // 2 + 2 for n in shape])
    scan, brain = phantom(affine, shape, lesion)
    prepared = prepare(scan, brain, "gre", PLAIN)
    image = prepared.image
    assert image.same_grid(prepared.symmetry) and image.same_grid(prepared.brain)
    np.testing.assert_allclose(image.spacing, (0.5, 0.5, 3.0))
    bright = np.argwhere(image.data > 0.5)
    np.testing.assert_allclose(image.data[tuple(bright.T)], 0.7, atol=1e-5)
    found = voxel_to_ras(image, bright.mean(axis=0))
    np.testing.assert_allclose(found, voxel_to_ras(scan, lesion), atol=1e-3)
    in_scan = ras_to_voxel(scan, voxel_to_ras(image, bright))
    np.testing.assert_allclose(in_scan, np.rint(in_scan), atol=1e-6, err_msg="between voxels of the scan")


def test_in_plane_axes_run_as_near_to_ras_as_they_can(draw_affine):
    rng = np.random.default_rng(8)
    for _ in range(10):
        scan, brain = phantom(draw_affine(rng, bool(rng.integers(2)), (0.8, 0.8, 4)), (30, 30, 10))
        order, flips = canonical_axes(prepare(scan, brain, "gre", PLAIN).image.affine)
        assert not any(flips) and [axis for axis in order if axis != 2] == [0, 1]


def test_brain_box_has_a_margin_and_holds_all_of_the_brain():
    scan, brain = phantom(np.diag([1, 1, 3, 1.0]), (100, 100, 40))
    prepared = prepare(scan, brain, "gre", PLAIN)
    assert prepared.brain.data.sum() == brain.data.sum()
    assert prepared.image.shape == (88, 88, 34)
    assert (prepared.image.data[~prepared.brain.data] == 0).all()


@pytest.mark.parametrize("spacing, expected", [((0.2, 0.2, 2), (0.4, 0.4, 2)), ((1.5, 1.5, 4), (1, 1, 4)),
                                               ((0.5, 0.5, 0.4), (0.4, 0.5, 0.8)), ((0.5, 0.5, 2), (0.5, 0.5, 2))])
def test_voxels_out_of_range_are_resampled_and_the_lesion_stays(spacing, expected):
    affine = np.diag([*spacing, 1.0])
    shape = tuple(int(30 / s) for s in spacing)
    lesion = np.array(shape) // 2
    scan, brain = phantom(affine, shape, lesion, radius_mm=3)
    image = prepare(scan, brain, "gre", PLAIN).image
    np.testing.assert_allclose(sorted(image.spacing), sorted(expected), rtol=1e-6)
    bright = np.argwhere(image.data > 0.35)
    np.testing.assert_allclose(voxel_to_ras(image, bright.mean(axis=0)), voxel_to_ras(scan, lesion),
                               atol=max(expected) / 2)
    assert image.data.min() > -0.1, "the edge of the brain makes no rim"
    assert image.data.dtype == np.float32


def test_bias_is_corrected_for_magnitude_images_only(monkeypatch):
    from microbleeds import step0_prepare
    calls = []
    monkeypatch.setattr(step0_prepare, "correct_bias", lambda v, b, g: calls.append(g) or v)
    scan, brain = phantom(np.diag([1, 1, 3, 1.0]), (40, 40, 16))
    for modality in ("gre", "swi", "qsm"):
        prepare(scan, brain, modality, PrepareSettings())
    assert calls == [4.0, 4.0]


def test_no_brain_is_an_input_error():
    scan, brain = phantom(np.eye(4), (20, 20, 20))
    with pytest.raises(InputError, match="mask is empty"):
        find_brain(scan, brain.with_data(np.zeros(brain.shape, bool)))
    with pytest.raises(InputError, match="no voxel with signal"):
        prepare(scan.with_data(np.zeros(scan.shape, np.float32)), brain, "gre", PLAIN)
    assert find_brain(scan, brain).data.dtype == bool
