"""Tissue: iron by age, partial volume at borders, and the field of the surroundings."""

from dataclasses import replace

import numpy as np
import pytest
from microbleeds.simulation import anatomy as tissues
from microbleeds.simulation.anatomy import CLASS_NAMES, Anatomy
from microbleeds.simulation.nuclei import draw_nuclei
from microbleeds.simulation.protocol import Protocol, make_grids
from microbleeds.simulation.surroundings import background_field, draw_air
from microbleeds.simulation.tissue import draw_tissue, field_factor, fine_maps, iron_of, sample_linear
from microbleeds.volume import Volume
from simulation_phantoms import centred_grids, fine_points, toy_anatomy

IRON_RICH = (tissues.CAUDATE, tissues.PUTAMEN, tissues.PALLIDUM)


@pytest.mark.parametrize("tissue", IRON_RICH)
def test_iron_grows_with_age_by_the_published_curve(tissue):
    # Hallgren & Sourander 1958, mg per 100 g: pallidum 21.3, putamen 13.3, caudate 9.3 in old age
    course = [iron_of(tissue, age) for age in range(0, 101, 5)]
    assert course == sorted(course) and course[0] < 1
    old = {tissues.CAUDATE: 9.3, tissues.PUTAMEN: 13.3, tissues.PALLIDUM: 21.3}[tissue]
    assert iron_of(tissue, 60) == pytest.approx(old, rel=0.12)


def test_subjects_of_the_same_age_differ_and_older_ones_have_more_iron():
    young, old = ([draw_tissue(np.random.default_rng(seed), age) for seed in range(60)] for age in (20, 80))
    for tissue in (tissues.CAUDATE, tissues.PUTAMEN):
        ppm = [np.array([values.susceptibility_ppm[tissue] for values in group]) for group in (young, old)]
        rate = [np.mean([values.r2star_hz[tissue] for values in group]) for group in (young, old)]
        assert ppm[1].mean() > 1.1 * ppm[0].mean() and rate[1] > rate[0]
        assert 0.1 < ppm[1].std() / ppm[1].mean() < 0.6
    assert all(len(values.density) == len(CLASS_NAMES) for values in old)
    assert all(min(values.r2star_hz) > 0 and min(values.density) >= 0 for values in old)
    pallidum = [values.susceptibility_ppm[tissues.PALLIDUM] for values in old]
    assert np.median(pallidum) > max(np.median([values.susceptibility_ppm[other] for values in old])
                                     for other in range(tissues.SKULL) if other != tissues.PALLIDUM)


def test_r2star_grows_with_the_field():
    assert field_factor(3) == 1
    assert field_factor(1.5) < 1 < field_factor(7)


@pytest.fixture(scope="module")
def slabs():
    """White matter (below 0), fluid (0 to 20 mm) and cortex (above) across the head, without drawn variation."""
    classes = np.full((40, 40, 60), tissues.WHITE, np.uint8)
    classes[..., 20:40] = tissues.CSF
    classes[..., 40:] = tissues.CORTEX
    affine = np.eye(4)
    affine[:3, 3] = (-20, -20, -20)
    values = replace(draw_tissue(np.random.default_rng(1), 70), texture=0.0)
    return Anatomy("slabs", Volume(classes, affine)), values


def test_maps_hold_the_values_of_the_tissues_and_change_gradually(slabs):
    head, values = slabs
    protocol = Protocol(matrix=(12, 12, 60), in_plane_mm=1.0, slice_mm=0.8, field_tesla=3.0, fluid_weight=1.0)
    grids = make_grids(protocol, np.array([[0, 0, 10.0]]), np.array([[0, 0, 10.0]]))
    maps = fine_maps(head, values, protocol, grids, True, 1)
    height = fine_points(grids)[..., 2]
    for data, table in zip((maps.density, maps.r2star_hz, maps.susceptibility_ppm),
                           (values.density, values.r2star_hz, values.susceptibility_ppm), strict=True):
        for tissue, low, high in ((tissues.WHITE, -12, -3), (tissues.CSF, 4, 16), (tissues.CORTEX, 23, 30)):
            np.testing.assert_allclose(data[(height > low) & (height < high)], table[tissue], rtol=0.02, atol=1e-4)
        near = data[(np.abs(height + 0.5) < 2)]
        low, high = sorted((table[tissues.WHITE], table[tissues.CSF]))
        assert near.min() >= low - 0.02 * (high - low) and near.max() <= high + 0.02 * (high - low)
    between = ((maps.r2star_hz - values.r2star_hz[tissues.CSF])
               / (values.r2star_hz[tissues.WHITE] - values.r2star_hz[tissues.CSF]))[0, 0]
    assert 1 <= ((between > 0.05) & (between < 0.95) & (np.abs(height[0, 0]) < 3)).sum() <= 5


