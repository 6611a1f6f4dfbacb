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
_FIT_EVERY = 4
"""Of the values that the Gaussians are fitted to."""


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
    logs = np.log(prior)
    some, least = slice(None, None, _FIT_EVERY), _LEAST_VARIANCE * values.var() + 1e-6
    seen, squares, found = values[some], values[some]**2, prior[:, some]
    for _ in range(_ROUNDS):
        weight = found.sum(axis=1)
        mean = found @ seen / weight
        variance = np.maximum(found @ squares / weight - mean**2, least)
        found = _shares(logs[:, some], seen, mean, variance)
    return _shares(logs, values, mean, variance)


def _shares(logs: np.ndarray, values: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the probabilities (tissues, n) of values (n,), by logarithms of priors (tissues, n) and the Gaussians."""
    found = logs - 0.5 * np.log(variance)[:, None] - (values - mean[:, None])**2 / (2 * variance[:, None])
    found = np.exp(found - found.max(axis=0))
    return found / found.sum(axis=0)
