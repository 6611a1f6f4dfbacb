import numpy as np
import pytest
from microbleeds.evaluation.intervals import bootstrap
from microbleeds.evaluation.matching import Counts
from microbleeds.evaluation.metrics import summarise


def draw(rng, scans):
    lesions = rng.poisson(3, scans)
    found = rng.binomial(lesions, 0.6)
    return [Counts(int(n), int(f), int(f + w), int(f)) for n, f, w in zip(lesions, found, rng.poisson(1.5, scans),
                                                                          strict=True)]


def test_the_same_counts_have_the_same_intervals_and_the_figure_lies_within():
    counts = draw(np.random.default_rng(1), 30)
    intervals, summary = bootstrap(counts), summarise(counts)
    assert bootstrap(counts) == intervals
    for figure, (low, high) in ((summary.pooled.sensitivity, intervals.sensitivity),
                                (summary.pooled.precision, intervals.precision),
                                (summary.false_positives.per_scan, intervals.false_positives_per_scan)):
        assert low < figure < high


def test_intervals_shrink_with_the_square_root_of_the_scans():
    few, many = (bootstrap(draw(np.random.default_rng(2), scans)).false_positives_per_scan for scans in (25, 400))
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(4, rel=0.35)


def test_mean_of_false_positives_against_the_normal_interval():
    counts = [Counts(0, 0, n, 0) for n in np.random.default_rng(3).poisson(4, 200).tolist()]
    values = np.array([item.predictions for item in counts])
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert bootstrap(counts).false_positives_per_scan == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.06)


def test_undefined_rates():
    assert bootstrap([]).sensitivity is None
    clean = bootstrap([Counts(0, 0, 0, 0)] * 3)
    assert (clean.sensitivity, clean.precision, clean.false_positives_per_scan) == (None, None, (0.0, 0.0))
    assert bootstrap([Counts(2, 2, 2, 2)] + [Counts(0, 0, 0, 0)] * 9).sensitivity == (1.0, 1.0)
