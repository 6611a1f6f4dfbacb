"""Pictures of patches, real beside simulated, and shuffled for a blind test, with its key."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from microbleeds.geometry import voxel_to_ras
from microbleeds.snapshots import png
from real_and_simulated_data import Labelled
from real_and_simulated_patches import INSIDE, sample

COLUMNS = 5
"""Of real patches, and as many of simulated ones."""
TILE, GAP, BAR = 96, 4, 16
"""Pixels: a patch, the line between patches, the bar between real and simulated."""
WINDOW = {"gre": (0.0, 1.8), "swi": (0.0, 1.8), "qsm": (-0.15, 0.25)}
"""Shown black and white: shares of the patch's median; on QSM ppm from it."""


def tiles(scans: Sequence[Labelled], count: int, size_mm: float, foci: bool,
          rng: np.random.Generator) -> list[np.ndarray]:
    """Return up to `count` grey patches (`TILE`, `TILE`) around foci or anywhere in the brain, in turn from each scan.

    Parameters
    ----------
    size_mm : what a patch shows
    """
    queues = []
    for scan in scans:
        centres = scan.centres_ras if foci else _anywhere(scan, count, size_mm, rng)
        queues.append([(scan, centre) for centre in rng.permutation(centres)])
    turns = range(max(map(len, queues), default=0))
    pairs = [pair for turn in turns for queue in queues for pair in queue[turn:turn + 1]]
    return [_tile(scan, centre, size_mm) for scan, centre in pairs[:count]]


def side_by_side(rows: Sequence[tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]) -> np.ndarray:
    """Return a picture of blocks of (real, simulated) patches: real left of a white bar, simulated right of it.

    A block takes as many lines of `COLUMNS` patches as its longer side needs; missing patches stay black.
    """
    lines = []
    for real, simulated in rows:
        for start in range(0, max(len(real), len(simulated)), COLUMNS):
            left, right = (_line(side[start:start + COLUMNS]) for side in (real, simulated))
            lines.append(np.concatenate([left, np.full((TILE + GAP, BAR), 255, np.uint8), right], axis=1))
    return np.concatenate(lines, axis=0)


def shuffled(real: Sequence[np.ndarray], simulated: Sequence[np.ndarray],
             rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Return a picture of equally many real and simulated patches in random order, and which is which."""
    count = min(len(real), len(simulated))
    pool = [(tile, "real") for tile in real[:count]] + [(tile, "simulated") for tile in simulated[:count]]
    pool = [pool[place] for place in rng.permutation(len(pool))]
    width = 2 * COLUMNS
    lines = [_line([tile for tile, _ in pool[start:start + width]], width) for start in range(0, len(pool), width)]
    return np.concatenate(lines, axis=0), [kind for _, kind in pool]


def write_montages(stem: str, rows: Sequence[tuple[Sequence[np.ndarray], Sequence[np.ndarray]]], folder: Path,
                   rng: np.random.Generator) -> None:
    """Write ``montage_{stem}.png``, ``montage_blind_{stem}.png`` and its key ``montage_blind_{stem}_key.csv``."""
    (folder / f"montage_{stem}.png").write_bytes(png(side_by_side(rows)))
    picture, kinds = shuffled([tile for real, _ in rows for tile in real], [tile for _, made in rows for tile in made],
                              rng)
    (folder / f"montage_blind_{stem}.png").write_bytes(png(picture))
    with (folder / f"montage_blind_{stem}_key.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("line", "column", "kind"))
        writer.writerows((1 + place // (2 * COLUMNS), 1 + place % (2 * COLUMNS), kind)
                         for place, kind in enumerate(kinds))


def _anywhere(scan: Labelled, count: int, size_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Return `count` places (n, 3) RAS mm whose patch lies in the brain."""
    found: list[np.ndarray] = []
    brain = scan.volume.with_data(scan.brain.astype(np.uint8))
    for place in rng.permutation(np.flatnonzero(scan.brain))[:50 * count]:
        voxel = np.array(np.unravel_index(place, scan.brain.shape))
        centre = voxel_to_ras(scan.volume, voxel)
        if (sample(brain, centre, size_mm / 16, size_mm, order=0) == 1).mean() >= INSIDE["tissue"]:
            found.append(centre)
        if len(found) == count:
            break
    return np.array(found).reshape(-1, 3)


def _tile(scan: Labelled, centre_ras: np.ndarray, size_mm: float) -> np.ndarray:
    """Return a grey patch in the window of the modality; black outside the brain."""
    brain = scan.volume.with_data(scan.brain.astype(np.uint8))
    values = sample(scan.volume, centre_ras, size_mm / TILE, size_mm)
    shown = np.isfinite(values) & (sample(brain, centre_ras, size_mm / TILE, size_mm, order=0) == 1)
    middle = float(np.median(values[shown])) if shown.any() else 1.0
    scaled = values - middle if scan.modality == "qsm" else values / middle
    low, high = WINDOW[scan.modality]
    grey = np.clip(255 * (scaled - low) / (high - low), 0, 255)
    return np.where(shown, grey, 0).astype(np.uint8)


def _line(row: Sequence[np.ndarray], width: int = COLUMNS) -> np.ndarray:
    """Return one line of a picture with room for `width` patches."""
    line = np.zeros((TILE + GAP, width * (TILE + GAP)), np.uint8)
    for place, tile in enumerate(row):
        line[:TILE, place * (TILE + GAP):place * (TILE + GAP) + TILE] = tile
    return line
