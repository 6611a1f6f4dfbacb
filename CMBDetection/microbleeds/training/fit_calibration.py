"""Coefficients of the calibration, from candidates of held-out scans whose truth is known."""

import numpy as np
from scipy.optimize import minimize

from ..calibration import Calibration

_PULL = 1e-4
"""Weight of the squared distance from `Calibration()` beside the mean log loss: separable data stay finite."""


def fit_calibration(student_logit: np.ndarray, detector_logit: np.ndarray, labels: np.ndarray,
                    weights: np.ndarray | None = None, *, use_detector: bool, use_offset: bool) -> Calibration:
    """Return the calibration of greatest likelihood; both networks' coefficients are at least 0.

    The log loss is convex in the coefficients, so there is one minimum and the order of candidates does not matter.

    Parameters
    ----------
    student_logit, detector_logit : (n,) float
        Finite, see `calibration.logit`.
    labels : (n,) bool or 0 and 1
        1 for candidates on a lesion.
    weights : (n,) float, optional
        How much each candidate counts, at least 0; only ratios matter.
    use_detector, use_offset : bool
        Whether these coefficients are fitted; otherwise they are 0. Without both this is temperature scaling.

    Raises
    ------
    ValueError
        If the lengths differ, a logit is not finite, or the candidates that count are all lesions or all not.

    References
    ----------
    Guo et al. 2017, ICML, PMLR 70:1321 (temperature); Platt 1999, Advances in Large Margin Classifiers (with offset).
    """
    columns = np.stack([np.asarray(student_logit, float), np.asarray(detector_logit, float),
                        np.ones(len(student_logit))], axis=1)
    labels = np.asarray(labels, float)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, float)
    _check(columns, labels, weights)
    used = np.array([True, use_detector, use_offset])
    limits = np.array([(0, None), (0, None), (None, None)], dtype=object)
    start = np.array([1.0, 0.0, 0.0])
    found = minimize(_loss, start[used], (columns[:, used], labels, weights / weights.sum(), start[used]), jac=True,
                     method="L-BFGS-B", bounds=limits[used], options={"ftol": 1e-15, "gtol": 1e-9})
    coefficients = np.zeros(3)
    coefficients[used] = found.x
    return Calibration(*coefficients.tolist())


def _check(columns: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> None:
    if not len(columns) == len(labels) == len(weights):
        raise ValueError(f"Logits, labels and weights are of different length: {len(columns)}, {len(labels)}, "
                         f"{len(weights)}.")
    if not np.isfinite(columns).all():
        raise ValueError("A logit is not finite; take logits of probabilities with calibration.logit.")
    counting = np.unique(labels[weights > 0])
    if counting.tolist() != [0, 1]:
        raise ValueError("A calibration needs candidates on lesions and candidates on none, labelled 1 and 0; "
                         f"these have the labels {counting.tolist()}.")


def _loss(coefficients: np.ndarray, columns: np.ndarray, labels: np.ndarray, weights: np.ndarray,
          start: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean log loss with its pull to `start`, and the gradient."""
    total, away = columns @ coefficients, coefficients - start
    loss = weights @ (np.logaddexp(0, total) - labels * total) + _PULL / 2 * away @ away
    return loss, (weights * (np.exp(-np.logaddexp(0, -total)) - labels)) @ columns + _PULL * away
