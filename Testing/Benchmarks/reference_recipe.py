"""MicrobleedNet's architecture trained with its own recipe on a simulated data set of ours, for comparison with ours.

    python Testing/Benchmarks/reference_recipe.py --data DIR --work WORK --out MODELS/reference-recipe
    python Testing/Benchmarks/reference_recipe.py --data DIR --work WORK --out MODELS/reference-repaired --fixed
    python Testing/Benchmarks/simulated.py --model MODELS/reference-recipe

The recipe is that of the authors' code of 2025 as it really works, defects included, and for the teacher, which that
code cannot train, that of 2021. ``--fixed`` repairs the defects (`REPAIRS`) and keeps all else. Where 2 CPU cores or
this engine forced something else, `deviations` says so; the script prints it and writes it into the model's card.
Both runs may share a work folder. An interrupted run goes on from its last checkpoint with the same command; the steps
may be changed then, as long as no stage has done more.
"""

import argparse
import copy
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from microbleeds.batch import BAD_INPUT, CANCELLED, OK
from microbleeds.errors import InputError, MicrobleedError
from microbleeds.model_folders import CARD, DETECTION
from microbleeds.pipeline import choose_device
from microbleeds.read_write import staging_folder, write_json
from microbleeds.reference_import import OPERATING_POINTS
from microbleeds.reference_networks import ReferenceDetector, ReferenceStudent
from microbleeds.reference_tiling import reference_probability_map
from microbleeds.training.export import write_weights
from microbleeds.training.layouts import find_labelled_scans
from microbleeds.training.precision import autocast
from microbleeds.weights import REFERENCE, load_model
from reference_recipe_cases import (
    CLASSIFIER_TILE,
    DETECTOR_TILE,
    Case,
    Places,
    choose_for_mining,
    false_centres,
    grid_places,
    kept_centres,
    lesion_centres,
    prepare_cases,
)
from reference_recipe_patches import VERSIONS, centred_batch, grid_batch, pairs_of_step
from reference_recipe_training import Loss, Stage, Teacher, detector_loss, fit, state_sha256, student_loss, teacher_loss
from torch import nn

DETECTOR_PAIRS, TEACHER_PAIRS, STUDENT_PAIRS = 2, 8, 16
"""Positive and negative patches of a step; the reference's are 4 for the detector and 16 for the student.

Fewer for the detector, in more steps: while every voxel is at 0.5 the gradient of Dice is small whatever the batch, so
in a short training the number of steps decides whether it begins to learn.
"""
DETECTOR_STEPS, TEACHER_STEPS, STUDENT_STEPS = 1000, 400, 800
"""What 2 CPU cores do in about 75 minutes, together with the search for false candidates."""
MINING_TILES = 2000
"""48³ tiles over which the detector looks for false candidates."""
MINING_THRESHOLD = OPERATING_POINTS["balanced"]["candidates"]["threshold"]
MILESTONE_EPOCHS = 10
"""After which the reference's learning rate falls tenfold."""
LATEST_MILESTONE = 0.8
"""Share of the steps after which it falls here, if that epoch is not reached by then."""
SEED = 1


@dataclass(frozen=True)
class _Plan:
    """What is fixed of a stage: its number, pairs of patches per step, and how they are cut."""

    number: int
    pairs: int
    cut: Callable[..., tuple[torch.Tensor, ...]]


_PLANS = {"detector": _Plan(1, DETECTOR_PAIRS, partial(grid_batch, tile=DETECTOR_TILE)),
          "teacher": _Plan(2, TEACHER_PAIRS, partial(grid_batch, tile=CLASSIFIER_TILE)),
          "student": _Plan(3, STUDENT_PAIRS, centred_batch)}

DEFECTS = ("the weight of the voxels is reduced to a scalar of about 0", "a shifted patch is blanked on the wrong axis",
           "the teacher's classification head keeps its random weights", "its sigmoid is taken for a logit, so soft "
           "labels stay within 0.438 and 0.562", "its normalisation is that of the batch while the student learns",
           "the rim found around a true lesion is a negative", "the student's weights of its losses are 50.6 for the "
           "labels to 6.4 for the teacher, and Dice")
REPAIRS = ("voxel-weighted cross-entropy, lesions tenfold", "shifted patches are blanked where content came round",
           "the whole teacher is trained", "soft labels are of its logits", "it is in evaluation mode while the "
           "student learns", "no negative touches a lesion", "0.4 cross-entropy + 0.6 T² KL, as in the paper")


@dataclass(frozen=True)
class Recipe:
    """How much of the recipe is run, and whether its defects are repaired."""

    detector_steps: int = DETECTOR_STEPS
    teacher_steps: int = TEACHER_STEPS
    student_steps: int = STUDENT_STEPS
    mining_tiles: int = MINING_TILES
    seed: int = SEED
    repaired: bool = False


@dataclass(frozen=True)
class Run:
    """One run: its cases, its recipe, and where it works."""

    cases: Sequence[Case]
    recipe: Recipe
    folder: Path
    device: str


