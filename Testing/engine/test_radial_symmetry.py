"""Radial symmetry: drawn balls, tubes and planes with known order, scale and rotation."""

import numpy as np
import pytest
from microbleeds.radial_symmetry import radial_symmetry
from scipy import ndimage

RADII_MM = (1.0, 1.5, 2.0, 3.0)


def offsets(spacing, shape):
    return np.stack(np.meshgrid(*((np.arange(n) - n // 2) * s for n, s in zip(shape, spacing, strict=True)),
                                indexing="ij"), axis=-1)


def drawn(shape_of, spacing=(1.0, 1.0, 1.0), size_mm=32):
    shape = tuple(int(size_mm / s) for s in spacing)
    inside = shape_of(offsets(spacing, shape)).astype(np.float32)
    return ndimage.gaussian_filter(inside, np.minimum(0.5 / np.array(spacing), 1))


def transform(data, spacing=(1.0, 1.0, 1.0)):
    return radial_symmetry(data, spacing, RADII_MM, np.ones(data.shape, bool))


def ball(points):
    return np.linalg.norm(points, axis=-1) < 2


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 1), (0.45, 0.45, 4)])
def test_a_ball_answers_most_at_its_centre(spacing):
    data = drawn(ball, spacing)
    result = transform(data, spacing)
    peak = np.unravel_index(result.argmax(), result.shape)
    assert np.abs((np.array(peak) - np.array(data.shape) // 2) * spacing).max() <= max(0.5, spacing[0])
    assert result.max() > 0.05


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_tube_and_a_plane_answer_far_less_than_a_ball(axis):
    others = [a for a in range(3) if a != axis]
    tube = transform(drawn(lambda p: np.hypot(p[..., others[0]], p[..., others[1]]) < 2)).max()
    plane = transform(drawn(lambda p: np.abs(p[..., axis]) < 2)).max()
    reference = transform(drawn(ball)).max()
    assert tube < 0.1 * reference
    assert plane < 0.01 * reference


@pytest.mark.parametrize("scale", [2.0**-30, 2.0**-10, 2.0**20])
def test_it_is_proportional_to_the_contrast_at_any_scale(scale):
    data = np.random.default_rng(0).random((16, 17, 9)).astype(np.float32)
    result = transform(data)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(transform(data * np.float32(scale)), result * scale, rtol=1e-5, atol=1e-7 * scale)


def test_constant_and_dark_images_answer_nothing():
    assert not transform(np.full((12, 12, 12), 3.0)).any()
    centre = (16, 16, 16)
    assert transform(-drawn(ball))[centre] < 1e-6


def test_quarter_turns_turn_the_result():
    data = np.random.default_rng(1).random((15, 15, 11)).astype(np.float32)
    turned = transform(np.ascontiguousarray(np.rot90(data)))
    # A direction exactly between two voxels rounds to the even one, so single votes may move.
    assert np.corrcoef(turned.ravel(), np.rot90(transform(data)).ravel())[0, 1] > 0.999


def test_the_edge_of_the_mask_casts_no_votes():
    inside = np.linalg.norm(offsets((1, 1, 1), (32, 32, 32)), axis=-1) < 9
    data = inside.astype(np.float32)
    assert not radial_symmetry(data, (1, 1, 1), RADII_MM, inside).any()


def test_a_single_slice_and_an_empty_mask_are_accepted():
    assert np.isfinite(transform(np.random.default_rng(2).random((20, 20, 1)))).all()
    assert not radial_symmetry(np.ones((5, 5, 5)), (1, 1, 1), RADII_MM, np.zeros((5, 5, 5), bool)).any()
