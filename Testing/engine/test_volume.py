import numpy as np
import pytest
from microbleeds.volume import Volume


def test_spacing_and_voxel_volume_of_oblique_grids(draw_affine):
    rng = np.random.default_rng(0)
    for left_handed in (False, True):
        affine = draw_affine(rng, left_handed, spacing=(0.5, 0.6, 4))
        volume = Volume(np.zeros((3, 4, 5)), affine)
        assert np.allclose(volume.spacing, (0.5, 0.6, 4))
        assert volume.voxel_volume_mm3 == pytest.approx(0.5 * 0.6 * 4)
        assert volume.shape == (3, 4, 5)


def test_array_and_affine_cannot_be_changed_and_the_input_stays_free():
    data, affine = np.zeros((2, 2, 2)), np.eye(4)
    volume = Volume(data, affine)
    with pytest.raises(ValueError):
        volume.data[0, 0, 0] = 1
    with pytest.raises(ValueError):
        volume.affine[0, 0] = 2
    affine[0, 0] = 3
    data[0, 0, 0] = 1
    assert volume.affine[0, 0] == 1


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2), ()])
def test_only_three_dimensions(shape):
    with pytest.raises(ValueError, match="3-D"):
        Volume(np.zeros(shape), np.eye(4))


@pytest.mark.parametrize("affine", [np.eye(3), np.zeros((4, 4)), np.diag([1, 1, 0, 1]), np.full((4, 4), np.nan)])
def test_affine_has_to_be_invertible(affine):
    with pytest.raises(ValueError, match="invertible"):
        Volume(np.zeros((2, 2, 2)), affine)


@pytest.mark.parametrize("spacing, axis", [((1, 1, 1), 2), ((4, 1, 1), 0), ((1, 4, 1), 1), ((1, 1.0004, 1), 2)])
def test_slice_axis_is_the_coarsest_of_equals_the_nearest_to_s(spacing, axis):
    assert Volume(np.zeros((2, 2, 2)), np.diag([*spacing, 1])).slice_axis == axis


def test_with_data_keeps_the_grid_and_refuses_another_shape():
    volume = Volume(np.zeros((2, 3, 4)), np.diag([1.0, 2, 3, 1]))
    assert volume.with_data(np.ones((2, 3, 4))).same_grid(volume)
    with pytest.raises(ValueError, match=r"\(4, 3, 2\) does not fit a grid of shape \(2, 3, 4\)"):
        volume.with_data(np.ones((4, 3, 2)))


def test_same_grid_looks_at_the_farthest_corner():
    volume = Volume(np.zeros((101, 5, 5)), np.eye(4))
    affine = np.eye(4)
    affine[0, 0] += 0.9e-5
    assert volume.same_grid(Volume(volume.data, affine))
    affine[0, 0] += 0.2e-5
    assert not volume.same_grid(Volume(volume.data, affine))
    assert volume.same_grid(Volume(volume.data, affine), tolerance_mm=0.01)
    assert not volume.same_grid(Volume(np.zeros((5, 5, 101)), np.eye(4)))
