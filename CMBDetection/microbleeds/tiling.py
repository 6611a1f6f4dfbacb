"""A network over a whole volume: overlapping tiles, blended so that no seam shows where one ends."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from torch import nn

from .networks import TILE_MULTIPLES, microbleed_logit

TILE_SHAPE = (96, 96, 32)
"""In voxels; multiples of `networks.TILE_MULTIPLES`."""
TILES_PER_BATCH = 2
_LEAST_WEIGHT = 1e-4


def probability_map(network: nn.Module, channels: Sequence[np.ndarray], brain: np.ndarray, overlap: float, device: str,
                    progress: Callable[[float], None]) -> np.ndarray:
    """Run a voxel-wise network over a volume.

    The tiles overlap and are averaged with weights that fall to almost nothing towards their faces (squared Hann
    window), because a network knows least there. All tiles begin at multiples of the network's pooling steps, so every
    voxel is pooled together with the same neighbours whichever tile it is in. Tiles without brain are left out. What
    lies beyond the volume is 0, the value of tissue. Memory is two volumes and one batch of tiles.

    Parameters
    ----------
    network : nn.Module
        (n, channels, i, j, k) float32 to logits (n, classes, i, j, k); sizes multiples of `networks.TILE_MULTIPLES`.
    channels : sequence of (i, j, k) float32 arrays
    brain : (i, j, k) bool array
    overlap : float
        Share of a tile that overlaps the next, in [0, 1).
    device : str
        A torch device.
    progress : callable
        Called with the finished fraction.

    Returns
    -------
    (i, j, k) float32 array
        Probability of a microbleed, in [0, 1]; 0 outside the brain.
    """
    network = network.eval().to(device, memory_format=torch.channels_last_3d)
    shape = tile_shape(brain.shape)
    tiles = [start for start in tile_starts(brain.shape, overlap) if brain[_slices(start, shape, brain.shape)].any()]
    window = _window(shape)
    total, weight = np.zeros(brain.shape, np.float32), np.zeros(brain.shape, np.float32)
    for first in range(0, len(tiles), TILES_PER_BATCH):
        progress(first / len(tiles))
        batch = tiles[first:first + TILES_PER_BATCH]
        patches = np.stack([cut(channels, start, shape) for start in batch])
        for start, probability in zip(batch, probabilities(network, patches, device), strict=True):
            where = _slices(start, shape, brain.shape)
            inside = tuple(slice(0, part.stop - part.start) for part in where)
            total[where] += (window * probability)[inside]
            weight[where] += window[inside]
    return np.where(brain, total / np.maximum(weight, _LEAST_WEIGHT**3), 0).astype(np.float32)


def probabilities(network: nn.Module, patches: np.ndarray, device: str) -> np.ndarray:
    """Return the probability of a microbleed for a batch (n, channels, i, j, k), as float32 without the channels.

    `network` is in eval mode and on `device`.
    """
    with torch.inference_mode():
        batch = torch.from_numpy(patches).to(device, memory_format=torch.channels_last_3d)
        return torch.sigmoid(microbleed_logit(network(batch)).float()).cpu().numpy()


def tile_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the size of the tiles for a volume: `TILE_SHAPE`, or less where the volume is smaller."""
    return tuple(min(tile, -(-size // multiple) * multiple)
                 for tile, size, multiple in zip(TILE_SHAPE, shape, TILE_MULTIPLES, strict=True))


def tile_starts(shape: tuple[int, int, int], overlap: float) -> list[tuple[int, int, int]]:
    """Return the first voxel of every tile; multiples of `TILE_MULTIPLES`, together covering the volume."""
    axes = []
    for size, tile, multiple in zip(shape, tile_shape(shape), TILE_MULTIPLES, strict=True):
        room = -(-size // multiple) * multiple - tile
        step = max(multiple, int(tile * (1 - overlap)) // multiple * multiple)
        count = -(-room // step) + 1
        # spread evenly, in whole multiples; rounding down never widens a gap beyond `step`, itself a multiple
        axes.append([room * n // max(count - 1, 1) // multiple * multiple for n in range(count)])
    return list(product(*axes))


def cut(channels: Sequence[np.ndarray], start: Sequence[int], shape: tuple[int, int, int]) -> np.ndarray:
    """Cut a box of `shape` that begins at voxel `start`; 0 where it lies outside the arrays (i, j, k).

    Returns
    -------
    (channels, *shape) float32 array
    """
    result = np.zeros((len(channels), *shape), np.float32)
    whole = channels[0].shape
    source = _slices(start, shape, whole)
    target = tuple(slice(part.start - first, part.stop - first) for part, first in zip(source, start, strict=True))
    for box, channel in zip(result, channels, strict=True):
        box[target] = channel[source]
    return result


def _slices(start: Sequence[int], shape: tuple[int, int, int], whole: tuple[int, int, int]) -> tuple[slice, ...]:
    """The part of a box that lies inside an array of shape `whole`."""
    low = [min(max(first, 0), size) for first, size in zip(start, whole, strict=True)]
    high = [min(max(first + n, a), size) for first, n, size, a in zip(start, shape, whole, low, strict=True)]
    return tuple(map(slice, low, high))


def _window(shape: tuple[int, int, int]) -> np.ndarray:
    # the Hann window squared; never quite 0, because some voxels are seen by one tile only
    axes = [np.maximum(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 4, _LEAST_WEIGHT) for n in shape]
    return np.einsum("i,j,k->ijk", *axes).astype(np.float32)
