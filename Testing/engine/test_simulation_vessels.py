"""Vessels: Murray's law, the tissue they run in, the groups a head needs, and the volume they are drawn with."""

import numpy as np
import pytest
from microbleeds.simulation import anatomy as tissue
from microbleeds.simulation.anatomy import Anatomy, carried_anatomies, class_at, read_anatomy
from microbleeds.simulation.shapes import (
    ARTERY,
    PERFORATOR,
    PERIVASCULAR_SPACE,
    SULCAL_VESSEL,
    VEIN,
    VESSELS,
    Vessel,
    vessel_fraction,
)
from microbleeds.simulation.vessel_growth import Habit, make_network, route, walk
from microbleeds.simulation.vessels import VesselSettings, draw_vessels
from microbleeds.volume import Volume

EVERYWHERE = lambda points: np.ones(len(points), bool)  # noqa: E731
UPWARD = lambda points: np.tile([0.0, 0.0, 1.0], (len(points), 1))  # noqa: E731
DEEP = (tissue.WHITE, tissue.CAUDATE, tissue.PUTAMEN, tissue.PALLIDUM, tissue.THALAMUS, tissue.VENTRAL_DC)


@pytest.fixture(scope="module")
def head():
    return read_anatomy(carried_anatomies()[2])


@pytest.fixture(scope="module")
def vessels(head):
    return draw_vessels(head, np.random.default_rng(5), VesselSettings(amount_spread=0))


def joined(vessels, kind, name):
    return np.concatenate([getattr(vessel, name) for vessel in vessels if vessel.kind == kind])


def walked(rng, count=30):
    return walk(np.zeros((count, 3)), rng.normal(size=(count, 3)), np.full(count, 0.4), np.full(count, 30.0),
                Habit(branches_per_mm=0.1), UPWARD, EVERYWHERE, rng)


def routed(rng):
    points = rng.uniform(0, 40, (8000, 3))
    network = make_network(points, np.ones(len(points)), EVERYWHERE, rng)
    ends = rng.uniform(0, 40, (60, 3))
    return route(network, np.array([[0.0, 0, 0], [40, 40, 40]]), ends, rng.uniform(0.2, 1, 60), (0.5, 1.0), rng)


@pytest.mark.parametrize("grow", [walked, routed])
def test_murrays_law_holds_at_every_branch_and_no_vessel_widens(grow):
    tubes = grow(np.random.default_rng(1))
    inner = tubes.parent >= 0
    children = np.bincount(tubes.parent[inner], minlength=len(tubes.tree))
    cubes = np.bincount(tubes.parent[inner], tubes.radii_mm[inner] ** 3, minlength=len(tubes.tree))
    branches = children >= 2
    assert branches.sum() >= 30
    np.testing.assert_allclose(cubes[branches], tubes.radii_mm[branches] ** 3, rtol=1e-9)
    assert (tubes.radii_mm[inner] <= tubes.radii_mm[tubes.parent[inner]] * (1 + 1e-9)).all()
    assert (tubes.tree[inner] == tubes.tree[tubes.parent[inner]]).all()


@pytest.mark.parametrize("grow", [walked, routed])
def test_samples_follow_each_other_by_their_step(grow):
    tubes = grow(np.random.default_rng(2))
    inner = tubes.parent >= 0
    gap = np.linalg.norm(tubes.points_ras[inner] - tubes.points_ras[tubes.parent[inner]], axis=1)
    assert np.median(np.abs(gap - tubes.step_mm[inner])) < 0.05
    assert gap.sum() == pytest.approx(tubes.step_mm[inner].sum(), rel=0.03)


