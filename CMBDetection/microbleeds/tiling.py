"""A network over a whole volume: few large tiles around the brain, blended so that no seam shows where one ends."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from .networks import TILE_MULTIPLES, microbleed_logit

MOST_VOXELS = 2_400_000
"""Of a tile; the detector needs about 0.25 kB for each."""
_LEAST_VOXELS = 100_000
"""A graphics card that has no room for tiles of this size is of no use."""
_MARGIN = (16, 16, 8)
"""Voxels around the part of the brain that a tile is for: what the network sees of a voxel's surroundings."""
_RIM = (4, 4, 2)
"""Voxels around the whole brain, where there is nothing to see."""


@dataclass(frozen=True)
class Tile:
    """A box of voxels from `start` on, around the part of the brain from `low` to before `high`, which it is for."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    low: tuple[int, int, int]
    high: tuple[int, int, int]


def probability_map(network: nn.Module, channels: Sequence[np.ndarray], brain: np.ndarray, device: str,
                    progress: Callable[[float], None]) -> np.ndarray:
    """Run a voxel-wise network over a volume.

    The tiles cover the brain and no more, and overlap by twice a margin, over which one fades into the next. All tiles
    begin at multiples of the network's pooling steps, so every voxel is pooled together with the same neighbours
    whichever tile it is in. What lies beyond the volume is 0, the value of tissue. On a graphics card that has not
    enough memory the tiles become smaller.

    Parameters
    ----------
    network : nn.Module
        (n, channels, i, j, k) float32 to logits (n, classes, i, j, k); sizes multiples of `networks.TILE_MULTIPLES`.
    channels : sequence of (i, j, k) float32 arrays
    brain : (i, j, k) bool array
    device : str
        A torch device.
    progress : callable
        Called with the finished fraction.

    Returns
    -------
    (i, j, k) float32 array
        Probability of a microbleed, in [0, 1]; 0 outside the brain.

    Raises
    ------
    torch.OutOfMemoryError
        If the graphics card has no room for the smallest tiles.
    """
    network = ready(network, device)
    most = MOST_VOXELS
    while True:
        try:
            return _blended(network, channels, brain, tiles_of(brain, most), device, progress)
        except torch.OutOfMemoryError:
            most //= 4
            if most < _LEAST_VOXELS:
                raise
            torch.cuda.empty_cache()


def ready(network: nn.Module, device: str) -> nn.Module:
    """Return a copy of a network for `probabilities`: on the device, normalisation folded into the convolutions."""
    network = copy.deepcopy(network).eval()
    for part in network.modules():
        if isinstance(part, nn.Sequential):
            for place, (first, second) in enumerate(zip(part, part[1:], strict=False)):
                if isinstance(first, nn.Conv3d) and isinstance(second, nn.BatchNorm3d):
                    part[place], part[place + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return network.to(device, memory_format=torch.channels_last_3d)


def tiles_of(brain: np.ndarray, most: int) -> list[Tile]:
    """Return tiles of at most `most` voxels (or what the margins alone need) that cover a mask (i, j, k).

    The box around the brain is halved, where that costs least, until every tile is small enough.
    """
    whole = _box(brain, (0, 0, 0), brain.shape)
    tiles, parts = [], [whole] if whole else []
    while parts:
        low, high = parts.pop()
        tile = _around(low, high, *whole)
        halves = [] if np.prod(tile.shape) <= most else [_halved(brain, low, high, axis) for axis in range(3)
                                                         if high[axis] - low[axis] > 2 * _MARGIN[axis]]
        if halves:
            parts += min(halves, key=lambda half: sum(np.prod(_around(*part, *whole).shape) for part in half))
        else:
            tiles.append(tile)
    return sorted(tiles, key=lambda tile: tile.start)


def probabilities(network: nn.Module, patches: np.ndarray, device: str) -> np.ndarray:
    """Return the probability of a microbleed for a batch (n, channels, i, j, k), as float32 without the channels.

    `network` is in eval mode and on `device`.
    """
    with torch.inference_mode():
        batch = torch.from_numpy(patches).to(device, memory_format=torch.channels_last_3d)
        return torch.sigmoid(microbleed_logit(network(batch)).float()).cpu().numpy()


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


def _blended(network: nn.Module, channels: Sequence[np.ndarray], brain: np.ndarray, tiles: Sequence[Tile], device: str,
             progress: Callable[[float], None]) -> np.ndarray:
    total, weight = np.zeros(brain.shape, np.float32), np.zeros(brain.shape, np.float32)
    for number, tile in enumerate(tiles):
        progress(number / len(tiles))
        probability = probabilities(network, cut(channels, tile.start, tile.shape)[None], device)[0]
        where = _slices(tile.start, tile.shape, brain.shape)
        inside = tuple(slice(part.start - first, part.stop - first)
                       for part, first in zip(where, tile.start, strict=True))
        window = _window(tile)
        total[where] += (window * probability)[inside]
        weight[where] += window[inside]
    return np.divide(total, weight, out=np.zeros_like(total), where=brain & (weight > 0))


def _window(tile: Tile) -> np.ndarray:
    """Return the weight of a tile's voxels: 1 inside, fading to 0 over the margin on both sides of a face."""
    axes = []
    for start, size, low, high, margin in zip(tile.start, tile.shape, tile.low, tile.high, _MARGIN, strict=True):
        places = start + np.arange(size) + 0.5
        depth = np.minimum(places - low, high - places) / margin
        axes.append(np.sin(np.pi / 4 * np.clip(depth + 1, 0, 2)) ** 2)
    return np.einsum("i,j,k->ijk", *axes).astype(np.float32)


def _halved(brain: np.ndarray, low: Sequence[int], high: Sequence[int], axis: int) -> list[tuple]:
    """Return the boxes around the brain in the two halves of a box."""
    middle = (low[axis] + high[axis]) // 2
    ends = [[*high[:axis], middle, *high[axis + 1:]], [*low[:axis], middle, *low[axis + 1:]]]
    return [box for box in (_box(brain, low, ends[0]), _box(brain, ends[1], high)) if box]


def _box(brain: np.ndarray, low: Sequence[int], high: Sequence[int]) -> tuple | None:
    """Return the ends (low, high) of the brain within a box, None if there is none."""
    part = brain[tuple(map(slice, low, high))]
    filled = [np.flatnonzero(part.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if filled[0].size == 0:
        return None
    return (tuple(int(first + own[0]) for first, own in zip(low, filled, strict=True)),
            tuple(int(first + own[-1]) + 1 for first, own in zip(low, filled, strict=True)))


def _around(low: Sequence[int], high: Sequence[int], first: Sequence[int], last: Sequence[int]) -> Tile:
    """Return the tile for the part of the brain between two ends: with its margin, at most a rim beyond the brain."""
    start = [max(begin - rim, own - margin) // multiple * multiple
             for begin, rim, own, margin, multiple in zip(first, _RIM, low, _MARGIN, TILE_MULTIPLES, strict=True)]
    shape = [-(-(min(end + rim, own + margin) - begin) // multiple) * multiple
             for end, rim, own, margin, begin, multiple in zip(last, _RIM, high, _MARGIN, start, TILE_MULTIPLES,
                                                               strict=True)]
    return Tile(tuple(start), tuple(shape), tuple(low), tuple(high))
