from dataclasses import replace

import numpy as np
import pytest
from microbleeds import longitudinal
from microbleeds.errors import InputError
from microbleeds.geometry import apply_affine, voxel_to_ras
from microbleeds.longitudinal import (
    AMBIGUOUS,
    NEW,
    NOT_SEEN,
    OUTSIDE,
    STABLE,
    Answer,
    new_since,
    pair_cases,
    picture_pair,
)
from microbleeds.reviewed_case import Acquisition, CaseFinding, ReviewedCase
from microbleeds.rigid_registration import LEAST_AGREEMENT, Registration, register
from microbleeds.snapshots import PLANES
from microbleeds.volume import Volume
from scipy import ndimage
from scipy.spatial.transform import Rotation

SEMI_AXES_MM = np.array([62.0, 78.0, 56.0])
TISSUE_MM = 5.0
IDENTITY = Registration(np.eye(4), 1.0)
FULL = Volume(np.ones((120, 120, 30), np.float32), np.array(
    [[1.0, 0, 0, -60], [0, 1, 0, -60], [0, 0, 4, -60], [0, 0, 0, 1]]))
COARSE = Volume(np.broadcast_to(np.float32(0), (54, 66, 48)), np.array(
    [[2.7, 0, 0, -71], [0, 2.7, 0, -87], [0, 0, 2.7, -63], [0, 0, 0, 1]]))


def head(grid, seed, pose=None, bleeds=(), noise=0.03, noise_seed=0, symmetry=0.0):
    """Return a head with folds, ventricles and skull on a grid; `pose` moves it, `bleeds` are places in its own RAS.

    `symmetry` is the share of folds that both sides have in common.
    """
    places = voxel_to_ras(grid, np.moveaxis(np.indices(grid.shape), 0, -1))
    own = apply_affine(np.linalg.inv(np.eye(4) if pose is None else pose), places)
    rng = np.random.default_rng(seed)
    lattice = rng.normal(0, 1, (40, 40, 40))
    ventricle, semi_axes = [12, 0, 5] + rng.uniform(-5, 5, 3), [7, 25, 10] * rng.uniform(0.6, 1.4, 3)
    sides = [own, own * [-1, 1, 1]] if symmetry else [own]
    folds, *other = [ndimage.map_coordinates(lattice, np.moveaxis(side / TISSUE_MM + 20, -1, 0), order=1, mode="wrap")
                     for side in sides]
    folds = folds + symmetry * other[0] if other else folds
    radius = np.linalg.norm(own / SEMI_AXES_MM, axis=-1)
    image = np.where(radius < 1, 1 + 0.25 * folds, 0.0)
    image[(radius > 1.1) & (radius < 1.18)] = 0.6
    one_side = np.concatenate([np.abs(own[..., :1]), own[..., 1:]], axis=-1)
    image[np.linalg.norm((one_side - ventricle) / semi_axes, axis=-1) < 1] = 1.8
    for bleed in bleeds:
        image *= 1 - 0.9 * np.exp(-0.5 * np.sum((own - bleed) ** 2, axis=-1) / 1.8**2)
    image = image * (1 + 0.002 * own[..., 0]) + np.random.default_rng(noise_seed).normal(0, noise, grid.shape)
    return grid.with_data(np.abs(image * 300).astype(np.float32))


def empty_grid(shape, affine):
    return Volume(np.broadcast_to(np.float32(0), shape), affine)


def pose_of(degrees, shift_mm):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees)).as_matrix()
    pose[:3, 3] = shift_mm
    return pose


def finding(number, place, diameter=3.0, verdict="accepted", certainty="definite"):
    return CaseFinding(number, tuple(float(x) for x in place), diameter, 14.0, 0.9, verdict, certainty)


def case(places=(), image=FULL, name="base", others=(), **changes):
    findings = tuple(place if isinstance(place, CaseFinding) else finding(number, place)
                     for number, place in enumerate(places, 1))
    changes = {"is_reviewed": True, "is_finished": True, **changes}
    changes.setdefault("acquisition", Acquisition("gre", 3.0, 20.0, (1.0, 1.0, 4.0)))
    return ReviewedCase("sub-01", name, f"sub-01_ses-{name}", f"{name}.nii.gz", name, image,
                        image.with_data(np.zeros(image.shape, np.int32)), findings=findings, **changes)


def paired(before, now, answers=None, registration=IDENTITY, **images):
    """Answers: ids of the baseline, None for new, by ids of the follow-up."""
    answers = {number: Answer(partner, "Ada") for number, partner in (answers or {}).items()}
    return pair_cases(case(before, images.get("baseline", FULL)), case(now, images.get("follow_up", FULL), "later"),
                      answers, registration)