def test_a_routed_tree_reaches_its_ends_from_the_nearer_root():
    rng = np.random.default_rng(3)
    points = np.stack([np.linspace(0, 100, 51), np.zeros(51), np.zeros(51)], axis=1)
    network = make_network(points, np.ones(51), EVERYWHERE, rng)
    ends = np.array([[30.0, 3, 0], [70, 3, 0], [50, 90, 0]])
    tubes = route(network, points[[0, -1]], ends, np.ones(3), (0.5, 0.5), rng)
    low, high = (tubes.points_ras[tubes.tree == tree] for tree in (0, 1))
    assert low[:, 0].max() < 31 and high[:, 0].min() > 69
    for end in ends[:2]:
        assert np.linalg.norm(tubes.points_ras - end, axis=1).min() < 0.5
    assert tubes.points_ras[:, 1].max() < 4, "an end without a way is left out"


def test_the_same_seed_gives_the_same_vessels(head, vessels):
    again = draw_vessels(head, np.random.default_rng(5), VesselSettings(amount_spread=0))
    assert len(again) == len(vessels)
    for one, two in zip(vessels, again, strict=True):
        assert one.kind == two.kind and one.susceptibility_ppm == two.susceptibility_ppm
        assert np.array_equal(one.points_ras, two.points_ras) and np.array_equal(one.radii_mm, two.radii_mm)


@pytest.mark.parametrize(("kind", "classes", "share"), [
    (SULCAL_VESSEL, (tissue.CSF,), 0.75),
    (SULCAL_VESSEL, (tissue.CSF, tissue.CORTEX, tissue.WHITE), 0.97),
    (VEIN, range(tissue.WHITE, tissue.SKULL), 0.99),
    (PERFORATOR, DEEP, 1), (ARTERY, (tissue.CSF,), 0.85), (PERIVASCULAR_SPACE, DEEP, 1)])
def test_vessels_stay_in_their_tissue(head, vessels, kind, classes, share):
    found = class_at(head, joined(vessels, kind, "points_ras"))
    assert np.isin(found, list(classes)).mean() >= share


@pytest.mark.parametrize(("kind", "thinnest", "widest", "trunk"), [
    (SULCAL_VESSEL, 0.05, 1.3, 0.7), (VEIN, 0.05, 1.0, 0.6), (PERFORATOR, 0.06, 0.4, 0.25), (ARTERY, 0.5, 1.8, 1.2),
    (PERIVASCULAR_SPACE, 0.2, 0.9, 0.4)])
def test_radii_are_those_of_the_kind(vessels, kind, thinnest, widest, trunk):
    radii = joined(vessels, kind, "radii_mm")
    assert thinnest <= radii.min() and trunk <= radii.max() <= widest


@pytest.mark.parametrize("number", [0, 4])
def test_every_group_is_there_in_carried_heads(number):
    head = read_anatomy(carried_anatomies()[number])
    vessels = draw_vessels(head, np.random.default_rng(number))
    assert {vessel.kind for vessel in vessels} == set(VESSELS)
    assert len(vessels) <= 300
    veins, radii = joined(vessels, VEIN, "points_ras"), joined(vessels, VEIN, "radii_mm")
    found = class_at(head, veins)
    middle = np.median(head.classes.affine[0, 3] + np.nonzero(head.classes.data == tissue.THALAMUS)[0])
    assert (found == tissue.WHITE).sum() > 500, "medullary"
    assert np.isin(found, (tissue.CEREBELLAR_CORTEX, tissue.CEREBELLAR_WHITE)).sum() > 500, "cerebellar"
    for side in (veins[:, 0] < middle, veins[:, 0] > middle):
        assert (side & (radii > 0.55) & (np.abs(veins[:, 0] - middle) < 6)).sum() > 20, "internal cerebral"
        assert (side & (found == tissue.CSF) & (radii > 0.4)).sum() > 20, "basal"
    cortical = joined(vessels, SULCAL_VESSEL, "points_ras")
    assert np.unique(np.floor(cortical / 20), axis=0).shape[0] > 150, "cortical veins everywhere"


