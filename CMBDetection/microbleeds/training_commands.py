"""The commands ``cmbdetect train``, ``crossvalidate`` and ``finetune``."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from .batch import OK
from .command_options import add_device_option, add_telling_options, positive
from .progress import Reporter

_STEPS = ("detector_steps", "refine_steps", "teacher_steps", "student_steps")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def add_training_commands(commands: Any) -> None:
    """Add the commands to the sub-commands of argparse."""
    train = commands.add_parser("train", help="train a model on labelled scans",
                                description="Train detector, teacher and student, and write a model folder.")
    _add_data(train)
    _add_held_out(train, "data sets of other subjects that thresholds and calibration are chosen on (default: a fifth "
                         "of the subjects)")
    train.add_argument("-o", "--output", type=_absolute, required=True, metavar="DIR", help="model folder to write")
    _add_width(train)
    _add_recipe(train)
    train.set_defaults(command=_train)

    validate = commands.add_parser("crossvalidate", help="measure the training itself on labelled scans",
                                   description="Train and test on folds that share no subject.")
    _add_data(validate)
    validate.add_argument("--folds", type=int, default=5, metavar="K", help="parts (default: %(default)s)")
    validate.add_argument("-o", "--output", type=_absolute, required=True, metavar="DIR",
                          help="folder for tables, figure")
    _add_width(validate)
    _add_recipe(validate)
    validate.set_defaults(command=_cross_validate)

    finetune = commands.add_parser(
        "finetune", help="adapt a model to a site's own labelled scans",
        description="Train a model further, and write the new one only if it is better on scans that are kept aside.")
    finetune.add_argument("--from", dest="model", required=True, metavar="NAME|DIR", help="the model to adapt")
    _add_data(finetune)
    finetune.add_argument("-o", "--output", type=_absolute, required=True, metavar="DIR", help="model folder to write")
    aside = finetune.add_mutually_exclusive_group()
    aside.add_argument("--held-out-share", type=float, dest="held_out", metavar="SHARE",
                       help="of the subjects, to test on (default: 0.3)")
    _add_held_out(aside, "data sets of other subjects to test on instead")
    _add_recipe(finetune, ("detector_steps", "student_steps"))
    finetune.set_defaults(command=_finetune)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="labelled data sets")
    parser.add_argument("--layout", default="auto", help="auto, simulated, implanted, reviews, folders, valdo or cuhk "
                        "(default: %(default)s)")
    parser.add_argument("--clean-scans", action="store_true", help="an empty label map is a scan without microbleeds, "
                        "not a label that somebody forgot")


def _add_held_out(parser: argparse._ActionsContainer, text: str) -> None:
    parser.add_argument("--held-out", type=Path, nargs="+", dest="held_out_data", metavar="DIR", help=text)


def _add_recipe(parser: argparse.ArgumentParser, steps: Sequence[str] = _STEPS) -> None:
    parser.add_argument("--work", type=Path, metavar="DIR", help="checkpoints, curves and prepared scans; an "
                        "interrupted run goes on from there (default: the output's name with -work)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same weights (default: %(default)s)")
    for name in steps:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N",
                            help="batches (default: as many as the recipe has)")
    parser.add_argument("--learning-rate", type=float, metavar="RATE",
                        help="highest of the schedule (default: that of the recipe)")
    add_device_option(parser)
    parser.add_argument("--jobs", type=positive, metavar="N", help="scans prepared at a time (default: one per core)")
    parser.add_argument("--threads", type=positive, metavar="N", help="processor cores to train on (default: all)")
    add_telling_options(parser)


def _add_width(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, metavar="N",
                        help="channels of the finest level (default: as many as the shipped recipe has)")


def _train(options: argparse.Namespace, reporter: Reporter) -> int:
    _limit_threads(options)
    from .pipeline import choose_device
    from .training.train import TrainingJob, train

    job = TrainingJob(_folders(options.data, options), _held_out(options), options.output, _work(options),
                      choose_device(options.device), options.jobs)
    figures = train(job, _settings(options), reporter)
    balanced = figures["clean-up, balanced"]
    reporter.say(f"The model is in {options.output}; use it with cmbdetect detect --model {options.output}. On the "
                 f"{figures['scans']} held-out scans its thresholds were chosen on: TPR {balanced['tpr']} at "
                 f"{balanced['fp_per_scan']} false positives per scan (balanced).")
    return OK


def _cross_validate(options: argparse.Namespace, reporter: Reporter) -> int:
    _limit_threads(options)
    from .pipeline import choose_device
    from .training.crossvalidate import CrossValidationJob, cross_validate, table

    job = CrossValidationJob(_folders(options.data, options), options.folds, options.output, _work(options),
                             choose_device(options.device), options.jobs)
    figures = cross_validate(job, _settings(options), reporter)
    reporter.say(table(figures))
    return OK


def _finetune(options: argparse.Namespace, reporter: Reporter) -> int:
    _limit_threads(options)
    from .pipeline import choose_device
    from .training.finetune import AdaptationJob, adapt
    from .training.training_settings import FINE_TUNING
    from .weights import load_model

    job = AdaptationJob(load_model(options.model), _folders(options.data, options), _held_out(options), options.output,
                        _work(options), choose_device(options.device), options.jobs)
    verdict = adapt(job, _settings(options, FINE_TUNING), reporter)
    score = (f"{verdict['after']:.3f} instead of {verdict['before']:.3f} on {verdict['held_out_scans']} held-out scans "
             f"with {verdict['held_out_microbleeds']} microbleeds, not worse in {verdict['sure']:.0%} of samples")
    reporter.say(f"Better: {score}. The new model is in {options.output}; {job.model.name} stays as it is."
                 if verdict["accepted"] else
                 f"Not better: {score}. Nothing was written; {job.model.name} stays in use.")
    return OK


def _folders(folders: list[Path], options: argparse.Namespace):
    from .training.train import DataFolders

    return DataFolders(tuple(folders), options.layout, options.clean_scans)


def _held_out(options: argparse.Namespace):
    return None if options.held_out_data is None else _folders(options.held_out_data, options)


def _settings(options: argparse.Namespace, defaults: Any = None):
    from .training.training_settings import TrainingSettings

    names = {field.name for field in fields(TrainingSettings)}
    given = {name: value for name, value in vars(options).items()
             if name in names and value is not None}
    return replace(defaults or TrainingSettings(), **given)


def _work(options: argparse.Namespace) -> Path:
    return options.work or options.output.with_name(f"{options.output.name}-work")


def _absolute(text: str) -> Path:
    """Return a path that has a name, which "." has not."""
    return Path(os.path.abspath(text))


def _limit_threads(options: argparse.Namespace) -> None:
    if options.threads:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(options.threads)))
