"""The two matching rules: overlap of clusters (the paper's) and distance of centres (VALDO's).

What counts where the published descriptions are silent:

* Overlap. Sensitivity counts lesions, precision counts predictions. Two predictions on one lesion find it once, and
  neither is a false positive; one prediction across two lesions finds both and is one correct prediction.
* Distance. Strictly one to one: the second prediction near one lesion is a false positive, and one prediction between
  two lesions finds one of them. Of all pairings the one with the most pairs counts, then the shortest in total.

References
----------
Overlap of 26-connected clusters: Sundaresan et al. 2023, Front Neuroinform 17:1204186.
Centres nearer than 5 mm: VALDO challenge, task 2, Sudre et al. 2024, Med Image Anal 91:103029.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from ..components import region_voxels
from ..findings import CENTRE_LIMIT_MM
from ..geometry import ras_to_voxel, voxel_to_ras
from ..volume import Volume


@dataclass(frozen=True)
class Counts:
    """What one rule says about one scan, or about several pooled.

    Attributes
    ----------
    lesions, found : int
        Lesions of the reference, and those of them that were found.
    predictions, correct : int
        Predictions, and those of them that lie on a lesion; the others are false positives.
    """

    lesions: int
    found: int
    predictions: int
    correct: int

    @property
    def missed(self) -> int:
        """Lesions not found."""
        return self.lesions - self.found

    @property
    def false_positives(self) -> int:
        """Predictions on no lesion."""
        return self.predictions - self.correct


@dataclass(frozen=True, eq=False)
class Lesions:
    """The reference of one scan.

    Attributes
    ----------
    centres_ras : (n, 3) RAS mm
    voxels : n int arrays (m, 3)
        Voxels (i, j, k) of each lesion on the grid of the prediction.
    """

    centres_ras: np.ndarray
    voxels: tuple[np.ndarray, ...]


def lesions_from_clusters(clusters: Volume) -> Lesions:
    """Return the lesions of a map in which each cluster has its own number from 1 on."""
    voxels = tuple(region_voxels(clusters.data, int(clusters.data.max(initial=0))))
    centres = [region.mean(axis=0) for region in voxels]
    return Lesions(voxel_to_ras(clusters, np.reshape(centres, (-1, 3))), voxels)


def lesions_from_points(points_ras: np.ndarray, diameters_mm: np.ndarray, grid: Volume) -> Lesions:
    """Return lesions known as points: the region of each is every voxel that its sphere touches.

    A voxel counts with its whole extent, so that a small lesion between two thick slices has a region too.

    Parameters
    ----------
    points_ras : (n, 3) RAS mm
    diameters_mm : (n,) mm
    grid : Volume
        Grid of the prediction.
    """
    regions = (_touched(point, diameter / 2, grid) for point, diameter in zip(points_ras, diameters_mm, strict=True))
    return Lesions(np.asarray(points_ras, dtype=float).reshape(-1, 3), tuple(regions))


def match_clusters(clusters: Volume, lesions: Lesions) -> Counts:
    """Count by overlap of at least one voxel.

    Parameters
    ----------
    clusters : Volume
        Predicted clusters, numbered 1, 2, ... without gaps.
    lesions : Lesions
        On the same grid.
    """
    on_lesion = [np.unique(clusters.data[tuple(voxels.T)]) for voxels in lesions.voxels]
    on_lesion = [numbers[numbers > 0] for numbers in on_lesion]
    found = sum(numbers.size > 0 for numbers in on_lesion)
    correct = np.unique(np.concatenate(on_lesion)).size if on_lesion else 0
    return Counts(len(lesions.voxels), found, int(clusters.data.max(initial=0)), correct)


def match_centres(predicted_ras: np.ndarray, centres_ras: np.ndarray, limit_mm: float = CENTRE_LIMIT_MM,
                  spared: np.ndarray | None = None) -> Counts:
    """Count one-to-one pairs of centres nearer than `limit_mm`.

    Parameters
    ----------
    predicted_ras : (m, 3) RAS mm
    centres_ras : (n, 3) RAS mm
        Of the reference.
    spared : (m,) bool, optional
        Predictions that, without a partner, count neither as right nor as wrong.

    Examples
    --------
    >>> match_centres([[0, 0, 0], [1, 0, 0]], [[0, 0, 4.9]])
    Counts(lesions=1, found=1, predictions=2, correct=1)
    """
    pairs = pair_centres(predicted_ras, centres_ras, limit_mm)
    left_out = 0 if spared is None else int(spared.sum() - spared[pairs[:, 0]].sum())
    return Counts(len(centres_ras), len(pairs), len(predicted_ras) - left_out, len(pairs))


def near(points_ras: np.ndarray, others_ras: np.ndarray, limit_mm: float = CENTRE_LIMIT_MM) -> np.ndarray:
    """Return which of the points (m, 3) lie nearer than `limit_mm` to any of the others (n, 3): (m,) bool."""
    return (cdist(np.reshape(points_ras, (-1, 3)), np.reshape(others_ras, (-1, 3))) < limit_mm).any(axis=1)


def pair_centres(predicted_ras: np.ndarray, centres_ras: np.ndarray, limit_mm: float = CENTRE_LIMIT_MM) -> np.ndarray:
    """Return prediction and lesion of each pair that `match_centres` counts, (p, 2) int."""
    predicted_ras, centres_ras = (np.reshape(points, (-1, 3)) for points in (predicted_ras, centres_ras))
    distances_mm = cdist(predicted_ras, centres_ras)
    close = distances_mm < limit_mm
    # a pair that is too far costs more than all near pairs together, so the number of near pairs comes first
    too_far_mm = limit_mm * (min(distances_mm.shape) + 1)
    pairs = np.stack(linear_sum_assignment(np.where(close, distances_mm, too_far_mm)), axis=1)
    return pairs[close[tuple(pairs.T)]]


def cluster_centres_ras(clusters: Volume) -> np.ndarray:
    """Return the centre of each cluster 1, 2, ... of a map, (n, 3) RAS mm."""
    return lesions_from_clusters(clusters).centres_ras


def _touched(point_ras: np.ndarray, radius_mm: float, grid: Volume) -> np.ndarray:
    """Return the voxels (n, 3) whose extent comes within `radius_mm` of a point."""
    centre = ras_to_voxel(grid, point_ras)
    reach = radius_mm / grid.spacing + 0.5
    first = np.maximum(np.ceil(centre - reach), 0).astype(int)
    last = np.minimum(np.floor(centre + reach) + 1, grid.shape).astype(int)
    last = np.maximum(first, last)
    index = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij"), axis=-1).reshape(-1, 3)
    gap_mm = np.maximum(np.abs(index - centre) - 0.5, 0) * grid.spacing
    return index[np.linalg.norm(gap_mm, axis=1) <= radius_mm]
