"""Regions grown from points: what they hold, how far they reach, and how neighbours share."""

import numpy as np
import pytest
from microbleeds.geometry import voxel_to_ras
from microbleeds.point_regions import grow_region, grow_regions, voxels_within
from microbleeds.volume import Volume

SPACING = (0.5, 0.5, 1.0)


def scan_of(draw_affine, *balls, level=500.0, shape=(60, 60, 24)):
    """Return an oblique scan of even tissue with balls ``(voxel, radius_mm, value)``, and the balls as bool arrays."""
    affine = draw_affine(np.random.default_rng(2), spacing=SPACING)
    data, masks = np.full(shape, level, np.float32), []
    for centre, radius_mm, value in balls:
        offsets = (np.stack(np.indices(shape), -1) - centre) * SPACING
        masks.append(np.linalg.norm(offsets, axis=-1) <= radius_mm)
        data[masks[-1]] = value
    return Volume(data, affine), masks


def as_mask(voxels, volume):
    mask = np.zeros(volume.shape, bool)
    mask[tuple(voxels.T)] = True
    return mask


@pytest.mark.parametrize("bright", [False, True])
def test_a_ball_comes_back_from_a_click_beside_its_middle(draw_affine, bright):
    volume, (ball,) = scan_of(draw_affine, ((30, 30, 12), 2.0, 900 if bright else 100))
    region = grow_region(volume, voxel_to_ras(volume, [32, 31, 12]), bright)
    assert np.array_equal(as_mask(region, volume), ball)


def test_only_what_is_darker_than_half_way_belongs_to_it(draw_affine):
    volume, (outer, inner) = scan_of(draw_affine, ((30, 30, 12), 2.5, 310), ((30, 30, 12), 1.2, 100))
    region = grow_region(volume, voxel_to_ras(volume, [30, 30, 12]), bright=False)
    assert np.array_equal(as_mask(region, volume), inner)
    darker, (outer, inner) = scan_of(draw_affine, ((30, 30, 12), 2.5, 290), ((30, 30, 12), 1.2, 100))
    assert np.array_equal(as_mask(grow_region(darker, voxel_to_ras(darker, [30, 30, 12]), False), darker), outer)


def test_a_vessel_is_followed_four_millimetres_at_most(draw_affine):
    volume, _ = scan_of(draw_affine)
    data = volume.data.copy()
    data[:, 30, 12] = 100
    data[30, 30, 12] = 90
    volume = volume.with_data(data)
    region = grow_region(volume, voxel_to_ras(volume, [30, 30, 12]), bright=False)
    assert sorted(region[:, 0]) == list(range(22, 39)) and (region[:, 1:] == [30, 12]).all()


def test_nothing_but_the_darkest_voxel_where_there_is_no_lesion(draw_affine):
    volume, _ = scan_of(draw_affine)
    region = grow_region(volume, voxel_to_ras(volume, [0, 59, 23]), bright=False)
    assert region.shape == (1, 3)


@pytest.mark.parametrize("bright", [False, True])
def test_zeros_around_a_masked_brain_are_left_out(draw_affine, bright):
    """The lesion touches the edge of the mask; most of the shell is outside it."""
    volume, (ball,) = scan_of(draw_affine, ((30, 30, 12), 1.5, 900 if bright else 200))
    data = volume.data.copy()
    data[32:] = 0
    data[:, 32:] = 0
    volume = volume.with_data(data)
    region = as_mask(grow_region(volume, voxel_to_ras(volume, [31, 31, 12]), bright), volume)
    assert np.array_equal(region, ball & (data != 0))


def test_a_lesion_of_zeros_is_found_from_inside_it(draw_affine):
    volume, (ball,) = scan_of(draw_affine, ((30, 30, 12), 1.5, 0))
    assert np.array_equal(as_mask(grow_region(volume, voxel_to_ras(volume, [30, 31, 12]), False), volume), ball)


def test_neighbours_share_and_none_is_lost(draw_affine):
    volume, (ball,) = scan_of(draw_affine, ((30, 30, 12), 2.0, 100))
    places = [voxel_to_ras(volume, voxel) for voxel in ([28, 30, 12], [32, 30, 12], [50, 10, 5])]
    numbers = grow_regions(volume, places, bright=False)
    assert np.array_equal(np.isin(numbers, (1, 2)), ball)
    assert numbers[27, 30, 12] == 1 and numbers[33, 30, 12] == 2 and (numbers == 3).sum() == 1
    assert not grow_regions(volume, [], bright=False).any()


def test_halfway_between_voxels_a_place_lies_in_that_of_the_lower_index(draw_affine):
    for seed in range(4):
        volume = Volume(np.zeros((10, 10, 4), np.float32), draw_affine(np.random.default_rng(seed)))
        place = voxel_to_ras(volume, [5.5, 4.5, 1.5])
        assert voxels_within(volume, place, 0.0)[0].tolist() == [[5, 4, 1]]
        # of two at one place one loses its region to the other, and gets the voxel it lies in
        assert grow_regions(volume, [place, place], bright=False)[5, 4, 1]


def test_voxels_within_hold_the_own_one_on_thick_slices_and_none_outside(draw_affine):
    volume = Volume(np.zeros((10, 10, 4), np.float32), draw_affine(np.random.default_rng(1), spacing=(1, 1, 6)))
    voxels, distance_mm = voxels_within(volume, voxel_to_ras(volume, [4, 4, 1.45]), 2.0)
    assert voxels.tolist() == [[4, 4, 1]] and np.allclose(distance_mm, 2.7)
    assert len(voxels_within(volume, voxel_to_ras(volume, [10, 4, 1]), 2.0)[0]) == 0