def fates(pairing):
    """Return {follow-up id: (status, baseline id)} and {baseline id: status} of those without a partner."""
    return ({one.follow_up_id: (one.status, one.baseline_id) for one in pairing.findings if one.follow_up_id},
            {one.baseline_id: one.status for one in pairing.findings if not one.follow_up_id})


# ---------------------------------------------------------------------------------------------------- real volumes

BLEEDS = np.array([[30.0, 20.0, 10.0], [-35.0, -30.0, 5.0], [25.0, -40.0, 20.0], [-30.0, 35.0, -10.0]])
"""The first is gone at follow-up, the last is new there."""
POSE = pose_of([9.0, -8.0, 9.0], [12.0, -13.0, 9.0])
"""15 degrees and 20 mm."""


@pytest.fixture(scope="module")
def scans():
    """Isotropic and upright at first; then thick slices, left-handed and oblique, of the moved head."""
    before = empty_grid((72, 88, 64), np.array([[2.0, 0, 0, -71], [0, 2, 0, -87], [0, 0, 2, -63], [0, 0, 0, 1]]))
    affine = pose_of([-8.0, 4.0, 3.0], [15.0, -10.0, 8.0]) @ np.diag([-1.5, 1.5, 4.0, 1.0])
    shape = (104, 124, 36)
    affine[:3, 3] += affine[:3, :3] @ -(np.array(shape) / 2)
    after = empty_grid(shape, affine)
    assert np.linalg.det(affine) < 0
    return head(before, 7, None, BLEEDS[:3]), head(after, 7, POSE, BLEEDS[1:], noise_seed=1)


@pytest.fixture(scope="module")
def both(scans):
    before, after = scans
    places = apply_affine(POSE, BLEEDS)
    baseline = case([finding(n, place) for n, place in zip((1, 2, 3), BLEEDS, strict=False)], before)
    follow_up = case([finding(n, place) for n, place in zip((11, 12, 13), places[1:], strict=True)], after, "later")
    return baseline, follow_up, pair_cases(baseline, follow_up)


def test_a_turned_and_shifted_head_is_found(both):
    registration = both[2].registration
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * SEMI_AXES_MM
    error_mm = np.linalg.norm(apply_affine(registration.to_moving, apply_affine(POSE, corners)) - corners, axis=1)
    assert error_mm.max() < 1.0
    assert registration.agreement > LEAST_AGREEMENT and registration.is_trusted
    rotation = registration.to_moving[:3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) == pytest.approx(1)


def test_a_scan_with_ringing_below_zero_is_registered_to_one_without(scans):
    before, after = scans[:2]
    data = before.data.copy()
    rim = (data > 0) & (np.random.default_rng(0).random(data.shape) < 0.04)
    data[rim] = -0.02
    registration = register(before.with_data(data), after)
    assert registration.agreement > LEAST_AGREEMENT


def test_findings_of_a_registered_pair(both):
    pairing = both[2]
    assert fates(pairing) == ({11: (STABLE, 2), 12: (STABLE, 3), 13: (NEW, None)}, {1: NOT_SEEN})
    assert all(one.distance_mm < 1 for one in pairing.of_status(STABLE))
    gone, = pairing.of_status(NOT_SEEN)
    assert np.linalg.norm(np.subtract(gone.follow_up_ras, apply_affine(POSE, BLEEDS[0]))) < 1
    new, = pairing.of_status(NEW)
    assert np.linalg.norm(np.subtract(new.baseline_ras, BLEEDS[3])) < 1
    assert new_since(pairing).total == 1 and not pairing.questions


def test_pictures_show_the_same_place(both):
    baseline, follow_up, pairing = both
    for status, dark_before, dark_now in ((STABLE, True, True), (NEW, False, True), (NOT_SEEN, True, False)):
        for one in pairing.of_status(status):
            for plane in PLANES:
                before, now = picture_pair(baseline, follow_up, pairing, one, plane)
                assert before.shape == now.shape == (120, 120) and before.dtype == now.dtype == np.uint8
                middle = (slice(56, 64),) * 2
                assert (before[middle].mean() < 0.8 * before.mean()) == dark_before
                assert (now[middle].mean() < 0.8 * now.mean()) == dark_now
            before, now = picture_pair(baseline, follow_up, pairing, one)
            elsewhere = np.ones(now.shape, bool)
            elsewhere[40:80, 40:80] = False
            assert np.corrcoef(before[elsewhere], now[elsewhere])[0, 1] > 0.7


