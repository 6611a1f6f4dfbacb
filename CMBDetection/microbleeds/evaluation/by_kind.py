"""What fooled the detector: every prediction on a simulated image is a hit, wrong on something known, or spared.

* A prediction is a 26-connected cluster; it hits by the distance rule of `matching`: its centre and that of a visible
  microbleed, nearer than 5 mm, one to one.
* A prediction without a partner nearer than that to a microbleed that was drawn but cannot be seen on this image is
  spared: neither right nor wrong.
* Any other is a false positive. It is put down to the thing most of whose voxels it covers, else to the thing with
  the nearest voxel within 3 mm, else to brain tissue or to the outside of the brain.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..components import region_voxels
from ..geometry import voxel_to_ras
from ..simulation.shapes import MICROBLEED, MIMICS
from ..volume import Volume
from .drawn_truth import Drawn, DrawnTruth
from .matching import Counts, cluster_centres_ras, near, pair_centres

NEAR_MM = 3.0
"""How far from a thing a false positive may lie to be put down to it: half a thick slice, or the blooming's edge."""
AGAIN = "microbleed, again or off its centre"
BRAIN, OUTSIDE = "brain tissue", "outside the brain"
CAUSES = (*MIMICS, AGAIN, BRAIN, OUTSIDE)
"""What a false positive can be put down to."""


@dataclass(frozen=True)
class FalsePositive:
    """Where it lies, the entry of `CAUSES` it is put down to, and the id of that thing if it is one."""

    position_ras: tuple[float, float, float]
    cause: str
    id: int | None


@dataclass(frozen=True)
class Verdict:
    """What became of the predictions on one image, and of what was drawn into it.

    Attributes
    ----------
    counts : Counts
        Visible microbleeds and predictions; those spared are not among the predictions.
    spared : int
    found : tuple of int
        Ids of the visible microbleeds found.
    false_positives : tuple of FalsePositive
    drawn : tuple of Drawn
    """

    counts: Counts
    spared: int
    found: tuple[int, ...]
    false_positives: tuple[FalsePositive, ...]
    drawn: tuple[Drawn, ...]


@dataclass(frozen=True)
class CauseCounts:
    """One entry of `CAUSES` over several images.

    `visible` things of the kind were drawn (None where it is no kind of mimic), `fooled` of them got a false positive;
    a tree of vessels is one thing and may get several.
    """

    cause: str
    visible: int | None
    fooled: int | None
    false_positives: int


def judge(clusters: Volume, truth: DrawnTruth) -> Verdict:
    """Judge the predictions on one image.

    Parameters
    ----------
    clusters : Volume
        Predicted clusters, numbered 1, 2, ... without gaps, on the grid of the truth.
    truth : DrawnTruth
    """
    lesions = visible_microbleeds(truth.drawn)
    centres_ras = visible_centres_ras(truth)
    predicted_ras = cluster_centres_ras(clusters)
    pairs, spared = pair_centres(predicted_ras, centres_ras), near(predicted_ras, invisible_ras(truth))
    spared[pairs[:, 0]] = False
    wrong = ~spared
    wrong[pairs[:, 0]] = False
    regions = region_voxels(clusters.data, len(predicted_ras))
    kinds = {item.id: item.kind for item in truth.drawn}
    false_positives = tuple(_blame(regions[n], predicted_ras[n], truth, kinds) for n in np.flatnonzero(wrong))
    counts = Counts(len(lesions), len(pairs), len(predicted_ras) - int(spared.sum()), len(pairs))
    return Verdict(counts, int(spared.sum()), tuple(lesions[n].id for n in pairs[:, 1]), false_positives, truth.drawn)


def visible_microbleeds(drawn: Sequence[Drawn]) -> list[Drawn]:
    """Return the microbleeds that can be seen, in the order of the table."""
    return [item for item in drawn if item.kind == MICROBLEED and item.visible]


def visible_centres_ras(truth: DrawnTruth) -> np.ndarray:
    """Return the centres of the visible microbleeds in the order of the table, (n, 3) RAS mm.

    It is the centre of what is seen; one whose voxels all went to a neighbour has the place where it was drawn.
    """
    regions = region_voxels(truth.microbleeds.data, int(truth.microbleeds.data.max(initial=0)))
    centres = []
    for lesion in visible_microbleeds(truth.drawn):
        voxels = regions[lesion.id - 1] if lesion.id <= len(regions) else ()
        centres.append(voxel_to_ras(truth.microbleeds, voxels.mean(axis=0)) if len(voxels) else lesion.position_ras)
    return np.reshape(centres, (-1, 3))


def invisible_ras(truth: DrawnTruth) -> np.ndarray:
    """Return where the microbleeds are that were drawn but cannot be seen, (n, 3) RAS mm."""
    hidden = [item.position_ras for item in truth.drawn if item.kind == MICROBLEED and not item.visible]
    return np.reshape(hidden, (-1, 3))


def count_causes(verdicts: Sequence[Verdict]) -> tuple[CauseCounts, ...]:
    """Count over images what the false positives are put down to, one entry for each of `CAUSES`."""
    visible = Counter(item.kind for verdict in verdicts for item in verdict.drawn if item.visible)
    wrong = Counter(item.cause for verdict in verdicts for item in verdict.false_positives)
    fooled = Counter(cause for verdict in verdicts
                     for cause, _ in {(item.cause, item.id) for item in verdict.false_positives})
    return tuple(CauseCounts(cause, visible[cause], fooled[cause], wrong[cause]) if cause in MIMICS
                 else CauseCounts(cause, None, None, wrong[cause]) for cause in CAUSES)


def count_found(verdicts: Sequence[Verdict], group_of: Callable[[Drawn], str]) -> dict[str, tuple[int, int]]:
    """Return how many visible microbleeds of each group were found, and how many there are."""
    total, found = Counter(), Counter()
    for verdict in verdicts:
        lesions = visible_microbleeds(verdict.drawn)
        total.update(map(group_of, lesions))
        found.update(group_of(item) for item in lesions if item.id in verdict.found)
    return {group: (found[group], total[group]) for group in sorted(total)}


def _blame(voxels: np.ndarray, centre_ras: np.ndarray, truth: DrawnTruth, kinds: dict[int, str]) -> FalsePositive:
    """Put a false positive with these voxels (n, 3) down to something."""
    covered = truth.everything.data[tuple(voxels.T)]
    covered = covered[covered > 0]
    number = int(np.bincount(covered).argmax()) if covered.size else _nearest(voxels, truth.everything)
    if number:
        cause = AGAIN if kinds[number] == MICROBLEED else kinds[number]
    else:
        cause = BRAIN if truth.brain.data[tuple(voxels.T)].mean() >= 0.5 else OUTSIDE
    return FalsePositive(tuple(centre_ras.tolist()), cause, number or None)


def _nearest(voxels: np.ndarray, everything: Volume) -> int:
    """Return the id whose voxel is nearest to a region, centre to centre and within `NEAR_MM`, or 0."""
    margin = np.floor(NEAR_MM / everything.spacing).astype(int)
    low = np.maximum(voxels.min(axis=0) - margin, 0)
    box = everything.data[tuple(slice(a, b) for a, b in zip(low, voxels.max(axis=0) + margin + 1, strict=True))]
    things = np.argwhere(box > 0)
    if not len(things):
        return 0
    distances_mm, _ = cKDTree(voxel_to_ras(everything, voxels)).query(voxel_to_ras(everything, things + low))
    nearest = distances_mm.argmin()
    return int(box[tuple(things[nearest])]) if distances_mm[nearest] <= NEAR_MM else 0
