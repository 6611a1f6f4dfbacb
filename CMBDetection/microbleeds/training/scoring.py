"""What a model says about held-out cases, stage by stage, against their truth."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from torch import nn

from ..calibration import Calibration, apply, logit
from ..components import label_components
from ..evaluation.matching import Counts, near
from ..evaluation.metrics import ScoredCandidates
from ..evaluation.reliability import ReliabilityBin, reliability
from ..read_write import write_text
from ..settings import CandidateSettings, ClassifySettings, CleanupSettings
from ..step1_candidates import find_candidates
from ..step2_classify import classify
from ..step3_cleanup import removal_rules
from ..tiling import probability_map
from .cases import Case
from .labelled_scans import IGNORED

CANDIDATE_SETTINGS = CandidateSettings(threshold=0.2, peak_share=0.7)
"""The threshold is low, because the second step judges: a candidate that is not made cannot be found. The share gave
regions as large as the true ones on held-out simulated scans, and the highest Dice."""
_FORMER = "spared_mm"
"""In files of trainings that were begun before candidates themselves were spared."""


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """The candidates of one case and its lesions; positions in mm on the case's grid, (n, 3).

    `on_lesion` says which candidates overlap a lesion, `spared` which others count neither as right nor as wrong: they
    overlap something ignored, or lie as near to its centre as what is found to that of a lesion. `kept` says which ones
    the clean-up leaves.
    """

    name: str
    subject: str
    modality: str
    positions_mm: np.ndarray
    student_logit: np.ndarray
    detector_logit: np.ndarray
    on_lesion: np.ndarray
    spared: np.ndarray
    kept: np.ndarray
    lesions_mm: np.ndarray

    @property
    def judged(self) -> np.ndarray:
        """Which candidates (n,) calibration goes by: those that the clean-up leaves and that are right or wrong."""
        return self.kept & ~self.spared

    def candidates(self, scores: np.ndarray, kept_only: bool) -> ScoredCandidates:
        """Return the candidates with scores (n,), all of them or those that the clean-up leaves."""
        chosen = self.kept if kept_only else np.ones(len(self.kept), bool)
        return ScoredCandidates(self.positions_mm[chosen], scores[chosen], self.lesions_mm, self.spared[chosen])


def score_case(case: Case, detector: nn.Module, student: nn.Module, device: str,
               settings: CandidateSettings = CANDIDATE_SETTINGS,
               run: Callable[..., np.ndarray] = probability_map) -> ScoredCase:
    """Run all three steps on a case; `run` is as in `step1_candidates.find_candidates`."""
    prepared = case.prepared()
    found = find_candidates(prepared, detector, settings, device, _silent, run)
    found = classify(found, prepared, student, ClassifySettings(), Calibration(), device, _silent)
    positions = np.array([candidate.position_ras for candidate in found]).reshape(-1, 3)
    rules = removal_rules([candidate.voxels for candidate in found], positions, prepared.image, prepared.brain,
                          CleanupSettings())
    labels, count = label_components(np.asarray(case.classes) == IGNORED)
    ignored_mm = case.spacing * np.array(
        ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))).reshape(-1, 3)
    on_lesion = np.array([(case.lesions[tuple(candidate.voxels.T)] > 0).any() for candidate in found], bool)
    spared = np.array([(case.classes[tuple(candidate.voxels.T)] == IGNORED).any() for candidate in found], bool)
    spared = (spared | near(positions, ignored_mm)) & ~on_lesion
    return ScoredCase(
        case.name, case.subject, case.modality, positions, logit([candidate.probability for candidate in found]),
        logit([candidate.detector_probability for candidate in found]), on_lesion, spared,
        np.array([rule is None for rule in rules], bool), case.lesion_centres() * case.spacing)


def score_cases(cases: Sequence[Case], detector: nn.Module, student: nn.Module, device: str,
                tell: Callable[[str, float, str], None]) -> tuple[ScoredCase, ...]:
    """Run all three steps on several cases."""
    result = []
    for done, case in enumerate(cases, 1):
        result.append(score_case(case, detector, student, device))
        tell("scoring", done / len(cases), f"{done} of {len(cases)} held-out cases")
    return tuple(result)


def save_scores(scored: Sequence[ScoredCase], path: Path) -> None:
    """Write scored cases."""
    content = [{name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(one).items()}
               for one in scored]
    write_text(path, json.dumps(content))


def load_scores(path: Path) -> tuple[ScoredCase, ...]:
    """Read what `save_scores` wrote."""
    shapes = {"positions_mm": (-1, 3), "lesions_mm": (-1, 3)}
    masks = ("on_lesion", "spared", "kept")
    return tuple(ScoredCase(**{
        name: np.array(value, bool if name in masks else float).reshape(shapes.get(name, (-1,)))
        if isinstance(value, list) else value for name, value in one.items() if name != _FORMER})
        for one in json.loads(path.read_text(encoding="utf-8")))


def probabilities(one: ScoredCase, calibration: Calibration) -> np.ndarray:
    """Return the calibrated probability (n,) of each candidate."""
    return apply(calibration, one.student_logit, one.detector_logit)


def reliability_of(scored: Sequence[ScoredCase], scores: Sequence[np.ndarray]) -> tuple[ReliabilityBin, ...]:
    """Return the reliability curve of the judged candidates of several cases, given their probabilities."""
    values = [own[one.judged] for one, own in zip(scored, scores, strict=True)]
    labels = [one.on_lesion[one.judged] for one in scored]
    return reliability(np.concatenate(values), np.concatenate(labels))


def counts_at(scored: Sequence[ScoredCase], scores: Sequence[np.ndarray], threshold: float,
              cleanup: bool) -> list[Counts]:
    """Return the counts of each case at a threshold of its candidates' scores, by distance of centres."""
    return [one.candidates(own, kept_only=cleanup).counts(threshold) for one, own in zip(scored, scores, strict=True)]


def _silent(fraction: float) -> None:
    """Tell nobody."""
