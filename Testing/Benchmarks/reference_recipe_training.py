"""The reference's teacher, its losses as its code computes them, their repairs, and the loop that trains a stage."""

import hashlib
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from microbleeds.errors import InputError
from microbleeds.read_write import atomic_path
from microbleeds.reference_networks import ReferenceDetector, ReferenceStudent
from microbleeds.training.losses import TEMPERATURE, distillation_loss, voxel_loss
from microbleeds.training.precision import autocast
from torch import nn
from torch.nn import functional

LEARNING_RATE, EPSILON, FALL = 1e-3, 1e-4, 0.1
SAVE_EVERY = 20
LESION_WEIGHT, POSITIVE_WEIGHT = 10.0, 100.0
SOFT_SHARE = 0.4
"""Of the reference's code, which has the paper's two shares the other way round."""
REPAIRED_HARD_SHARE = 0.4
_EXTRACTOR = ("inpconv", "convfirst", "down1", "down2")
_HEAD = ("classconvfirst", "classdown1", "classdown2", "fc1", "fc2", "fc3")

Loss = Callable[..., torch.Tensor]


class Teacher(nn.Module):
    """Feature extractor and segmentor, which are a detector, and the classification head, which the student has too."""

    def __init__(self, detector: ReferenceDetector, repaired: bool):
        super().__init__()
        self.segmentor = detector
        student = ReferenceStudent()
        self.head = nn.ModuleDict({name: getattr(student, name) for name in _HEAD})
        self._repaired = repaired

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of voxels (n, 2, i, j, k) and of patches (n, 2)."""
        first, second, third = self._features(image)
        parts = self.segmentor
        return parts.outconv(parts.up1(parts.up2(third, second), first)), self._classify(third)

    def classes(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of patches alone."""
        return self._classify(self._features(image)[-1])

    def student(self) -> ReferenceStudent:
        """Return a student with the weights of extractor and head."""
        student = ReferenceStudent()
        for names, source in ((_EXTRACTOR, self.segmentor._modules), (_HEAD, self.head)):
            for name in names:
                getattr(student, name).load_state_dict(source[name].state_dict())
        return student

    def _features(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = self.segmentor
        first = parts.convfirst(parts.inpconv(image))
        second = parts.down1(first)
        return first, second, parts.down2(second)

    def _classify(self, features: torch.Tensor) -> torch.Tensor:
        head = self.head
        features = head["classdown2"](head["classdown1"](head["classconvfirst"](features)))
        logits = head["fc3"](head["fc2"](head["fc1"](features.flatten(1))))
        # the reference takes the sigmoid and then takes that for a logit
        return logits if self._repaired else logits.sigmoid()


def detector_loss(repaired: bool) -> Loss:
    """Return the loss of the detector for (images, lesions, classes)."""
    def loss(network: nn.Module, images: torch.Tensor, lesions: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return _of_voxels(network(images), lesions, repaired)
    return loss


def teacher_loss(repaired: bool) -> Loss:
    """Return the sum of the teacher's two tasks."""
    def loss(network: Teacher, images: torch.Tensor, lesions: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        voxels, patches = network(images)
        return _of_voxels(voxels, lesions, repaired) + functional.cross_entropy(patches.float(), classes)
    return loss


def student_loss(teacher: Teacher, repaired: bool) -> Loss:
    """Return the loss of the student, distilled from a frozen teacher.

    The reference leaves the teacher's head in training mode: its normalisation is that of the batch.
    """
    teacher.requires_grad_(False).eval()
    teacher.head.train(not repaired)

    def loss(network: nn.Module, images: torch.Tensor, lesions: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            soft = teacher.classes(images)
        if repaired:
            return distillation_loss(network(images), soft, classes, REPAIRED_HARD_SHARE)
        return their_student_loss(network(images).float(), soft.float(), classes)
    return loss


def their_voxel_loss(logits: torch.Tensor, lesions: torch.Tensor) -> torch.Tensor:
    """Return Dice plus cross-entropy times a scalar, of logits (n, 2, i, j, k) and lesions (n, i, j, k).

    The reference smooths ten times the lesions into a weight map, but takes the mean of the cross-entropy before it
    multiplies, so only the mean of the map counts. Smoothing does not change a mean, so it is left out.
    """
    weight = LESION_WEIGHT * lesions.float().mean()
    return _dice(logits, lesions) + functional.cross_entropy(logits, lesions.long()) * weight


def their_student_loss(logits: torch.Tensor, soft: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return the reference's sum for logits (n, 2), the teacher's (n, 2) and classes (n,).

    Dice of the classes, cross-entropy times the mean of a hundredfold class, and the distillation: 0.4 · T² · KL and
    0.6 of the cross-entropy once more.
    """
    entropy = functional.cross_entropy(logits, classes)
    apart = functional.kl_div((logits / TEMPERATURE).log_softmax(1), (soft / TEMPERATURE).softmax(1),
                              reduction="batchmean")
    return (_dice(logits, classes) + entropy * (POSITIVE_WEIGHT * classes.float().mean())
            + SOFT_SHARE * TEMPERATURE**2 * apart + (1 - SOFT_SHARE) * entropy)


def _of_voxels(logits: torch.Tensor, lesions: torch.Tensor, repaired: bool) -> torch.Tensor:
    if repaired:
        every = torch.ones(len(lesions), dtype=torch.bool, device=lesions.device)
        return voxel_loss(logits, lesions, lesions.float(), every)
    return their_voxel_loss(logits.float(), lesions)


def _dice(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return one minus the soft Dice of class 1 over the whole batch."""
    probability, truth = logits.softmax(1)[:, 1], truth.float()
    return 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)


@dataclass(frozen=True)
class Stage:
    """One stage: after `falls_at` of its `steps` the learning rate is a tenth; `of` tells what it is trained on."""

    name: str
    steps: int
    falls_at: int
    seed: int
    of: str
    folder: Path
    device: str


def fit(network: nn.Module, stepped: nn.Module, batch: Callable[[int], tuple[torch.Tensor, ...]], loss: Loss,
        stage: Stage) -> float:
    """Train `stepped`, a part of `network` or all of it, and leave the network in evaluation mode.

    The batch of a step depends on its number alone, so a resumed run sees what an uninterrupted one would.

    Returns
    -------
    float
        Seconds that the stage has taken, interrupted or not.

    Raises
    ------
    InputError
        If the checkpoint is of another training.
    """
    begun = state_sha256(network, stage.of)
    network.to(stage.device, memory_format=torch.channels_last_3d).train()
    optimiser = torch.optim.Adam(stepped.parameters(), LEARNING_RATE, eps=EPSILON)
    first, before_s = _resume(network, optimiser, begun, stage)
    started, recent = time.monotonic(), []
    for step in range(first, stage.steps):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * (FALL if step >= stage.falls_at else 1)
        torch.manual_seed(stage.seed * 1_000_003 + step)
        tensors = [tensor.to(stage.device) for tensor in batch(step)]
        with autocast(stage.device):
            value = loss(network, *tensors)
        network.zero_grad()
        value.backward()
        optimiser.step()
        recent.append(float(value.detach()))
        done = step + 1
        if done % SAVE_EVERY == 0 or done == stage.steps:
            spent_s = time.monotonic() - started
            with atomic_path(stage.folder / f"{stage.name}.pt") as path:
                torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": done,
                            "begun": begun, "seconds": before_s + spent_s}, path)
            left_min = spent_s / (done - first) * (stage.steps - done) / 60
            print(f"{stage.name}: step {done} of {stage.steps}, loss {np.mean(recent):.4f}, about {left_min:.0f} min "
                  "left", flush=True)
            recent = []
    network.eval()
    return before_s + time.monotonic() - started


def state_sha256(network: nn.Module, of: str = "") -> str:
    """Return a digest of the weights of a network, and of a text."""
    state = b"".join(value.detach().cpu().numpy().tobytes() for value in network.state_dict().values())
    return hashlib.sha256(state + of.encode()).hexdigest()


def _resume(network: nn.Module, optimiser: torch.optim.Optimizer, begun: str, stage: Stage) -> tuple[int, float]:
    """Load the checkpoint of a stage, if there is one; return its step and its seconds."""
    path = stage.folder / f"{stage.name}.pt"
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location=stage.device, weights_only=True)
        if state["begun"] == begun and state["step"] <= stage.steps:
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            return int(state["step"]), float(state["seconds"])
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is damaged; remove it and start again.") from error
    raise InputError(f"{path} is of a training with other data, options or weights before it, or of more steps; remove "
                     "it, or choose another work folder.")
