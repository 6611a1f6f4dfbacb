"""Tissues of a scan from its intensities: a mixture of Gaussians, one for each tissue, with what an atlas expects.

Nothing is assumed about the contrast, so it serves T2*, SWI, whose fluid is dark at times, and QSM. Source: Ashburner
and Friston 2005, NeuroImage 26:839, without their deformation and bias field.
"""

import numpy as np

_ROUNDS = 15
_OUTER_PERCENT = (0.5, 99.5)
_LEAST_VARIANCE = 0.05
"""Of a tissue, as a share of that of all values."""
_LEAST_PRIOR = 1e-4


def tissue_probabilities(values: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the probabilities of the tissues (tissues, n), which are 1 together.

    Parameters
    ----------
    values : (n,) array
        Intensities, of any scale.
    prior : (tissues, n) array
        How likely each tissue is where the values are, without them; need not be 1 together.
    """
    values = values.astype(np.float32)
    low, high = np.percentile(values, _OUTER_PERCENT)
    values = (np.clip(values, low, high) - low) / max(high - low, np.finfo(np.float32).tiny)
    prior = prior.astype(np.float32) + np.float32(_LEAST_PRIOR)
    prior /= prior.sum(axis=0)
    logs, found = np.log(prior), prior
    least = _LEAST_VARIANCE * values.var() + 1e-6
    squares = values**2
    for _ in range(_ROUNDS):
        weight = found.sum(axis=1)
        mean = found @ values / weight
        variance = np.maximum(found @ squares / weight - mean**2, least)[:, None]
        found = logs - 0.5 * np.log(variance) - (values - mean[:, None]) ** 2 / (2 * variance)
        found = np.exp(found - found.max(axis=0))
        found /= found.sum(axis=0)
    return found
