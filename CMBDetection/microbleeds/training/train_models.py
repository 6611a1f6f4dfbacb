"""Train detector, teacher and student, choose the operating points, and write the model folder.

    python -m microbleeds.training.cases --labels DIR --crops DIR --out CASES --count 80 --seed 1
    python -m microbleeds.training.train_models --cases CASES --work WORK --out MODEL --seed 1

Stages, each resumed where it stopped: detector on 48x48x24 patches; its candidates on every case; teacher (detector
plus classifier) and student (extractor plus classifier, distilled) on 24³ patches of lesions and of the detector's
false candidates; thresholds from held-out subjects. Subjects are label maps: whole maps are held out.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..networks import PATCH, Detector, Student, Teacher
from ..settings import CandidateSettings
from ..step1_candidates import Candidate, find_candidates
from .cases import Case, load_case
from .export import export_model
from .fit import fit
from .losses import distillation_loss, voxel_loss
from .operating_points import choose_operating_points
from .sampling import Sites, cut, draw_variation, sites_of, vary

_DETECTOR_PATCH = (48, 48, 24)
_DETECTOR_BATCH = 8
_CLASSIFIER_BATCH = 32
_MINING_THRESHOLD = 0.1
_NEGATIVE_DISTANCE_MM = 4.0
"""Candidates nearer to a true lesion than this are no negatives: the patch would show the lesion in its middle."""


@dataclass(frozen=True)
class Mined:
    """Patch centres for the second step in one case, (n, 3) voxels each."""

    positives: np.ndarray
    negatives: np.ndarray


def mine(case: Case, candidates: tuple[Candidate, ...]) -> Mined:
    """Return the lesions of a case, and the candidates that are certainly none."""
    lesion_voxels = np.argwhere(case.truth > 0) * case.spacing
    numbers = np.unique(case.truth[case.truth > 0])
    positives = [np.argwhere(case.truth == number).mean(0) for number in numbers]
    negatives = []
    for candidate in candidates:
        centre = np.array(candidate.position_ras)
        distance = np.linalg.norm(lesion_voxels - centre, axis=1).min() if len(lesion_voxels) else np.inf
        if distance > _NEGATIVE_DISTANCE_MM:
            negatives.append(centre / case.spacing)
    return Mined(np.array(positives).reshape(-1, 3), np.array(negatives).reshape(-1, 3))


def detector_batch(cases: list[Case], sites: list[Sites]):
    """Return a function that draws a batch: half lesions, a quarter look-alikes, a quarter anywhere, by subject."""
    def draw(rng: np.random.Generator):
        patches = []
        for index in range(_DETECTOR_BATCH):
            which = int(rng.integers(len(cases)))
            kinds = (sites[which].lesions, sites[which].lesions, sites[which].lookalikes, sites[which].brain)
            places = kinds[index % 4] if len(kinds[index % 4]) else sites[which].brain
            jitter = rng.integers((-16, -16, -5), (17, 17, 6))
            images, truth = cut(cases[which], places[rng.integers(len(places))] + jitter, _DETECTOR_PATCH)
            patches.append(vary(images, truth, draw_variation(rng), rng))
        return _tensors(patches)
    return draw


def classifier_batch(cases: list[Case], mined: list[Mined]):
    """Return a function that draws a batch of 24³ patches, half of them lesions: images, masks and labels."""
    with_positives = [index for index, places in enumerate(mined) if len(places.positives)]
    with_negatives = [index for index, places in enumerate(mined) if len(places.negatives)]

    def draw(rng: np.random.Generator):
        patches, labels = [], []
        for index in range(_CLASSIFIER_BATCH):
            label = index % 2
            which = int(rng.choice(with_positives if label else with_negatives))
            places = mined[which].positives if label else mined[which].negatives
            jitter = rng.integers(-1, 2, 3) * (1, 1, 0)
            images, truth = cut(cases[which], places[rng.integers(len(places))] + jitter, (PATCH,) * 3)
            patches.append(vary(images, truth, draw_variation(rng), rng))
            labels.append(label)
        return (*_tensors(patches), torch.tensor(labels))
    return draw


def _tensors(patches):
    images = torch.from_numpy(np.stack([images for images, _ in patches]))
    truth = torch.from_numpy(np.stack([truth for _, truth in patches]))
    return images.contiguous(memory_format=torch.channels_last_3d), truth


def teacher_loss(teacher: Teacher, images: torch.Tensor, truth: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the sum of the two tasks' losses, equally weighted (paper)."""
    voxels, patches = teacher(images)
    return voxel_loss(voxels, truth) + functional.cross_entropy(patches.float(), label)


def student_loss_from(teacher: Teacher):
    """Return the distillation loss with a frozen teacher in evaluation mode."""
    teacher.eval()

    def loss(student: nn.Module, images: torch.Tensor, _truth: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            soft = teacher(images)[1]
        return distillation_loss(student(images), soft, label)
    return loss


def main() -> None:
    """Run every stage that is not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints and curves")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--held-out", nargs="+", default=["training_seg_18.nii.gz", "training_seg_19.nii.gz",
                                                          "training_seg_20.nii.gz"], help="subjects for thresholds")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--detector-steps", type=int, default=2000)
    parser.add_argument("--classifier-steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    cases = [load_case(path) for path in sorted(options.cases.glob("*.npz"))]
    training = [case for case in cases if case.subject not in options.held_out]
    held_out = [case for case in cases if case.subject in options.held_out]
    print(f"{len(training)} training cases, {len(held_out)} held out", flush=True)

    networks = train_networks(training, options)
    points, figures = choose_operating_points(held_out, networks, options.device)
    export_model(options.out, networks, options.width, points, figures, vars(options))


def train_networks(training: list[Case], options: argparse.Namespace) -> dict[str, nn.Module]:
    """Return detector, teacher and student trained on the cases."""
    loop = {"seed": options.seed, "folder": options.work, "device": options.device}
    sites = [sites_of(case, np.random.default_rng([options.seed, index])) for index, case in enumerate(training)]
    detector = fit(Detector(options.width), detector_batch(training, sites),
                   lambda network, images, truth: voxel_loss(network(images), truth),
                   steps=options.detector_steps, stage="detector", **loop)
    settings = CandidateSettings(threshold=_MINING_THRESHOLD, max_candidates=300)
    mined = [mine(case, find_candidates(case.prepared(), detector, settings, options.device, lambda _: None))
             for case in training]
    print(f"{sum(len(m.positives) for m in mined)} lesions, {sum(len(m.negatives) for m in mined)} false candidates",
          flush=True)
    batch = classifier_batch(training, mined)
    teacher = Teacher(options.width)
    teacher.load_state_dict(detector.state_dict(), strict=False)
    teacher = fit(teacher, batch, teacher_loss, steps=options.classifier_steps, stage="teacher", **loop)
    student = Student(options.width)
    student.extractor.load_state_dict(detector.extractor.state_dict())
    student = fit(student, batch, student_loss_from(teacher), steps=options.classifier_steps, stage="student", **loop)
    return {"detector": detector, "teacher": teacher, "student": student}


if __name__ == "__main__":
    main()
