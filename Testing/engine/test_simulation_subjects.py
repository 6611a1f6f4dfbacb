"""What is drawn into a head: counts, sites and sizes of microbleeds, every kind of mimic, and their truth."""

from dataclasses import replace

import numpy as np
import pytest
from microbleeds.components import equivalent_diameter_mm
from microbleeds.errors import SettingsError
from microbleeds.simulation import anatomy as tissues
from microbleeds.simulation.anatomy import Anatomy, carried_anatomies, class_at, read_anatomy
from microbleeds.simulation.bleeds import SITES, draw_count, draw_microbleed, draw_microbleeds
from microbleeds.simulation.mimics import draw_cavernoma, draw_infarct_rim, draw_mimics
from microbleeds.simulation.protocol import Protocol, make_grids
from microbleeds.simulation.shapes import (
    CALCIFICATION,
    FOCAL_MIMICS,
    MICROBLEED,
    MIMICS,
    MINERALISATION,
    Focus,
    Part,
    draw_bumps,
    part_fraction,
    random_rotation,
)
from microbleeds.simulation.simulate import IMAGES, MAGNITUDE, QSM, R2STAR, READ_IMAGES, SWI, simulate
from microbleeds.simulation.subject import SubjectSettings, draw_subject
from microbleeds.simulation.truth import number_things
from microbleeds.volume import Volume
from scipy.spatial import cKDTree
from simulation_phantoms import toy_anatomy

# published shares of the sites, as listed in `bleeds`
PUBLISHED = {"cortex": 0.34, "subcortical white matter": 0.40, "basal ganglia": 0.08, "thalamus": 0.055,
             "brainstem": 0.045, "cerebellum": 0.08}


@pytest.fixture(scope="module")
def head():
    return toy_anatomy()


@pytest.fixture(scope="module")
def drawn():
    """A real head at 2 mm, and the places (n, 3) RAS mm of the microbleeds of 60 subjects in it."""
    full = read_anatomy(carried_anatomies()[1]).classes
    half = Volume(full.data[::2, ::2, ::2].copy(), full.affine @ np.diag([2, 2, 2, 1.0]))
    anatomy = Anatomy("half", half)
    subjects = [draw_microbleeds(anatomy, (), 8, np.random.default_rng(seed)) for seed in range(60)]
    # of two lobes the first, which is where the microbleed was put
    return anatomy, [np.array([focus.parts[0].centre_ras for focus in foci]) for foci in subjects]


@pytest.mark.parametrize("prevalence", [0.0, 0.3, 0.6])
def test_counts_have_the_zeros_asked_for_and_scatter_more_than_chance(prevalence):
    rng = np.random.default_rng(1)
    counts = np.array([draw_count(rng, prevalence) for _ in range(3000)])
    assert (counts > 0).mean() == pytest.approx(prevalence, abs=0.03)
    if prevalence:
        some = counts[counts > 0]
        assert counts.var() > 3 * counts.mean()
        assert 1 <= np.median(some) <= 4 and 3 <= some.mean() <= 7 and 30 < some.max() <= 90


def test_sites_are_those_of_published_data(drawn):
    anatomy, subjects = drawn
    found = class_at(anatomy, np.concatenate(subjects))
    for site, (own, _) in SITES.items():
        assert np.isin(found, own).mean() == pytest.approx(PUBLISHED[site], abs=0.07)


def test_some_microbleeds_lie_close_together_but_never_on_each_other(drawn):
    nearest = np.concatenate([cKDTree(places).query(places, 2)[0][:, 1] for places in drawn[1]])
    # published: 5 % below 3 mm, a quarter below 5 mm, half below 9 mm, 5 % beyond 60 mm
    assert nearest.min() >= 2.5
    assert 2.5 <= np.percentile(nearest, 5) < 4.5 and 3.5 < np.percentile(nearest, 25) < 8
    assert np.percentile(nearest, 95) > 30


def test_every_subject_has_a_pattern_of_its_own(drawn):
    anatomy, subjects = drawn
    lobar = [np.isin(class_at(anatomy, places), (tissues.CORTEX, tissues.WHITE)).mean() for places in subjects]
    # eight of one pattern for all would scatter by .16
    assert np.std(lobar) > 0.2


def test_microbleeds_are_small_paramagnetic_and_not_all_round():
    foci = [draw_microbleed(np.zeros(3), np.random.default_rng(n)) for n in range(300)]
    diameters = np.array([focus.diameter_mm for focus in foci])
    assert 0.5 < diameters.min() and diameters.max() < 10 and 1 < np.median(diameters) < 4
    assert all(focus.kind == MICROBLEED and part.susceptibility_ppm > 0 for focus in foci for part in focus.parts)
    elongation = [focus.parts[0].semi_axes_mm.max() / focus.parts[0].semi_axes_mm.min() for focus in foci]
    assert 1 < np.median(elongation) < 2 and max(elongation) < 3
    assert 0.05 < np.mean([len(focus.parts) > 1 for focus in foci]) < 0.5


