"""From the logits of both networks to a probability that can be taken at its word."""

from dataclasses import dataclass

import numpy as np

_SURE = 1e-7
"""Probabilities within this of 0 or 1 are not told apart in single precision; their logits stay finite."""


@dataclass(frozen=True)
class Calibration:
    """Final logit = student × student logit + detector × detector logit + offset; the defaults change nothing.

    With the student alone, `student` is 1 / T of temperature scaling (Guo et al. 2017, ICML, PMLR 70:1321); with an
    offset it is Platt scaling (Platt 1999); with the detector a logistic regression on both.
    """

    student: float = 1.0
    detector: float = 0.0
    offset: float = 0.0


def apply(calibration: Calibration, student_logit: np.ndarray, detector_logit: np.ndarray) -> np.ndarray:
    """Return the calibrated probabilities of n candidates.

    Parameters
    ----------
    calibration : Calibration
    student_logit, detector_logit : (n,) float
        Finite, as `logit` returns them.

    Returns
    -------
    (n,) float64 in [0, 1]
    """
    total = (calibration.student * np.asarray(student_logit, float)
             + calibration.detector * np.asarray(detector_logit, float) + calibration.offset)
    return np.exp(-np.logaddexp(0, -total))


def logit(probability: np.ndarray) -> np.ndarray:
    """Return the finite logits (n,) of probabilities (n,) in [0, 1]; a probability of 1 has a logit of 16."""
    probability = np.clip(np.asarray(probability, float), _SURE, 1 - _SURE)
    return np.log(probability / (1 - probability))
