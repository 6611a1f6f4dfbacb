"""Figures of several models on the same scans of a site, and how much of a gap adaptation closes."""

import numpy as np
from microbleeds.evaluation.intervals import CONFIDENCE
from sampled_curves import Estimate, estimate

ALLOWED = 1.0
"""False positives per scan at which the TPR is told."""
MOST_FALSE = 8.0


def share_above_zero(gap: np.ndarray) -> float:
    """Return in which share of the samples (all but the first, and without NaN) a gap is above 0."""
    known = gap[1:][np.isfinite(gap[1:])]
    return float((known > 0).mean()) if known.size else 0.0


def gap_closed(base: np.ndarray, adapted: np.ndarray, best: np.ndarray) -> Estimate:
    """Return which share of the gap from `base` to `best` is closed, from values as of `sampled_curves.tpr_at`.

    Without a gap there is nothing to close: the share is None. If the gap itself is not above 0 with `CONFIDENCE`, the
    interval is None, because a ratio with a denominator around zero has no bounds.
    """
    gap = best - base
    if not gap[0] > 0:
        return Estimate(None, None)
    share = (adapted - base) / np.where(gap > 0, gap, np.nan)
    sure = share_above_zero(gap) >= (1 + CONFIDENCE) / 2
    return estimate(share) if sure else Estimate(float(share[0]), None)
