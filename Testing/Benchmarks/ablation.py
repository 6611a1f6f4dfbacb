"""What each part of the recipe is worth, on held-out simulated cases (not on the benchmark, which chooses nothing).

    python Testing/Benchmarks/ablation.py --training DIR --validation DIR --work DIR --trained WORK

Detector variants are trained anew, each with all parts before it and one more. Variants of the second step share the
detector, the teacher and the false candidates of one finished training (`--trained`, the work folder of `cmbdetect
train` on the same data). Finished variants are not run again. The TPR at a given cost needs no threshold; calibrations
are fitted on one half of the validation subjects and judged on the other, both ways.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from ablation_variants import Flipped, Mean, one_millimetre
from benchmark_tools import markdown_table, with_interval
from microbleeds.calibration import Calibration
from microbleeds.progress import make_reporter
from microbleeds.read_write import write_text
from microbleeds.training.cases import Case, prepare_cases
from microbleeds.training.fit_calibration import fit_calibration
from microbleeds.training.mining import Mined
from microbleeds.training.sampling import sites_of
from microbleeds.training.scoring import ScoredCase, load_scores, save_scores, score_case
from microbleeds.training.stages import (
    REFINED,
    TEACHER,
    Place,
    new_detector,
    train_detector,
    train_student,
    with_lookalikes,
)
from microbleeds.training.train import DataFolders, collect, teller
from microbleeds.training.training_settings import TrainingSettings
from sampled_curves import curve_of, estimate, samples_of, tpr_at
from torch import nn

DETECTOR_COSTS = (2.0, 5.0, 10.0, 20.0)
STUDENT_COSTS = (0.5, 1.0, 2.0, 5.0)
_PAPER = {"mimic_classes": False, "balance_lesions": False, "randomise": False, "lesion_share": 0.0,
          "detector_patch": (48, 48, 48), "detector_batch": 2}
DETECTOR_VARIANTS = {
    "paper": _PAPER,
    "+ smaller patches, as many voxels": {**_PAPER, "detector_patch": (32, 32, 24), "detector_batch": 8},
    "+ kinds of mimics": {"balance_lesions": False, "randomise": False, "lesion_share": 0.0},
    "+ small lesions weigh more": {"randomise": False, "lesion_share": 0.0},
    "+ randomised patches": {"lesion_share": 0.0},
    "+ focal loss by lesion (shipped)": {},
    "the same, another seed": {"seed": 2},
    "the same on a grid of 1 mm": {},
}
_ALONE, _DISTILLED = "labels alone", "distilled, labels .4 (paper)"
STUDENT_VARIANTS = {
    _ALONE: {"distil": False}, "distilled, labels .1": {"hard_share": 0.1}, _DISTILLED: {"hard_share": 0.4},
    "distilled, labels .7": {"hard_share": 0.7}}
Row = tuple[str, list[np.ndarray]]
"""A variant, and for each cost the TPR of all scans and of every sample of them."""
_SHIPPED, _OTHER_SEED, _COARSE = list(DETECTOR_VARIANTS)[-3:]


@dataclass(frozen=True, eq=False)
class Data:
    """Prepared cases of both sides, and where everything goes."""

    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    work: Path
    place: Callable[[str], Place]


def tprs_at(scored: Sequence[ScoredCase], scores: Sequence[np.ndarray], costs: Sequence[float],
            cleanup: bool) -> list[np.ndarray]:
    """Return, for each number of false positives per scan, the highest TPR at most so many cost, in samples of scans.

    The first of each array is that of all scans, see `sampled_curves`.
    """
    curve = curve_of([one.candidates(own, kept_only=cleanup) for one, own in zip(scored, scores, strict=True)],
                     max(costs))
    samples = samples_of(len(scored))
    return [tpr_at(curve, allowed, samples) for allowed in costs]


def detector_rows(data: Data, settings: TrainingSettings) -> list[Row]:
    """Train and score every variant of the detector; then the shipped one with flips, and with the other seed."""
    detectors, rows = {}, []
    for name, changes in DETECTOR_VARIANTS.items():
        coarse = name == _COARSE
        training = [one_millimetre(case) for case in data.training] if coarse else data.training
        validation = [one_millimetre(case) for case in data.validation] if coarse else data.validation
        own = replace(settings, **changes)
        place = data.place(f"detector {name}")
        place.folder.mkdir(parents=True, exist_ok=True)
        if (place.folder / "1-detector.pt").exists() and _finished(place.folder, own):
            detectors[name] = _load(new_detector(own), place.folder / "1-detector.pt")
        else:
            sites = [sites_of(case, np.random.default_rng([own.seed, index])) for index, case in enumerate(training)]
            detectors[name] = train_detector(training, sites, own, place)
        rows.append((name, _detector_row(data, name, detectors[name], validation)))
    for name, network in (("shipped, flipped four ways", Flipped(detectors[_SHIPPED])),
                          ("shipped, two seeds averaged", Mean(detectors[_SHIPPED], detectors[_OTHER_SEED]))):
        rows.append((name, _detector_row(data, name, network, data.validation)))
    return rows


def student_rows(data: Data, settings: TrainingSettings, trained: Path) -> list[Row]:
    """Train and score every variant of the student on one detector's candidates."""
    detector = _load(new_detector(settings), trained / f"{REFINED}.pt")
    teacher = _teacher(detector, settings, trained / f"{TEACHER}.pt")
    sites = [sites_of(case, np.random.default_rng([settings.seed, index])) for index, case in enumerate(data.training)]
    mined = [with_lookalikes(_mined(trained / "candidates-2" / f"{case.name}.npz"), own)
             for case, own in zip(data.training, sites, strict=True)]
    rows, scored = [], ()
    for name, changes in STUDENT_VARIANTS.items():
        own = replace(settings, **changes)
        place = data.place(f"student {name}")
        place.folder.mkdir(parents=True, exist_ok=True)
        student = train_student(detector, teacher, data.training, mined, own, place)
        scored = _scored(data, f"student {name}", detector, student, data.validation)
        rows.append((name, tprs_at(scored, [one.student_logit for one in scored], STUDENT_COSTS, cleanup=False)))
        if name == _DISTILLED:
            shipped = scored
    rows.append(("the detector's own peak", tprs_at(shipped, [one.detector_logit for one in shipped], STUDENT_COSTS,
                                                   cleanup=False)))
    both = _stacked(shipped)
    rows.append(("student and detector together (shipped)", tprs_at(shipped, both, STUDENT_COSTS, cleanup=False)))
    rows.append(("the same after clean-up", tprs_at(shipped, both, STUDENT_COSTS, cleanup=True)))
    return rows


