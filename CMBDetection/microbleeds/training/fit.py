"""The training loop: any stage, resumable at any moment, the same whatever the interruptions."""

import csv
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from ..read_write import atomic_path
from .precision import autocast

Batch = Callable[[np.random.Generator], tuple[torch.Tensor, ...]]
Loss = Callable[..., torch.Tensor]
Tell = Callable[[str, float, str], None]
"""Called with the stage, its finished fraction and a text for the user."""

_SAVE_EVERY = 100
_GRADIENT_NORM = 5.0
_RISE = 0.1
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True)
class Stage:
    """One stage of a training: `steps` batches at up to `learning_rate`; its files in `folder` are called `name`."""

    name: str
    steps: int
    seed: int
    learning_rate: float
    folder: Path
    device: str
    tell: Tell


def fit(network: nn.Module, batch: Batch, loss: Loss, stage: Stage) -> nn.Module:
    """Train a network for the steps of a stage and return it in evaluation mode.

    Every step draws from a generator of its own, ``[seed, step]``, so a resumed run sees the patches an
    uninterrupted one would. Checkpoint and loss curve are ``<name>.pt`` and ``<name>.csv`` (step, loss, learning rate).

    Raises
    ------
    InputError
        If there is a checkpoint that is not one of this stage, or the training diverges.
    """
    network.to(stage.device, memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), stage.learning_rate, weight_decay=1e-3)
    # a rise of exactly one step would be divided by 0
    rise = min(max(_RISE, 1.5 / stage.steps), 0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, stage.learning_rate, total_steps=stage.steps,
                                                   pct_start=rise)
    first = _resume(network, optimiser, schedule, stage)
    network.train()
    started, recent = time.monotonic(), []
    for step, drawn in _batches(batch, first, stage):
        torch.manual_seed(stage.seed * 1_000_003 + step)
        tensors = [tensor.to(stage.device) for tensor in drawn]
        with autocast(stage.device):
            value = loss(network, *tensors)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), _GRADIENT_NORM)
        optimiser.step()
        schedule.step()
        recent.append(float(value.detach()))
        done = step + 1
        if done % _SAVE_EVERY == 0 or done == stage.steps:
            _refuse_divergence(network, recent, stage)
            _save(network, optimiser, schedule, done, stage)
            _note(stage, done, float(np.mean(recent)), schedule.get_last_lr()[0])
            left_s = (time.monotonic() - started) / (done - first) * (stage.steps - done)
            stage.tell(stage.name, done / stage.steps, f"step {done} of {stage.steps}, loss {np.mean(recent):.4f}, "
                                                       f"about {left_s / 60:.0f} min left")
            recent = []
    return network.eval()


def _batches(batch: Batch, first: int, stage: Stage) -> Iterator[tuple[int, tuple[torch.Tensor, ...]]]:
    """Yield the batch of every step; the next one is drawn beside, because drawing keeps one core busy at most."""
    with ThreadPoolExecutor(1) as beside:
        def draw(step: int) -> Future[tuple[torch.Tensor, ...]]:
            return beside.submit(batch, np.random.default_rng([stage.seed, step]))

        coming = draw(first) if first < stage.steps else None
        for step in range(first, stage.steps):
            drawn = coming.result()
            coming = draw(step + 1) if step + 1 < stage.steps else None
            yield step, drawn


def _refuse_divergence(network: nn.Module, losses: list[float], stage: Stage) -> None:
    """Raise an InputError if the last steps gave no numbers; the last checkpoint that has some stays."""
    if not np.isfinite(losses).all() or not all(bool(value.isfinite().all()) for value in network.parameters()):
        raise InputError(f"The training of {stage.name} diverged: its loss or its weights are no longer numbers; give "
                         f"another work folder and a --learning-rate lower than {stage.learning_rate:g}.")


def _resume(network: nn.Module, optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler,
            stage: Stage) -> int:
    """Load the checkpoint of a stage, if there is one, and return the number of finished steps."""
    path = stage.folder / f"{stage.name}.pt"
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=stage.device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        step = int(state["step"])
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is not a checkpoint of this stage; remove it, or choose another work folder.") \
            from error
    if schedule.total_steps != stage.steps:
        raise InputError(f"{path} was made for {schedule.total_steps} steps, not {stage.steps}; remove it, or choose "
                         "another work folder.")
    return step


def _save(network: nn.Module, optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler,
          step: int, stage: Stage) -> None:
    with atomic_path(stage.folder / f"{stage.name}.pt") as path:
        torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(), "step": step}, path)


def _note(stage: Stage, step: int, loss: float, learning_rate: float) -> None:
    """Add a line to the loss curve; lines of steps that are done again after an interruption are replaced."""
    path = stage.folder / f"{stage.name}.csv"
    lines = [["step", "loss", "learning_rate"]]
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            lines += [line for line in list(csv.reader(file))[1:] if int(line[0]) < step]
    with atomic_path(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*lines, [step, f"{loss:.5f}", f"{learning_rate:.3g}"]])
