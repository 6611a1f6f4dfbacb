import numpy as np
import pytest
from microbleeds.evaluation.matching import Counts
from microbleeds.evaluation.metrics import (
    Average,
    FalsePositives,
    Rates,
    ScoredCandidates,
    froc,
    pool,
    rates,
    summarise,
)


@pytest.mark.parametrize(("counts", "expected"), [
    (Counts(4, 3, 6, 3), Rates(0.75, 0.5, 0.6)),
    (Counts(2, 2, 1, 1), Rates(1.0, 1.0, 1.0)),
    (Counts(0, 0, 0, 0), Rates(None, None, None)),
    (Counts(0, 0, 2, 0), Rates(None, 0.0, 0.0)),
    (Counts(3, 0, 0, 0), Rates(0.0, None, 0.0)),
    (Counts(3, 0, 2, 0), Rates(0.0, 0.0, 0.0)),
])
def test_rates(counts, expected):
    result = rates(counts)
    assert (result.sensitivity, result.precision) == (expected.sensitivity, expected.precision)
    assert result.f1 == pytest.approx(expected.f1)


def test_f1_is_the_usual_one_when_matching_is_one_to_one():
    """2 TP / (2 TP + FP + FN) with 3 TP, 2 FP, 1 FN."""
    assert rates(Counts(4, 3, 5, 3)).f1 == pytest.approx(6 / 9)


def test_summary_of_a_hand_made_cohort():
    """A crowded scan, a scan with one lesion, a clean scan with one false positive and a clean one without any."""
    summary = summarise([Counts(10, 5, 6, 5), Counts(1, 1, 4, 1), Counts(0, 0, 1, 0), Counts(0, 0, 0, 0)])
    assert summary.scans == 4
    assert summary.counts == Counts(11, 6, 11, 6)
    assert summary.pooled == Rates(6 / 11, 6 / 11, pytest.approx(6 / 11))
    assert summary.per_scan["sensitivity"] == Average(0.75, 0.75, 2)
    assert summary.per_scan["precision"] == Average(pytest.approx((5 / 6 + 1 / 4 + 0) / 3), 0.25, 3)
    assert summary.per_scan["f1"] == Average(pytest.approx((0.625 + 0.4 + 0) / 3), pytest.approx(0.4), 3)
    assert summary.false_positives == FalsePositives(1.25, 2.0, 0.5, 2, 1)


def test_false_positives_are_per_scan_not_per_lesion():
    """10 false positives in 20 scans with 74 lesions are 0.5 per scan; 0.135 per lesion was once printed as that."""
    counts = [Counts(4, 4, 5, 4)] * 10 + [Counts(3, 3, 3, 3)] * 6 + [Counts(4, 4, 4, 4)] * 4
    assert summarise(counts).false_positives.per_scan == 0.5


def test_no_scan_and_only_clean_scans():
    assert summarise([]).pooled == Rates(None, None, None)
    assert pool([]) == Counts(0, 0, 0, 0)
    clean = summarise([Counts(0, 0, 0, 0)] * 3)
    assert clean.false_positives == FalsePositives(0.0, None, 0.0, 3, 3)
    assert clean.per_scan["f1"] == Average(None, None, 0)


def test_froc_counts_candidates_from_the_threshold_on():
    scans = [ScoredCandidates(np.array([[0.0, 0, 0], [50, 0, 0], [90, 0, 0]]), np.array([0.9, 0.5, 0.2]),
                              np.array([[1.0, 0, 0], [88, 0, 0]])),
             ScoredCandidates(np.array([[0.0, 0, 0]]), np.array([0.5]), np.empty((0, 3))),
             ScoredCandidates(np.empty((0, 3)), np.empty(0), np.empty((0, 3)))]
    curve = {point.threshold: point for point in froc(scans, (0.1, 0.2, 0.21, 0.5, 0.51, 0.95))}
    figures = {threshold: (point.sensitivity, point.false_positives_per_scan) for threshold, point in curve.items()}
    assert figures == {0.1: (1.0, pytest.approx(2 / 3)), 0.2: (1.0, pytest.approx(2 / 3)),
                       0.21: (0.5, pytest.approx(2 / 3)), 0.5: (0.5, pytest.approx(2 / 3)),
                       0.51: (0.5, 0.0), 0.95: (0.0, 0.0)}
    assert (curve[0.5].false_positives_per_scan_with_lesions, curve[0.5].false_positives_per_scan_without_lesions) \
        == (1.0, 0.5)
    assert curve[0.1].precision == 0.5 and curve[0.95].precision is None
