"""Brain mask: a small network, trained on randomised label maps only, that runs on a coarse grid.

The network sees the scan at 2.5 mm along its own axes, in the axis order nearest to RAS. It gives the fraction of
each coarse voxel that is brain, so that the edge on the scan's own grid is finer than 2.5 mm.
"""


import numpy as np
import torch
from scipy import ndimage

from .coarse_network import (
    CoarseNetwork,
    bundled_network,
    cuts_of,
    from_working_grid,
    normalise,
    to_working_grid,
    window_along,
)
from .geometry import from_canonical, to_canonical
from .volume import Volume

MODEL = "Models/brain-mask"
_SMALLEST_SIZE = 64  # the smallest side of the grids in training
_LARGEST_SIZE = 112  # 280 mm
_HEAD_LEVEL, _LEAST_FILLED = 0.05, 0.01
_MARGIN_VOXELS = 3
_STRIPPED_SHARE = 0.87  # brain share of what is not 0: of 136 simulated whole heads none had more than 0.85
_PART_SHARE = 0.1  # a slab can cut the brain into parts; an eye is far smaller than this


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
    network = bundled_network(MODEL, device)
    canonical = to_canonical(volume)
    data = np.nan_to_num(canonical.data.astype(np.float32, copy=False), posinf=0, neginf=0)
    fractions = _without_small_parts(_predict(network, to_working_grid(data, canonical.spacing), device))
    mask = from_working_grid(fractions, data.shape, canonical.spacing) >= 0.5
    return from_canonical(canonical.with_data(_within_support(mask, data)), volume)


def _predict(network: CoarseNetwork, coarse: np.ndarray, device: str) -> np.ndarray:
    """Return the brain fraction of every voxel of the working grid."""
    image = normalise(torch.from_numpy(np.ascontiguousarray(coarse)))
    fractions = np.zeros(coarse.shape, np.float32)
    if not image.any():
        return fractions
    size = image.abs().numpy() > _HEAD_LEVEL
    head = [window_along(size.mean(axis=others) > _LEAST_FILLED, _MARGIN_VOXELS, _SMALLEST_SIZE, _LARGEST_SIZE)
            for others in ((1, 2), (0, 2), (0, 1))]
    inside, within = cuts_of(head, coarse.shape)
    window = torch.zeros([size for _, size in head])
    window[within] = image[inside]
    with torch.inference_mode():
        logits = network(window[None, None].to(device))[0, 0]
    fractions[inside] = torch.sigmoid(logits).cpu().numpy()[within]
    return fractions


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
