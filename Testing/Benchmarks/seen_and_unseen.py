"""Does a detector do better on the heads that it learned from? What it finds, and what it takes for a microbleed.

    python Testing/Benchmarks/seen_and_unseen.py --training DIR/train --validation DIR/valid --work DIR --every 7

The directories are those of the README, "Training". Much better on the heads of the training would mean that more heads
are wanting; no better means that the network does not fit even these, or that they hold things that look alike. The
scans need not be the very ones that the weights come from.

Of each side: the share of microbleeds whose highest probability by the detector reaches .5, by signal-to-noise ratio
(`microbleeds.conspicuity`), and the regions of that probability that touch none, by what lies under their peak.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmark_tools import group_names, markdown_table, number
from microbleeds.components import label_components, region_voxels
from microbleeds.conspicuity import conspicuity
from microbleeds.tiling import probability_map
from microbleeds.training.cases import Case, prepare_cases
from microbleeds.training.labelled_scans import IGNORED, MIMIC, TISSUE, VESSEL
from microbleeds.training.train import DataFolders, collect
from microbleeds.weights import DEFAULT_MODEL, load_model
from torch import nn

THRESHOLD = 0.5
EDGES = (5.0, 8.0, 12.0, 20.0)
"""Between the groups of signal-to-noise ratios."""
KINDS = {TISSUE: "tissue", VESSEL: "a vessel", MIMIC: "another mimic"}


@dataclass(frozen=True, eq=False)
class Seen:
    """One case: ratios and highest probabilities of its microbleeds (n,), and kinds (m,) of what is false."""

    ratios: np.ndarray
    probabilities: np.ndarray
    false: np.ndarray


def main() -> None:
    """Run the detector over both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="keeps the prepared scans")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th scan of each side")
    options = parser.parse_args()
    detector, sides = load_model(options.model).detector, {}
    for name, folder in (("heads learned from", options.training), ("other heads", options.validation)):
        scans = collect(DataFolders((folder,)))[::options.every]
        cases = prepare_cases(scans, options.work / "cases", None, lambda *told: None)
        sides[name] = []
        for case in cases:
            sides[name].append(seen(case, detector))
            print(f"{case.name}: {len(sides[name][-1].ratios)} microbleeds", flush=True)
    print(table(sides))


def seen(case: Case, detector: nn.Module) -> Seen:
    """Run the detector over a case and look at its microbleeds, and at what it takes for one."""
    prepared, classes, lesions = case.prepared(), np.asarray(case.classes), np.asarray(case.lesions)
    image = prepared.image.data
    found = probability_map(detector, (image, prepared.symmetry.data), prepared.brain.data, "cpu", lambda done: None)
    usable = prepared.brain.data & (classes == TISSUE)
    places = [voxels for voxels in region_voxels(lesions, int(lesions.max())) if len(voxels)]
    false = []
    for voxels in region_voxels(*label_components(found >= THRESHOLD)):
        own = tuple(voxels.T)
        if not (lesions[own] > 0).any() and not (classes[own] == IGNORED).any():
            false.append(classes[tuple(voxels[found[own].argmax()])])
    return Seen(np.array([conspicuity(image, voxels, usable, case.spacing) for voxels in places]),
                np.array([found[tuple(voxels.T)].max() for voxels in places]), np.array(false, int))


def table(sides: dict[str, Sequence[Seen]]) -> str:
    """Return shares found by group of signal-to-noise ratio, and false regions per scan by kind, in Markdown."""
    groups = group_names(EDGES)
    rows = []
    for name, cases in sides.items():
        ratios, probabilities, false = (np.concatenate([getattr(case, part) for case in cases])
                                        for part in ("ratios", "probabilities", "false"))
        own = np.where(np.isfinite(ratios), np.digitize(ratios, EDGES), -1)
        cells = [f"{number(np.mean(probabilities[own == group] >= THRESHOLD))} of {np.sum(own == group)}"
                 if (own == group).any() else "–" for group in range(len(groups))]
        rows.append([name, str(len(cases)), *cells, *(f"{np.sum(false == kind) / len(cases):.2f}" for kind in KINDS)])
    return markdown_table(["scans of", "scans", *groups, *(f"false, on {kind}" for kind in KINDS.values())], rows)


if __name__ == "__main__":
    main()
