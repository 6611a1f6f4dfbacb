import numpy as np
import pytest
from microbleeds.geometry import (
    apply_affine,
    bounding_box,
    canonical_axes,
    crop,
    from_canonical,
    nearest_voxels,
    ras_to_voxel,
    resample_like,
    resample_to_spacing,
    to_canonical,
    voxel_to_ras,
)
from microbleeds.volume import Volume

SEEDS = range(20)


def ramp(shape, affine):
    """Make a volume whose values are a linear function of the position in mm, so that resampling must keep it."""
    points = apply_affine(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1))
    return Volume(points @ (0.3, -0.2, 0.5), affine)


def field_of_view(volume):
    """Return centre and edge lengths of the box of voxels, in mm."""
    return voxel_to_ras(volume, (np.array(volume.shape) - 1) / 2), np.array(volume.shape) * volume.spacing


@pytest.mark.parametrize("seed", SEEDS)
def test_points_go_to_voxels_and_back(draw_volume, seed):
    rng = np.random.default_rng(seed)
    volume = draw_volume(rng, left_handed=bool(seed % 2))
    points = rng.normal(0, 50, (4, 2, 3))
    assert np.allclose(voxel_to_ras(volume, ras_to_voxel(volume, points)), points)
    assert np.allclose(voxel_to_ras(volume, (1, 2, 3)), (volume.affine @ (1, 2, 3, 1))[:3])


@pytest.mark.parametrize("seed", SEEDS)
def test_canonical_and_back_is_exact(draw_volume, seed):
    volume = draw_volume(np.random.default_rng(seed), shape=(5, 6, 7), left_handed=bool(seed % 2))
    canonical = to_canonical(volume)
    permutation, flips = canonical_axes(canonical.affine)
    assert permutation == (0, 1, 2) and flips == (False, False, False)
    back = from_canonical(canonical, volume)
    assert np.array_equal(back.data, volume.data) and np.array_equal(back.affine, volume.affine)


@pytest.mark.parametrize("seed", SEEDS)
def test_canonical_leaves_every_value_where_it_is_in_space(draw_volume, seed):
    rng = np.random.default_rng(seed)
    volume = draw_volume(rng, shape=(4, 5, 6), left_handed=bool(seed % 2))
    canonical = to_canonical(volume)
    for voxel in rng.integers(0, volume.shape, (10, 3)):
        there = ras_to_voxel(canonical, voxel_to_ras(volume, voxel))
        assert np.allclose(there, np.rint(there), atol=1e-6)
        assert canonical.data[tuple(np.rint(there).astype(int))] == volume.data[tuple(voxel)]


def test_canonical_axes_of_known_orientations():
    # axes of the array run to the left, to the front and down, in the order down, left, front
    affine = np.array([[0, -1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]])
    assert canonical_axes(affine) == ((1, 2, 0), (True, False, True))


@pytest.mark.parametrize("seed", SEEDS)
def test_halfway_between_voxels_the_lower_index_is_taken_wherever_the_grid_lies(draw_affine, seed):
    rng = np.random.default_rng(seed)
    grid = Volume(np.arange(7 * 6 * 5).reshape(7, 6, 5), draw_affine(rng, bool(seed % 2)))
    lower = rng.integers(0, (6, 5, 4), (20, 3))
    points = voxel_to_ras(grid, lower + 0.5)
    np.testing.assert_array_equal(nearest_voxels(grid, points), lower)
    shifted = grid.affine.copy()
    shifted[:3, 3] = voxel_to_ras(grid, (0.5, 0.5, 0.5))
    sampled = resample_like(grid, Volume(np.zeros((6, 5, 4)), shifted), order=0)
    np.testing.assert_array_equal(sampled.data, grid.data[:6, :5, :4])


def test_from_canonical_refuses_another_grid(draw_volume):
    volume = draw_volume(np.random.default_rng(0), shape=(5, 5, 5))
    moved = volume.affine.copy()
    moved[0, 3] += 1
    with pytest.raises(ValueError, match="canonical grid"):
        from_canonical(to_canonical(Volume(volume.data, moved)), volume)


