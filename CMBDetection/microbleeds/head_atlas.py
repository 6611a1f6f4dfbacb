"""Where tissues and MARS regions lie in heads: a small atlas, and the affine that brings a scan to it.

The atlas was counted on 15 label maps of SynthSeg (Billot et al. 2023, Med Image Anal 86:102789) and two deformations
of each, brought to MNI space by their nuclei and the ends of their cortex (`training.make_head_atlas`). A pair is a
tissue and a region, such as white matter of the frontal lobe. Places are mm (R, A, S) in MNI space.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from .errors import ModelError
from .model_folders import CARD, read_card
from .regions import BASAL_GANGLIA, REGIONS, THALAMUS

ATLAS_FILE = "atlas.npz"
TISSUES = ("ventricle", "fluid", "white matter", "cortex", "nucleus", "pallidum", "brainstem",
           "cerebellar white matter", "cerebellar cortex")
"""What looks alike in a scan; fluid is all that lies around the brain."""
VENTRICLE, FLUID, WHITE_MATTER = range(3)
SPACING_MM = 4.0
FIRST_MM = np.array([-80.0, -116.0, -84.0])
"""Centre of the first voxel; the grid is symmetric about R = 0."""
SHAPE = (41, 51, 45)
LEVELS = 255
"""Share of heads that the uint8 value of the file means, times this."""
_SMOOTHED_VOXELS = 5
_ROUNDS = ((True, 8), (False, 12))
"""Whether the atlas is smoothed, and the most steps."""
_STEADY_MM = 0.05
_RIDGE = 1e-3
_LENGTH_MM = 50.0
"""A change of the matrix by 1/50 moves the edge of a head by about 1 mm."""


@dataclass(frozen=True, eq=False)
class HeadAtlas:
    """Shares of heads that have a pair of tissue and region at a place.

    Attributes
    ----------
    shares : (pairs, 41, 51, 45) float32 tensor
        Of 4 mm.
    tissues, regions : (pairs,) arrays of int
        Places in `TISSUES` and numbers of `regions` from 1.
    """

    shares: torch.Tensor
    tissues: np.ndarray
    regions: np.ndarray

    def by_tissue(self) -> torch.Tensor:
        """Return the shares of heads with a tissue, (tissues, 41, 51, 45)."""
        return torch.stack([self.shares[self.tissues == number].sum(dim=0) for number in range(len(TISSUES))])

    def by_region(self) -> torch.Tensor:
        """Return the shares of heads with a region, (13, 41, 51, 45)."""
        return torch.stack([self.shares[self.regions == number].sum(dim=0) for number in range(1, len(REGIONS) + 1)])


@lru_cache(maxsize=2)
def read_atlas(folder: Path) -> HeadAtlas:
    """Read the atlas of a model folder.

    Raises
    ------
    ModelError
        If the file is missing, or not the atlas of the card.
    """
    path = folder / ATLAS_FILE
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != read_card(folder)["atlas"]["sha256"]:
            raise ValueError(f"its SHA-256 is not that of {CARD}")
        with np.load(path) as content:
            half, tissues, regions = content["shares"], content["tissues"].astype(int), content["regions"].astype(int)
        if (half.dtype != np.uint8 or half.shape != (len(tissues), SHAPE[0] // 2 + 1, *SHAPE[1:])
                or len(regions) != len(tissues) or not np.isin(regions, range(1, len(REGIONS) + 1)).all()
                or not np.isin(tissues, range(len(TISSUES))).all()):
            raise ValueError("its arrays are not those of an atlas")
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is missing or damaged ({error}); install CMBDetection again.") from error
    whole = np.concatenate([half, half[:, -2::-1]], axis=1)
    return HeadAtlas(torch.from_numpy(whole).float() / LEVELS, tissues, regions)


def sample(maps: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """Return the values (maps, n) of maps (maps, 41, 51, 45) at places (n, 3), linearly interpolated; edges go on."""
    steps = 2 * (places - FIRST_MM) / (SPACING_MM * (np.array(maps.shape[1:]) - 1)) - 1
    grid = torch.from_numpy(np.ascontiguousarray(steps[:, ::-1], np.float32))[None, :, None, None]
    return functional.grid_sample(maps[None], grid, align_corners=True, padding_mode="border")[0, :, :, 0, 0].numpy()


def fit_to_atlas(atlas: HeadAtlas, shares: np.ndarray, right: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the affine (4, 4) from mm of a scan to MNI space that makes a first map of its regions fit the atlas.

    Least squares of the shares of regions and of the right side (Gauss-Newton), first on a smoothed atlas. Only what is
    in the scan counts, so that a slab is placed too.

    Parameters
    ----------
    atlas : HeadAtlas
    shares : (13, n) array
        Probabilities of the regions.
    right : (n,) array
        Probability of lying on the right.
    places : (n, 3) array
        Mm along axes nearest to R, A, S; the angles may be a few tens of degrees off.
    """
    regions = atlas.by_region()
    aside = torch.from_numpy(FIRST_MM[0] + SPACING_MM * np.arange(SHAPE[0])).float()
    maps = torch.cat([regions, (regions.sum(dim=0) * torch.sigmoid(aside / 2)[:, None, None])[None]])
    wanted = np.concatenate([shares, right[None]])
    origin = places.mean(axis=0)
    steps = np.column_stack([(places - origin) / _LENGTH_MM, np.ones(len(places))])
    nuclei = shares[[BASAL_GANGLIA - 1, THALAMUS - 1]].sum(axis=0) + 1e-6
    there = regions[[BASAL_GANGLIA - 1, THALAMUS - 1]].sum(dim=0).numpy()
    middle = FIRST_MM + SPACING_MM * np.array([np.average(axis, weights=there) for axis in np.indices(SHAPE)])
    matrix = np.column_stack([_LENGTH_MM * np.eye(3), middle + origin - np.average(places, axis=0, weights=nuclei)])
    for smoothed, rounds in _ROUNDS:
        own = _smooth(maps) if smoothed else maps
        slopes = torch.gradient(own, spacing=SPACING_MM, dim=(1, 2, 3))
        stacked = torch.cat([own, *slopes])
        for _ in range(rounds):
            values, *sloping = sample(stacked, steps @ matrix.T).reshape(4, len(maps), -1)
            change = _step(wanted - values, np.array(sloping), steps)
            matrix = matrix + change
            if np.abs(change).max() < _STEADY_MM:
                break
    affine = np.eye(4)
    affine[:3, :3] = matrix[:, :3] / _LENGTH_MM
    affine[:3, 3] = matrix[:, 3] - affine[:3, :3] @ origin
    return affine


def _smooth(maps: torch.Tensor) -> torch.Tensor:
    """Return the means of 5³ voxels of maps (maps, i, j, k), one axis after the other."""
    for kernel in (np.eye(3, dtype=int) * (_SMOOTHED_VOXELS - 1) + 1).tolist():
        maps = functional.avg_pool3d(maps, kernel, 1, [size // 2 for size in kernel])
    return maps


def _step(missing: np.ndarray, slopes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the change (3, 4) of the matrix by which what is missing (maps, n) gets least; slopes (3, maps, n)."""
    products = np.einsum("amn,bmn->abn", slopes, slopes)
    square = np.einsum("abn,np,nq->apbq", products, steps, steps, optimize=True).reshape(12, 12)
    side = np.einsum("an,np->ap", np.einsum("amn,mn->an", slopes, missing), steps).ravel()
    return np.linalg.solve(square + _RIDGE * np.trace(square) / 12 * np.eye(12), side).reshape(3, 4)