def test_blood_is_as_magnetic_as_published(vessels):
    for vessel in vessels:
        if vessel.kind in (VEIN, SULCAL_VESSEL):
            assert 0.3 <= vessel.susceptibility_ppm <= 0.77 and 30 <= vessel.r2star_hz <= 60
        elif vessel.kind == PERFORATOR:
            assert 0.1 <= vessel.susceptibility_ppm <= 0.77
        elif vessel.kind == ARTERY:
            assert vessel.susceptibility_ppm == 0 and 0.05 <= vessel.density <= 0.3
        else:
            assert vessel.susceptibility_ppm == 0 and 2 <= vessel.r2star_hz <= 5 and vessel.density == 1


def test_a_finer_map_without_optional_classes_and_without_fluid_outside_gives_as_many_vessels(head, vessels):
    classes = head.classes.data.copy()
    classes[np.isin(classes, (tissue.CSF, tissue.SKULL, tissue.SCALP))] = tissue.AIR
    classes[np.isin(classes, (tissue.HIPPOCAMPUS, tissue.VENTRAL_DC, tissue.CHOROID))] = tissue.WHITE
    affine = head.classes.affine @ np.diag([0.5, 0.5, 0.5, 1])
    fine = Anatomy("fine", Volume(classes.repeat(2, 0).repeat(2, 1).repeat(2, 2), affine))
    found = draw_vessels(fine, np.random.default_rng(5), VesselSettings(amount_spread=0))
    assert {vessel.kind for vessel in found} == set(VESSELS)
    for kind in (SULCAL_VESSEL, VEIN):
        expected = joined(vessels, kind, "step_mm").sum()
        assert 0.6 * expected < joined(found, kind, "step_mm").sum() < 1.6 * expected


def test_a_head_of_white_matter_and_cortex_only_has_cortical_veins():
    grid = np.arange(80) - 40
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(grid, grid, grid, indexing="ij")))
    classes = np.where(radius < 24, tissue.WHITE, np.where(radius < 28, tissue.CORTEX, tissue.AIR)).astype(np.uint8)
    head = Anatomy("ball", Volume(classes, np.diag([1.0, 1.0, 1.0, 1.0])))
    assert SULCAL_VESSEL in {vessel.kind for vessel in draw_vessels(head, np.random.default_rng(0))}


@pytest.mark.parametrize("direction", [(0, 0, 1), (1, 1, 0), (1, 0.6, 0.8), (0.3, -1, 0.2)])
@pytest.mark.parametrize("radius_mm", [0.15, 0.3, 0.5])
def test_a_straight_tube_is_drawn_with_its_volume(direction, radius_mm):
    along = (np.arange(40) - 19.5) * 0.4
    points = along[:, None] * np.array(direction) / np.linalg.norm(direction)
    tube = Vessel(VEIN, points, np.full(40, radius_mm), np.full(40, 0.4), 0.45, 40, 1)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -12
    indices, fraction = vessel_fraction(tube, ((48, 48, 48), affine))
    assert fraction.sum() * 0.5**3 == pytest.approx(np.pi * radius_mm**2 * 16, rel=0.06)
    where = np.stack(np.unravel_index(indices, (48, 48, 48)), axis=1) * 0.5 - 12
    off_axis = np.linalg.norm(np.cross(where, points[-1] / np.linalg.norm(points[-1])), axis=1)
    assert off_axis.max() < radius_mm + 0.5 * np.sqrt(3)


def test_grown_veins_are_drawn_with_their_volume(vessels):
    affine = np.diag([0.8, 0.8, 0.8, 1.0])
    affine[:3, 3] = -120
    thin = [vessel for vessel in vessels if vessel.kind in (VEIN, PERFORATOR) and vessel.radii_mm.max() < 0.4]
    drawn = sum(vessel_fraction(vessel, ((300, 300, 300), affine))[1].sum() for vessel in thin) * 0.8**3
    expected = sum((np.pi * vessel.radii_mm**2 * vessel.step_mm).sum() for vessel in thin)
    assert drawn == pytest.approx(expected, rel=0.05)
