"""The training loop: any stage, resumable at any moment, the same whatever the interruptions."""

import csv
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

Batch = Callable[[np.random.Generator], tuple[torch.Tensor, ...]]
Loss = Callable[..., torch.Tensor]

_SAVE_EVERY = 100


def fit(network: nn.Module, batch: Batch, loss: Loss, steps: int, seed: int, folder: Path, stage: str,
        learning_rate: float = 2e-3, device: str = "cpu") -> nn.Module:
    """Train `network` for `steps` steps and return it in evaluation mode.

    Every step draws from a generator of its own, ``[seed, step]``, so a resumed run sees the patches an
    uninterrupted one would. Checkpoint and loss curve are ``<stage>.pt`` and ``<stage>.csv`` in `folder`.
    """
    checkpoint = folder / f"{stage}.pt"
    network.to(device, memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=0.1)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    network.train()
    started, recent = time.monotonic(), []
    for step in range(first, steps):
        torch.manual_seed(seed * 1_000_003 + step)
        tensors = [tensor.to(device) for tensor in batch(np.random.default_rng([seed, step]))]
        with torch.autocast(device, dtype=torch.bfloat16):
            value = loss(network, *tensors)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        recent.append(float(value.detach()))
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            _save(checkpoint, network, optimiser, schedule, step + 1)
            left = (time.monotonic() - started) / (step + 1 - first) * (steps - step - 1)
            print(f"{stage} {step + 1}/{steps} loss {np.mean(recent):.4f} {left / 60:.1f} min left", flush=True)
            with open(folder / f"{stage}.csv", "a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow([step + 1, f"{np.mean(recent):.5f}"])
            recent = []
    return network.eval()


def _save(checkpoint, network, optimiser, schedule, step):
    beside = checkpoint.with_suffix(".part")
    torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(), "step": step}, beside)
    os.replace(beside, checkpoint)