def test_a_mirror_image_is_refused_with_its_own_reason():
    """Both sides of a brain are alike, so that the agreement alone does not tell."""
    before = head(COARSE, 7, symmetry=0.3)
    after = head(COARSE, 7, pose_of([4, 3, -5], [5, -4, 3]), noise_seed=1, symmetry=0.3)
    flipped = after.with_data(after.data[::-1])
    registration = register(flipped, before)
    assert registration.is_mirrored and registration.agreement > LEAST_AGREEMENT and not registration.is_trusted
    with pytest.raises(InputError, match=r"base\.nii\.gz and later\.nii\.gz .*left and right are exchanged"):
        pair_cases(case(image=before), case(image=flipped, name="later"), registration=registration)


def test_an_earlier_registration_and_answers_are_taken(both):
    baseline, follow_up, pairing = both
    again = pair_cases(baseline, follow_up, {13: Answer(None), 12: Answer(1)}, pairing.registration)
    assert again.registration is pairing.registration
    assert fates(again)[0][12] == (STABLE, 1) and fates(again)[1] == {3: NOT_SEEN}


def test_another_head_noise_and_nothing_are_refused():
    before = head(COARSE, 7)
    assert not register(head(COARSE, 8, pose_of([4, 3, -5], [5, -4, 3])), before).is_trusted
    assert register(COARSE, before).agreement == 0
    noise = COARSE.with_data(np.random.default_rng(0).normal(300, 30, COARSE.shape).astype(np.float32))
    with pytest.raises(InputError, match=r"base\.nii\.gz and later\.nii\.gz could not be registered"):
        pair_cases(case(image=before), case(image=noise, name="later"))


# ------------------------------------------------------------------------------------------------- pairing of points

def test_near_is_stable_far_is_new_and_between_is_asked():
    for distance, expected in ((0.0, STABLE), (2.0, STABLE), (3.5, AMBIGUOUS), (6.0, NEW)):
        pairing = paired([(0, 0, 0)], [(distance, 0, 0)])
        assert pairing.findings[0].status == expected, distance
    assert paired([(0, 0, 0)], [(2.0, 0, 0)]).findings[0].distance_mm == pytest.approx(2)


def test_a_question_names_its_candidates_and_counts_nowhere():
    pairing = paired([(0, 0, 0), (40, 0, 0)], [(3.5, 0, 0), (-40, 0, 0)])
    question, = pairing.questions
    assert [(one.id, round(one.distance_mm, 3)) for one in question.candidates] == [(1, 3.5)]
    assert fates(pairing) == ({1: (AMBIGUOUS, None), 2: (NEW, None)}, {1: AMBIGUOUS, 2: NOT_SEEN})
    new = new_since(pairing)
    assert (new.total, new.unanswered, new.outside) == (1, 1, 0)


@pytest.mark.parametrize("answer, now, before", [
    (1, {1: (STABLE, 1)}, {}), (None, {1: (NEW, None)}, {1: NOT_SEEN})])
def test_answers_settle_a_question(answer, now, before):
    assert fates(paired([(0, 0, 0)], [(3.5, 0, 0)], {1: answer})) == (now, before)


def test_two_candidates_at_nearly_the_same_distance_are_asked():
    pairing = paired([(-1.6, 0, 0), (1.6, 0, 0)], [(0.2, 0, 0)])
    question, = pairing.questions
    assert [one.id for one in question.candidates] == [2, 1]
    assert fates(pairing)[1] == {1: AMBIGUOUS, 2: AMBIGUOUS}
    assert fates(paired([(-1.6, 0, 0), (1.6, 0, 0)], [(0.2, 0, 0)], {1: 1})) == ({1: (STABLE, 1)}, {2: NOT_SEEN})


def test_a_clearly_nearer_candidate_is_not_asked():
    assert fates(paired([(0, 0, 0), (3.4, 0, 0)], [(0.1, 0, 0)])) == ({1: (STABLE, 1)}, {2: NOT_SEEN})


def test_one_answer_settles_what_hangs_on_it():
    before, now = [(0, 0, 0), (3.0, 0, 0)], [(1.4, 0, 0), (1.6, 0, 0)]
    assert len(paired(before, now).questions) == 2
    assert fates(paired(before, now, {1: 1})) == ({1: (STABLE, 1), 2: (STABLE, 2)}, {})


def test_clusters_are_paired_as_a_whole():
    """The nearest one for each in turn would take the wrong partners: everything has moved by 1.2 mm."""
    before = [(5.0 * n, 0, 0) for n in range(6)]
    now = [(5.0 * n + 1.2, 0, 0) for n in range(6)]
    assert fates(paired(before, now)) == ({n: (STABLE, n) for n in range(1, 7)}, {})


