"""Calibration and thresholds of a model, chosen on held-out subjects, and what each step gives there."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..calibration import Calibration
from ..evaluation.intervals import bootstrap
from ..evaluation.matching import Counts
from ..evaluation.metrics import false_positives, pool, rates
from ..evaluation.reliability import expected_calibration_error
from .fit_calibration import fit_calibration
from .scoring import CANDIDATE_SETTINGS, ScoredCase, counts_at, probabilities, reliability_of

ALLOWED_FALSE_POSITIVES = {"balanced": 0.7, "sensitive": 2.5}
"""Per scan on the held-out cases. Unlike F1 this does not depend on how many lesions scans hold; both are lower than
what is asked of the model (1 and 3), because thresholds fit the scans they were chosen on."""
_THRESHOLDS = np.round(np.arange(0.02, 0.985, 0.01), 2)


@dataclass(frozen=True)
class OperatingPoints:
    """What held-out cases say of a model: its calibration, a threshold for each point, and the figures there."""

    calibration: Calibration
    thresholds: dict[str, float]
    figures: dict[str, Any]

    def settings(self) -> dict[str, Any]:
        """Return the settings of each point as they stand in a model's card."""
        candidates = {"threshold": CANDIDATE_SETTINGS.threshold, "peak_share": CANDIDATE_SETTINGS.peak_share}
        return {name: {"candidates": candidates, "classify": {"threshold": threshold}}
                for name, threshold in self.thresholds.items()}


def calibrate(scored: Sequence[ScoredCase]) -> Calibration:
    """Fit the calibration to the candidates that the clean-up leaves; without lesions or without others, to nothing."""
    student, detector, labels = (np.concatenate([getattr(one, name)[one.judged] for one in scored])
                                 for name in ("student_logit", "detector_logit", "on_lesion"))
    if len(np.unique(labels)) < 2:
        return Calibration()
    return fit_calibration(student, detector, labels, use_detector=True, use_offset=True)


def choose_operating_points(scored: Sequence[ScoredCase]) -> OperatingPoints:
    """Calibrate, and choose of each point the lowest threshold that costs no more false positives than allowed."""
    calibration = calibrate(scored)
    scores = [probabilities(one, calibration) for one in scored]
    costs = [false_positives(counts_at(scored, scores, threshold, cleanup=True)).per_scan for threshold in _THRESHOLDS]
    thresholds = {name: float(next((threshold for threshold, cost in zip(_THRESHOLDS, costs, strict=True)
                                    if cost <= allowed), _THRESHOLDS[-1]))
                  for name, allowed in ALLOWED_FALSE_POSITIVES.items()}
    return OperatingPoints(calibration, thresholds, figures_of(scored, calibration, thresholds))


def figures_of(scored: Sequence[ScoredCase], calibration: Calibration,
               thresholds: dict[str, float]) -> dict[str, Any]:
    """Return the rates of every step at every point, and the calibration error, of cases scored by a model."""
    scores = [probabilities(one, calibration) for one in scored]
    figures: dict[str, Any] = {"scans": len(scored), "microbleeds": sum(len(one.lesions_mm) for one in scored),
                               "detector": row(counts_at(scored, scores, 0.0, cleanup=False))}
    for name, threshold in thresholds.items():
        figures[f"student, {name}"] = row(counts_at(scored, scores, threshold, cleanup=False))
        figures[f"clean-up, {name}"] = row(counts_at(scored, scores, threshold, cleanup=True))
    bins = reliability_of(scored, scores)
    error = expected_calibration_error(bins)
    figures["expected_calibration_error"] = None if error is None else round(error, 4)
    figures["calibration"] = asdict(calibration)
    return figures


def row(counts: Sequence[Counts]) -> dict[str, Any]:
    """Return pooled rates with their 95 % bootstrap intervals, rounded."""
    pooled, bounds, wrong = rates(pool(counts)), bootstrap(counts), false_positives(counts)
    values = {"tpr": pooled.sensitivity, "tpr_95": bounds.sensitivity, "fp_per_scan": wrong.per_scan,
              "fp_95": bounds.false_positives_per_scan, "precision": pooled.precision,
              "precision_95": bounds.precision, "clean_scans": wrong.clean_scans,
              "clean_scans_without_fp": wrong.clean_scans_kept_clean}
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(part) for part in value]
    return round(value, 3) if isinstance(value, float) else value
