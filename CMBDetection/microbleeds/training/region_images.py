"""Images of brains with their MARS regions, for the region network: random ones of label maps, varied ones of scans."""

import numpy as np
import torch
from torch.nn import functional

from ..coarse_network import cuts_of, window_along
from ..region_lookup import ON_THE_RIGHT
from ..region_map import PARTS, network_input
from .brain_mask_images import IN_BRAIN, cut, random_places, smooth_field, take_places, upright_image
from .region_scans import RegionScan

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
    parts = torch.stack([regions[tuple(slice(half, None, 2) for half in part)] for part in PARTS])
    return _seen(image, share, parts, random)


def region_image_of_scan(scan: RegionScan, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same of a scan, its intensities, noise, shading and field of view varied."""
    windows = [window_along((scan.brain > 0).any(axis=others), int(random.integers(1, 6)), 32, 112)
               for others in ((1, 2), (0, 2), (0, 1))]
    seen, within = cuts_of(windows, scan.image.shape)
    shape = [size for _, size in windows]
    image, share = torch.zeros(shape), torch.zeros(shape)
    parts = torch.zeros([len(PARTS), *shape], dtype=torch.uint8)
    image[within], share[within] = torch.from_numpy(scan.image[seen]), torch.from_numpy(scan.brain[seen])
    parts[(slice(None), *within)] = torch.from_numpy(scan.parts[(slice(None), *seen)])
    noise = torch.Generator().manual_seed(int(random.integers(2**62)))
    level = image[share > 0.5].abs().mean() if (share > 0.5).any() else torch.tensor(1.0)
    image = image * torch.exp(smooth_field(image.shape, noise, random.integers(2, 5)) * random.uniform(0, 0.3))
    image = image + level * torch.randn(image.shape, generator=noise) * random.uniform(0, 0.15)
    image = image.sign() * level * (image.abs() / level) ** float(np.exp(random.normal(0, 0.2)))
    image, share = cut(image, share, random)
    return _seen(image, share, parts, random)


def _seen(image: torch.Tensor, share: torch.Tensor, parts: torch.Tensor, random: np.random.Generator
          ) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a mask and a side, and return what the network sees, and the regions in the mask."""
    mask = share > random.uniform(0.3, 0.7) + random.uniform(0, 0.15) * smooth_field(
        share.shape, torch.Generator().manual_seed(int(random.integers(2**62))), random.integers(4, 16))
    if random.uniform() < 0.3:
        grown = functional.max_pool3d(mask.float()[None, None], 3, stride=1, padding=1)[0, 0] > 0
        mask = grown & (image != 0)
    if random.uniform() < 0.5:
        image, mask = image.flip(0), mask.flip(0)
        # the halves of a voxel change places too
        parts = parts.unflatten(0, (2, 2, 2)).flip(0, 3).flatten(0, 2)
        parts = torch.where(parts > IGNORED, parts ^ ON_THE_RIGHT, parts)
    return network_input(image.contiguous(), mask.contiguous()), torch.where(mask, parts, IGNORED)
