"""The steps one by one, like the paper's Table 3: what the detector marks, what the student leaves of it, and the end.

Detector and student are judged by the centres of their candidates, the clean-up by the regions of the label map: it is
the final result, so its figures are those of the main table. The rule is the same, see `benchmark_scores`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from microbleeds.errors import InputError
from microbleeds.evaluation.intervals import Intervals, bootstrap
from microbleeds.evaluation.matching import Counts, match_centres, near
from microbleeds.evaluation.metrics import Summary, summarise
from microbleeds.findings import DetectionResult

DETECTOR, STUDENT, CLEAN_UP = "detector", "student", "clean-up"
STEPS = (DETECTOR, STUDENT, CLEAN_UP)

PAPER = {
    "paper, UKBB QSM": ((0.99, 138.0, 0.02), (0.91, 40.3, 0.04), (0.90, 1.8, 0.44)),
    "paper, TICH2 SWI": ((0.88, 289.3, 0.02), (0.83, 42.8, 0.10), (0.82, 3.1, 0.62)),
    "paper, SHK SWI": ((0.98, 254.7, 0.01), (0.94, 43.6, 0.09), (0.87, 0.5, 0.89)),
    "paper, OXVASC GRE": ((0.88, 147.1, 0.03), (0.85, 53.7, 0.07), (0.81, 2.0, 0.71)),
}
"""TPR, false positives per scan and precision after each of `STEPS`: Table 3 of Sundaresan et al. 2023, Front
Neuroinform 17:1204186, trained on UKBB SWI. Patients' scans, and matched by overlap."""


@dataclass(frozen=True)
class StepScore:
    """The figures of a group of cases after one of `STEPS`."""

    summary: Summary
    intervals: Intervals


def threshold_of(result: DetectionResult) -> float:
    """Return the probability from which the student keeps a candidate, as the run noted it.

    Raises
    ------
    InputError
        If the run did not note it.
    """
    threshold = result.provenance.parameters.get("classify", {}).get("threshold")
    if threshold is None:
        raise InputError(f"The findings file of {result.provenance.input_name} does not tell the threshold of step 2; "
                         "detect again.")
    return float(threshold)


def count_steps(result: DetectionResult, lesions_ras: np.ndarray, spared_ras: np.ndarray,
                final: Counts) -> dict[str, Counts]:
    """Count one scan's candidates after each of `STEPS`.

    Parameters
    ----------
    result : DetectionResult
    lesions_ras, spared_ras : (n, 3), (k, 3) RAS mm
        Microbleeds that can be seen, and those that cannot.
    final : Counts
        What is left at the end, as it was judged.

    Raises
    ------
    InputError
        If the run did not note its threshold.
    """
    # `removed_by` does not tell what the student left: where both would remove a candidate it names the clean-up
    threshold = threshold_of(result)
    left = {DETECTOR: result.candidates,
            STUDENT: [candidate for candidate in result.candidates if candidate.probability >= threshold]}
    counts = {}
    for step, candidates in left.items():
        positions_ras = [candidate.position_ras for candidate in candidates]
        counts[step] = match_centres(positions_ras, lesions_ras, spared=near(positions_ras, spared_ras))
    return {**counts, CLEAN_UP: final}


def score_steps(scans: Sequence[dict[str, Counts]]) -> dict[str, StepScore]:
    """Return the figures after each step over several scans; none where a scan's candidates are not known."""
    if not scans or not all(scans):
        return {}
    counts = {step: [scan[step] for scan in scans] for step in STEPS}
    return {step: StepScore(summarise(own), bootstrap(own)) for step, own in counts.items()}
