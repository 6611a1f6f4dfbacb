"""Guarded adaptation: the rule on drawn scores, and a whole run on drawn cases."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from microbleeds.calibration import Calibration
from microbleeds.networks import Detector, Student
from microbleeds.settings import Settings
from microbleeds.training import finetune
from microbleeds.training.batches import detector_batch
from microbleeds.training.finetune import SURE, Curves, curves_of, fine_tune, froc_score, judge
from microbleeds.training.mining import Mined
from microbleeds.training.scoring import ScoredCase
from microbleeds.training.training_settings import TrainingSettings
from microbleeds.weights import Model
from training_phantoms import drawn_case


def scored(name, lesions, found, false, sure=4.0):
    """Return a case with `lesions` lesions 20 mm apart, of which `found` have a candidate, and `false` others."""
    lesions_mm = np.stack([20.0 * np.arange(lesions), np.zeros(lesions), np.zeros(lesions)], axis=1)
    positions = np.concatenate([lesions_mm[:found], np.stack([20.0 * np.arange(false), np.full(false, 99.0),
                                                              np.zeros(false)], axis=1)])
    logits = np.full(len(positions), sure)
    return ScoredCase(name, name, "gre", positions, logits, logits, np.arange(len(positions)) < found,
                      np.zeros(len(positions), bool), np.ones(len(positions), bool), lesions_mm)


def test_the_score_is_the_mean_rate_at_the_five_costs():
    # thresholds from lenient to strict: .9 found at 3 false positives per scan, .6 at 1, .3 at none
    curves = Curves(np.array([10]), np.array([[9, 6, 3]]), np.array([[3, 1, 0]]))
    assert froc_score(curves, np.array([0])) == pytest.approx((0.3 + 0.3 + 0.6 + 0.6 + 0.9) / 5)


def test_the_curve_counts_by_distance_after_the_clean_up():
    curves = curves_of([scored("a", 5, 3, 2)], Calibration())
    assert curves.lesions.tolist() == [5]
    assert curves.found[0].max() == 3 and curves.false[0].max() == 2
    assert curves.found[0].min() == 0 and curves.false[0].min() == 0


def test_what_the_clean_up_removes_takes_no_threshold_away():
    one = scored("a", 5, 3, 2)
    vessels = 40
    more = replace(
        one, positions_mm=np.concatenate([one.positions_mm, np.full((vessels, 3), 500.0)]),
        student_logit=np.concatenate([one.student_logit, np.full(vessels, 9.0)]),
        detector_logit=np.concatenate([one.detector_logit, np.full(vessels, 9.0)]),
        **{name: np.concatenate([getattr(one, name), np.zeros(vessels, bool)])
           for name in ("on_lesion", "spared", "kept")})
    without, with_vessels = (froc_score(curves_of([case], Calibration()), np.array([0])) for case in (one, more))
    assert with_vessels == without > 0


def test_better_weights_are_taken_and_worse_or_equal_ones_are_not():
    old = [scored(f"s{n}", 6, 3, 1) for n in range(8)]
    better = [scored(f"s{n}", 6, 5, 0) for n in range(8)]
    assert judge(old, better, Calibration(), 1)["accepted"]
    assert not judge(better, old, Calibration(), 1)["accepted"]
    same = judge(old, old, Calibration(), 1)
    assert not same["accepted"] and same["before"] == same["after"]


def test_a_gain_that_hangs_on_one_subject_is_not_taken():
    old = [scored(f"s{n}", 4, 3, 0) for n in range(8)]
    new = [scored("s0", 40, 40, 0), *[scored(f"s{n}", 4, 2, 0) for n in range(1, 8)]]
    old[0] = scored("s0", 40, 4, 0)
    verdict = judge(old, new, Calibration(), 1)
    assert verdict["after"] > verdict["before"] and verdict["sure"] < SURE
    assert not verdict["accepted"]


def test_samples_without_a_microbleed_speak_for_nobody():
    clean = [scored(f"c{n}", 0, 0, 0) for n in range(20)]
    sick = [scored("s0", 5, 2, 0), scored("s1", 5, 3, 0)]
    mixed = [scored("s0", 5, 3, 0), scored("s1", 5, 2, 0)]
    # better in one, worse in the other: better or as good in about two of three samples that have either
    mixed[0] = scored("s0", 6, 4, 0)
    sick[0] = scored("s0", 6, 2, 0)
    verdict = judge([*clean, *sick], [*clean, *mixed], Calibration(), 1)
    assert verdict["after"] > verdict["before"] and 0.5 < verdict["sure"] < 0.75 and not verdict["accepted"]


def test_fine_tuning_changes_copies_and_leaves_the_model_alone(tmp_path):
    torch.manual_seed(0)
    model = Model("m", "", Detector(2, 4).eval(), Student(2).eval(), {"balanced": Settings()})
    before = {name: value.clone() for name, value in model.detector.state_dict().items()}
    settings = TrainingSettings(width=2, detector_steps=2, student_steps=2, detector_batch=2, classifier_batch=4)
    cases = [drawn_case("a", "a"), drawn_case("b", "b", 1, kinds_known=False)]
    detector, student = fine_tune(model, cases, settings, tmp_path, "cpu", lambda stage, fraction, message: None)
    assert all(torch.equal(value, before[name]) for name, value in model.detector.state_dict().items())
    assert not torch.equal(detector.segmentor.out.weight, model.detector.segmentor.out.weight)
    assert not torch.equal(student.extractor.level0[0].weight, model.student.extractor.level0[0].weight)


def test_fine_tuning_learns_from_the_models_own_false_candidates(tmp_path, monkeypatch):
    seen = []

    def batch(cases, sites, settings):
        seen.append([own.false for own in sites])
        return detector_batch(cases, sites, settings)

    found = [Mined(np.empty((0, 3)), np.array([[9.0, 9.0, 5.0]])), Mined(np.empty((0, 3)), np.empty((0, 3)))]
    monkeypatch.setattr(finetune, "detector_batch", batch)
    monkeypatch.setattr(finetune, "mine_cases", lambda *arguments: found)
    monkeypatch.setattr(finetune, "fit", lambda network, *others: network)
    model = Model("m", "", Detector(2, 4).eval(), Student(2).eval(), {"balanced": Settings()})
    fine_tune(model, [drawn_case("a", "a"), drawn_case("b", "b", 1)], TrainingSettings(width=2), tmp_path, "cpu",
              lambda stage, fraction, message: None)
    assert [own.tolist() for own in seen[0]] == [[[9.0, 9.0, 5.0]], []]
