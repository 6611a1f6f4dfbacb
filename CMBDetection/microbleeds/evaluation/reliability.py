"""Whether probabilities can be taken at their word: of those near 0.8, eight in ten should be true."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import CONFIDENCE, RESAMPLES

_SEED = 0


@dataclass(frozen=True)
class ReliabilityBin:
    """The probabilities from `low` (included) to `high` (included only at 1).

    `share_true` of the `count` candidates are lesions; this and `mean_probability` are None when there are none.
    """

    low: float
    high: float
    count: int
    mean_probability: float | None
    share_true: float | None


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Return the reliability curve in bins of equal width, empty ones too.

    Parameters
    ----------
    probabilities : (n,) float in [0, 1]
    labels : (n,) bool or 0 and 1
    bins : int

    Raises
    ------
    ValueError
        If a probability is not in [0, 1].

    References
    ----------
    DeGroot & Fienberg 1983, The Statistician 32:12; Niculescu-Mizil & Caruana 2005, ICML, p. 625.
    """
    counts, expected, true = _sums(probabilities, labels, bins)
    return tuple(ReliabilityBin(place / bins, (place + 1) / bins, int(count),
                                float(expected[place] / count) if count else None,
                                float(true[place] / count) if count else None)
                 for place, count in enumerate(counts))


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    """Return the mean of |mean probability - share true| over bins, weighted by their counts; None without candidates.

    References
    ----------
    Naeini et al. 2015, AAAI, p. 2901; Guo et al. 2017, ICML, PMLR 70:1321, equation 3.
    """
    gaps = [(item.count, abs(item.mean_probability - item.share_true)) for item in bins
            if item.mean_probability is not None and item.share_true is not None]
    return sum(count * gap for count, gap in gaps) / sum(count for count, _ in gaps) if gaps else None


def bootstrap_ece(groups: Sequence[tuple[np.ndarray, np.ndarray]], bins: int = 10) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval (`intervals.CONFIDENCE`) of the expected calibration error.

    Scans are drawn again with replacement, because candidates of one scan depend; the seed is fixed. The error has no
    sign and each draw adds chance to every bin, so the upper bound is safe, but the lower bound of a calibrated network
    is above 0 and no proof of an error.

    Parameters
    ----------
    groups : sequence of (probabilities (n,), labels (n,))
        One pair per scan; scans without candidates belong in too.
    bins : int

    Returns
    -------
    (low, high), or None without any candidate

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if not groups:
        return None
    table = np.array([_sums(probabilities, labels, bins) for probabilities, labels in groups])
    times = np.random.default_rng(_SEED).multinomial(len(table), np.full(len(table), 1 / len(table)), RESAMPLES)
    counts, expected, true = np.moveaxis(np.tensordot(times, table, 1), 1, 0)
    drawn = counts.sum(axis=1)
    if not drawn.any():
        return None
    errors = np.abs(expected - true).sum(axis=1)[drawn > 0] / drawn[drawn > 0]
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(errors, [edge, 1 - edge])
    return float(low), float(high)


def _sums(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> np.ndarray:
    """Return per bin the count, the sum of probabilities and the sum of labels, (3, bins)."""
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels, float)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("Probabilities must be from 0 to 1.")
    # searching the edges themselves: p * bins puts 0.29 of 100 bins one too low
    place = np.searchsorted(np.arange(1, bins) / bins, probabilities, side="right")
    return np.stack([np.bincount(place, values, bins) for values in (np.ones(len(place)), probabilities, labels)])
