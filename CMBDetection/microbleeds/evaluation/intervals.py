"""Confidence intervals of pooled rates: scans are drawn again with replacement, because findings of one scan depend."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .matching import Counts

CONFIDENCE = 0.95
RESAMPLES = 2000
_SEED = 0


@dataclass(frozen=True)
class Intervals:
    """Lower and upper bound of each rate, None where it is not defined; see `metrics.rates` for the rates."""

    sensitivity: tuple[float, float] | None
    precision: tuple[float, float] | None
    false_positives_per_scan: tuple[float, float] | None


def bootstrap(counts: Sequence[Counts]) -> Intervals:
    """Return the percentile bootstrap intervals (`CONFIDENCE`, `RESAMPLES`) of rates pooled over scans.

    The seed is fixed, so the same counts have the same intervals. Draws without a lesion (sensitivity) or without a
    prediction (precision) are left out.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if not counts:
        return Intervals(None, None, None)
    table = np.array([(item.lesions, item.found, item.predictions, item.correct) for item in counts])
    chosen = np.random.default_rng(_SEED).integers(len(table), size=(RESAMPLES, len(table)))
    lesions, found, predictions, correct = table[chosen].sum(axis=1).T
    return Intervals(_bounds(found, lesions), _bounds(correct, predictions),
                     _bounds(predictions - correct, np.full(RESAMPLES, len(table))))


def _bounds(part: np.ndarray, whole: np.ndarray) -> tuple[float, float] | None:
    defined = whole > 0
    if not defined.any():
        return None
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(part[defined] / whole[defined], [edge, 1 - edge])
    return float(low), float(high)