@pytest.mark.parametrize("seed", range(5))
def test_groups_that_do_not_touch_are_paired_as_if_all_were_one(seed):
    rng = np.random.default_rng(seed)
    before = rng.uniform(0, 25, (20, 3))
    now = np.concatenate([before[:14] + rng.normal(0, 1.5, (14, 3)), rng.uniform(0, 40, (6, 3))])
    squares = np.sum((now[:, None] - before) ** 2, axis=-1) / 16
    fates_of_groups, plausible = longitudinal._pair(squares)
    whole = longitudinal._fates_of(squares)
    paired_cost = [squares[row, column] - 2 * longitudinal._ALONE for row, column in enumerate(fates_of_groups)
                   if column >= 0]
    assert sum(paired_cost) == pytest.approx(sum(squares[row, column] - 2 * longitudinal._ALONE
                                                 for row, (column, _) in enumerate(whole) if column >= 0))
    assert plausible == {row: sorted(ways) for row, (_, ways) in enumerate(whole) if len(ways) > 1}
    assert (fates_of_groups >= 0).any() and (fates_of_groups < 0).any()


def test_pairs_are_one_to_one_and_the_order_does_not_matter():
    rng = np.random.default_rng(3)
    before = rng.uniform(-50, 50, (25, 3))
    now = np.concatenate([before[5:] + rng.normal(0, 0.5, (20, 3)), rng.uniform(-50, 50, (6, 3))])
    order = rng.permutation(len(now))
    straight, shuffled = paired(before, now), paired(before, now[order])
    partners = [one.baseline_id for one in straight.of_status(STABLE)]
    assert len(set(partners)) == len(partners) >= 18
    assert len(straight.findings) == len(now) + len(before) - len(partners)
    for place, number in enumerate(order):
        assert fates(shuffled)[0][place + 1] == fates(straight)[0][number + 1]


def test_more_is_allowed_across_thick_slices_and_for_large_ones():
    assert paired([(0, 0, 0)], [(0, 0, 3.2)]).findings[0].status == STABLE
    assert paired([(0, 0, 0)], [(3.2, 0, 0)]).findings[0].status == AMBIGUOUS
    large = [finding(1, (0, 0, 0), 9.0)], [finding(1, (3.2, 0, 0), 9.0)]
    assert paired(*large).findings[0].status == STABLE


def test_places_go_through_the_registration():
    pose = pose_of([0.0, 0.0, 30.0], [10.0, -5.0, 3.0])
    there = np.array([[20.0, 10.0, 0.0], [-20.0, 0.0, 8.0]])
    here = apply_affine(pose, there)
    pairing = paired(there, here[:1], registration=Registration(np.linalg.inv(pose), 1.0))
    assert fates(pairing) == ({1: (STABLE, 1)}, {2: NOT_SEEN})
    assert pairing.findings[0].distance_mm == pytest.approx(0, abs=1e-9)
    assert np.allclose(pairing.findings[1].follow_up_ras, here[1])
    assert pairing.findings[1].baseline_ras == tuple(there[1])


def test_outside_of_the_other_field_of_view_is_neither_new_nor_gone():
    lower = Volume(FULL.data[:, :, :15], FULL.affine)  # ends at S = -2
    assert fates(paired([(0, 0, -30)], [(0, 0, -30), (0, 0, 20)], baseline=lower)) == (
        {1: (STABLE, 1), 2: (OUTSIDE, None)}, {})
    assert fates(paired([(0, 0, 20), (5, 5, -30)], [], follow_up=lower)) == ({}, {1: OUTSIDE, 2: NOT_SEEN})
    new = new_since(paired([], [(0, 0, 20)], baseline=lower))
    assert (new.total, new.outside, new.band, new.highest_band) == (0, 1, "none", "mild")
    assert fates(paired([], [(0, 0, 20)], {1: None}, baseline=lower))[0] == {1: (NEW, None)}


def test_outside_of_a_masked_brain_is_outside():
    data = np.zeros(FULL.shape, np.float32)
    data[30:90, 30:90, 5:25] = 5
    assert fates(paired([], [(0, 0, 0), (50, 0, 0)], baseline=FULL.with_data(data)))[0] == {
        1: (NEW, None), 2: (OUTSIDE, None)}


