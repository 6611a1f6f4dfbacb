"""Scoring with networks that are formulas, so that every candidate is known, and operating points chosen from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from microbleeds.calibration import Calibration
from microbleeds.evaluation.matching import match_centres
from microbleeds.evaluation.metrics import froc
from microbleeds.networks import Detector, Student
from microbleeds.settings import OPERATING_POINTS, Settings
from microbleeds.step1_candidates import find_candidates
from microbleeds.step2_classify import classify
from microbleeds.training.export import export_model
from microbleeds.training.labelled_scans import IGNORED
from microbleeds.training.operating_points import (
    ALLOWED_FALSE_POSITIVES,
    calibrate,
    choose_operating_points,
    figures_of,
    row,
)
from microbleeds.training.scoring import (
    CANDIDATE_SETTINGS,
    ScoredCase,
    counts_at,
    load_scores,
    probabilities,
    save_scores,
    score_case,
    score_cases,
)
from microbleeds.training.train import write_curves
from microbleeds.weights import load_model
from torch import nn
from training_phantoms import cube, drawn_case

LESIONS = ((20, 20, 10), (40, 30, 12), (30, 48, 6))
FALSE = ((10, 10, 6), (50, 10, 12))
LINE = (15, 35, 18)
IGNORED_PLACE = (48, 48, 16)


class BrightVoxels(nn.Module):
    """A detector that is sure of voxels above 0.35."""

    def forward(self, images):
        logit = 20 * (images[:, 0] - 0.35)
        return torch.stack([torch.zeros_like(logit), logit], 1)


class BrightMiddle(nn.Module):
    """A student that looks at the mean of the 3³ voxels in the middle of its patch, at voxel 12."""

    def forward(self, patches):
        logit = 20 * (patches[:, 0, 11:14, 11:14, 11:14].mean((1, 2, 3)) - 0.45)
        return torch.stack([torch.zeros_like(logit), logit], 1)


def silent(*told):
    pass


def scene(name="case", lesions=LESIONS, false=FALSE, faint=(), line=False):
    """Return a case with lesions of 0.5 (those in `faint`: 0.1), false cubes of 0.4, a bright line, an ignored cube."""
    case = drawn_case(name, f"subject of {name}", lesions=lesions)
    image, symmetry = np.array(case.images)
    image[cube((12, 45, 12))] = 0
    image[cube(IGNORED_PLACE)] = 0.5
    for number, place in enumerate(lesions):
        # even, because so steep a detector makes peaks of noise
        image[cube(place)] = 0.1 if number in faint else 0.5
    for centre in false:
        image[cube(centre)] = 0.4
    if line:
        i, j, k = LINE
        image[i - 9:i + 10, j, k] = 0.6
    return replace(case, images=np.stack([image, symmetry]))


def scored(*cases):
    return score_cases(cases, BrightVoxels(), BrightMiddle(), "cpu", silent)


def near(positions_mm, place):
    """Return which candidates lie at a voxel of the drawn case."""
    return np.linalg.norm(positions_mm - np.array(place) * (1.0, 1.0, 2.0), axis=1) < 1.5


def test_every_candidate_is_where_and_what_it_was_drawn_as():
    case = scene(faint=[2], line=True)
    one = score_case(case, BrightVoxels(), BrightMiddle(), "cpu")
    assert (one.name, one.subject, one.modality) == ("case", "subject of case", "gre")
    np.testing.assert_allclose(one.lesions_mm, np.array(LESIONS) * (1, 1, 2))
    places = [near(one.positions_mm, place) for place in (*LESIONS, *FALSE, IGNORED_PLACE)]
    assert [int(own.sum()) for own in places] == [1, 1, 0, 1, 1, 1]
    assert np.array_equal(one.on_lesion, places[0] | places[1])
    assert np.array_equal(one.spared, places[5])
    # all but the line stay
    assert np.array_equal(one.kept, np.any(places, axis=0)) and not one.kept.all()
    for place, own in zip((*LESIONS, *FALSE), places, strict=False):
        if own.any():
            middle = np.asarray(case.images[0], np.float32)[cube(place)].mean()
            assert one.student_logit[own] == pytest.approx(20 * (middle - 0.45), abs=0.01)
            peak = np.asarray(case.images[0], np.float32)[cube(place)].max()
            assert one.detector_logit[own] == pytest.approx(20 * (peak - 0.35), abs=0.2)


def test_rates_of_every_step_are_those_drawn():
    found = scored(scene("one", faint=[2], line=True), scene("two", lesions=LESIONS[:2]), scene("clean", lesions=()))
    figures = figures_of(found, Calibration(), {"balanced": 0.5, "sensitive": 0.05})
    assert (figures["scans"], figures["microbleeds"]) == (3, 5)
    detector, student, cleaned = (figures[name] for name in ("detector", "student, balanced", "clean-up, balanced"))
    # 4 of 5 lesions; two false cubes in each case, and the line, which the clean-up removes
    assert detector["tpr"] == student["tpr"] == cleaned["tpr"] == 0.8
    lines = np.count_nonzero(~found[0].kept)
    assert detector["fp_per_scan"] == pytest.approx((6 + lines) / 3, abs=1e-3)
    # the student knows false cubes (0.4) from lesions (0.5)
    assert student["fp_per_scan"] <= lines / 3 and cleaned["fp_per_scan"] == 0 and cleaned["precision"] == 1
    assert figures["clean-up, sensitive"]["fp_per_scan"] == 2
    assert (cleaned["clean_scans"], cleaned["clean_scans_without_fp"]) == (1, 1)
    assert (detector["clean_scans"], detector["clean_scans_without_fp"]) == (1, 0)
    assert cleaned["tpr_95"][0] <= 0.8 <= cleaned["tpr_95"][1]
    assert figures["calibration"] == {"student": 1.0, "detector": 0.0, "offset": 0.0}


def test_ignored_regions_count_neither_as_right_nor_as_wrong():
    case = scene(false=())
    clean = replace(case, classes=np.where(case.classes == IGNORED, 0, case.classes))
    spared, counted = scored(case, clean)
    for one, false in ((spared, 0), (counted, 1)):
        count, = counts_at([one], [np.ones(len(one.kept))], 0.5, cleanup=False)
        assert (count.found, count.false_positives) == (3, false)
        assert np.count_nonzero(one.kept & ~one.spared) == 3 + false


def test_what_overlaps_a_large_ignored_region_is_spared_however_far_from_its_centre():
    case = scene(false=(), lesions=LESIONS[1:])
    classes, image = np.array(case.classes), np.array(case.images)
    classes[5:25, 5:25, 5:9], image[0][cube((7, 7, 7))] = IGNORED, 0.5
    one = score_case(replace(case, classes=classes, images=image), BrightVoxels(), BrightMiddle(), "cpu")
    far = near(one.positions_mm, (7, 7, 7))
    assert far.sum() == 1 and one.spared[far] and one.kept[far]
    scores = np.ones(len(one.kept))
    count, = counts_at([one], [scores], 0.5, cleanup=True)
    assert (count.found, count.false_positives) == (2, 0)
    point, = froc([one.candidates(scores, kept_only=True)], (0.5,))
    assert (point.sensitivity, point.false_positives_per_scan) == (1, 0)
    assert choose_operating_points([one]).figures["clean-up, balanced"]["precision"] == 1


def test_what_lies_as_near_to_an_ignored_spot_as_a_find_is_spared_too():
    i, j, k = IGNORED_PLACE
    for away, spared in ((4, True), (6, False)):
        one = score_case(scene(false=[(i - away, j, k)]), BrightVoxels(), BrightMiddle(), "cpu")
        own = near(one.positions_mm, (i - away, j, k))
        assert own.sum() == 1 and bool(one.spared[own][0]) == spared and bool(one.judged[own][0]) != spared


def test_a_candidate_on_a_lesion_is_right_though_it_reaches_into_what_is_ignored():
    case = scene(lesions=LESIONS[:1], false=())
    classes, image = np.array(case.classes), np.array(case.images)
    i, j, k = LESIONS[0]
    beside = np.s_[i + 2:i + 4, j - 1:j + 2, k - 1:k + 2]
    classes[beside], image[0][beside] = IGNORED, 0.5
    one = score_case(replace(case, classes=classes, images=image), BrightVoxels(), BrightMiddle(), "cpu")
    first = near(one.positions_mm, (i + 1, j, k))
    assert first.sum() == 1 and one.on_lesion[first] and not one.spared[first]
    count, = counts_at([one], [np.ones(len(one.kept))], 0.5, cleanup=False)
    assert (count.found, count.false_positives) == (1, 0)


def test_the_counts_fall_with_the_threshold_and_are_those_of_matching():
    found = scored(scene(), scene("two", faint=[0]))
    scores = [probabilities(one, Calibration()) for one in found]
    before = None
    for threshold in np.linspace(0, 1, 21):
        counts = counts_at(found, scores, threshold, cleanup=True)
        assert counts == [match_centres(one.positions_mm[one.kept & (own >= threshold)], one.lesions_mm,
                                        spared=one.spared[one.kept & (own >= threshold)])
                          for one, own in zip(found, scores, strict=True)]
        totals = np.array([(count.found, count.predictions) for count in counts])
        assert before is None or (totals <= before).all()
        before = totals


def test_scores_come_back_from_their_file(tmp_path):
    empty = scene("empty", lesions=(), false=())
    empty = replace(empty, images=np.zeros_like(empty.images), classes=np.zeros_like(empty.classes))
    found = scored(scene(), empty)
    assert len(found[1].kept) == 0
    save_scores(found, tmp_path / "scores.json")
    for one, other in zip(found, load_scores(tmp_path / "scores.json"), strict=True):
        for name, value in vars(one).items():
            read = getattr(other, name)
            assert np.array_equal(read, value) and np.shape(read) == np.shape(value), name
            assert np.asarray(read).dtype == np.asarray(value).dtype or np.size(value) == 0, name
    assert load_scores(tmp_path / "scores.json")[1].candidates(np.empty(0), True).positions_ras.shape == (0, 3)


def drawn_scores(seed, scans=12, false=40.0, overlap=1.5):
    """Return scored scans with lesions 20 mm apart, most of them found, and false candidates far from them."""
    rng = np.random.default_rng(seed)
    result = []
    for number in range(scans):
        lesions = np.stack(np.meshgrid(np.arange(rng.integers(0, 4)), np.arange(2), [0.0], indexing="ij"), -1)
        lesions = lesions.reshape(-1, 3) * 20
        found = lesions[rng.random(len(lesions)) < 0.9]
        wrong = np.array([[20.0 * n, 0, 100] for n in range(rng.poisson(false))]).reshape(-1, 3)
        labels = np.arange(len(found) + len(wrong)) < len(found)
        student = rng.normal(np.where(labels, 2, -2), overlap)
        detector = rng.normal(np.where(labels, 1, -1), overlap)
        result.append(ScoredCase(
            f"case-{number}", f"subject-{number}", "gre", np.concatenate([found, wrong]), student, detector, labels,
            np.zeros(len(labels), bool), rng.random(len(labels)) < 0.9, lesions))
    return result


def cost(found, points, threshold):
    """Return the false positives per scan, counted by hand: on no lesion, kept, and not under the threshold."""
    return np.mean([np.count_nonzero(one.kept & ~one.on_lesion & (probabilities(one, points.calibration) >= threshold))
                    for one in found])


@pytest.mark.parametrize("seed", range(4))
def test_each_point_costs_what_is_allowed_and_a_lower_one_more(seed):
    found = drawn_scores(seed)
    points = choose_operating_points(found)
    assert set(points.thresholds) == set(OPERATING_POINTS) == set(ALLOWED_FALSE_POSITIVES)
    for name, allowed in ALLOWED_FALSE_POSITIVES.items():
        threshold = points.thresholds[name]
        assert cost(found, points, threshold) <= allowed < cost(found, points, threshold - 0.01)
        assert points.figures[f"clean-up, {name}"]["fp_per_scan"] == pytest.approx(
            cost(found, points, threshold), abs=1e-3)
    assert points.thresholds["sensitive"] <= points.thresholds["balanced"]
    assert points.figures["clean-up, sensitive"]["tpr"] >= points.figures["clean-up, balanced"]["tpr"]


def test_calibration_uses_both_networks_and_only_what_is_judged():
    found = drawn_scores(0, scans=60)
    calibration = calibrate(found)
    assert calibration.student > 0.5 and calibration.detector > 0.3
    assert choose_operating_points(found).figures["expected_calibration_error"] < 0.02
    # what is spared or removed has no say
    spoiled = [replace(one, on_lesion=np.where(one.kept, one.on_lesion, ~one.on_lesion)) for one in found]
    assert calibrate(spoiled) == calibration


@pytest.mark.parametrize("seed", range(4))
def test_a_calibration_for_few_cases_keeps_the_order_that_was_judged(seed):
    found, former = drawn_scores(seed, scans=4), Calibration(0.4, 1.3, 1.0)
    points = choose_operating_points(found, former)
    assert points.calibration.detector / points.calibration.student == pytest.approx(1.3 / 0.4)
    for one in found:
        order = np.argsort(probabilities(one, former), kind="stable")
        assert (np.diff(probabilities(one, points.calibration)[order]) >= 0).all()
    many = drawn_scores(seed + 10, scans=60)
    before, after = (figures_of(many, calibration, {})["expected_calibration_error"]
                     for calibration in (former, choose_operating_points(many, former).calibration))
    assert after < 0.03 < before


def test_a_calibration_is_kept_where_nothing_can_be_fitted():
    former = Calibration(0.4, 1.3, -3.0)
    assert choose_operating_points(drawn_scores(1, false=0), former).calibration == former


def test_one_kind_of_candidates_leaves_probabilities_as_they_are():
    found = drawn_scores(1, false=0)
    points = choose_operating_points(found)
    assert points.calibration == Calibration()
    assert points.thresholds == {"balanced": 0.02, "sensitive": 0.02}


def test_no_candidate_at_all_is_no_error(tmp_path):
    found = [replace(one, **{name: getattr(one, name)[:0] for name in (
        "positions_mm", "student_logit", "detector_logit", "on_lesion", "spared", "kept")})
        for one in drawn_scores(2)]
    points = choose_operating_points(found)
    assert points.figures["detector"]["tpr"] == 0 and points.figures["detector"]["fp_per_scan"] == 0
    assert points.figures["expected_calibration_error"] is None
    write_curves(found, points, tmp_path, "nothing")
    assert {path.name for path in tmp_path.iterdir()} == {"froc.svg", "reliability.svg"}


def test_where_nothing_is_cheap_enough_the_highest_threshold_is_taken():
    found = [replace(one, student_logit=np.full(len(one.kept), 12.0), on_lesion=np.zeros(len(one.kept), bool))
             for one in drawn_scores(3)]
    assert set(choose_operating_points(found).thresholds.values()) == {0.98}


def test_a_row_of_scans_without_lesions_has_no_rate():
    found = scored(scene(lesions=(), false=()))
    own = row(counts_at(found, [np.ones(len(one.kept)) for one in found], 0.5, cleanup=True))
    assert own["tpr"] is None and own["tpr_95"] is None and own["fp_per_scan"] == 0 and own["clean_scans"] == 1


def test_the_exported_model_gives_the_probabilities_that_were_scored(tmp_path):
    torch.manual_seed(0)
    student = Student(2)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.copy_(parameter.half())
    student.eval()
    case = scene()
    one = score_case(case, BrightVoxels(), student, "cpu")
    points = choose_operating_points(drawn_scores(0))
    export_model(tmp_path / "model", Detector(2), student, points.calibration, points.settings(), {})
    model = load_model(tmp_path / "model")
    settings = model.settings("balanced")
    assert settings.candidates == CANDIDATE_SETTINGS and settings.cleanup == Settings().cleanup
    assert settings.classify.threshold == points.thresholds["balanced"]
    found = find_candidates(case.prepared(), BrightVoxels(), settings.candidates, "cpu", silent)
    found = classify(found, case.prepared(), model.student, settings.classify, model.calibration, "cpu", silent)
    np.testing.assert_allclose([candidate.probability for candidate in found],
                               probabilities(one, points.calibration), atol=1e-4)
    assert points.calibration != Calibration()
