"""Thresholds of a model, chosen on held-out subjects, and what each step gives there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ..settings import CandidateSettings, ClassifySettings, CleanupSettings
from ..step1_candidates import find_candidates
from ..step2_classify import classify
from ..step3_cleanup import removal_rules
from .cases import Case

DETECTOR_THRESHOLD = 0.15
_FALSE_POSITIVES = {"balanced": 1.0, "sensitive": 3.0}
"""False positives per scan that each point may cost; unlike F1 this does not depend on how many lesions scans hold."""


@dataclass(frozen=True)
class Scored:
    """The candidates of one case: student probability, lesion each one hits (0 for none), kept by the clean-up."""

    probability: np.ndarray
    lesion: np.ndarray
    kept: np.ndarray
    lesion_count: int


def choose_operating_points(cases: list[Case], networks: dict[str, nn.Module],
                            device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of both operating points and the figures per step and point.

    Each point is the lowest student threshold that costs no more false positives per scan than allowed. A candidate
    that overlaps a lesion finds it.
    """
    scored = [_score(case, networks, device) for case in cases]
    thresholds = np.round(np.arange(0.02, 0.99, 0.01), 2)
    table = [_rates(scored, threshold, cleanup=True) for threshold in thresholds]
    row = {name: next((n for n, rates in enumerate(table) if rates["fp_per_scan"] <= allowed), len(table) - 1)
           for name, allowed in _FALSE_POSITIVES.items()}
    points = {name: {"candidates": {"threshold": DETECTOR_THRESHOLD}, "classify": {"threshold": float(thresholds[n])}}
              for name, n in row.items()}
    figures = {"scans": len(cases), "lesions": sum(one.lesion_count for one in scored),
               "detector": _rates(scored, 0.0, cleanup=False),
               "student, balanced": _rates(scored, thresholds[row["balanced"]], cleanup=False),
               "clean-up, balanced": table[row["balanced"]], "clean-up, sensitive": table[row["sensitive"]]}
    return points, figures


def _score(case: Case, networks: dict[str, nn.Module], device: str) -> Scored:
    prepared = case.prepared()
    found = find_candidates(prepared, networks["detector"], CandidateSettings(threshold=DETECTOR_THRESHOLD), device,
                            lambda _: None)
    found = classify(found, prepared, networks["student"], ClassifySettings(), device, lambda _: None)
    rules = removal_rules([c.voxels for c in found], np.array([c.position_ras for c in found]).reshape(-1, 3),
                          prepared.image, prepared.brain, CleanupSettings())
    hit = [int(np.bincount(case.truth[tuple(c.voxels.T)]).argmax()) or int(case.truth[tuple(c.voxels.T)].max())
           for c in found]
    return Scored(np.array([c.probability for c in found]), np.array(hit, int), np.array([r is None for r in rules]),
                  len(np.unique(case.truth[case.truth > 0])))


def _rates(scored: list[Scored], threshold: float, cleanup: bool) -> dict[str, float]:
    """Return pooled TPR, false positives per scan, precision and F1 at a student threshold."""
    found = false = 0
    for one in scored:
        keep = (one.probability >= threshold) & (one.kept if cleanup else True)
        lesions = one.lesion[keep]
        found += len(set(lesions[lesions > 0].tolist()))
        false += int((lesions == 0).sum())
    lesion_count = sum(one.lesion_count for one in scored)
    sensitivity = found / max(lesion_count, 1)
    precision = found / max(found + false, 1)
    return {"threshold": float(threshold), "tpr": round(sensitivity, 4),
            "fp_per_scan": round(false / max(len(scored), 1), 3), "precision": round(precision, 4),
            "f1": round(2 * sensitivity * precision / max(sensitivity + precision, 1e-9), 4)}
