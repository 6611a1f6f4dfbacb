"""Two small classifiers of real against simulated patches, and the AUC each reaches on scans it has not seen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from real_and_simulated_patches import Patches
from scipy import stats
from torch import nn

PENALTY = 0.02
"""Of the logistic regression, for every patch of either class."""
LIMIT_DEVIATIONS = 3.0
EPOCHS, BATCH, RATE = 12, 64, 2e-3
LEAST_SCANS = 3
"""With fewer real scans than this the volume is cut into halves instead."""
MIDDLE_MM = 2.0
"""Patches nearer to the cut between the halves are left out."""
Scores = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Scores of test inputs, given training inputs, whether they are real, and the test inputs."""


Folds = Callable[[Patches], Iterator[tuple[str, np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Outcome:
    """AUC of a classifier.

    Attributes
    ----------
    auc : float
        Mean over folds, each counted by its real test patches.
    folds : dict of str to float
        By the real scan, or half, that was left out.
    """

    auc: float
    folds: dict[str, float]


def auc(scores: np.ndarray, real: np.ndarray) -> float:
    """Return the share of (real, simulated) pairs in which the real one scores higher; ties count half."""
    ranks = stats.rankdata(scores)
    positive = int(real.sum())
    return float((ranks[real].sum() - positive * (positive + 1) / 2) / (positive * (real.size - positive)))


def folds(patches: Patches) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name of what is left out, and which patches are for training and which for test, (n,) bool each.

    One real scan is left out, and no simulated scan is on both sides either: they are dealt out to the folds. With
    fewer real scans than `LEAST_SCANS` it is `halves`.
    """
    names = np.unique(patches.scan[patches.real])
    if len(names) < LEAST_SCANS:
        yield from halves(patches)
        return
    made = {name: place for place, name in enumerate(np.unique(patches.scan[~patches.real]))}
    dealt = np.array([made.get(name, -1) for name in patches.scan])
    hands = min(len(names), len(made))
    for number, name in enumerate(names):
        test = np.where(patches.real, patches.scan == name, dealt % hands == number % hands)
        if _both_sides(patches.real, ~test, test):
            yield str(name), ~test, test


def halves(patches: Patches) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield folds like `folds`, but of the halves of all scans: the other half of every scan is for training."""
    near = np.abs(patches.above_mm) < MIDDLE_MM
    for name, side in (("lower half", -1), ("upper half", 1)):
        own = np.sign(patches.above_mm) == side
        train, test = ~own & ~near, own & ~near
        if _both_sides(patches.real, train, test):
            yield name, train, test


def cross_validated(patches: Patches, inputs: np.ndarray, scores: Scores, cuts: Folds = folds) -> Outcome:
    """Return the AUC on patches left out; `inputs` are features (n, m) or patches (n, p, p)."""
    found, weights = {}, []
    for name, train, test in cuts(patches):
        found[name] = auc(scores(inputs[train], patches.real[train], inputs[test]), patches.real[test])
        weights.append(int(patches.real[test].sum()))
    return Outcome(float(np.average(list(found.values()), weights=weights)) if found else float("nan"), found)


def logistic_scores(train: np.ndarray, real: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return scores of ridge-penalised logistic regression."""
    inputs, unseen = (_standardised(part, train) for part in (train, test))
    return unseen @ logistic_coefficients(inputs, real)[1:]


def logistic_coefficients(inputs: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Fit a ridge-penalised logistic regression by Newton's method, both classes weighing the same.

    Parameters
    ----------
    inputs : (n, m) array
        Standardised.
    real : (n,) bool

    Returns
    -------
    (1 + m,) array
        Intercept first; positive ones speak for real.
    """
    design = np.column_stack([np.ones(len(inputs)), inputs])
    weight = np.where(real, 0.5 / real.mean(), 0.5 / (1 - real.mean()))
    penalty = np.diag([1e-6] + [PENALTY * len(inputs)] * inputs.shape[1])
    coefficients = np.zeros(design.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(design @ coefficients, -30, 30)))
        slope = design.T @ (weight * (real - chance)) - penalty @ coefficients
        curvature = (design * (weight * chance * (1 - chance))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, slope)
        # a cap keeps the first steps of separable classes from overshooting
        coefficients += step * min(1.0, 3 / (np.abs(step).max() + 1e-9))
        if np.abs(step).max() < 1e-6:
            break
    return coefficients


def betrayals(table: np.ndarray, names: Sequence[str],
              real: np.ndarray) -> list[tuple[str, float, float, float, float]]:
    """Return name, AUC by itself, coefficient, median real and median simulated of each feature, worst first.

    Parameters
    ----------
    table : (n, m) features
    names : m names
    real : (n,) bool
    """
    coefficients = logistic_coefficients(_standardised(table, table), real)[1:]
    rows = [(name, auc(column, real), float(coefficient), float(np.median(column[real])),
             float(np.median(column[~real])))
            for name, column, coefficient in zip(names, table.T, coefficients, strict=True)]
    return sorted(rows, key=lambda row: -abs(row[1] - 0.5))


def _both_sides(real: np.ndarray, *parts: np.ndarray) -> bool:
    """Whether every part has real and simulated patches."""
    return all(real[part].any() and (~real[part]).any() for part in parts)


def _standardised(table: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return features less the mean of those of `like`, by their deviation, cut at `LIMIT_DEVIATIONS`."""
    spread = like.std(axis=0) + 1e-9
    return np.clip((table - like.mean(axis=0)) / spread, -LIMIT_DEVIATIONS, LIMIT_DEVIATIONS)


class SmallNetwork(nn.Module):
    """Three convolutions and the mean over the patch; 19 thousand weights."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((1, 16), (16, 32), (32, 48)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers[:-1])
        self.last = nn.Linear(48, 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return the logit of real, (n,), of patches (n, 1, p, p)."""
        return self.last(self.layers(patches).mean(dim=(2, 3)))[:, 0]


def network_scores(train: np.ndarray, real: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return scores of a `SmallNetwork` trained on patches (n, p, p), flipped and turned at random."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = SmallNetwork()
    middle, spread = float(train.mean()), float(train.std()) + 1e-9
    batches = EPOCHS * max(4, len(train) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=batches)
    sides = np.flatnonzero(real), np.flatnonzero(~real)
    for _ in range(batches):
        chosen = np.concatenate([rng.choice(side, BATCH // 2) for side in sides])
        inputs = np.rot90(train[chosen], int(rng.integers(4)), axes=(1, 2))
        inputs = (inputs[:, :, ::-1] if rng.integers(2) else inputs) - middle
        logits = network(torch.from_numpy(np.ascontiguousarray(inputs / spread, np.float32))[:, None])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(real[chosen].astype(np.float32)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        return network(torch.from_numpy(((test - middle) / spread).astype(np.float32))[:, None]).numpy()


def betrayal_table(rows: Sequence[tuple[str, float, float, float, float]], count: int) -> str:
    """Return the features that betray the simulation most, as markdown."""
    lines = ["| feature | AUC alone | coefficient | real, median | simulated, median |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {alone:.2f} | {coefficient:+.2f} | {real:.3g} | {simulated:.3g} |"
              for name, alone, coefficient, real, simulated in rows[:count]]
    return "\n".join(lines)