def test_without_the_whole_head_only_the_brain_is_left():
    head = toy_anatomy()
    protocol = Protocol(matrix=(60, 60, 30), in_plane_mm=2.0, slice_mm=4.0)
    grids = centred_grids(protocol)
    values = draw_tissue(np.random.default_rng(1), 70)
    whole, brain = (fine_maps(head, values, protocol, grids, own, 1).density for own in (True, False))
    classes = head.classes.data
    scalp = sample_linear((classes == tissues.SCALP).astype(np.float32), head.classes.affine, grids.fine_shape,
                          grids.fine_affine) == 1
    inside = sample_linear(head.brain.astype(np.float32), head.classes.affine, grids.fine_shape, grids.fine_affine) == 1
    assert whole[scalp].mean() > 0.3 and brain[scalp].max() < 0.05
    np.testing.assert_allclose(brain[inside].mean(), whole[inside].mean(), rtol=0.05)


def test_linear_sampling_is_exact_on_a_ramp_and_zero_outside():
    rng = np.random.default_rng(1)
    affine = np.eye(4)
    affine[:3, :3] += rng.normal(0, 0.2, (3, 3))
    affine[:3, 3] = (5, -3, 2)
    voxels = np.stack(np.meshgrid(*[np.arange(12.0)] * 3, indexing="ij"), -1)
    weights = np.array([0.3, -0.7, 1.1])
    data = (voxels @ affine[:3, :3].T + affine[:3, 3]) @ weights
    target = np.eye(4)
    target[:3, :3] *= 0.5
    target[:3, 3] = affine[:3, :3] @ [5, 5, 5] + affine[:3, 3]
    sampled = sample_linear(data, affine, (4, 4, 4), target)
    fine = np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), -1)
    np.testing.assert_allclose(sampled, (fine * 0.5 + target[:3, 3]) @ weights, atol=1e-4)
    far = target.copy()
    far[:3, 3] += 100
    assert not sample_linear(data, affine, (4, 4, 4), far).any()


def test_air_below_the_brain_disturbs_the_field_near_it_most():
    head = toy_anatomy()
    air = draw_air(head, np.random.default_rng(2))
    assert air and all(part.density == 0 and part.susceptibility_ppm > 5 for focus in air for part in focus.parts)
    field = background_field(head, air, 1)
    to_voxel = np.linalg.inv(field.affine)
    voxels = np.argwhere(head.brain)
    places = voxels @ head.classes.affine[:3, :3].T + head.classes.affine[:3, 3]
    inside = tuple(np.rint(places @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int).T)
    values = field.data[inside]
    distance = np.min([np.linalg.norm(places - focus.centre_ras, axis=1) for focus in air], axis=0)
    assert np.isfinite(values).all() and abs(values.mean()) < 0.05
    assert values[distance < 15].std() > 3 * values[distance > 45].std()


def test_nuclei_lie_on_both_sides_and_follow_the_subjects_iron():
    head = toy_anatomy()
    poor, rich = (draw_nuclei(head, iron, 70, np.random.default_rng(1)) for iron in (0.5, 1.0))
    assert len(rich) == 6
    assert sorted(np.sign([focus.centre_ras[0] for focus in rich])) == [-1] * 3 + [1] * 3
    for one, other in zip(poor, rich, strict=True):
        assert other.parts[0].susceptibility_ppm == pytest.approx(2 * one.parts[0].susceptibility_ppm)
    young = draw_nuclei(head, 1.0, 20, np.random.default_rng(1))
    assert all(a.parts[0].susceptibility_ppm < 0.9 * b.parts[0].susceptibility_ppm
               for a, b in zip(young, rich, strict=True))
