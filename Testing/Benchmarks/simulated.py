"""The simulated benchmark: makes the fixed test set, runs a model over it, and prints how good it is.

    python Testing/Benchmarks/simulated.py                                the default model, whole set
    python Testing/Benchmarks/simulated.py --limit 3 --modality gre       a quick look
    python Testing/Benchmarks/simulated.py --make-only                    the images, for another program
    python Testing/Benchmarks/simulated.py --predictions DIR --name TOOL  that program's label maps

Another program's folder holds one label map per image ``S.nii.gz``, called ``S.nii.gz`` or ``S_desc-cmb_dseg.nii.gz``,
binary or numbered, on the image's grid. Cases and results that are there already are not made again.

The tables of our own models also have the steps one by one and the calibration, which need the findings files; FROC and
reliability curves lie beside the tables as SVG.
"""

import argparse
import hashlib
import multiprocessing
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import microbleeds
from benchmark_calibration import CalibrationScore
from benchmark_figures import write_figures
from benchmark_goals import judge_goals
from benchmark_scores import CaseScore, GroupScore, score_calibrations, score_case, score_groups
from benchmark_set import TIERS, VERSION, BenchmarkCase, all_cases, choose, fingerprint, plan
from benchmark_tables import CALIBRATION_RULE, GOALS_RULE, RULE, STEPS_RULE, tables
from microbleeds.batch import BAD_INPUT, CANCELLED, OK
from microbleeds.errors import InputError, MicrobleedError
from microbleeds.outputs import FILE_NAMES, read_result
from microbleeds.progress import make_reporter
from microbleeds.read_write import scan_stem, write_json, write_text
from microbleeds.settings import MODALITIES, OPERATING_POINTS
from microbleeds.simulation.data_set import make_data_set

WORK = Path("build", "simulated-benchmark")


@dataclass(frozen=True)
class Measured:
    """What was measured: its name in the tables, the folder of its results, and all that tells it from others."""

    name: str
    predictions: Path
    about: dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except MicrobleedError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        return CANCELLED


