"""Random images of brains with their MARS regions, for the region network: those of the brain mask, inside a mask."""

import numpy as np
import torch
from torch.nn import functional

from ..region_lookup import ON_THE_RIGHT
from ..region_map import network_input
from .brain_mask_images import IN_BRAIN, random_places, smooth_field, take_places, upright_image

IGNORED = 0


def region_geometry(
    tissue: np.ndarray, regions: np.ndarray, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a random geometry of two maps (i, j, k) of 1 mm, at 1.25 mm: codes, brain (0 or 1), and regions."""
    places = random_places(tissue, random)
    codes, regions = take_places(tissue, *places), take_places(regions, *places)
    return torch.from_numpy(codes & 127), torch.from_numpy((codes >= IN_BRAIN).astype(np.float32)), torch.from_numpy(
        regions)


def region_image(
    codes: torch.Tensor, brain: torch.Tensor, regions: torch.Tensor, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the network sees of one image, (5, i, j, k) at 2.5 mm, and the regions of its voxels' eighths.

    Returns
    -------
    (5, i, j, k) float32 tensor, (8, i, j, k) uint8 tensor
        Mirrored left to right half of the time, with the sides exchanged; 0 outside the mask.
    """
    image, share = upright_image(codes, brain, random)
    mask = share > random.uniform(0.3, 0.7) + random.uniform(0, 0.15) * smooth_field(
        share.shape, torch.Generator().manual_seed(int(random.integers(2**62))), random.integers(4, 16))
    if random.uniform() < 0.3:
        grown = functional.max_pool3d(mask.float()[None, None], 3, stride=1, padding=1)[0, 0] > 0
        mask = grown & (image != 0)
    parts = torch.stack([regions[i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    if random.uniform() < 0.5:
        image, mask, parts = image.flip(0), mask.flip(0), parts.flip(1)
        parts = torch.where(parts > IGNORED, parts ^ ON_THE_RIGHT, parts)
    return network_input(image.contiguous(), mask.contiguous()), torch.where(mask, parts, IGNORED)
