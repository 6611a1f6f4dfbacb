"""Conspicuity is the signal-to-noise ratio of a lesion, whatever the scale, and ignores what lies beside."""

import numpy as np
import pytest
from microbleeds.conspicuity import conspicuity

SPACING = np.array([0.5, 0.5, 3.0])


def noisy(contrast, seed=0):
    """Return an image of noise of 1 with a disc of `contrast`, the voxels of the disc, and what is usable."""
    image = np.random.default_rng(seed).normal(5, 1, (60, 60, 5))
    voxels = np.argwhere(np.linalg.norm(np.moveaxis(np.indices((60, 60)), 0, -1) - 30, axis=-1) <= 2.3)
    voxels = np.column_stack([voxels, np.full(len(voxels), 2)])
    image[tuple(voxels.T)] += contrast
    return image, voxels, np.ones(image.shape, bool)


def test_is_the_ratio_of_the_sum_to_its_noise():
    found = [conspicuity(*noisy(-2.0, seed), SPACING) for seed in range(40)]
    _, voxels, _ = noisy(0)
    assert np.mean(found) == pytest.approx(2 * np.sqrt(len(voxels)), rel=0.05)
    assert np.std(found) == pytest.approx(1, abs=0.35)


def test_scale_and_offset_do_not_matter_and_nothing_unusable_counts():
    image, voxels, usable = noisy(2.0)
    expected = conspicuity(image, voxels, usable, SPACING)
    assert conspicuity(7 * image - 3, voxels, usable, SPACING) == pytest.approx(expected)
    # a vessel at 2 mm, and neighbouring slices
    image[20:41, 34, :], usable[20:41, 34, :] = 90, False
    image[..., 1], image[..., 3] = 50, -50
    assert conspicuity(image, voxels, usable, SPACING) == pytest.approx(expected, rel=0.1)


def test_is_not_known_without_surroundings():
    image, voxels, usable = noisy(2.0)
    assert np.isnan(conspicuity(image, voxels, np.zeros_like(usable), SPACING))
    assert np.isnan(conspicuity(np.ones_like(image), voxels, usable, SPACING))