def detect_missing(images: Sequence[Path], folder: Path, options: argparse.Namespace) -> None:
    """Run the command line over the images that have no result of theirs in `folder` yet, in one process.

    Raises
    ------
    InputError
        If an image has no result afterwards.
    """
    missing = [image for image in images if options.again or not _has_result(image, folder)]
    if missing:
        package = str(Path(microbleeds.__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        subprocess.run([sys.executable, "-m", "microbleeds", "detect", *map(str, missing), "-o", str(folder),
                        "--model", options.model, "--operating-point", options.operating_point,
                        "--device", options.device, "--progress", "none"],
                       env={**os.environ, "PYTHONPATH": paths}, check=False)
    failed = [image.name for image in missing if not _has_result(image, folder)]
    if failed:
        raise InputError(f"The detection failed on {len(failed)} of {len(missing)} images, {failed[0]} the first; see "
                         "above for the reason, correct it and start again.")


def results(measured: Measured, scores: Sequence[CaseScore], main_groups: Sequence[GroupScore],
            splits: Sequence[GroupScore], calibrations: Sequence[CalibrationScore], whole: int) -> dict:
    """Return everything as plain dicts and lists, ready for JSON."""
    return {
        "benchmark": {"name": "simulated", "version": VERSION, "cases": len(scores), "cases_of_the_set": whole,
                      "plans_sha256": fingerprint([score.case for score in scores]), "rule": RULE,
                  "goals": GOALS_RULE, "steps": STEPS_RULE, "calibration": CALIBRATION_RULE},
        "measured": {"name": measured.name, **measured.about},
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(),
                    "microbleeds": microbleeds.__version__},
        "groups": [asdict(group) for group in main_groups],
        "splits": [asdict(group) for group in splits],
        "goals": [asdict(goal) for goal in judge_goals(main_groups, calibrations)],
        "calibration": [asdict(score) for score in calibrations],
        "cases": [{**asdict(score.case), "counts": asdict(score.verdict.counts), "spared": score.verdict.spared,
                   "steps": {step: asdict(counts) for step, counts in score.steps.items()},
                   "found": score.verdict.found, "seconds": score.seconds, "modality_found": score.modality,
                   "false_positives": [asdict(item) for item in score.verdict.false_positives]} for score in scores]}


def report(measured: Measured, scores: Sequence[CaseScore], whole: int, folder: Path) -> None:
    """Print the tables; write them, the figures, and everything as JSON. The set has `whole` cases."""
    groups, splits = score_groups(scores)
    calibrations = score_calibrations(scores)
    part = "" if len(scores) == whole else f", {len(scores)} of {whole} cases"
    title = f"{measured.name}{part}"
    text = tables(title, groups, splits, calibrations) + _notes(measured, scores)
    start = folder / (measured.predictions.name + ("-part" if part else ""))
    write_text(start.with_name(f"{start.name}.md"), text)
    write_json(start.with_name(f"{start.name}.json"), results(measured, scores, groups, splits, calibrations, whole))
    pictures = write_figures(start, title, groups, calibrations)
    print(text)
    print(f"Written to {start}.md and .json{''.join(f', {path.name}' for path in pictures)}.")


def _run(options: argparse.Namespace) -> int:
    every = all_cases()
    cases = choose(every, options.modality or MODALITIES, options.tier or TIERS, options.limit)
    data_set = options.work / f"set-{VERSION}"
    # before the set, which takes hours: a wrong name is told at once
    measured = _other_program(options) if options.predictions else _model(options)
    reporter = make_reporter("bar")
    make_data_set([plan(case) for case in cases], data_set, options.jobs, reporter)
    reporter.done(OK)
    if options.make_only:
        print(f"{len(cases)} cases are in {data_set}; detect in these:")
        print("\n".join(str(data_set / case.image) for case in cases))
        return OK
    if not options.predictions:
        detect_missing([data_set / case.image for case in cases], measured.predictions, options)
    scores = _score(cases, data_set, measured.predictions, options.jobs)
    report(measured, scores, len(every), options.work / f"results-{VERSION}")
    return OK


def _model(options: argparse.Namespace) -> Measured:
    # here, because the processes that make and score cases import this file and need no torch
    from microbleeds.weights import DEFAULT_MODEL, load_model

    options.model = options.model or DEFAULT_MODEL
    model = load_model(options.model)
    model.settings(options.operating_point)
    name = f"{model.name}, {options.operating_point}"
    folder = options.work / f"predictions-{VERSION}" / f"{model.name}-{model.sha256[:8]}-{options.operating_point}"
    return Measured(name, folder, {"model": model.name, "model_sha256": model.sha256,
                                   "operating_point": options.operating_point, "device": options.device})


def _other_program(options: argparse.Namespace) -> Measured:
    if not options.predictions.is_dir():
        raise InputError(f"{options.predictions} is not a folder; give the one with the label maps.")
    return Measured(options.name or options.predictions.resolve().name, options.predictions.resolve(),
                    {"predictions": str(options.predictions)})


def _has_result(image: Path, folder: Path) -> bool:
    """Whether `folder` holds a result of this very image."""
    findings = folder / FILE_NAMES["findings"].format(scan_stem(image))
    return findings.is_file() and \
        read_result(findings).provenance.input_sha256 == hashlib.sha256(image.read_bytes()).hexdigest()


def _score(cases: Sequence[BenchmarkCase], data_set: Path, predictions: Path,
           jobs: int | None) -> list[CaseScore]:
    score = partial(score_case, data_set=data_set, predictions=predictions)
    if jobs == 1:
        return [score(case) for case in cases]
    # a fresh process, because torch has its own threads in this one by now
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as workers:
        return list(workers.map(score, cases))


def _notes(measured: Measured, scores: Sequence[CaseScore]) -> str:
    wrong = [score.case.name for score in scores if score.modality not in (None, score.case.modality)]
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in measured.about.items()]
    lines += [f"microbleeds {microbleeds.__version__}, {os.cpu_count()} cores"]
    if wrong:
        lines += [f"taken for another modality: {', '.join(wrong)}"]
    return "\n" + "; ".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR",
                        help="folder of the set, of predictions and results (default: %(default)s)")
    parser.add_argument("--model", metavar="NAME|DIR", help="default: the model that comes with this version")
    parser.add_argument("--operating-point", choices=OPERATING_POINTS, default=OPERATING_POINTS[0],
                        help="default: %(default)s")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--predictions", type=Path, metavar="DIR", help="score these label maps, run no model")
    parser.add_argument("--name", help="what to call them (default: the name of that folder)")
    parser.add_argument("--modality", choices=MODALITIES, action="append", help="only this one; may be repeated")
    parser.add_argument("--tier", choices=TIERS, action="append", help="only this one; may be repeated")
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N cases of each tier and modality")
    parser.add_argument("--jobs", type=_positive, metavar="N",
                        help="cases made and scored at the same time (default: as many as cores and memory allow); "
                             "the detection runs in one process, so that its seconds are those of a user")
    parser.add_argument("--again", action="store_true", help="detect again where there is a result already")
    parser.add_argument("--make-only", action="store_true", help="make the set and name its images, measure nothing")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
