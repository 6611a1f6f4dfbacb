"""TPR at a given cost with its interval: the best threshold of a FROC curve, in samples of the scans.

No threshold is chosen beforehand: every one that the candidates' scores allow is tried. Intervals are over scans, and
the samples are always the same, so that several models are compared on the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from microbleeds.evaluation.intervals import CONFIDENCE, RESAMPLES
from microbleeds.evaluation.metrics import ScoredCandidates

_THRESHOLDS = 300
_SEED = 0


@dataclass(frozen=True, eq=False)
class Curve:
    """Lesions (n,) of n scans, and those found and the false positives (n, thresholds)."""

    lesions: np.ndarray
    found: np.ndarray
    false: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; both None where it is not defined, the interval also where it means nothing."""

    value: float | None
    interval: tuple[float, float] | None


def curve_of(scans: Sequence[ScoredCandidates], most_false: float) -> Curve:
    """Count found microbleeds and false positives of every scan at many thresholds of the candidates' scores.

    Thresholds at which there must be more than `most_false` false positives per scan are left out.
    """
    lesions = np.array([len(scan.lesions_ras) for scan in scans])
    ranked = np.sort(np.concatenate([scan.scores for scan in scans]))[::-1]
    # below, every threshold costs more than is asked for
    ranked = np.unique(ranked[:lesions.sum() + int(most_false * len(scans)) + 1])
    chosen = ranked[np.unique(np.linspace(0, len(ranked) - 1, _THRESHOLDS).astype(int))] if len(ranked) else ranked
    counts = [[scan.counts(threshold) for threshold in (*chosen, np.inf)] for scan in scans]
    return Curve(lesions, np.array([[count.found for count in own] for own in counts]),
                 np.array([[count.false_positives for count in own] for own in counts]))


def tpr_at(curve: Curve, allowed: float, weights: np.ndarray) -> np.ndarray:
    """Return the TPR at so many false positives per scan of each sample (m,).

    `weights` (m, n) says how often a sample holds each scan; a sample without a lesion gives NaN.
    """
    lesions, scans = weights @ curve.lesions, weights.sum(axis=1)
    rates = (weights @ curve.found) / np.where(lesions, lesions, np.nan)[:, None]
    return np.where((weights @ curve.false) / scans[:, None] <= allowed, rates, 0).max(axis=1)


def samples_of(scans: int) -> np.ndarray:
    """Return weights (1 + RESAMPLES, scans): every scan once, then the bootstrap samples, always the same ones."""
    drawn = np.random.default_rng(_SEED).multinomial(scans, np.full(scans, 1 / scans), size=RESAMPLES)
    return np.concatenate([np.ones((1, scans), int), drawn])


def estimate(values: np.ndarray) -> Estimate:
    """Return a value and its interval from that of all scans (first) and those of the samples."""
    known = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not known.size:
        return Estimate(None, None)
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [edge, 1 - edge])
    return Estimate(float(values[0]), (float(low), float(high)))