def test_a_head_without_room_gets_fewer_microbleeds():
    classes = np.zeros((30, 30, 30), np.uint8)
    classes[14:17, 14:17, 14:17] = tissues.WHITE
    tiny = Anatomy("tiny", Volume(classes, np.eye(4)))
    assert 1 <= len(draw_microbleeds(tiny, (), 50, np.random.default_rng(1))) < 10
    assert draw_microbleeds(tiny, (), 0, np.random.default_rng(1)) == ()


@pytest.mark.parametrize("bumps", [0.0, 0.12])
def test_bodies_keep_their_volume_on_any_grid(bumps):
    # 4/3 pi abc; the bumps change it by a few percent
    rng = np.random.default_rng(2)
    for _ in range(5):
        axes = rng.uniform(1, 3, 3)
        part = Part(rng.uniform(-2, 2, 3), axes, random_rotation(rng), draw_bumps(rng, bumps), 1.0, 0.0, 1.0)
        affine = np.diag([0.5, 0.4, 0.7, 1.0])
        affine[:3, :3] = random_rotation(rng) @ affine[:3, :3]
        affine[:3, 3] = affine[:3, :3] @ [-25, -30, -20]
        _, fraction = part_fraction(part, ((50, 60, 40), affine))
        volume = fraction.sum() * abs(np.linalg.det(affine[:3, :3]))
        assert volume == pytest.approx(4 / 3 * np.pi * axes.prod(), rel=0.03 if not bumps else 0.5)
    outside = replace(part, centre_ras=np.full(3, 500.0))
    assert not part_fraction(outside, ((50, 60, 40), affine))[1].any()


def test_focal_mimics_have_their_nature(head):
    foci = [focus for seed in range(12) for focus in draw_mimics(head, 10, 80, np.random.default_rng(seed))]
    assert {focus.kind for focus in foci} == set(FOCAL_MIMICS) - {"air interface"}
    for focus in foci:
        ppm = [part.susceptibility_ppm for part in focus.parts]
        if focus.kind == CALCIFICATION:
            assert max(ppm) < 0 and min(ppm) >= -3.3
        if focus.kind == MINERALISATION:
            assert min(ppm) > 0 and len(ppm) >= 4
    rng = np.random.default_rng(3)
    assert all(2 * draw_cavernoma(head, rng).parts[0].semi_axes_mm.prod() ** (1 / 3) > 8 for _ in range(10))
    assert all(len(draw_infarct_rim(head, rng).parts) > 10 for _ in range(5))


def test_mimics_are_as_frequent_as_asked_and_more_so_with_age(head):
    def mean_count(rate, age):
        return np.mean([len(draw_mimics(head, rate, age, np.random.default_rng(seed))) for seed in range(40)])
    assert mean_count(0, 80) == 0
    assert mean_count(5, 80) == pytest.approx(5 * mean_count(1, 80), rel=0.25)
    assert mean_count(5, 80) > 1.5 * mean_count(5, 50)


def test_every_kind_of_mimic_is_drawn_and_numbered(head):
    subject = draw_subject(head, SubjectSettings(bleeds=5, mimics=20), np.random.default_rng(3))
    corners = np.array([[-55.0] * 3, [55.0] * 3])
    protocol = Protocol(in_plane_mm=2, slice_mm=4, motion_mm=1, taper=0)
    things = number_things(subject, protocol, make_grids(protocol, corners, corners))
    assert [thing.id for thing in things] == list(range(1, len(things) + 1))
    assert [thing.kind for thing in things[:5]] == [MICROBLEED] * 5
    assert {thing.kind for thing in things[5:]} == set(MIMICS)


@pytest.mark.parametrize("wrong, message", [
    ({"bleeds": -1}, "-1 microbleeds"), ({"bleeds": 500}, "500 microbleeds"),
    ({"prevalence": 1.2}, "prevalence of 1.2"), ({"mimics": -1}, "mimics of -1")])
def test_subjects_that_cannot_be_drawn_are_refused(wrong, message):
    with pytest.raises(SettingsError, match=message):
        SubjectSettings(**wrong)


@pytest.fixture(scope="module")
def busy_scan(head):
    """Forty microbleeds on a thick-slice GRE of the small head."""
    subject = draw_subject(head, SubjectSettings(bleeds=40, mimics=0, whole_head=False), np.random.default_rng(4))
    protocol = Protocol(field_tesla=3.0, echo_times_ms=(25.0,), in_plane_mm=0.9, slice_mm=2.5, matrix=(108, 120, 36),
                        signal_to_noise=40.0)
    return subject, simulate(subject, protocol, (MAGNITUDE,), np.random.default_rng(1))


