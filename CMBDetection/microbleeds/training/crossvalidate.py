"""Cross-validation by subject: of every fold, all stages, thresholds and the calibration come from the other folds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..evaluation.curves import POOLED, froc_svg
from ..evaluation.matching import Counts
from ..evaluation.metrics import froc
from ..evaluation.reliability import expected_calibration_error
from ..progress import Reporter
from ..read_write import write_json, write_text
from .cases import Case
from .check_data_set import check_data_set
from .fit import Tell
from .operating_points import OperatingPoints, choose_operating_points, row
from .scoring import ScoredCase, counts_at, load_scores, probabilities, reliability_of, save_scores, score_cases
from .splits import folds_by_subject, hold_out, refuse_few_subjects
from .stages import Place, train_networks
from .train import DataFolders, cases_of, claim_work_folder, collect, teller
from .training_settings import TrainingSettings

STEPS = ("detector", "student", "clean-up")


@dataclass(frozen=True)
class CrossValidationJob:
    """What `cross_validate` shall do: data, number of folds, and where everything goes."""

    data: DataFolders
    folds: int
    output: Path
    work: Path
    device: str
    jobs: int | None


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold: its test cases as scored, and what was chosen without them."""

    number: int
    scored: tuple[ScoredCase, ...]
    points: OperatingPoints


def cross_validate(job: CrossValidationJob, settings: TrainingSettings, reporter: Reporter) -> dict[str, Any]:
    """Train and test every fold; an interrupted run goes on. Writes and returns per-fold and pooled figures.

    Files in `job.output`: ``crossvalidation.json``, ``crossvalidation.tsv`` and ``froc.svg``.

    Raises
    ------
    InputError
        If data cannot be used, or the work folder was begun for something else; before any training.
    SettingsError
        If there are fewer than two folds.
    """
    if job.folds < 2:
        raise SettingsError(f"folds must be 2 or more, got {job.folds}.")
    scans = collect(job.data)
    check_data_set(scans)
    # two folds need two subjects each: one to train on, one for thresholds
    refuse_few_subjects(scans, max(job.folds, 3 if job.folds > 2 else 4))
    claim_work_folder(job.work, settings, scans, folds=job.folds)
    cases = cases_of(scans, job.work, job.jobs, teller(reporter, "cross-validation"))
    parts = folds_by_subject(cases, job.folds, settings.seed, _lesions)
    # all splits before the first fold is trained: the last one may have too few subjects
    splits = [(*hold_out([case for part in parts if part is not test for case in part], settings.held_out,
                         settings.seed, _lesions), test) for test in parts]
    folds = [_fold(number, split, settings, job, teller(reporter, f"fold {number} of {job.folds}"))
             for number, split in enumerate(splits, 1)]
    figures = figures_of_folds(folds)
    job.output.mkdir(parents=True, exist_ok=True)
    write_json(job.output / "crossvalidation.json", {"settings": asdict(settings), **figures})
    write_text(job.output / "crossvalidation.tsv", table(figures))
    write_text(job.output / "froc.svg", froc_svg(curves(folds), f"{job.folds}-fold cross-validation, by subject"))
    return figures


def _fold(number: int, split: tuple[Sequence[Case], Sequence[Case], Sequence[Case]], settings: TrainingSettings,
          job: CrossValidationJob, tell: Tell) -> Fold:
    work = job.work / f"fold-{number}"
    training, held_out, test = split
    done = work / "test.json"
    if not done.exists():
        networks = train_networks(training, settings, Place(work, job.device, tell))
        for name, own in (("held-out.json", held_out), (done.name, test)):
            save_scores(score_cases(own, networks.detector, networks.student, job.device, tell), work / name)
    return Fold(number, load_scores(done), choose_operating_points(load_scores(work / "held-out.json")))


def _lesions(case: Case) -> int:
    return case.lesion_count


def figures_of_folds(folds: Sequence[Fold]) -> dict[str, Any]:
    """Return the rates of every step at the balanced point, of every fold and pooled over all cases."""
    figures: dict[str, Any] = {"folds": []}
    pooled: dict[str, list[Counts]] = {step: [] for step in STEPS}
    for fold in folds:
        steps = _counts(fold)
        for step, counts in steps.items():
            pooled[step] += counts
        figures["folds"].append({"fold": fold.number, "subjects": sorted({one.subject for one in fold.scored}),
                                 "scans": len(fold.scored), "thresholds": fold.points.thresholds,
                                 **{step: row(counts) for step, counts in steps.items()}})
    figures["pooled"] = {"scans": sum(len(fold.scored) for fold in folds),
                         **{step: row(counts) for step, counts in pooled.items()}}
    scored = [one for fold in folds for one in fold.scored]
    scores = [probabilities(one, fold.points.calibration) for fold in folds for one in fold.scored]
    bins = reliability_of(scored, scores)
    figures["pooled"]["expected_calibration_error"] = expected_calibration_error(bins)
    return figures


def curves(folds: Sequence[Fold]) -> dict[str, Any]:
    """Return the FROC curve of every fold and of all cases together, after clean-up."""
    candidates = {f"fold {fold.number}": [one.candidates(probabilities(one, fold.points.calibration), kept_only=True)
                                          for one in fold.scored] for fold in folds}
    everything = [one for own in candidates.values() for one in own]
    return {POOLED: froc(everything), **{name: froc(own) for name, own in candidates.items()}}


def table(figures: dict[str, Any]) -> str:
    """Return the figures as tab-separated text, one line per fold and step."""
    lines = ["fold\tscans\tstep\ttpr\ttpr_low\ttpr_high\tfp_per_scan\tfp_low\tfp_high\tprecision"]
    for name, part in [*((str(fold["fold"]), fold) for fold in figures["folds"]), (POOLED, figures["pooled"])]:
        for step in STEPS:
            own = part[step]
            values = (own["tpr"], *(own["tpr_95"] or ("", "")), own["fp_per_scan"], *(own["fp_95"] or ("", "")),
                      own["precision"])
            lines.append("\t".join([name, str(part["scans"]), step, *("" if v is None else str(v) for v in values)]))
    return "\n".join(lines) + "\n"


def _counts(fold: Fold) -> dict[str, list[Counts]]:
    scores = [probabilities(one, fold.points.calibration) for one in fold.scored]
    threshold = fold.points.thresholds["balanced"]
    return {"detector": counts_at(fold.scored, scores, 0.0, cleanup=False),
            "student": counts_at(fold.scored, scores, threshold, cleanup=False),
            "clean-up": counts_at(fold.scored, scores, threshold, cleanup=True)}
