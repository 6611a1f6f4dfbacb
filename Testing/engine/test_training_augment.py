"""Variations of patches: geometry moves everything alike, contrast never turns round, symmetry fits the image."""

from dataclasses import replace

import numpy as np
import pytest
from microbleeds.radial_symmetry import radial_symmetry
from microbleeds.settings import PrepareSettings
from microbleeds.training.augment import Variation, draw_variation, turn, vary_images
from scipy import ndimage

SPACING_MM = np.array([0.8, 0.8, 1.5])
SHAPE = (32, 32, 16)
RADII_MM = PrepareSettings().symmetry_radii_mm
CENTRE = (14, 18, 7)


def symmetry_of(image):
    return radial_symmetry(image, SPACING_MM, RADII_MM, image != 0)


def ball(radius_mm, centre=CENTRE):
    axes = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return np.linalg.norm((np.stack(axes, -1) - centre) * SPACING_MM, axis=-1) <= radius_mm


@pytest.fixture
def patch():
    """Image and symmetry of noisy tissue with a bright lesion; a corner lies outside the brain."""
    image = np.random.default_rng(0).normal(0, 0.03, SHAPE).astype(np.float32)
    image[ball(2.2)] += 0.4
    image[:6] = 0
    return np.stack([image, symmetry_of(image)])


def vary(images, variation, seed=0):
    return vary_images(images, SPACING_MM, variation, np.random.default_rng(seed))


GEOMETRIES = [Variation((True, False, False)), Variation((False, True, True)), Variation(transpose=True),
              Variation((True, True, False), transpose=True)]


@pytest.mark.parametrize("variation", GEOMETRIES)
def test_geometry_moves_image_classes_and_weights_alike(patch, variation):
    lesion = ball(2.2)
    image, symmetry = vary(patch, variation)
    classes, weights = turn(lesion.astype(np.uint8), variation), turn(lesion * np.float32(1.5), variation)
    assert np.array_equal(classes == 1, weights == 1.5)
    assert np.array_equal(np.sort(image[classes == 1]), np.sort(patch[0][lesion]))
    assert not np.array_equal(image, patch[0])
    np.testing.assert_allclose(symmetry, symmetry_of(np.ascontiguousarray(image)), atol=2e-3)


def test_turned_voxels_land_where_the_mirror_says():
    marked = np.zeros(SHAPE)
    marked[1, 2, 3] = 1
    assert np.argwhere(turn(marked, Variation((True, False, True)))).tolist() == [[30, 2, 12]]
    assert np.argwhere(turn(marked, Variation((True, False, False), transpose=True))).tolist() == [[2, 30, 3]]


def test_the_identity_changes_nothing(patch):
    assert np.array_equal(vary(patch, Variation()), patch)


CHANGES = [Variation(gain=0.8), Variation(gain=1.2, gamma=0.8), Variation(gamma=1.25),
           Variation(shading=(0.1, 0, -0.1)), Variation(blur=0.6), Variation(thicken=0.2), Variation(noise=0.05),
           Variation(noise=0.05, noise_grain=0.5)]


@pytest.mark.parametrize("variation", CHANGES)
def test_the_symmetry_is_that_of_the_varied_image(patch, variation):
    image, symmetry = vary(patch, variation)
    assert not np.array_equal(image, patch[0])
    np.testing.assert_allclose(symmetry, symmetry_of(image), atol=1e-5)


@pytest.mark.parametrize("variation", CHANGES)
def test_geometry_and_contrast_do_not_depend_on_each_other(patch, variation):
    turned = replace(variation, flips=(False, True, True), transpose=True)
    assert np.array_equal(vary(patch, turned), turn(vary(patch, variation), turned))


def test_outside_the_brain_stays_tissue_and_the_scale_is_kept(patch):
    for seed in range(60):
        variation = draw_variation(np.random.default_rng(seed))
        image, symmetry = vary(patch, variation, seed)
        outside = turn(patch[0] == 0, variation)
        assert not image[outside].any()
        assert np.abs(image).max() <= 1 and symmetry.min() >= 0
        assert image.dtype == symmetry.dtype == np.float32 and np.isfinite(image).all() and np.isfinite(symmetry).all()


