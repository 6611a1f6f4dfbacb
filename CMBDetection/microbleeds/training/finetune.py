"""Guarded adaptation: a model learns from a site's own cases, and is taken only if it is better on those kept aside.

The rule. Some of the subjects are held out, or whole data sets of others. Of the old and the new weights the mean TPR
at 1/4, 1/2, 1, 2 and 4 false positives per scan is measured on them (the score of LUNA16, Setio et al. 2017, Med Image
Anal 42:1, without its largest step); it needs no threshold. The new weights are taken if their score is higher, and
not lower in at least `SURE` of the bootstrap samples of held-out subjects. Otherwise no model is written, and the old
one stays in use.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..calibration import Calibration
from ..errors import InputError, ModelError
from ..model_folders import CARD, DEFAULT_ARCHITECTURE
from ..networks import Detector, Student
from ..progress import Reporter
from ..read_write import write_json
from ..weights import Model
from .batches import classifier_batch, detector_batch
from .cases import Case
from .export import export_model
from .fit import Stage, Tell, fit
from .mining import mine_cases
from .operating_points import choose_operating_points
from .sampling import sites_of
from .scoring import ScoredCase, counts_at, probabilities, score_cases
from .stages import detector_loss_of, label_loss, with_false, with_lookalikes
from .train import DataFolders, apart, cases_of, claim_work_folder, collect_sides, parted, teller
from .training_settings import TrainingSettings

ALLOWED = (0.25, 0.5, 1.0, 2.0, 4.0)
"""False positives per scan at which the TPR is averaged."""
SURE = 0.8
_RESAMPLES = 500
_THRESHOLDS = 60


@dataclass(frozen=True)
class AdaptationJob:
    """What `adapt` shall do: a model, a site's labelled data, data to test on (None to hold subjects out), and where
    everything goes."""

    model: Model
    data: DataFolders
    held_out: DataFolders | None
    output: Path
    work: Path
    device: str
    jobs: int | None


def adapt(job: AdaptationJob, settings: TrainingSettings, reporter: Reporter) -> dict[str, Any]:
    """Fine-tune a model on a site's cases and write the new one if it is better on those held out; see the rule above.

    Returns
    -------
    dict
        ``accepted``, the scores ``before`` and ``after``, the share of bootstrap samples that are ``sure``, and the
        numbers of scans; also written to ``adaptation.json`` in the work folder.

    Raises
    ------
    ModelError
        If the networks of the model are not ours.
    InputError
        If data cannot be used, parts share subjects, or the held-out part has no microbleed.
    """
    if job.model.architecture != DEFAULT_ARCHITECTURE:
        raise ModelError(f"The model {job.model.name} has networks of another kind, which cannot be trained here; "
                         "choose another model.")
    if (job.output / CARD).exists():
        raise InputError(f"{job.output} holds a model already; choose another folder or remove it.")
    scans, others = collect_sides(job.data, job.held_out)
    claim_work_folder(job.work, settings, scans, model_sha256=job.model.sha256, held_out=apart(others))
    tell = teller(reporter, job.output.name)
    training, guard = parted(cases_of([*scans, *others], job.work, job.jobs, tell), len(scans), settings)
    if not all(any(case.lesion_count for case in part) for part in (guard, training)):
        raise InputError("Fine-tuning needs microbleeds in at least two subjects, one of them to test on; add cases.")
    detector, student = fine_tune(job.model, training, settings, job.work, job.device, tell)
    before = score_cases(guard, job.model.detector, job.model.student, job.device, tell)
    after = score_cases(guard, detector, student, job.device, tell)
    verdict = {**judge(before, after, job.model.calibration, settings.seed), "model": job.model.name,
               "model_sha256": job.model.sha256, "training_scans": len(training),
               "held_out_scans": len(guard), "held_out_microbleeds": sum(len(one.lesions_mm) for one in before)}
    write_json(job.work / "adaptation.json", verdict)
    if verdict["accepted"]:
        # in the order of candidates that the rule has judged
        points = choose_operating_points(after, job.model.calibration)
        export_model(job.output, detector, student, points.calibration, points.settings(), {
            "held_out_figures": points.figures, "adapted_from": verdict, "training": {
                "settings": asdict(settings), "scans": len(training), "version": __version__,
                "subjects": sorted({case.subject for case in training}),
                "held_out_subjects": sorted({case.subject for case in guard})}})
    return verdict


def fine_tune(model: Model, cases: Sequence[Case], settings: TrainingSettings, folder: Path, device: str,
              tell: Tell) -> tuple[Detector, Student]:
    """Return detector and student of a model after further training on cases; the model itself stays as it is.

    The false candidates of each detector, the model's and the new one, are among what is learned from.
    """
    detector, student = copy.deepcopy(model.detector), copy.deepcopy(model.student)
    sites = [sites_of(case, np.random.default_rng([settings.seed, index])) for index, case in enumerate(cases)]

    def stage(name: str, steps: int) -> Stage:
        return Stage(name, steps, settings.seed, settings.learning_rate, folder, device, tell)

    mined = mine_cases(cases, detector, folder / "candidates-1", device, tell)
    sites = with_false(sites, mined)
    detector = fit(detector, detector_batch(cases, sites, settings), detector_loss_of(settings),
                   stage("1-detector", settings.detector_steps))
    mined = [with_lookalikes(found, own) for found, own in
             zip(mine_cases(cases, detector, folder / "candidates-2", device, tell), sites, strict=True)]
    torch.manual_seed(settings.seed)
    student = fit(student, classifier_batch(cases, mined, settings), label_loss,
                  stage("2-student", settings.student_steps))
    return detector, student


def judge(before: Sequence[ScoredCase], after: Sequence[ScoredCase], calibration: Calibration,
          seed: int) -> dict[str, Any]:
    """Apply the rule to the same cases, some with microbleeds, scored with the old and the new weights.

    Both networks' logits are combined as the old model combines them, so that only the weights differ.
    """
    subjects = np.array([one.subject for one in before])
    old, new = (curves_of(scored, calibration) for scored in (before, after))
    everyone = np.arange(len(before))
    scores = froc_score(old, everyone), froc_score(new, everyone)
    rng, names, not_worse, samples = np.random.default_rng(seed), np.unique(subjects), 0, 0
    while samples < _RESAMPLES:
        drawn = names[rng.integers(len(names), size=len(names))]
        chosen = np.concatenate([np.flatnonzero(subjects == name) for name in drawn])
        # without a microbleed nothing is better or worse
        if old.lesions[chosen].any():
            samples += 1
            not_worse += froc_score(new, chosen) >= froc_score(old, chosen)
    sure = not_worse / samples
    return {"accepted": bool(scores[1] > scores[0] and sure >= SURE), "before": round(scores[0], 4),
            "after": round(scores[1], 4), "sure": round(sure, 3)}


@dataclass(frozen=True, eq=False)
class Curves:
    """Lesions (n,) of n cases, and those found and the false positives (n, thresholds), thresholds rising."""

    lesions: np.ndarray
    found: np.ndarray
    false: np.ndarray


def curves_of(scored: Sequence[ScoredCase], calibration: Calibration) -> Curves:
    """Count found lesions and false positives of every case at many thresholds of the probability."""
    scores = [probabilities(one, calibration) for one in scored]
    # no more judged candidates than these reach the highest cost that counts; most others are hardly probable
    useful = sum(len(one.lesions_mm) for one in scored) + int(2 * max(ALLOWED) * len(scored)) + 1
    judged = [own[one.judged] for one, own in zip(scored, scores, strict=True)]
    everything = np.sort(np.concatenate([*judged, [1.0]]))[-useful:]
    thresholds = np.unique(everything[np.linspace(0, len(everything) - 1, _THRESHOLDS).astype(int)])
    counts = [counts_at(scored, scores, threshold, cleanup=True) for threshold in thresholds]
    return Curves(np.array([len(one.lesions_mm) for one in scored]),
                  np.array([[count.found for count in own] for own in counts]).T,
                  np.array([[count.false_positives for count in own] for own in counts]).T)


def froc_score(curves: Curves, chosen: np.ndarray) -> float:
    """Return the mean TPR at `ALLOWED` false positives per scan of chosen cases; 0 if none of them has a lesion."""
    lesions = curves.lesions[chosen].sum()
    if not lesions:
        return 0.0
    rates, wrong = curves.found[chosen].sum(0) / lesions, curves.false[chosen].sum(0) / len(chosen)
    return float(np.mean([rates[wrong <= allowed].max(initial=0) for allowed in ALLOWED]))