def test_a_finding_that_the_baseline_rejected_is_asked():
    before = [finding(1, (0, 0, 0), verdict="rejected"), finding(2, (30, 0, 0), verdict="undecided")]
    now = [(0.5, 0, 0), (30, 0, 0), (-30, 0, 0)]
    pairing = paired(before, now)
    assert fates(pairing) == ({1: (AMBIGUOUS, None), 2: (AMBIGUOUS, None), 3: (NEW, None)}, {})
    assert "finding 1 here, rejected" in pairing.questions[0].remark
    assert fates(paired(before, now, {1: None, 2: 2}))[0] == {1: (NEW, None), 2: (STABLE, 2), 3: (NEW, None)}


def test_rejected_at_follow_up_is_said():
    pairing = paired([(0, 0, 0)], [finding(4, (0, 0, 0), verdict="rejected")])
    gone, = pairing.findings
    assert gone.status == NOT_SEEN and "finding 4 here, rejected" in gone.remark


@pytest.mark.parametrize("answers, words", [
    ({9: 1}, "finding 9 is not used: later.nii.gz has no such microbleed"),
    ({1: 9}, "finding 1 is not used: base.nii.gz has no finding 9"),
    ({2: 1}, "finding 2 is not used: later.nii.gz has no such microbleed")])
def test_answers_that_fit_no_longer_are_left_out_and_told(answers, words):
    """Reviews go on after an answer: the finding is rejected, or a point that a reader had set is taken away."""
    pairing = paired([(0, 0, 0)], [(3.5, 0, 0), finding(2, (30, 0, 0), verdict="rejected")], answers)
    assert words in pairing.warnings[-1]
    assert [one.follow_up_id for one in pairing.questions] == [1]


def test_one_finding_of_the_baseline_cannot_be_the_answer_for_two():
    with pytest.raises(InputError, match="answer for two"):
        paired([(0, 0, 0)], [(0, 0, 0), (1, 0, 0)], {1: 1, 2: 1})


def test_an_answered_finding_keeps_its_answer_and_its_candidates():
    """So that a reader sees who has said it, and can say otherwise."""
    for answer, status in ((1, STABLE), (None, NEW)):
        one = paired([(0, 0, 0)], [(3.5, 0, 0)], {1: answer}).findings[0]
        assert (one.status, one.answer) == (status, Answer(answer, "Ada"))
        assert [partner.id for partner in one.candidates] == [1]
    assert all(one.answer is None for one in paired([(0, 0, 0)], [(0, 0, 0), (3, 0, 0), (30, 0, 0)]).findings)


def test_nothing_on_either_side():
    assert paired([], []).findings == ()
    assert fates(paired([(0, 0, 0)], [])) == ({}, {1: NOT_SEEN})
    assert fates(paired([], [(0, 0, 0)])) == ({1: (NEW, None)}, {})


# ----------------------------------------------------------------------------------------------------- what is counted

def test_new_ones_by_certainty_and_band():
    now = [finding(n, (10 * n - 55, 0, 0), certainty="possible" if n > 4 else "") for n in range(1, 7)]
    new = new_since(paired([], [*now, finding(7, (0, 40, 0), 12.0)]))
    assert (new.tally.definite, new.tally.possible, new.total, new.band) == (4, 2, 6, "moderate")


def test_unreviewed_cases_are_marked():
    pairing = pair_cases(case(is_reviewed=False), case([(0, 0, 0)], name="later", is_finished=False),
                         registration=IDENTITY)
    assert any("missed there is called new here" in sentence for sentence in pairing.warnings)
    assert any("follow-up is not finished" in sentence for sentence in pairing.warnings)
    assert new_since(pairing).tally.unreviewed == 1 and not pairing.is_reviewed


def test_other_protocols_and_subjects_are_said_and_other_sequences_refused():
    weaker = Acquisition("gre", 1.5, 20.0, (1.0, 1.0, 4.0))
    pairing = pair_cases(replace(case(), subject="sub-02"), case(name="later", acquisition=weaker),
                         registration=IDENTITY)
    assert len(pairing.warnings) == 2
    assert "field strength" in pairing.warnings[0] and "sub-02" in pairing.warnings[1]
    with pytest.raises(InputError, match=r"base\.nii\.gz and later\.nii\.gz .*SWI"):
        pair_cases(case(), case(name="later", acquisition=replace(weaker, modality="swi")))


def test_the_same_scan_twice_is_refused():
    with pytest.raises(InputError, match="the same scan"):
        pair_cases(case(), case())


def test_a_registration_that_failed_is_refused():
    with pytest.raises(InputError, match=r"agreement 0\.10"):
        paired([], [], registration=Registration(np.eye(4), 0.1))