def table(title: str, costs: Sequence[float], rows: Sequence[Row]) -> str:
    """Return a table in Markdown."""
    header = (title, *(f"TPR at {cost:g} FP" for cost in costs))
    return markdown_table(header, [[name, *(_told(values) for values in tprs)] for name, tprs in rows])


def distillation_worth(rows: Sequence[Row]) -> Row:
    """Return what the paper's distillation adds to the TPR of a student that learns from labels alone."""
    alone, distilled = (dict(rows)[name] for name in (_ALONE, _DISTILLED))
    return "distilled (paper) less labels alone", [more - less for more, less in zip(distilled, alone, strict=True)]


def _stacked(scored: Sequence[ScoredCase]) -> list[np.ndarray]:
    """Return logits of both networks together, each half of the subjects with coefficients from the other half."""
    subjects = sorted({one.subject for one in scored})
    halves = [set(subjects[::2]), set(subjects[1::2])]
    fitted: list[Calibration] = []
    for half in halves:
        own = [one for one in scored if one.subject not in half] or scored
        fitted.append(fit_calibration(
            *(np.concatenate([getattr(one, name)[~one.spared] for one in own])
              for name in ("student_logit", "detector_logit", "on_lesion")), use_detector=True, use_offset=True))
    result = []
    for one in scored:
        how = fitted[0 if one.subject in halves[0] else 1]
        result.append(how.student * one.student_logit + how.detector * one.detector_logit + how.offset)
    return result


def _told(values: np.ndarray) -> str:
    figure = estimate(values)
    return with_interval(figure.value, figure.interval)


def _detector_row(data: Data, name: str, network: nn.Module, validation: Sequence[Case]) -> list[np.ndarray]:
    scored = _scored(data, f"detector {name}", network, _Nothing(), validation)
    return tprs_at(scored, [one.detector_logit for one in scored], DETECTOR_COSTS, cleanup=False)


def _scored(data: Data, name: str, detector: nn.Module, student: nn.Module,
            cases: Sequence[Case]) -> tuple[ScoredCase, ...]:
    path = data.place(name).folder / "scored.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_scores([score_case(case, detector, student, data.place(name).device) for case in cases], path)
    return load_scores(path)


class _Nothing(nn.Module):
    """A student without an opinion."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.new_zeros(len(patches), 2)


def _finished(folder: Path, settings: TrainingSettings) -> bool:
    state = torch.load(folder / "1-detector.pt", map_location="cpu", weights_only=True)
    return state["step"] >= settings.detector_steps


def _load(network: nn.Module, path: Path) -> nn.Module:
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["network"])
    return network.eval()


def _teacher(detector: nn.Module, settings: TrainingSettings, path: Path) -> nn.Module:
    from microbleeds.networks import Teacher

    return _load(Teacher(settings.width, detector.segmentor.out.out_channels), path)


def _mined(path: Path) -> Mined:
    with np.load(path, allow_pickle=False) as stored:
        return Mined(stored["positives"], stored["negatives"])


def main() -> None:
    """Run every variant that has no result yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--detector-steps", type=int, default=1500)
    parser.add_argument("--student-steps", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    tell = teller(make_reporter("bar"), "ablation")
    settings = TrainingSettings(detector_steps=options.detector_steps, student_steps=options.student_steps)
    training, validation = (prepare_cases(collect(DataFolders((folder,))), options.trained / "cases", None,
                                          lambda name, done, count: None)
                            for folder in (options.training, options.validation))
    data = Data(training, validation, options.work, lambda name: Place(
        options.work / name.replace(" ", "-").replace(",", ""), options.device, tell))
    second_steps = student_rows(data, settings, options.trained)
    second_steps.append(distillation_worth(second_steps))
    seconds = table(f"second step, {options.student_steps} steps, no clean-up", STUDENT_COSTS, second_steps)
    firsts = table(f"detector, {options.detector_steps} steps", DETECTOR_COSTS, detector_rows(data, settings))
    text = (f"{len(training)} training and {len(validation)} validation cases with "
            f"{sum(case.lesion_count for case in validation)} microbleeds. In brackets 95 % bootstrap intervals over "
            f"the validation cases, the same samples in every row.\n\n{firsts}\n\n{seconds}\n")
    write_text(options.work / "ablation.md", text)
    print(text)


if __name__ == "__main__":
    main()