@dataclass(frozen=True, eq=False)
class Trained:
    """The networks, the seconds that each stage took, and the patches that it had to draw from."""

    detector: ReferenceDetector
    student: ReferenceStudent
    seconds: dict[str, float]
    patches: dict[str, dict[str, int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except MicrobleedError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from the last checkpoint.", file=sys.stderr)
        return CANCELLED
    return OK


def train(run: Run) -> Trained:
    """Train detector, teacher and student; checkpoints are kept in the run's folder.

    Raises
    ------
    InputError
        If there is nothing to learn from, or a checkpoint is of another training.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    recipe, seconds = run.recipe, {}
    places = {"detector": grid_places(run.cases, DETECTOR_TILE), "teacher": grid_places(run.cases, CLASSIFIER_TILE)}
    torch.manual_seed(recipe.seed)
    detector = ReferenceDetector()
    seconds["detector"] = _fit(run, "detector", places["detector"], detector, detector, detector_loss(recipe.repaired))
    places["student"], seconds["mining"] = mine(run, detector)
    torch.manual_seed(recipe.seed)
    # its segmentor begins as the detector, which stays as it is
    teacher = Teacher(copy.deepcopy(detector), recipe.repaired)
    # the reference never steps the head
    stepped = teacher if recipe.repaired else teacher.segmentor
    seconds["teacher"] = _fit(run, "teacher", places["teacher"], teacher, stepped, teacher_loss(recipe.repaired))
    student = teacher.student()
    seconds["student"] = _fit(run, "student", places["student"], student, student,
                              student_loss(teacher, recipe.repaired))
    return Trained(detector, student, seconds, {stage: _counts(found) for stage, found in places.items()})


def mine(run: Run, detector: nn.Module) -> tuple[Places, float]:
    """Return lesions of all cases, found or not, and the detector's false candidates in some; and the seconds it took.

    Places are centres. Finished cases are kept in the run's folder.
    """
    of, spent_s = state_sha256(detector, str(run.recipe.repaired)), 0.0
    chosen = choose_for_mining(run.cases, run.recipe.mining_tiles, run.recipe.seed)
    positives = [_in_case(number, lesion_centres(np.array(case.lesions))) for number, case in enumerate(run.cases)]
    negatives = []
    for done, number in enumerate(chosen, 1):
        case = run.cases[number]
        centres, seconds = kept_centres(run.folder / "candidates" / f"{case.name}.npz", f"{of} {case.sha256}",
                                        partial(_false_candidates, case, detector, run))
        negatives.append(_in_case(number, centres))
        spent_s += seconds
        print(f"false candidates of {done} of {len(chosen)} cases: {len(centres)}", flush=True)
    return Places(np.concatenate(positives), np.concatenate(negatives)), spent_s


def deviations(recipe: Recipe) -> dict[str, str]:
    """Return what differs from the reference's recipe and why, by topic."""
    return {
        "steps": f"{recipe.detector_steps}, {recipe.teacher_steps} and {recipe.student_steps} of detector, teacher and "
                 "student; the paper's took about 50 hours on a V100 (80, 80 and 50 epochs)",
        "batch": f"{2 * DETECTOR_PAIRS}, {2 * TEACHER_PAIRS} and {2 * STUDENT_PAIRS} patches, each in one of its "
                 f"{VERSIONS} versions by chance; theirs has all {VERSIONS} of each in the batch (40 and 160 patches)",
        "learning rate": f"falls tenfold at their epoch {MILESTONE_EPOCHS}, or after {LATEST_MILESTONE:.0%} of the "
                         "steps if that comes first",
        "validation": "none, no early stop: all patches are learned from and the last weights are kept; theirs are a "
                      "random fifth of the patches, of the same subjects",
        "numbers": "bfloat16 where the processor has it; theirs are float32",
        "false candidates": f"of the detector on at most {recipe.mining_tiles} tiles; theirs are of all cases",
        "augmentation": "each change is made to half of the changed copies, noise to the image alone; how theirs are "
                        "combined is not known to us",
        "teacher": "their code of 2025 cannot train one; as that of 2021 does, with the optimiser of 2025 and as many "
                   "patches with lesions as without",
        "student": "begins with the weights of extractor and head of the teacher, as in 2021; patches at the edge are "
                   "centred as at detection",
        "preparation": "that of microbleeds.reference_prepare: our brain mask, N4, no vessel inpainting, QSM not "
                       "inverted; lesions outside the mask are not taught",
        "detection": "that of the engine for models of the reference: thresholds of the code (0.2, 0.5), least volume "
                     "and edge of the paper (2.5 mm³, 5 mm), candidates split between clear peaks"}


def write_model(folder: Path, trained: Trained, recipe: Recipe, about: dict[str, Any]) -> None:
    """Write a model folder that `cmbdetect detect --model` takes.

    Raises
    ------
    InputError
        If there is a model in the folder.
    """
    _check_free(folder)
    networks = {"detector": trained.detector, "student": trained.student}
    kind = "repaired" if recipe.repaired else "as its code works"
    with staging_folder(folder) as staging:
        files = {part: write_weights(staging / f"{part}.pt", network) for part, network in networks.items()}
        write_json(staging / CARD, {
            "kind": DETECTION, "architecture": REFERENCE, "name": folder.name, "files": files,
            "title": f"{folder.name} (MicrobleedNet's recipe {kind}, simulated scans; for comparison only)",
            "networks": {part: {} for part in networks}, "operating_points": OPERATING_POINTS,
            "recipe": {"seed": recipe.seed, "steps": {"detector": recipe.detector_steps,
                                                      "teacher": recipe.teacher_steps,
                                                      "student": recipe.student_steps},
                       ("repairs" if recipe.repaired else "defects"): REPAIRS if recipe.repaired else DEFECTS,
                       "deviations": deviations(recipe)},
            "patches": trained.patches, "seconds": {stage: round(value) for stage, value in trained.seconds.items()},
            **about})
    load_model(folder)


def _run(options: argparse.Namespace) -> None:
    _check_free(options.out)
    recipe = Recipe(options.steps_detector, options.steps_teacher, options.steps_student, options.mining_tiles,
                    options.seed, options.fixed)
    print("Repaired:" if recipe.repaired else "As their code works:", *(REPAIRS if recipe.repaired else DEFECTS),
          sep="\n  ")
    print("Other than theirs:", *(f"{topic}: {text}" for topic, text in deviations(recipe).items()), sep="\n  ")
    device = choose_device(options.device)
    cases = prepare_cases(find_labelled_scans(options.data), options.work / "cases", options.jobs, _tell)
    trained = train(Run(cases, recipe, options.work / ("repaired" if recipe.repaired else "as-it-is"), device))
    write_model(options.out, trained, recipe, {
        "licence": "for comparison only, not for distribution",
        "data": {"folder": options.data.resolve().name, "cases": len(cases)},
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "hardware": f"{device}, {torch.get_num_threads()} threads"})
    print(f"Written to {options.out}.")


def _fit(run: Run, name: str, places: Places, network: nn.Module, stepped: nn.Module, loss: Loss) -> float:
    """Train one stage and return the seconds it took."""
    for kind, count in _counts(places).items():
        if not count:
            raise InputError(f"There is no {kind} patch for the {name} to learn from; give a data set with more cases, "
                             "or train the detector for more steps.")
    recipe, plan = run.recipe, _PLANS[name]
    steps = getattr(recipe, f"{name}_steps")
    epoch = -(-len(places.positives) // plan.pairs)
    falls_at = min(MILESTONE_EPOCHS * epoch, round(LATEST_MILESTONE * steps))
    print(f"{name}: {_counts(places)}, {epoch} steps an epoch, learning rate falls at step {falls_at} of {steps}",
          flush=True)

    def batch(step: int) -> tuple[torch.Tensor, ...]:
        chosen = pairs_of_step(places, step, plan.pairs, recipe.seed)
        return plan.cut(run.cases, chosen, np.random.default_rng([recipe.seed, plan.number, step]), recipe.repaired)
    of = " ".join([places.sha256(), *(case.sha256 for case in run.cases), f"{plan.pairs} {recipe.repaired}"])
    return fit(network, stepped, batch, loss,
               Stage(f"{plan.number}-{name}", steps, falls_at, recipe.seed, of, run.folder, run.device))


def _false_candidates(case: Case, detector: nn.Module, run: Run) -> np.ndarray:
    images = [np.asarray(channel, np.float32) for channel in case.images]
    with autocast(run.device):
        found = reference_probability_map(detector, images, np.array(case.brain), run.device,
                                          lambda fraction: None)
    return false_centres(found > MINING_THRESHOLD, np.array(case.lesions), run.recipe.repaired)


def _in_case(number: int, centres: np.ndarray) -> np.ndarray:
    return np.column_stack([np.full(len(centres), number), centres]).astype(int)


def _counts(places: Places) -> dict[str, int]:
    return {"positive": len(places.positives), "negative": len(places.negatives)}


def _check_free(folder: Path) -> None:
    if (folder / CARD).exists():
        raise InputError(f"{folder} holds a model already; choose another folder or remove it.")


def _tell(name: str, done: int, count: int) -> None:
    print(f"prepared {done} of {count}: {name}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a labelled data set")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="prepared cases and checkpoints")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL_DIR", help="the new model folder")
    parser.add_argument("--fixed", action="store_true", help="repair the defects of the recipe")
    for part, steps in (("detector", DETECTOR_STEPS), ("teacher", TEACHER_STEPS), ("student", STUDENT_STEPS)):
        parser.add_argument(f"--steps-{part}", type=int, default=steps, metavar="N", help="default: %(default)s")
    parser.add_argument("--mining-tiles", type=int, default=MINING_TILES, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N",
                        help="cases prepared at the same time (default: one per core)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