@pytest.mark.parametrize("seed", SEEDS)
def test_resampling_keeps_the_field_of_view_and_a_linear_image(draw_affine, seed):
    rng = np.random.default_rng(seed)
    volume = ramp((24, 20, 12), draw_affine(rng, bool(seed % 2), rng.uniform(0.5, 3, 3)))
    wanted = volume.spacing * rng.uniform(0.5, 1.9, 3)
    result = resample_to_spacing(volume, wanted)
    assert np.allclose(result.spacing, wanted)
    (centre, size), (old_centre, old_size) = field_of_view(result), field_of_view(volume)
    assert np.allclose(centre, old_centre) and (abs(size - old_size) <= wanted / 2 + 1e-6).all()
    exact = ramp(result.shape, result.affine).data
    inner = tuple(slice(4, -4) if n > 10 else slice(n // 2, n // 2 + 1) for n in result.shape)
    assert np.allclose(result.data[inner], exact[inner], atol=0.05 * volume.spacing.max())


def test_resampling_to_the_same_spacing_changes_nothing(draw_volume):
    volume = draw_volume(np.random.default_rng(0))
    assert resample_to_spacing(volume, volume.spacing) is volume
    assert resample_to_spacing(volume, volume.spacing * 1.0005) is volume
    assert resample_like(volume, volume, 1) is volume


def test_one_number_is_a_cubic_voxel():
    result = resample_to_spacing(Volume(np.ones((10, 10, 5), np.float32), np.diag([1, 1, 4, 1.0])), 2)
    assert result.shape == (5, 5, 10)
    assert np.allclose(result.data, 1) and result.data.dtype == np.float32


def test_coarsening_fades_a_small_lesion_wherever_it_lies():
    contrasts = []
    for at in range(20, 28):
        data = np.zeros((48, 48, 48), np.float32)
        data[at, at, at] = 1
        contrasts.append(resample_to_spacing(Volume(data, np.eye(4)), 2.5).data.max())
    # its share of a voxel of 2.5 mm is 0.064; without smoothing first it lies between 0 and 0.7
    assert min(contrasts) > 0.01 and max(contrasts) < 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_resample_like_onto_another_oblique_grid(draw_affine, seed):
    rng = np.random.default_rng(seed)
    volume = ramp((30, 30, 30), draw_affine(rng, spacing=(1, 1, 1)))
    affine = draw_affine(rng, left_handed=True, spacing=(0.7, 0.8, 0.9))
    affine[:3, 3] += voxel_to_ras(volume, (14.5, 14.5, 14.5)) - apply_affine(affine, (6, 6, 6))
    result = resample_like(volume, Volume(np.zeros((13, 13, 13)), affine), 1)
    assert np.allclose(result.data, ramp(result.shape, affine).data, atol=1e-6)


@pytest.mark.parametrize("order", [0, 1])
def test_outside_is_zero_and_the_outer_half_voxel_is_inside(order):
    volume = Volume(np.ones((2, 2, 2), np.float32), np.diag([4, 4, 4, 1.0]))
    affine = np.eye(4)
    affine[:3, 3] = -3.5
    fine = resample_like(volume, Volume(np.zeros((12, 12, 12)), affine), order)
    expected = np.zeros(12)
    expected[2:10] = 1
    assert np.allclose(fine.data, expected[:, None, None] * expected[:, None] * expected)


def test_order_zero_keeps_labels_and_their_type():
    labels = np.random.default_rng(0).integers(0, 5, (9, 9, 9)).astype(np.int16)
    result = resample_to_spacing(Volume(labels, np.eye(4)), 0.7, order=0)
    assert result.data.dtype == np.int16 and set(np.unique(result.data)) <= set(range(5))
    assert resample_to_spacing(Volume(labels > 2, np.eye(4)), 0.7, order=0).data.dtype == bool
    assert resample_to_spacing(Volume(labels > 2, np.eye(4)), 0.7).data.dtype == np.float32


def test_mask_survives_coarse_and_back():
    mask = np.zeros((40, 40, 40), np.float32)
    mask[10:30, 8:33, :] = 1
    volume = Volume(mask, np.eye(4))
    back = resample_like(resample_to_spacing(volume, 4), volume, 1)
    # the first and last slice are filled too
    assert ((back.data > 0.5) == (mask > 0.5)).mean() > 0.98 and (back.data[20, 20] > 0.5).all()


def test_bounding_box_with_margin_is_cut_at_the_border():
    mask = np.zeros((20, 20, 20), bool)
    mask[2:5, 10, 18] = True
    assert bounding_box(mask, 0, (1, 1, 1)).tolist() == [[2, 10, 18], [5, 11, 19]]
    # 2 mm are 4 voxels of 0.5 mm, 2 of 1 mm and 1 (rounded up) of 3 mm
    assert bounding_box(mask, 2, (0.5, 1, 3)).tolist() == [[0, 8, 17], [9, 13, 20]]
    with pytest.raises(ValueError, match="empty"):
        bounding_box(np.zeros((3, 3, 3), bool), 1, (1, 1, 1))


def test_crop_keeps_values_at_their_place(draw_volume):
    volume = draw_volume(np.random.default_rng(3), shape=(8, 9, 10), left_handed=True)
    part = crop(volume, np.array([[1, 2, 3], [5, 9, 4]]))
    assert part.shape == (4, 7, 1)
    assert np.allclose(voxel_to_ras(part, (2, 3, 0)), voxel_to_ras(volume, (3, 5, 3)))
    assert part.data[2, 3, 0] == volume.data[3, 5, 3]


@pytest.mark.parametrize("box", [[[-1, 0, 0], [2, 2, 2]], [[0, 0, 0], [2, 2, 5]], [[2, 0, 0], [2, 2, 2]]])
def test_crop_refuses_boxes_that_do_not_fit(box):
    with pytest.raises(ValueError, match="does not fit"):
        crop(Volume(np.zeros((4, 4, 4)), np.eye(4)), np.array(box))
