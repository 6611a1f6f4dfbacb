"""The recipe: detector, its false candidates, detector again, teacher, and the student distilled from the teacher.

Every stage keeps its checkpoint in the work folder and goes on where it stopped. The networks of the second step start
from the detector; what they learn from are lesions and the detector's own false candidates, mined twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from ..networks import Detector, Student, Teacher
from .batches import classifier_batch, detector_batch
from .cases import Case
from .fit import Loss, Stage, Tell, fit
from .labelled_scans import MIMIC
from .losses import distillation_loss, lesion_loss, voxel_loss
from .mining import Mined, mine_cases
from .sampling import Sites, sites_of
from .training_settings import TrainingSettings

DETECTOR, REFINED, TEACHER, STUDENT = "1-detector", "2-detector-refined", "3-teacher", "4-student"
_REFINING_RATE = 0.4
"""Share of the learning rate with which a trained network goes on."""
_STRONGEST = 20
_PRIOR_LOGIT = 4.0


@dataclass(frozen=True, eq=False)
class Networks:
    """The trained networks, in evaluation mode."""

    detector: Detector
    teacher: Teacher
    student: Student


@dataclass(frozen=True)
class Place:
    """Where a training runs: its work folder, its torch device, and who is told."""

    folder: Path
    device: str
    tell: Tell


def train_networks(cases: Sequence[Case], settings: TrainingSettings, place: Place) -> Networks:
    """Train all stages on the cases.

    Raises
    ------
    InputError
        If no case has a microbleed.
    """
    if not any((case.lesions > 0).any() for case in cases):
        raise InputError("No case for training shows a microbleed inside the brain; add cases that do.")
    place.folder.mkdir(parents=True, exist_ok=True)
    sites = [sites_of(case, np.random.default_rng([settings.seed, index])) for index, case in enumerate(cases)]
    detector = train_detector(cases, sites, settings, place)
    mined = mine_cases(cases, detector, place.folder / "candidates-1", place.device, place.tell)
    detector = refine_detector(detector, cases, sites, mined, settings, place)
    mined = mine_cases(cases, detector, place.folder / "candidates-2", place.device, place.tell)
    mined = [with_lookalikes(found, own) for found, own in zip(mined, sites, strict=True)]
    teacher = train_teacher(detector, cases, mined, settings, place)
    student = train_student(detector, teacher, cases, mined, settings, place)
    return Networks(detector, teacher, student)


def with_lookalikes(found: Mined, sites: Sites) -> Mined:
    """Return what was mined in a case; where the detector had no false candidate, the strongest look-alikes are."""
    return found if len(found.negatives) else Mined(found.positives, sites.lookalikes[:_STRONGEST])


def with_false(sites: Sequence[Sites], mined: Sequence[Mined]) -> list[Sites]:
    """Return the sites of cases with the false candidates that a detector had in them."""
    return [replace(own, false=found.negatives) for own, found in zip(sites, mined, strict=True)]


def new_detector(settings: TrainingSettings) -> Detector:
    """Return a detector with random weights of the settings' seed."""
    torch.manual_seed(settings.seed)
    detector = Detector(settings.width, classes=MIMIC + 1 if settings.mimic_classes else 2)
    with torch.no_grad():
        # nearly every voxel is tissue; without this the first steps only learn that
        detector.segmentor.out.bias.zero_()[0] = _PRIOR_LOGIT
    return detector


def train_detector(cases: Sequence[Case], sites: Sequence[Sites], settings: TrainingSettings,
                   place: Place) -> Detector:
    """Train the first round of the detector."""
    stage = _stage(DETECTOR, settings.detector_steps, settings.learning_rate, settings, place)
    return fit(new_detector(settings), detector_batch(cases, sites, settings), detector_loss_of(settings), stage)


def refine_detector(detector: Detector, cases: Sequence[Case], sites: Sequence[Sites], mined: Sequence[Mined],
                    settings: TrainingSettings, place: Place) -> Detector:
    """Train a detector further, with its own false candidates among the patches."""
    sites = with_false(sites, mined)
    stage = _stage(REFINED, settings.refine_steps, _REFINING_RATE * settings.learning_rate, settings, place)
    return fit(detector, detector_batch(cases, sites, settings), detector_loss_of(settings), stage)


def train_teacher(detector: Detector, cases: Sequence[Case], mined: Sequence[Mined], settings: TrainingSettings,
                  place: Place) -> Teacher:
    """Train the teacher, which starts from the detector."""
    torch.manual_seed(settings.seed)
    teacher = Teacher(settings.width, classes=detector.segmentor.out.out_channels)
    teacher.extractor.load_state_dict(detector.extractor.state_dict())
    teacher.segmentor.load_state_dict(detector.segmentor.state_dict())
    stage = _stage(TEACHER, settings.teacher_steps, settings.learning_rate, settings, place)
    return fit(teacher, classifier_batch(cases, mined, settings), teacher_loss, stage)


def train_student(detector: Detector, teacher: Teacher, cases: Sequence[Case], mined: Sequence[Mined],
                  settings: TrainingSettings, place: Place) -> Student:
    """Train the student, which starts from the detector's features; by distillation if the settings say so."""
    torch.manual_seed(settings.seed)
    student = Student(settings.width)
    student.extractor.load_state_dict(detector.extractor.state_dict())
    stage = _stage(STUDENT, settings.student_steps, settings.learning_rate, settings, place)
    loss = distilling_loss(teacher, settings.hard_share) if settings.distil else label_loss
    return fit(student, classifier_batch(cases, mined, settings), loss, stage)


def detector_loss(detector: nn.Module, images: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor,
                  known: torch.Tensor, numbers: torch.Tensor, lesion_share: float = 0.0) -> torch.Tensor:
    """Return Dice, weighted cross-entropy and a share of the loss by lesion of a batch of `batches.detector_batch`."""
    logits = detector(images)
    loss = voxel_loss(logits, classes, weights, known)
    return loss + lesion_share * lesion_loss(logits, classes, numbers) if lesion_share else loss


def detector_loss_of(settings: TrainingSettings) -> Loss:
    """Return `detector_loss` with the share of the settings."""
    return partial(detector_loss, lesion_share=settings.lesion_share)


def teacher_loss(teacher: Teacher, images: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor,
                 known: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the sum of the two tasks' losses, equally weighted (paper), of a batch of `batches.classifier_batch`."""
    voxels, patches = teacher(images)
    return voxel_loss(voxels, classes, weights, known) + functional.cross_entropy(patches.float(), label)


def label_loss(student: nn.Module, images: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor,
               known: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of the student alone."""
    return functional.cross_entropy(student(images).float(), label)


def distilling_loss(teacher: Teacher, hard_share: float) -> Loss:
    """Return the distillation loss with a frozen teacher in evaluation mode."""
    teacher.eval()

    def loss(student: nn.Module, images: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor,
             known: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            soft = teacher(images)[1]
        return distillation_loss(student(images), soft, label, hard_share)
    return loss


def _stage(name: str, steps: int, learning_rate: float, settings: TrainingSettings, place: Place) -> Stage:
    return Stage(name, steps, settings.seed, learning_rate, place.folder, place.device, place.tell)
