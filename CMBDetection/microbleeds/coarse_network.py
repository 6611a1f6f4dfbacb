"""A small 3-D U-Net that sees a whole head at 2.5 mm, and the way to its grid and back.

The grid lies along the axes of the scan, in the axis order nearest to RAS, around the same centre.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .errors import ModelError
from .model_folders import CARD, read_card
from .resources import resource_path
from .weights import read_checked_state

WORKING_SPACING_MM = 2.5
FULL_SCALE_PERCENTILE = 99.0
LARGEST_VALUE = 1.5
SIZE_MULTIPLE = 16
"""The sides of what the network sees, for four halvings."""


class CoarseNetwork(nn.Module):
    """A 3-D U-Net with instance normalisation: (n, inputs, i, j, k) to logits (n, outputs, i, j, k).

    Parameters
    ----------
    widths : sequence of int
        Channels per level; i, j, k must be multiples of ``2 ** (len(widths) - 1)``.
    inputs, outputs : int
    """

    def __init__(self, widths: tuple[int, ...], inputs: int = 1, outputs: int = 1):
        super().__init__()
        before = (inputs, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(i, o), _convolution(o, o)) for i, o in zip(before, widths, strict=True)
        )
        self.up = nn.ModuleList(
            _convolution(coarse + fine, fine) for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv3d(widths[0], outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the logits of each voxel are a linear function of: (n, widths[0], i, j, k)."""
        skipped = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool3d(x, 2))
            skipped.append(x)
        skipped.pop()
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, skipped.pop()], dim=1))
        return x


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.1),
    )


def bundled_network(name: str, device: str = "cpu") -> CoarseNetwork:
    """Load a network that comes with the software, by its folder under ``Resources``.

    Raises
    ------
    ModelError
        If it is missing, or see `load_network`.
    """
    try:
        folder = resource_path(name)
    except FileNotFoundError as error:
        raise ModelError(str(error)) from error
    return load_network(folder, device)


@lru_cache(maxsize=4)
def load_network(folder: Path, device: str = "cpu") -> CoarseNetwork:
    """Load a network from a folder with ``model.json`` and the weights file it names.

    Raises
    ------
    ModelError
        If a file is missing or unreadable, or the weights do not have the SHA-256 or the layers of the card.
    """
    card = read_card(folder)
    try:
        layers = card["architecture"]
        network = CoarseNetwork(tuple(layers["widths"]), layers.get("inputs", 1), layers.get("outputs", 1))
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / CARD} is not a complete card ({error}); install CMBDetection again.") from error
    state = read_checked_state(folder, card)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{folder / card['file']} does not hold the network of its {CARD}; install CMBDetection "
                         "again.") from error
    return network.eval().to(device)


def to_working_grid(data: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Return `data` (i, j, k) averaged or linearly interpolated to 2.5 mm over the same field of view."""
    for axis, spacing in enumerate(spacing_mm):
        size = _working_size(data.shape[axis], spacing)
        data = _along(_resampling_matrix(data.shape[axis], spacing, size, WORKING_SPACING_MM), data, axis)
    return data


def from_working_grid(data: np.ndarray, shape: tuple[int, int, int], spacing_mm: np.ndarray) -> np.ndarray:
    """Return `data` on the working grid, linearly interpolated to a grid of `shape` over the same field of view."""
    for axis, spacing in enumerate(spacing_mm):
        data = _along(_linear_matrix(data.shape[axis], WORKING_SPACING_MM, shape[axis], spacing), data, axis)
    return data


def normalise(data: torch.Tensor) -> torch.Tensor:
    """Scale intensities by a high percentile of their size and clip them; 0 stays 0, signs stay."""
    size = data.abs()
    values = size[size > 0]
    if values.numel() == 0:
        return data
    rank = max(1, int(values.numel() * FULL_SCALE_PERCENTILE / 100))
    return (data / values.kthvalue(rank).values).clamp(-LARGEST_VALUE, LARGEST_VALUE)


def window_along(filled: np.ndarray, margin: int, smallest: int, largest: int) -> tuple[int, int]:
    """Return start and length of what the network sees along one axis, centred on what is filled.

    Parameters
    ----------
    filled : (n,) bool array
        Everything is taken if it is empty.
    margin, smallest, largest : int
        Voxels; the length is a multiple of 16 between `smallest` and `largest`. The start may be negative.
    """
    places = np.flatnonzero(filled)
    if places.size == 0:
        places = np.arange(filled.size)
    length = places[-1] - places[0] + 1 + 2 * margin
    length = int(np.clip(-(-length // SIZE_MULTIPLE) * SIZE_MULTIPLE, smallest, largest))
    return int(places[0] + places[-1] + 1 - length) // 2, length


def cuts_of(windows: list[tuple[int, int]], shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return which part of a grid lies in windows (start, length) that may leave it, and where in the windows."""
    inside = tuple(slice(max(start, 0), min(start + size, whole))
                   for (start, size), whole in zip(windows, shape, strict=True))
    within = tuple(slice(cut.start - start, cut.stop - start) for cut, (start, _) in zip(inside, windows, strict=True))
    return inside, within


def _working_size(size: int, spacing_mm: float) -> int:
    return max(1, int(np.ceil(size * spacing_mm / WORKING_SPACING_MM - 1e-3)))


def _along(matrix: np.ndarray, data: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, data, axes=(1, axis)), 0, axis)


def _resampling_matrix(size: int, spacing_mm: float, new_size: int, new_spacing_mm: float) -> np.ndarray:
    """Return (new_size, size) weights: means over the new voxels if they are larger, else linear interpolation."""
    if spacing_mm >= new_spacing_mm:
        return _linear_matrix(size, spacing_mm, new_size, new_spacing_mm)
    centre = _centres(size, spacing_mm)
    new_centre = _centres(new_size, new_spacing_mm)[:, None]
    reach = (spacing_mm + new_spacing_mm) / 2
    overlap = np.clip(reach - np.abs(centre - new_centre), 0, spacing_mm)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def _linear_matrix(size: int, spacing_mm: float, new_size: int, new_spacing_mm: float) -> np.ndarray:
    """Return (new_size, size) weights of linear interpolation between two grids with one centre."""
    centre = _centres(size, spacing_mm)
    new_centre = np.clip(_centres(new_size, new_spacing_mm), centre[0], centre[-1])[:, None]
    return np.clip(1 - np.abs(centre - new_centre) / spacing_mm, 0, None).astype(np.float32)


def _centres(size: int, spacing_mm: float) -> np.ndarray:
    return (np.arange(size) - (size - 1) / 2) * spacing_mm
