"""Bias field correction on a drawn head with a known field."""

import numpy as np
import pytest
from microbleeds.bias_field import _expand, correct_bias
from microbleeds.volume import Volume

LESIONS_MM = [(30.0, 10.0, 0.0), (-35.0, 20.0, 3.0), (0.0, -50.0, -3.0)]


def head(shape, spacing_mm, amplitude=0.35):
    """Draw tissue with a fine and a slow contrast, 4 mm balls of half its signal, noise and a smooth field."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    radius = np.sqrt((x / 65) ** 2 + (y / 75) ** 2 + (z / 60) ** 2)
    signal = np.where(radius < 0.75, 300.0, 330.0)
    signal = signal * np.where(np.sin(x / 6) * np.sin(y / 7) * np.sin(z / 8) > 0.3, 1.1, 1)
    balls = np.stack([np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) for a, b, c in LESIONS_MM])
    signal = np.where(balls.min(0) <= 2, 0.5 * signal, signal)
    signal += np.random.default_rng(0).normal(0, 10, shape)
    field = np.exp(amplitude * (np.sin(x / 60 + 0.4) + 0.8 * y / 75 + 0.5 * z / 60 * x / 60))
    affine = np.diag([-spacing_mm[0], spacing_mm[1], spacing_mm[2], 1])
    return Volume((signal * field).astype(np.float32), affine), radius < 1, field, balls


def residual(before, after, mask, field):
    ratio = (before.data / after.data / field)[mask]
    return ratio / np.median(ratio)


@pytest.fixture(scope="module")
def corrected():
    image, mask, field, balls = head((88, 88, 46), (1.6, 1.8, 2.7))
    return image, mask, field, balls, correct_bias(image, image.with_data(mask))


def test_known_field_is_removed(corrected):
    image, mask, field, _, result = corrected
    left = residual(image, result, mask, field)
    assert (field[mask] / np.median(field[mask])).std() > 0.19
    assert left.std() < 0.04
    assert np.percentile(left, 1) > 0.9 and np.percentile(left, 99) < 1.1
    assert result.data.dtype == np.float32 and result.same_grid(image)


def test_scale_is_kept(corrected):
    image, mask, _, _, result = corrected
    assert np.median(result.data[mask]) == pytest.approx(np.median(image.data[mask]), rel=0.05)


def test_lesions_keep_their_contrast(corrected):
    image, mask, _, balls, result = corrected
    for distance in balls:
        inside, shell = distance < 1.6, (distance > 3) & (distance < 6) & mask
        before, after = (1 - v.data[inside].mean() / v.data[shell].mean() for v in (image, result))
        assert after == pytest.approx(before, rel=0.03)


def test_slab_of_seven_slices():
    image, mask, field, balls = head((110, 110, 7), (1.3, 1.4, 5.0))
    result = correct_bias(image, image.with_data(mask))
    assert residual(image, result, mask, field).std() < 0.06
    inside, shell = balls[0] < 1.6, (balls[0] > 3) & (balls[0] < 6)
    contrast = [v.data[inside].mean() / v.data[shell].mean() for v in (image, result)]
    assert contrast[1] == pytest.approx(contrast[0], rel=0.03)


def test_bad_voxels_change_little(corrected):
    image, mask, _, _, clean = corrected
    data = image.data.copy()
    rng = np.random.default_rng(1)
    bad = np.unravel_index(rng.choice(data.size, data.size // 50, replace=False), data.shape)
    data[bad] = rng.choice([0, -50, np.nan, np.inf], len(bad[0]))
    data[44, 44, 23] = 1e9
    result = correct_bias(image.with_data(data), image.with_data(mask))
    same = mask & (data == image.data)
    np.testing.assert_allclose(result.data[same] / clean.data[same], 1, atol=0.02)
    assert result.data[44, 44, 23] > 1e8


def test_nothing_to_estimate_returns_the_image():
    image, mask, _, _ = head((40, 40, 20), (3.0, 3.0, 6.0))
    brain = image.with_data(mask)
    for data in (np.full(image.shape, 70, np.int16), np.zeros(image.shape), -image.data):
        volume = image.with_data(data)
        assert correct_bias(volume, brain) is volume
    few = np.zeros(image.shape, bool)
    few[18:22, 18:22, 9:12] = True
    assert correct_bias(image, image.with_data(few)) is image
    assert correct_bias(image, image.with_data(few & False)) is image


def test_expand_follows_a_smooth_field():
    at = (np.arange(40) + 0.5) / 4 - 0.5
    coarse = np.cos(np.arange(10)[:, None, None] / 3) * np.ones((1, 3, 1))
    fine = _expand(coarse, np.array([4, 1, 2]), (40, 3, 2))
    assert fine.shape == (40, 3, 2)
    np.testing.assert_allclose(fine[2:-2, 1, 1], np.cos(at / 3)[2:-2], atol=2e-3)
