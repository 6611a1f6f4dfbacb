"""Step 1: the detector's probability map over the brain, and the candidates in it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from torch import nn

from .calibration import logit
from .components import label_components, region_voxels
from .geometry import voxel_to_ras
from .settings import CandidateSettings
from .step0_prepare import Prepared
from .tiling import probability_map

_PEAK_DISTANCE_MM = 2.0
"""Peaks nearer to each other belong to one lesion."""
_SUREST = 0.9999
"""Higher probabilities are not told apart: their log-odds depend on rounding."""
_NEIGHBOURS = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1) if i or j or k])


@dataclass(frozen=True, eq=False)
class Candidate:
    """One place that may be a microbleed.

    Attributes
    ----------
    position_ras : (R, A, S) in mm
        Probability-weighted centre.
    detector_probability : float
        Peak of the detector's map inside.
    voxels : (n, 3) int array
        Indices on the working grid.
    probability : float or None
        Of being a microbleed; None before step 2.
    """

    position_ras: tuple[float, float, float]
    detector_probability: float
    voxels: np.ndarray
    probability: float | None = None


def find_candidates(prepared: Prepared, detector: nn.Module, settings: CandidateSettings, device: str,
                    progress: Callable[[float], None], run: Callable[..., np.ndarray] = probability_map,
                    ) -> tuple[Candidate, ...]:
    """Run the detector over the brain and cut its map into candidates, most probable first.

    `run` brings the detector over the volume; networks of others have their own way.
    """
    channels = (prepared.image.data, prepared.symmetry.data)
    probability = run(detector, channels, prepared.brain.data, device, progress)
    regions = cut_into_regions(probability, prepared.image.spacing, settings)
    candidates = [_candidate(summit(voxels, probability, settings.peak_share), probability, prepared)
                  for voxels in regions]
    candidates.sort(key=lambda candidate: (-candidate.detector_probability, candidate.position_ras))
    return tuple(candidates[:settings.max_candidates])


def _candidate(voxels: np.ndarray, probability: np.ndarray, prepared: Prepared) -> Candidate:
    values = probability[tuple(voxels.T)].astype(np.float64)
    centre = voxel_to_ras(prepared.image, np.average(voxels, axis=0, weights=values))
    return Candidate(tuple(centre.tolist()), float(values.max()), voxels)


def cut_into_regions(probability: np.ndarray, spacing_mm: np.ndarray, settings: CandidateSettings) -> list[np.ndarray]:
    """Return the regions at or above the threshold; regions with several clear peaks are split between these.

    Neighbouring lesions often touch in the map, and one of them would count as missed. A watershed from the peaks down
    gives every voxel to the peak that it leads up to.

    Parameters
    ----------
    probability : (i, j, k) array
    spacing_mm : (3,)
    settings : CandidateSettings

    Returns
    -------
    list of (n, 3) int arrays
    """
    labels, count = label_components(probability >= settings.threshold)
    peaks = np.bincount(labels[_is_local_maximum(probability, spacing_mm)], minlength=count + 1)[1:]
    regions = []
    for voxels, number in zip(region_voxels(labels, count), peaks, strict=True):
        regions += _watershed(voxels, probability, spacing_mm, settings.prominence) if number > 1 else [voxels]
    return regions


def summit(voxels: np.ndarray, probability: np.ndarray, share: float) -> np.ndarray:
    """Return the voxels of a region (n, 3) that reach a share of its peak and hang together with it.

    A low threshold, which faint lesions need, surrounds clear ones with a rim of doubtful voxels.
    """
    values = probability[tuple(voxels.T)]
    high = voxels[values >= share * values.max()]
    if len(high) == len(voxels):
        return voxels
    low = high.min(axis=0)
    mask = np.zeros(high.max(axis=0) - low + 1, bool)
    mask[tuple((high - low).T)] = True
    labels, _ = label_components(mask)
    numbers = labels[tuple((high - low).T)]
    return high[numbers == numbers[probability[tuple(high.T)].argmax()]]


def _is_local_maximum(probability: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Return the voxels that nothing within the peak distance exceeds, as a bool array."""
    reach = np.maximum(1, np.floor(_PEAK_DISTANCE_MM / spacing_mm)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    near = np.linalg.norm(grid * spacing_mm, axis=-1) <= _PEAK_DISTANCE_MM
    # a thick slice is further away than the distance, but still the next one
    near |= np.abs(grid).max(axis=-1) <= 1
    return probability == ndimage.maximum_filter(probability, footprint=near, mode="constant")


def _watershed(voxels: np.ndarray, probability: np.ndarray, spacing_mm: np.ndarray,
               prominence: float) -> list[np.ndarray]:
    """Split one region (n, 3) between its clear peaks, from the highest voxel down.

    A voxel joins the highest basin that it touches. Where basins meet, the lower one is swallowed unless it rises
    `prominence` above the meeting point (log-odds) and its peak is far enough away.
    """
    values = logit(np.minimum(probability[tuple(voxels.T)], _SUREST))
    places = {tuple(voxel): n for n, voxel in enumerate(voxels.tolist())}
    parent, basin = [], np.full(len(voxels), -1)
    peaks: list[int] = []

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    for here in np.argsort(-values, kind="stable").tolist():
        around = [places.get(tuple(place)) for place in (voxels[here] + _NEIGHBOURS).tolist()]
        touched = {root(basin[place]) for place in around if place is not None and basin[place] >= 0}
        if not touched:
            parent.append(len(peaks))
            basin[here] = len(peaks)
            peaks.append(here)
            continue
        # basins are numbered by falling height of their peaks
        highest, *others = sorted(touched)
        basin[here] = highest
        for other in others:
            gap_mm = np.linalg.norm((voxels[peaks[other]] - voxels[peaks[highest]]) * spacing_mm)
            if values[peaks[other]] - values[here] < prominence or gap_mm < _PEAK_DISTANCE_MM:
                parent[other] = highest
    final = np.array([root(number) for number in basin])
    return [voxels[final == number] for number in np.unique(final)]
