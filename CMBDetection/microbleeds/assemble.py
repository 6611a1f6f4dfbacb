"""From candidates on the working grid to findings and a label map on the grid of the scan."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from .components import box_ras, equivalent_diameter_mm
from .findings import FARTHEST_EDGE_MM, KEPT, REMOVED, Extrema, Finding
from .geometry import from_canonical, nearest_voxels, ras_to_voxel, to_canonical, voxel_to_ras
from .step1_candidates import Candidate
from .step3_cleanup import edge_distance_mm
from .volume import Volume


def make_findings(candidates: Sequence[Candidate], rules: Sequence[str | None], threshold: float, scan: Volume,
                  brain: Volume, improbable_regions: bool = False) -> tuple[tuple[Finding, ...], Volume]:
    """Say of every candidate what it is and what became of it.

    Parameters
    ----------
    candidates : sequence of Candidate
        With the probability of step 2.
    rules : sequence of str or None
        The rule of step 3 that removes each candidate. It goes before the probability, so that the candidates of step 3
        are known for every threshold of step 2.
    threshold : float
        Candidates of lower probability are removed by step 2.
    scan : Volume
        Raw intensities, as read.
    brain : Volume
        Bool mask on the working grid.
    improbable_regions : bool
        Whether the label map holds the candidates of too low a probability too.

    Returns
    -------
    findings : tuple of Finding
        By falling probability, then by position.
    labels : Volume
        int32 ids of the findings on the grid of the scan; each has at least one voxel.
    """
    # of equal intensities, and of equally near voxels, the first one is taken: the first in space, not in the file
    canonical = to_canonical(scan)
    order = sorted(range(len(candidates)), key=lambda n: (-candidates[n].probability, candidates[n].position_ras))
    findings, marked = [], []
    for number, index in enumerate(order, start=1):
        candidate = candidates[index]
        removed_by = _removed_by(candidate, rules[index], threshold)
        voxels = voxels_on_scan(candidate, brain, canonical)
        findings.append(_finding(number, candidate, removed_by, voxels, canonical, brain))
        if removed_by is None or (improbable_regions and rules[index] is None):
            marked.append((number, voxels))
    labels = canonical.with_data(_paint(marked, canonical.shape))
    return tuple(findings), from_canonical(labels, scan)


def _removed_by(candidate: Candidate, rule: str | None, threshold: float) -> str | None:
    if rule is not None:
        return f"step3_cleanup: {rule}"
    return "step2_classify: probability" if candidate.probability < threshold else None


def _finding(number: int, candidate: Candidate, removed_by: str | None, voxels_scan: np.ndarray, scan: Volume,
             brain: Volume) -> Finding:
    volume_mm3 = len(candidate.voxels) * brain.voxel_volume_mm3
    edge_mm = edge_distance_mm(brain, ras_to_voxel(brain, candidate.position_ras), FARTHEST_EDGE_MM)
    return Finding(
        id=number, position_ras=candidate.position_ras, probability=candidate.probability,
        detector_probability=candidate.detector_probability, volume_mm3=volume_mm3,
        diameter_mm=equivalent_diameter_mm(volume_mm3), box_ras=box_ras(candidate.voxels, brain.affine),
        extrema=_extrema(voxels_scan, scan), status=KEPT if removed_by is None else REMOVED, removed_by=removed_by,
        edge_mm=edge_mm if edge_mm < FARTHEST_EDGE_MM else None)


def _extrema(voxels: np.ndarray, scan: Volume) -> Extrema:
    values = scan.data[tuple(voxels.T)]
    lowest, highest = int(values.argmin()), int(values.argmax())
    low_ras, high_ras = voxel_to_ras(scan, voxels[[lowest, highest]]).tolist()
    return Extrema(float(values[lowest]), float(values[highest]), tuple(low_ras), tuple(high_ras))


def voxels_on_scan(candidate: Candidate, working: Volume, scan: Volume) -> np.ndarray:
    """Return the voxels of the scan whose centres lie in the voxels of a candidate, as (n, 3) int array.

    If there is none, because the scan is coarser than the candidate, it is the voxel nearest to its centre.
    """
    first, last = candidate.voxels.min(axis=0), candidate.voxels.max(axis=0)
    region = np.zeros(last - first + 3, bool)
    region[tuple((candidate.voxels - first + 1).T)] = True
    corners = np.array(list(product(*zip(first - 0.5, last + 0.5, strict=True))))
    reach = ras_to_voxel(scan, voxel_to_ras(working, corners))
    low = np.clip(np.floor(reach.min(axis=0)), 0, np.array(scan.shape) - 1).astype(int)
    high = np.clip(np.ceil(reach.max(axis=0)), 0, np.array(scan.shape) - 1).astype(int)
    near = np.indices(high - low + 1).reshape(3, -1).T + low
    there = nearest_voxels(working, voxel_to_ras(scan, near)) - first + 1
    inside = region[tuple(np.clip(there, 0, np.array(region.shape) - 1).T)]
    return near[inside] if inside.any() else _nearest_voxel(candidate, scan)[None]


def _nearest_voxel(candidate: Candidate, scan: Volume) -> np.ndarray:
    return np.clip(nearest_voxels(scan, candidate.position_ras), 0, np.array(scan.shape) - 1)


def _paint(kept: Sequence[tuple[int, np.ndarray]], shape: tuple[int, int, int]) -> np.ndarray:
    """Write ids into an int32 array, large regions first.

    Only regions of one voxel can find it taken, on scans coarser than the working grid; they get the nearest free one.
    """
    labels = np.zeros(shape, np.int32)
    for number, voxels in sorted(kept, key=lambda entry: (-len(entry[1]), entry[0])):
        if labels[tuple(voxels.T)].all():
            around = np.argwhere(labels == 0)
            voxels = around[[np.abs(around - voxels[0]).sum(axis=1).argmin()]]
        labels[tuple(voxels.T)] = number
    return labels
