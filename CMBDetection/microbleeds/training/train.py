"""A whole training: labelled scans in, a model folder out, with thresholds and figures from held-out subjects."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..errors import InputError
from ..evaluation.curves import froc_svg, reliability_svg
from ..evaluation.metrics import froc
from ..evaluation.reliability import expected_calibration_error
from ..model_folders import CARD
from ..progress import Reporter
from ..read_write import write_json, write_text
from .cases import Case, fingerprint, prepare_cases
from .check_data_set import check_data_set
from .export import export_model
from .fit import Tell
from .labelled_scans import LabelledScan
from .layouts import find_labelled_scans
from .operating_points import OperatingPoints, choose_operating_points
from .scoring import ScoredCase, probabilities, reliability_of, save_scores, score_cases
from .splits import hold_out, refuse_few_subjects
from .stages import Place, train_networks
from .training_settings import TrainingSettings
from .work_clock import WorkClock

_SETTINGS_FILE = "training.json"


@dataclass(frozen=True)
class DataFolders:
    """Where labelled scans come from; `clean_scans` says that an empty label map means a scan without microbleeds."""

    folders: tuple[Path, ...]
    layout: str = "auto"
    clean_scans: bool = False


@dataclass(frozen=True)
class TrainingJob:
    """What `train` shall do: data, data for thresholds (None to hold subjects out), and where everything goes."""

    data: DataFolders
    held_out: DataFolders | None
    output: Path
    work: Path
    device: str
    jobs: int | None


def train(job: TrainingJob, settings: TrainingSettings, reporter: Reporter) -> dict[str, Any]:
    """Train a model and write it to `job.output`; an interrupted run goes on. Returns the figures of its card.

    Raises
    ------
    InputError
        If data cannot be used, parts share subjects, no held-out case has a microbleed, or a folder holds something
        else; before any training.
    """
    if (job.output / CARD).exists():
        raise InputError(f"{job.output} holds a model already; choose another folder or remove it.")
    scans, others = collect_sides(job.data, job.held_out)
    claim_work_folder(job.work, settings, scans, held_out=apart(others))
    clock = WorkClock(job.work)
    tell = clock.noting(teller(reporter, job.output.name))
    cases, held_out = parted(cases_of([*scans, *others], job.work, job.jobs, tell), len(scans), settings)
    if not any(case.lesion_count for case in held_out):
        raise InputError("No held-out case shows a microbleed inside the brain, so no threshold can be chosen; add "
                         "subjects that have some, or name data sets with --held-out.")
    networks = train_networks(cases, settings, Place(job.work, job.device, tell))
    scored = score_cases(held_out, networks.detector, networks.student, job.device, tell)
    save_scores(scored, job.work / "held-out.json")
    points = choose_operating_points(scored)
    write_curves(scored, points, job.work, f"{job.output.name}: held-out cases, where thresholds were chosen")
    about = {"held_out_figures": points.figures, "training": {
        "settings": asdict(settings), "scans": len(cases), "subjects": sorted({case.subject for case in cases}),
        "held_out_subjects": sorted({case.subject for case in held_out}), "version": __version__,
        "torch": str(torch.__version__), "device": job.device, "minutes": round(clock.minutes)}}
    export_model(job.output, networks.detector, networks.student, points.calibration, points.settings(), about)
    return points.figures


def collect(data: DataFolders) -> list[LabelledScan]:
    """Return the labelled scans of all folders; names begin with that of the folder, so that folders do not clash."""
    return [replace(scan, name=f"{folder.resolve().name}_{scan.name}") for folder in data.folders
            for scan in find_labelled_scans(folder, data.layout, data.clean_scans)]


def collect_sides(data: DataFolders, held_out: DataFolders | None) -> tuple[list[LabelledScan], list[LabelledScan]]:
    """Return the scans of the data, and those of the data sets that are held out, none if subjects are to be.

    Raises
    ------
    InputError
        If one of them cannot be used, both share subjects, or there are too few.
    """
    scans, others = collect(data), collect(held_out) if held_out else []
    check_data_set([*scans, *others])
    refuse_shared_subjects(scans, others)
    refuse_few_subjects(scans, 1 if others else 2)
    return scans, others


def parted(cases: Sequence[Case], own: int, settings: TrainingSettings) -> tuple[Sequence[Case], Sequence[Case]]:
    """Return the cases to learn from and those held out: all but the first `own`; if there are no others, a share."""
    if own < len(cases):
        return cases[:own], cases[own:]
    # by lesions, so that the part held out has its share of them
    return hold_out(cases, settings.held_out, settings.seed, load=lambda case: case.lesion_count)


def refuse_shared_subjects(scans: Sequence[LabelledScan], others: Sequence[LabelledScan]) -> None:
    """Raise an InputError if a subject is on both sides."""
    shared = sorted({scan.subject for scan in scans} & {scan.subject for scan in others})
    if shared:
        raise InputError(f"Training and held-out data share {len(shared)} "
                         f"{'subject' if len(shared) == 1 else 'subjects'}: {', '.join(shared[:10])}; "
                         "leave them out of one of the two.")


def claim_work_folder(work: Path, settings: TrainingSettings, scans: Sequence[LabelledScan], **more: Any) -> None:
    """Note what a work folder is for; one that was begun for something else is refused with an InputError.

    `more` is what the checkpoints depend on besides settings and scans, as JSON.
    """
    # contents, because checkpoints and candidates do not go with a label map that was corrected
    contents = {scan.name: fingerprint(scan) for scan in scans}
    wanted = json.loads(json.dumps({"settings": asdict(settings), "scans": contents, **more}))
    path = work / _SETTINGS_FILE
    if path.exists():
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            begun = None
        if begun != wanted:
            raise InputError(f"{work} was begun with other data or settings; choose another work folder or remove it.")
        return
    work.mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)


def apart(others: Sequence[LabelledScan]) -> str:
    """Return what is held out, as a work folder notes it; with data sets of others, all scans are learned from."""
    return "data sets of others" if others else "a share of the subjects"


def cases_of(scans: Sequence[LabelledScan], work: Path, jobs: int | None, tell: Tell) -> tuple[Case, ...]:
    """Prepare scans in the work folder."""
    return prepare_cases(scans, work / "cases", jobs,
                         lambda name, done, count: tell("0-prepare", done / count, f"{done} of {count} prepared"))


def teller(reporter: Reporter, name: str) -> Tell:
    """Return what tells the progress of a stage to a reporter."""
    def tell(stage: str, fraction: float, message: str) -> None:
        reporter.progress(name, stage, f"{stage}: {message}", fraction)
    return tell


def write_curves(scored: Sequence[ScoredCase], points: OperatingPoints, folder: Path, title: str) -> None:
    """Write ``froc.svg`` (each step) and ``reliability.svg`` of scored cases."""
    scores = [probabilities(one, points.calibration) for one in scored]
    curves = {"pooled, after clean-up": froc([one.candidates(own, kept_only=True)
                                              for one, own in zip(scored, scores, strict=True)]),
              "before clean-up": froc([one.candidates(own, kept_only=False)
                                       for one, own in zip(scored, scores, strict=True)])}
    write_text(folder / "froc.svg", froc_svg(curves, title))
    bins = reliability_of(scored, scores)
    write_text(folder / "reliability.svg", reliability_svg(bins, expected_calibration_error(bins), title))
