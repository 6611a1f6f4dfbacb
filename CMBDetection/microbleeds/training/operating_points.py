"""Calibration and thresholds of a model, chosen on held-out subjects, and what each step gives there."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..calibration import Calibration, logit
from ..evaluation.intervals import bootstrap
from ..evaluation.matching import Counts
from ..evaluation.metrics import false_positives, pool, rates
from ..evaluation.reliability import expected_calibration_error
from .fit_calibration import fit_calibration
from .scoring import CANDIDATE_SETTINGS, ScoredCase, counts_at, probabilities, reliability_of

ALLOWED_FALSE_POSITIVES = {"balanced": 0.7, "sensitive": 2.5}
"""Per scan on the held-out cases. Unlike F1 this does not depend on how many lesions scans hold; both are lower than
what is asked of the model (1 and 3), because thresholds fit the scans they were chosen on."""
_SMALLEST_SLOPE = 0.05
_THRESHOLDS = np.round(np.arange(0.02, 0.985, 0.01), 2)


@dataclass(frozen=True)
class OperatingPoints:
    """What held-out cases say of a model: its calibration, a threshold for each point, and the figures there."""

    calibration: Calibration
    thresholds: dict[str, float]
    figures: dict[str, Any]

    def settings(self) -> dict[str, Any]:
        """Return the settings of each point as they stand in a model's card."""
        return {name: {"candidates": asdict(CANDIDATE_SETTINGS), "classify": {"threshold": threshold}}
                for name, threshold in self.thresholds.items()}


def calibrate(scored: Sequence[ScoredCase]) -> Calibration:
    """Fit the calibration to the candidates that the clean-up leaves; without lesions or without others, to nothing."""
    student, detector, labels = (np.concatenate([getattr(one, name)[one.judged] for one in scored])
                                 for name in ("student_logit", "detector_logit", "on_lesion"))
    if len(np.unique(labels)) < 2:
        return Calibration()
    return fit_calibration(student, detector, labels, use_detector=True, use_offset=True)


def recalibrate(scored: Sequence[ScoredCase], calibration: Calibration) -> Calibration:
    """Return a calibration that orders candidates as this one does, with slope and offset fitted to other cases.

    A site has few cases to keep aside: what both networks count for cannot be learnt from them.
    """
    total, labels = (np.concatenate(parts) for parts in (
        [logit(probabilities(one, calibration))[one.judged] for one in scored],
        [one.on_lesion[one.judged] for one in scored]))
    if len(np.unique(labels)) < 2:
        return calibration
    fitted = fit_calibration(total, total, labels, use_detector=False, use_offset=True)
    # a slope of 0 would order nothing
    slope = max(fitted.student, _SMALLEST_SLOPE)
    return Calibration(slope * calibration.student, slope * calibration.detector,
                       slope * calibration.offset + fitted.offset)


def choose_operating_points(scored: Sequence[ScoredCase], former: Calibration | None = None) -> OperatingPoints:
    """Calibrate, and choose of each point the lowest threshold that costs no more false positives than allowed.

    Parameters
    ----------
    scored : sequence of ScoredCase
    former : Calibration, optional
        Keep the order of candidates that it gives, see `recalibrate`.
    """
    calibration = calibrate(scored) if former is None else recalibrate(scored, former)
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
