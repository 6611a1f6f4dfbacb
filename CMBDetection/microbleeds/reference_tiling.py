"""MicrobleedNet's detector over a whole volume, exactly as its ``evaluate`` does: the tiles decide what it sees.

Tiles of 48³ voxels, the last one on each axis moved back until it fits, volumes that are smaller filled up with 0;
where two tiles overlap the later one counts. Our own tiles (`tiling`) are blended and begin elsewhere.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage
from torch import nn

from .tiling import cut, probabilities

TILE = 48
_HIDDEN_RIM_VOXELS = 2
"""The image, not its symmetry, is 0 this far into the brain: so the weights were trained."""


def reference_probability_map(network: nn.Module, channels: Sequence[np.ndarray], brain: np.ndarray, device: str,
                              progress: Callable[[float], None]) -> np.ndarray:
    """Do for the reference's detector what `tiling.probability_map` does for ours, with the same arguments.

    `channels` are image and symmetry.
    """
    network = network.eval().to(device)
    image, symmetry = channels
    channels = (np.where(_without_rim(brain), image, 0), symmetry)
    # the first axis changes fastest, as in the reference
    starts = [(i, j, k) for k in tile_starts(brain.shape[2]) for j in tile_starts(brain.shape[1])
              for i in tile_starts(brain.shape[0])]
    result = np.zeros(brain.shape, np.float32)
    for number, start in enumerate(starts):
        progress(number / len(starts))
        where = tuple(slice(first, first + TILE) for first in start)
        if brain[where].any():
            probability = probabilities(network, cut(channels, start, (TILE,) * 3)[None], device)[0]
            result[where] = probability[tuple(map(slice, result[where].shape))]
    return np.where(brain, result, 0).astype(np.float32)


def tile_starts(size: int) -> list[int]:
    """Return the first voxel of each tile along an axis."""
    return [*range(0, size - TILE, TILE), max(0, size - TILE)]


def _without_rim(brain: np.ndarray) -> np.ndarray:
    """Return the brain (i, j, k) without its rim; the faces of the array are no rim."""
    grid = np.indices((2 * _HIDDEN_RIM_VOXELS + 1,) * 3) - _HIDDEN_RIM_VOXELS
    ball = (grid**2).sum(axis=0) <= _HIDDEN_RIM_VOXELS**2
    return ndimage.binary_erosion(brain, ball, border_value=1)
