"""Whether the probabilities are right: reliability curve and expected calibration error (ECE).

Counted are the candidates that the clean-up leaves, whatever their probability. One is true if its centre is nearer
than 5 mm to that of a visible microbleed. Unlike in the other figures it need not be the only one: the probability says
that there is a microbleed, and of two candidates on one lesion both are right to say so (training calls both true as
well). What is not true and lies as near to a microbleed that cannot be seen is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from microbleeds.evaluation.matching import near, pair_centres
from microbleeds.evaluation.metrics import ScoredCandidates
from microbleeds.evaluation.reliability import ReliabilityBin, bootstrap_ece, expected_calibration_error, reliability


@dataclass(frozen=True, eq=False)
class Labelled:
    """One scan's candidates: probabilities (n,), whether each is true (n,) bool.

    `again` (n,) bool are the true ones that lie on a lesion which has another candidate as its partner.
    """

    probabilities: np.ndarray
    true: np.ndarray
    again: np.ndarray


@dataclass(frozen=True)
class CalibrationScore:
    """Calibration over a group of cases; `again` of the `true` candidates are not the only one on their lesion.

    `ece_one_to_one` is the error if those were called wrong; `ece` is the one that counts.
    """

    name: str
    candidates: int
    true: int
    again: int
    ece: float | None
    interval: tuple[float, float] | None
    ece_one_to_one: float | None
    bins: tuple[ReliabilityBin, ...]


def label(candidates: ScoredCandidates) -> Labelled:
    """Say which of one scan's candidates are true; those spared are left out."""
    pairs = pair_centres(candidates.positions_ras, candidates.lesions_ras)
    true = near(candidates.positions_ras, candidates.lesions_ras)
    again = true.copy()
    again[pairs[:, 0]] = False
    counted = true if candidates.spared is None else true | ~candidates.spared
    return Labelled(candidates.scores[counted], true[counted], again[counted])


def score_calibration(name: str, scans: Sequence[Labelled]) -> CalibrationScore:
    """Return the calibration over several scans, at least one."""
    probabilities, true, again = (np.concatenate([getattr(scan, field) for scan in scans])
                                  for field in ("probabilities", "true", "again"))
    bins = reliability(probabilities, true)
    return CalibrationScore(
        name, len(true), int(true.sum()), int(again.sum()), expected_calibration_error(bins),
        bootstrap_ece([(scan.probabilities, scan.true) for scan in scans]),
        expected_calibration_error(reliability(probabilities, true & ~again)), bins)
