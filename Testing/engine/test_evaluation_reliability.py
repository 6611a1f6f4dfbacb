import numpy as np
import pytest
from microbleeds.evaluation.reliability import (
    ReliabilityBin,
    bootstrap_ece,
    expected_calibration_error,
    reliability,
)


def scans(rng, count, share=lambda probability: probability):
    """Return drawn candidates of each scan; `share` says how many of a probability are true."""
    drawn = [rng.beta(0.4, 1.2, rng.poisson(6)) for _ in range(count)]
    return [(probabilities, rng.random(len(probabilities)) < share(probabilities)) for probabilities in drawn]


def pooled(groups):
    return expected_calibration_error(reliability(*map(np.concatenate, zip(*groups, strict=True))))


def test_bins_of_a_hand_made_example():
    """Four bins: two candidates, none, one on the lower edge, one at 1."""
    bins = reliability(np.array([0.1, 0.2, 0.5, 1.0]), np.array([0, 1, 1, 1]), bins=4)
    assert bins == (ReliabilityBin(0.0, 0.25, 2, pytest.approx(0.15), 0.5), ReliabilityBin(0.25, 0.5, 0, None, None),
                    ReliabilityBin(0.5, 0.75, 1, 0.5, 1.0), ReliabilityBin(0.75, 1.0, 1, 1.0, 1.0))
    assert expected_calibration_error(bins) == pytest.approx((2 * 0.35 + 0.5 + 0) / 4)


@pytest.mark.parametrize("bins", [10, 15, 100])
def test_every_edge_opens_its_bin(bins):
    edges = np.arange(bins) / bins
    result = reliability(edges, np.zeros(bins), bins)
    assert [item.count for item in result] == [1] * bins
    assert [item.mean_probability for item in result] == [item.low for item in result]


def test_error_is_the_distance_between_word_and_truth():
    """Whoever always says 0.9 and is right in six of ten is wrong by 0.3."""
    assert expected_calibration_error(reliability(np.full(10, 0.9), np.arange(10) < 6)) == pytest.approx(0.3)
    assert expected_calibration_error(reliability(np.array([0.0, 0, 1]), np.array([0, 0, 1]))) == 0


def test_no_candidates():
    bins = reliability(np.empty(0), np.empty(0))
    assert [item.count for item in bins] == [0] * 10 and expected_calibration_error(bins) is None
    assert bootstrap_ece([]) is None
    assert bootstrap_ece([(np.empty(0), np.empty(0))] * 3) is None


@pytest.mark.parametrize("probability", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(probability):
    with pytest.raises(ValueError, match="from 0 to 1"):
        reliability(np.array([0.5, probability]), np.array([0, 1]))


def test_large_samples_tell_calibrated_from_overconfident():
    rng = np.random.default_rng(1)
    assert pooled(scans(rng, 4000)) < 0.01
    assert pooled(scans(rng, 4000, np.square)) == pytest.approx(
        np.mean([p - p ** 2 for p in rng.beta(0.4, 1.2, 100000)]), abs=0.01)


def test_the_interval_repeats_and_holds_the_error():
    groups = scans(np.random.default_rng(2), 200, np.square)
    low, high = bootstrap_ece(groups)
    assert bootstrap_ece(groups) == (low, high)
    assert low < pooled(groups) < high < 2 * pooled(groups)


def test_the_interval_comes_from_scans_not_candidates():
    """Each scan ten times over is the same evidence: the interval must not shrink as it does for new candidates."""
    groups = scans(np.random.default_rng(3), 60, np.square)
    copied = [(np.tile(probabilities, 10), np.tile(labels, 10)) for probabilities, labels in groups]
    assert bootstrap_ece(copied) == pytest.approx(bootstrap_ece(groups))
    low, high = bootstrap_ece(scans(np.random.default_rng(3), 600, np.square))
    assert high - low < 0.5 * np.subtract(*bootstrap_ece(groups)[::-1])


def test_the_interval_against_a_plain_resampling():
    groups = scans(np.random.default_rng(4), 40, np.square)
    rng = np.random.default_rng(5)
    drawn = [pooled([groups[n] for n in rng.integers(40, size=40)]) for _ in range(600)]
    assert bootstrap_ece(groups) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.012)
