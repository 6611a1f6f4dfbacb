"""The training loop of the two coarse networks: one image a step, averaged weights, resumable.

Every step is seeded by its number, so a cut training ends with the same weights.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..coarse_network import CoarseNetwork
from ..read_write import atomic_path

_LEARNING_RATE = 2e-3
_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class CoarsePlan:
    """How long is trained and what is kept.

    Attributes
    ----------
    seed : of the weights and of whatever a step draws from torch
    steps : images in all
    averaging : share of the averaged weights that a step keeps, in the long run
    save_every : steps between checkpoints; a multiple of the steps that share what was drawn
    validate_every : steps between validations
    """

    seed: int
    steps: int
    averaging: float
    save_every: int
    validate_every: int


def train_coarse(new: Callable[[], CoarseNetwork], loss_of: Callable[[CoarseNetwork, int], torch.Tensor | None],
                 validate: Callable[[CoarseNetwork], dict[str, float]], plan: CoarsePlan,
                 work: Path) -> CoarseNetwork:
    """Return a network with averaged weights, in evaluation mode.

    Parameters
    ----------
    new : makes a network with random weights
    loss_of : loss of the network on the image of a step, None where the image teaches nothing
    validate : figures of the averaged network, printed now and then
    plan : CoarsePlan
    work : folder of ``checkpoint.pt``, from which an interrupted training goes on
    """
    torch.manual_seed(plan.seed)
    network, average = new(), new()
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-2)
    checkpoint, first, seconds = work / "checkpoint.pt", 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for part, name in ((network, "network"), (average, "average"), (optimiser, "optimiser")):
            part.load_state_dict(saved[name])
        first, seconds = saved["step"], saved["seconds"]
    started, losses = time.time() - seconds, []
    for step in range(first, plan.steps):
        optimiser.param_groups[0]["lr"] = _LEARNING_RATE * _share_of_rate(step / plan.steps)
        torch.manual_seed(plan.seed * 1_000_003 + step)
        losses.append(_step(network, optimiser, loss_of(network, step)))
        decay = min(plan.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        done = step + 1
        if done % plan.save_every == 0 or done == plan.steps:
            elapsed = time.time() - started
            print(f"step {done}/{plan.steps} loss {np.mean(losses):.4f} {elapsed / 60:.1f} min", flush=True)
            losses = []
            with atomic_path(checkpoint) as path:
                torch.save({"network": network.state_dict(), "average": average.state_dict(), "step": done,
                            "optimiser": optimiser.state_dict(), "seconds": elapsed}, path)
        if done % plan.validate_every == 0:
            print("validation", validate(average), flush=True)
    return average.eval()


def _step(network: CoarseNetwork, optimiser: torch.optim.Optimizer, loss: torch.Tensor | None) -> float:
    if loss is None:
        return 0.0
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), _GRADIENT_NORM)
    optimiser.step()
    return loss.item()


def _share_of_rate(progress: float) -> float:
    """Return a short warm-up, then a half cosine."""
    return float(min(1.0, progress / 0.02) * (0.5 + 0.5 * np.cos(np.pi * progress)))
