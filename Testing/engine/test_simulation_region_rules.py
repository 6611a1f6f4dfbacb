"""The MARS regions of a label map: a small head whose structures lie where they were put, and a real one."""

from dataclasses import replace

import numpy as np
import pytest
from microbleeds import regions
from microbleeds.geometry import apply_affine, ras_to_voxel
from microbleeds.simulation import anatomy as tissues
from microbleeds.simulation.anatomy import carried_anatomies, read_anatomy
from microbleeds.simulation.region_rules import region_map, regions_at, to_mni
from scipy import ndimage
from simulation_phantoms import toy_anatomy

# places in MNI space that every atlas puts there
LANDMARKS = {
    (-40, 45, 20): "left frontal", (35, 50, 0): "right frontal", (-45, -55, 50): "left parietal",
    (30, -65, 50): "right parietal", (-58, -20, -15): "left temporal", (50, 5, -30): "right temporal",
    (-12, -90, 2): "left occipital", (25, -92, 5): "right occipital", (-25, 4, 2): "left basal ganglia",
    (13, -18, 8): "right thalamus", (-2, -30, -35): "left brainstem", (25, -65, -38): "right cerebellum",
    (3, 15, 20): "right corpus callosum", (-26, -30, 26): "left deep and periventricular white matter"}


@pytest.fixture(scope="module")
def head():
    return toy_anatomy()


@pytest.fixture(scope="module")
def real():
    return read_anatomy(carried_anatomies()[3])


def test_structures_of_the_label_map_have_their_region_and_category(head):
    places = {(-24, 4, 4): "left basal ganglia, deep", (24, 4, 4): "right basal ganglia, deep",
              (10, -8, 6): "right thalamus, deep", (6, -14, -40): "right brainstem, infratentorial",
              (-18, -32, -26): "left cerebellum, infratentorial", (24, -8, -14): "right temporal, lobar",
              (14, 2, 24): "right deep and periventricular white matter, deep"}
    assert regions_at(head, np.array(list(places), float)) == list(places.values())


def test_a_point_outside_belongs_to_the_nearest_region(head):
    inside, outside = regions_at(head, np.array([[-18.0, -44, -26], [-18, -60, -26]]))
    assert inside == outside == "left cerebellum, infratentorial"


def test_every_voxel_of_the_brain_has_a_region_and_nothing_else(real):
    numbers, right = region_map(real)
    assert ((numbers > 0) == real.brain).all()
    assert set(np.unique(numbers)) == set(range(len(regions.REGIONS) + 1))
    shares = np.bincount(numbers[real.brain])[1:] / real.brain.sum()
    assert shares[regions.FRONTAL - 1] == shares.max() and shares[regions.EXTERNAL_CAPSULE - 1] < 0.02
    assert 0.4 < right[real.brain].mean() < 0.6


def test_landmarks_lie_in_their_lobe(real):
    places = apply_affine(np.linalg.inv(to_mni(real)), np.array(list(LANDMARKS), float))
    found = [name.partition(",")[0] for name in regions_at(real, places)]
    assert found == list(LANDMARKS.values())


def test_white_matter_is_deep_within_10_mm_of_a_ventricle(real):
    numbers, _ = region_map(real)
    white = real.classes.data == tissues.WHITE
    distance = ndimage.distance_transform_edt(real.classes.data != tissues.VENTRICLE, real.classes.spacing)
    near, far = white & (distance <= 10), white & (distance > 10)
    lobes = (regions.FRONTAL, regions.PARIETAL, regions.TEMPORAL, regions.OCCIPITAL, regions.INSULA)
    assert np.isin(numbers[near], lobes).mean() < 0.01
    assert not (numbers[far] == regions.DEEP_WHITE_MATTER).any()
    capsules = (regions.INTERNAL_CAPSULE, regions.EXTERNAL_CAPSULE, regions.CORPUS_CALLOSUM)
    assert np.isin(numbers[far], (*lobes, *capsules)).all()


def test_turning_and_growing_the_head_changes_nothing(real):
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:3, :3] = 1.1 * np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    turn[:3, 3] = 30, -20, 10
    turned = replace(real, classes=replace(real.classes, affine=turn @ real.classes.affine))
    step = to_mni(turned) @ turn @ np.linalg.inv(to_mni(real))
    corners = np.array([[x, y, z] for x in (-60, 60) for y in (-90, 60) for z in (-40, 70)], float)
    assert np.abs(apply_affine(step, corners) - corners).max() < 3
    points = apply_affine(real.classes.affine, np.argwhere(real.brain)[::5000])
    same = np.array(regions_at(real, points)) == np.array(regions_at(turned, apply_affine(turn, points)))
    assert same.mean() > 0.93
    assert (np.rint(ras_to_voxel(turned.classes, apply_affine(turn, points)))
            == np.rint(ras_to_voxel(real.classes, points))).all()