def test_a_bright_lesion_stays_brighter_than_the_tissue_around_it():
    lesion = ball(1.7)
    around = ndimage.binary_dilation(lesion, iterations=4) & ~ndimage.binary_dilation(lesion, iterations=2)
    image = np.random.default_rng(0).normal(0, 0.02, SHAPE).astype(np.float32)
    image[lesion] += 0.25
    images = np.stack([image, symmetry_of(image)])
    for seed in range(200):
        variation = draw_variation(np.random.default_rng(seed))
        varied, symmetry = vary(images, variation, seed)
        inside, ring = turn(lesion, variation), turn(around, variation)
        assert varied[inside].mean() > varied[ring].mean() + 0.06, variation
        assert symmetry[inside].max() > symmetry[ring].mean(), variation


def test_dark_csf_stays_dark():
    image = np.random.default_rng(0).normal(0, 0.02, SHAPE).astype(np.float32)
    image[ball(3)] = -0.5
    images = np.stack([image, symmetry_of(image)])
    for seed in range(100):
        variation = draw_variation(np.random.default_rng(seed))
        varied = vary(images, variation, seed)[0]
        assert varied[turn(ball(2), variation)].mean() < -0.2, variation


@pytest.mark.parametrize("grain", [0.0, 0.4, 0.8])
def test_noise_has_the_standard_deviation_asked_for(grain):
    # not 0, which is outside the brain
    image = np.full((48, 48, 24), 1e-3, np.float32)
    varied = vary_images(np.stack([image, np.zeros_like(image)]), SPACING_MM,
                         Variation(noise=0.06, noise_grain=grain), np.random.default_rng(3))[0]
    added = varied - image
    assert added.std() == pytest.approx(0.06, rel=0.02) and abs(added.mean()) < 1e-3
    neighbours = np.corrcoef(added[1:].ravel(), added[:-1].ravel())[0, 1]
    across = np.corrcoef(added[..., 1:].ravel(), added[..., :-1].ravel())[0, 1]
    # grain is in plane: slices are measured one by one
    assert abs(across) < 0.03 and (neighbours > 0.1 if grain > 0.4 else neighbours < 0.2)


def test_shading_changes_the_raw_signal_by_the_asked_share():
    raw = np.full(SHAPE, 0.8, np.float32)
    image = vary(np.stack([1 - raw, np.zeros(SHAPE, np.float32)]), Variation(shading=(0.2, 0, 0)))[0]
    shaded = (1 - image) / raw
    assert shaded[0].max() == pytest.approx(0.9, abs=1e-5) and shaded[-1].min() == pytest.approx(1.1, abs=1e-5)
    assert np.ptp(shaded, axis=(1, 2)).max() < 1e-5


def test_thickening_mixes_slices_and_keeps_their_sum(patch):
    image = np.full(SHAPE, 1e-6, np.float32)
    image[14, 18, 7] = 0.5
    thick = vary(np.stack([image, image]), Variation(thicken=0.2))[0]
    np.testing.assert_allclose(thick[14, 18, 6:9], [0.1, 0.3, 0.1], atol=1e-5)
    assert thick.sum() == pytest.approx(image.sum(), abs=1e-3)


def test_a_drawn_variation_depends_on_the_seed_alone(patch):
    drawn = [draw_variation(np.random.default_rng(seed)) for seed in range(40)]
    assert drawn == [draw_variation(np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(drawn)) == 40
    noisy = Variation(noise=0.05, noise_grain=0.4)
    assert np.array_equal(vary(patch, noisy, 7), vary(patch, noisy, 7))
    assert not np.array_equal(vary(patch, noisy, 7), vary(patch, noisy, 8))


def test_every_kind_of_variation_is_drawn_and_none_always():
    drawn = [draw_variation(np.random.default_rng(seed)) for seed in range(300)]
    for name in ("transpose", "blur", "thicken", "noise", "noise_grain"):
        assert 0.05 < np.mean([bool(getattr(one, name)) for one in drawn]) < 0.7, name
    assert 0.2 < np.mean([one.gamma != 1 for one in drawn]) < 0.4
    assert 0.2 < np.mean([any(one.shading) for one in drawn]) < 0.4
    assert np.mean([one.flips for one in drawn], axis=0) == pytest.approx([0.5] * 3, abs=0.1)


def test_without_randomising_the_contrast_stays(patch):
    drawn = [draw_variation(np.random.default_rng(seed), randomise=False) for seed in range(200)]
    for one in drawn:
        assert replace(one, flips=(False,) * 3, transpose=False, noise=0.0) == Variation()
        assert 0 <= one.noise <= 0.05
    assert 0.2 < np.mean([one.noise > 0 for one in drawn]) < 0.4
    still = next(one for one in drawn if not one.noise)
    assert np.array_equal(vary(patch, still), turn(patch, still))
