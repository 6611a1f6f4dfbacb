"""What anatomy says of the regions of a scan, beside the network: an atlas, tissues, and the reach of the ventricles.

The atlas says which regions a tissue has at a place; the intensities, which tissue lies there; and how far the
ventricles are, whether white matter is deep (within 10 mm, ``simulation/region_rules.py``).
"""

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from scipy.special import expit, logit

from .coarse_network import WORKING_SPACING_MM
from .head_atlas import FLUID, TISSUES, VENTRICLE, WHITE_MATTER, HeadAtlas, fit_to_atlas, sample
from .regions import DEEP_WHITE_MATTER, FRONTAL, OCCIPITAL, REGIONS
from .tissue_mixture import tissue_probabilities

_FIT_EVERY = 3
_FEWEST_FITTED = 100
"""Voxels; where fewer would be left, such as in a thin slab, all of them are fitted."""
_WIDE_VOXELS, _WIDE_SHARE = 2.0, 0.3
"""Tissues lie further off in some heads than in any of the atlas: a share of it, smoothed (8 mm)."""
_DEEP_MM, _SOFT_MM = 10.7, 1.0
"""Between the middles of voxels: 10 mm from the surface of the ventricle; and how soft the limit is."""
_NOT_SURE = 0.1
"""Of the limit: ventricles are not found everywhere."""
_ATLAS_COUNTS = 0.5
"""Weight of the log-odds of the atlas that white matter is deep, beside the limit."""
_FLUID_COUNTS = 0.02
"""Weight of fluid: what is asked for lies in tissue."""
_LEAST = 0.004
_LOBES = slice(FRONTAL - 1, OCCIPITAL)


def anatomical_logs(atlas: HeadAtlas, image: np.ndarray, inside: np.ndarray, shares: np.ndarray,
                    right: np.ndarray) -> np.ndarray:
    """Return the logarithms of how likely the regions are by anatomy.

    Parameters
    ----------
    atlas : HeadAtlas
    image, inside : (i, j, k) arrays
        Intensities and mask of n voxels on the working grid of 2.5 mm.
    shares : (13, n) array
        Probabilities of the regions by the network, of the voxels in the mask.
    right : (n,) array
        Probability of lying on the right.

    Returns
    -------
    (13, n) float32 array
    """
    voxels = np.argwhere(inside)
    places = voxels * WORKING_SPACING_MM
    some = (voxels % _FIT_EVERY == 0).all(axis=1)
    if some.sum() < _FEWEST_FITTED:
        some[:] = True
    affine = fit_to_atlas(atlas, shares[:, some], right[some], places[some])
    there = places @ affine[:3, :3].T + affine[:3, 3]
    pairs = sample(atlas.shares, there)
    tissues = tissue_probabilities(image[inside], sample(_expected_tissues(atlas), there))
    ventricle = np.zeros(inside.shape, bool)
    ventricle[inside] = tissues[VENTRICLE] > 0.5
    far = np.full(inside.shape, np.inf, np.float32)
    if ventricle.any():
        far = ndimage.distance_transform_edt(~ventricle, WORKING_SPACING_MM)
    return combined(atlas, pairs, tissues, far[inside])


@lru_cache(maxsize=2)
def _expected_tissues(atlas: HeadAtlas) -> torch.Tensor:
    """Return how likely the tissues are at the places of the atlas, (tissues, 41, 51, 45)."""
    maps = atlas.by_tissue()
    wide = torch.from_numpy(np.stack([ndimage.gaussian_filter(one, _WIDE_VOXELS) for one in maps.numpy()]))
    return torch.lerp(maps, wide, _WIDE_SHARE)


def combined(atlas: HeadAtlas, pairs: np.ndarray, tissues: np.ndarray, to_ventricle_mm: np.ndarray) -> np.ndarray:
    """Return the same of n places, of the shares of pairs (pairs, n) and tissues (9, n) and the distance (n,) in mm."""
    tissues = tissues.copy()
    tissues[[VENTRICLE, FLUID]] *= _FLUID_COUNTS
    tissues = tissues / np.maximum(tissues.sum(axis=0), 1e-6)
    found = np.zeros((len(REGIONS), pairs.shape[1]), np.float32)
    for tissue in range(len(TISSUES)):
        own = np.full_like(found, 1e-4)
        for number in np.flatnonzero(atlas.tissues == tissue):
            own[atlas.regions[number] - 1] += pairs[number]
        if tissue == WHITE_MATTER:
            _part_deep(own, to_ventricle_mm)
        found += tissues[tissue] * own / own.sum(axis=0)
    return np.log(found / found.sum(axis=0) + _LEAST)


def _part_deep(white: np.ndarray, to_ventricle_mm: np.ndarray) -> None:
    """Part white matter (13, n) of deep white matter and the lobes between them, by the distance to the ventricle."""
    deep, lobes = white[DEEP_WHITE_MATTER - 1].copy(), white[_LOBES].sum(axis=0)
    near = _NOT_SURE + (1 - 2 * _NOT_SURE) * expit((_DEEP_MM - to_ventricle_mm) / _SOFT_MM)
    share = expit(logit(near) + _ATLAS_COUNTS * np.log((deep + 0.01) / (lobes + 0.01)))
    white[DEEP_WHITE_MATTER - 1] = share * (deep + lobes)
    white[_LOBES] *= (1 - share) * (deep + lobes) / lobes
