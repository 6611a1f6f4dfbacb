"""Figures of several models on the same scans of a site, and how much of a gap adaptation closes.

The FROC curve needs no threshold: every one that the candidates' probabilities allow is tried. Of a gap between two
models it tells what share a third closes; intervals are over scans, drawn again for all models at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from microbleeds.evaluation.intervals import CONFIDENCE, RESAMPLES
from microbleeds.evaluation.matching import match_centres
from microbleeds.evaluation.metrics import ScoredCandidates

ALLOWED = 1.0
"""False positives per scan at which the TPR is told."""
_MOST_FALSE, _THRESHOLDS = 8, 300
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


def curve_of(scans: Sequence[ScoredCandidates]) -> Curve:
    """Count found microbleeds and false positives of every scan at many thresholds of the candidates' scores."""
    lesions = np.array([len(scan.lesions_ras) for scan in scans])
    ranked = np.sort(np.concatenate([scan.scores for scan in scans]))[::-1]
    # below, every threshold costs more than is asked for
    ranked = np.unique(ranked[:lesions.sum() + _MOST_FALSE * len(scans)])
    chosen = ranked[np.unique(np.linspace(0, len(ranked) - 1, _THRESHOLDS).astype(int))] if len(ranked) else ranked
    counts = [[match_centres(scan.positions_ras[scan.scores >= threshold], scan.lesions_ras,
                             spared_ras=scan.spared_ras) for threshold in (*chosen, np.inf)] for scan in scans]
    return Curve(lesions, np.array([[count.found for count in own] for own in counts]),
                 np.array([[count.false_positives for count in own] for own in counts]))


def tpr_at_allowed(curve: Curve, weights: np.ndarray) -> np.ndarray:
    """Return the TPR at `ALLOWED` false positives per scan of each sample (m,).

    `weights` (m, n) says how often a sample holds each scan; a sample without a lesion gives NaN.
    """
    lesions, scans = weights @ curve.lesions, weights.sum(axis=1)
    rates = (weights @ curve.found) / np.where(lesions, lesions, np.nan)[:, None]
    return np.where((weights @ curve.false) / scans[:, None] <= ALLOWED, rates, 0).max(axis=1)


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


def share_above_zero(gap: np.ndarray) -> float:
    """Return in which share of the samples (all but the first, and without NaN) a gap is above 0."""
    known = gap[1:][np.isfinite(gap[1:])]
    return float((known > 0).mean()) if known.size else 0.0


def gap_closed(base: np.ndarray, adapted: np.ndarray, best: np.ndarray) -> Estimate:
    """Return which share of the gap from `base` to `best` is closed, from values as of `tpr_at_allowed`.

    Without a gap there is nothing to close: the share is None. If the gap itself is not above 0 with `CONFIDENCE`, the
    interval is None, because a ratio with a denominator around zero has no bounds.
    """
    gap = best - base
    if not gap[0] > 0:
        return Estimate(None, None)
    share = (adapted - base) / np.where(gap > 0, gap, np.nan)
    sure = share_above_zero(gap) >= (1 + CONFIDENCE) / 2
    return estimate(share) if sure else Estimate(float(share[0]), None)
