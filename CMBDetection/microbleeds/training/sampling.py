"""Where patches of a case are cut, and the patches."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..components import label_components
from ..tiling import cut
from .cases import Case
from .labelled_scans import IGNORED, MICROBLEED, MIMIC, VESSEL

_LOOKALIKES = 300
_BRAIN_SITES = 1000
_FAR_MM = 5.0
_USUAL_SIZE = 60.0
"""Voxels of a lesion that has the usual weight."""


@dataclass(frozen=True, eq=False)
class Sites:
    """Patch centres of one case in voxels, each (n, 3): lesions, lesion-like tissue, any brain, false candidates."""

    lesions: np.ndarray
    lookalikes: np.ndarray
    brain: np.ndarray
    false: np.ndarray


@dataclass(frozen=True, eq=False)
class Patch:
    """One patch: images (2, i, j, k) float32; the others are (i, j, k).

    Attributes
    ----------
    classes : uint8
    lesion_weights : float32, 0 outside lesions
    numbers : int32, of each lesion, 0 elsewhere
    """

    images: np.ndarray
    classes: np.ndarray
    lesion_weights: np.ndarray
    numbers: np.ndarray


def sites_of(case: Case, rng: np.random.Generator) -> Sites:
    """Return where patches of a case may be centred.

    Look-alikes are labelled mimics and the strongest peaks of symmetry, 5 mm away from any lesion; the peaks are as far
    from what is ignored, too, because look-alikes may be taken for negatives.
    """
    lesions = case.lesion_centres()
    far = _far_from(case.lesions > 0, case.spacing)
    unknown = np.asarray(case.classes) == IGNORED
    symmetry = np.where(case.brain & far & _far_from(unknown, case.spacing), case.images[1].astype(np.float32), 0)
    width = np.maximum(1, np.rint(2.5 / case.spacing) * 2 + 1).astype(int)
    peaks = (symmetry == ndimage.maximum_filter(symmetry, width)) & (symmetry > 0)
    places = np.argwhere(peaks)
    strongest = places[np.argsort(-symmetry[peaks], kind="stable")[:_LOOKALIKES]]
    labels, count = label_components(np.isin(case.classes, (VESSEL, MIMIC)) & far & case.brain)
    mimics = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))).reshape(-1, 3)
    anywhere = np.argwhere(case.brain)
    return Sites(lesions, np.concatenate([strongest, mimics]), anywhere[rng.integers(len(anywhere), size=_BRAIN_SITES)],
                 np.empty((0, 3)))


def _far_from(mask: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Return which voxels lie further than 5 mm from a mask (i, j, k), all of them if it is empty."""
    if not mask.any():
        return np.ones(mask.shape, bool)
    return ndimage.distance_transform_edt(~mask, sampling=spacing_mm) > _FAR_MM


def cut_patch(case: Case, centre: np.ndarray, size: tuple[int, int, int]) -> Patch:
    """Return the patch around a voxel; 0 (tissue) outside the case."""
    start = np.rint(centre).astype(int) - np.array(size) // 2
    images = cut((case.images[0], case.images[1]), start, size)
    classes, numbers = cut((case.classes, case.lesions), start, size)
    classes = classes.astype(np.uint8)
    numbers = np.where(classes == MICROBLEED, numbers, 0).astype(np.int32)
    weights = lesion_weight(np.bincount(numbers.ravel()))[numbers] * (numbers > 0)
    return Patch(images, classes, weights, numbers)


def lesion_weight(voxels: np.ndarray) -> np.ndarray:
    """Return the weight of a lesion's voxels from their number, so that small lesions are not drowned by large ones.

    Between equal weight of voxels and equal weight of lesions (blob loss, Kofler et al. 2022), their geometric mean.
    """
    return np.clip(np.sqrt(_USUAL_SIZE / np.maximum(voxels, 1)), 0.5, 4).astype(np.float32)