def test_visible_microbleeds_are_two_to_ten_millimetres(busy_scan):
    rows = [row for row in busy_scan[1].truths[MAGNITUDE].rows if row.kind == MICROBLEED]
    visible = np.array([row.visible_diameter_mm for row in rows if row.visible])
    assert len(rows) == 40 and len(visible) > 20
    assert np.percentile(visible, 5) > 1.8 and visible.max() < 10 and 2.5 < np.median(visible) < 6
    # blooming: what is seen is larger than what is there
    ratio = [row.visible_diameter_mm / row.source_diameter_mm for row in rows if row.visible]
    assert np.median(ratio) > 1.3


def test_the_truth_lies_where_the_microbleeds_are_and_they_are_dark(busy_scan):
    subject, scan = busy_scan
    truth, image = scan.truths[MAGNITUDE], scan.images[MAGNITUDE]
    everything = truth.everything.data
    own = truth.microbleeds.data
    assert np.array_equal(np.where(everything <= len(subject.bleeds), everything, 0), own)
    assert not own[~scan.brain.data].any()
    depths = []
    for row, focus in zip(truth.rows, subject.bleeds, strict=False):
        np.testing.assert_allclose((row.R_mm, row.A_mm, row.S_mm), focus.centre_ras, atol=0.01)
        voxels = np.argwhere(own == row.id)
        assert row.visible == bool(len(voxels))
        if not row.visible:
            assert row.visible_diameter_mm is None
            continue
        volume = len(voxels) * image.voxel_volume_mm3
        assert row.visible_diameter_mm == pytest.approx(equivalent_diameter_mm(volume), abs=0.01)
        places = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
        assert np.linalg.norm(places - focus.centre_ras, axis=1).min() < 3.5
        middle = voxels.mean(0).astype(int)
        around = tuple(slice(max(n - 6, 0), n + 7) for n in middle[:2]) + (middle[2],)
        tissue = np.median(image.data[around][(everything[around] == 0) & scan.brain.data[around]])
        depths.append(image.data[tuple(voxels.T)].min() / tissue)
    assert np.median(depths) < 0.7 and np.mean(np.array(depths) < 0.95) > 0.9


def test_all_images_come_from_one_subject_and_have_their_own_truth(head):
    subject = draw_subject(head, SubjectSettings(bleeds=6, mimics=2), np.random.default_rng(5))
    protocol = Protocol(matrix=(48, 56, 12), in_plane_mm=1.5, slice_mm=3.0, echo_times_ms=(10.0, 20.0, 30.0))
    scan, again = (simulate(subject, protocol, IMAGES, np.random.default_rng(2), threads) for threads in (1, 2))
    assert set(scan.images) == set(IMAGES) and set(scan.truths) == set(READ_IMAGES)
    for kind, image in scan.images.items():
        assert image.shape == (48, 56, 12) and np.isfinite(image.data).all()
        assert np.array_equal(image.data, again.images[kind].data)
    assert (scan.images[SWI].data <= scan.images[MAGNITUDE].data * 1.0001).all()
    assert not scan.images[QSM].data[~scan.brain.data].any()
    rate = scan.images[R2STAR].data[scan.brain.data]
    assert 10 < np.median(rate) < 40
    assert len({tuple(row.kind for row in truth.rows) for truth in scan.truths.values()}) == 1


def test_in_a_whole_scan_iron_and_calcium_are_told_apart_by_qsm_only(head):
    subject = draw_subject(head, SubjectSettings(bleeds=0, mimics=0, whole_head=False), np.random.default_rng(7))
    # both in white matter of the small head, off the vessels, which are left out
    foci = [Focus(kind, (Part(np.array(place, float), np.full(3, 1.5), np.eye(3), np.zeros((0, 4)), ppm, 0.0, 1.0),))
            for kind, place, ppm in ((MICROBLEED, (-30, -20, 8), 0.6), (CALCIFICATION, (30, -20, 8), -0.6))]
    subject = replace(subject, vessels=(), air=(), bleeds=foci[:1], mimics=foci[1:])
    protocol = Protocol(matrix=(72, 72, 24), in_plane_mm=1.2, slice_mm=1.5, echo_times_ms=(6.0, 12.0, 18.0, 24.0),
                        signal_to_noise=60.0)
    scan = simulate(subject, protocol, (MAGNITUDE, QSM), np.random.default_rng(1))
    for row, sign in zip(scan.truths[MAGNITUDE].rows, (1, -1), strict=True):
        own = scan.truths[MAGNITUDE].everything.data == row.id
        assert row.visible and own.any()
        magnitude, susceptibility = scan.images[MAGNITUDE].data, scan.images[QSM].data
        assert magnitude[own].min() < 0.7 * np.median(magnitude[scan.brain.data])
        assert (sign * susceptibility[own]).max() > 0.15


def test_r2star_needs_two_echoes(head):
    subject = draw_subject(head, SubjectSettings(bleeds=0, mimics=0), np.random.default_rng(6))
    with pytest.raises(SettingsError, match="single echo"):
        simulate(subject, Protocol(echo_times_ms=(20.0,)), (R2STAR,), np.random.default_rng(1))
