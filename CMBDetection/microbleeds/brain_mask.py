"""Brain mask: a small network, trained on randomised label maps only, that runs on a coarse grid.

The network sees the scan at 2.5 mm along its own axes, in the axis order nearest to RAS. It gives the fraction of
each coarse voxel that is brain, so that the edge on the scan's own grid is finer than 2.5 mm.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from .errors import ModelError
from .geometry import from_canonical, to_canonical
from .model_folders import CARD, read_card
from .resources import resource_path
from .volume import Volume
from .weights import read_checked_state

MODEL = "Models/brain-mask"
WORKING_SPACING_MM = 2.5
FULL_SCALE_PERCENTILE = 99.0
LARGEST_VALUE = 1.5
_SIZE_MULTIPLE = 16  # four halvings
_SMALLEST_SIZE = 64  # the smallest side of the grids in training
_LARGEST_SIZE = 112  # 280 mm
_HEAD_LEVEL = 0.05
_MARGIN_VOXELS = 3
_STRIPPED_SHARE = 0.87  # brain share of what is not 0: of 136 simulated whole heads none had more than 0.85
_PART_SHARE = 0.1  # a slab can cut the brain into parts; an eye is far smaller than this


class BrainMaskNetwork(nn.Module):
    """A 3-D U-Net with instance normalisation: intensities (n, 1, i, j, k) to logits (n, 1, i, j, k).

    Parameters
    ----------
    widths : sequence of int
        Channels per level; i, j, k must be multiples of ``2 ** (len(widths) - 1)``.
    """

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        inputs = (1, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(i, o), _convolution(o, o)) for i, o in zip(inputs, widths, strict=True)
        )
        self.up = nn.ModuleList(
            _convolution(coarse + fine, fine) for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv3d(widths[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skipped = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool3d(x, 2))
            skipped.append(x)
        skipped.pop()
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, skipped.pop()], dim=1))
        return self.head(x)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.1),
    )


def brain_mask(volume: Volume, device: str = "cpu") -> Volume:
    """Find the brain, with cerebellum, brainstem, ventricles and the CSF around it.

    Parameters
    ----------
    volume : Volume
        Raw intensities of any MR contrast in any orientation and spacing; skull-stripped or not. QSM keeps its sign.
    device : str
        A torch device.

    Returns
    -------
    Volume
        Boolean array on the grid of `volume`; all False where no brain is found.

    Raises
    ------
    ModelError
        If the model folder is missing, damaged or not what its card says.

    Notes
    -----
    The way of training follows SynthStrip (Hoopes et al. 2022, NeuroImage 260:119474); network and weights are ours.
    """
    network = load_network(_model_folder(), device)
    canonical = to_canonical(volume)
    data = np.nan_to_num(canonical.data.astype(np.float32, copy=False), posinf=0, neginf=0)
    fractions = _without_small_parts(_predict(network, to_working_grid(data, canonical.spacing), device))
    mask = from_working_grid(fractions, data.shape, canonical.spacing) >= 0.5
    return from_canonical(canonical.with_data(_within_support(mask, data)), volume)


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


@lru_cache(maxsize=2)
def load_network(folder: Path, device: str = "cpu") -> BrainMaskNetwork:
    """Load a network from a folder with ``model.json`` and the weights file it names.

    Raises
    ------
    ModelError
        If a file is missing or unreadable, or the weights do not have the SHA-256 or the layers of the card.
    """
    card = read_card(folder)
    try:
        network = BrainMaskNetwork(tuple(card["architecture"]["widths"]))
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / CARD} is not a complete card ({error}); install CMBDetection again.") from error
    state = read_checked_state(folder, card)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{folder / card['file']} does not hold the network of its {CARD}; install CMBDetection "
                         "again.") from error
    return network.eval().to(device)


def _model_folder() -> Path:
    try:
        return resource_path(MODEL)
    except FileNotFoundError as error:
        raise ModelError(str(error)) from error


def _predict(network: BrainMaskNetwork, coarse: np.ndarray, device: str) -> np.ndarray:
    """Return the brain fraction of every voxel of the working grid."""
    image = normalise(torch.from_numpy(np.ascontiguousarray(coarse)))
    fractions = np.zeros(coarse.shape, np.float32)
    if not image.any():
        return fractions
    head = [_window(image.abs().numpy(), axis) for axis in range(3)]
    inside = tuple(
        slice(max(start, 0), min(start + size, whole)) for (start, size), whole in zip(head, coarse.shape, strict=True)
    )
    within = tuple(slice(cut.start - start, cut.stop - start) for cut, (start, _) in zip(inside, head, strict=True))
    window = torch.zeros([size for _, size in head])
    window[within] = image[inside]
    with torch.inference_mode():
        logits = network(window[None, None].to(device))[0, 0]
    fractions[inside] = torch.sigmoid(logits).cpu().numpy()[within]
    return fractions


def _window(size: np.ndarray, axis: int) -> tuple[int, int]:
    """Return start and length along `axis` of the window that the network sees, centred on the head."""
    others = tuple(other for other in range(3) if other != axis)
    filled = np.flatnonzero((size > _HEAD_LEVEL).mean(axis=others) > 0.01)
    if filled.size == 0:
        filled = np.arange(size.shape[axis])
    length = filled[-1] - filled[0] + 1 + 2 * _MARGIN_VOXELS
    length = int(np.clip(-(-length // _SIZE_MULTIPLE) * _SIZE_MULTIPLE, _SMALLEST_SIZE, _LARGEST_SIZE))
    return int(filled[0] + filled[-1] + 1 - length) // 2, length


def _without_small_parts(fractions: np.ndarray) -> np.ndarray:
    """Keep the largest part and those near its size, with the soft edge around them and without holes."""
    brain = fractions >= 0.5
    kept = _large_parts(brain)
    filled = ndimage.binary_fill_holes(kept)
    edge = ndimage.binary_dilation(kept, np.ones((3, 3, 3))) & (kept | ~brain)
    return np.where(filled & ~kept, 1, np.where(edge, fractions, 0)).astype(np.float32)


def _within_support(mask: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Take away zeros that are connected to the outside; of a stripped scan take all the rest."""
    labels, _ = ndimage.label(data == 0)
    faces = [np.unique(labels.take(end, axis)) for axis in range(3) for end in (0, -1)]
    is_outside = np.zeros(labels.max() + 1, bool)
    is_outside[np.concatenate(faces)] = True
    is_outside[0] = False
    support = ~is_outside[labels]
    mask = mask & support
    return _large_parts(support) if mask.sum() > _STRIPPED_SHARE * support.sum() else mask


def _large_parts(mask: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=2)
    sizes[0] = 0
    return (sizes >= max(1, _PART_SHARE * sizes.max()))[labels]


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
