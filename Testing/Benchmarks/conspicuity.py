"""Which microbleeds of the simulated benchmark are found, by how far they stand out of their surroundings.

    python Testing/Benchmarks/conspicuity.py build/simulated-benchmark/results-1/NAME.json

A result of `simulated.py` says which were found; the images lie in the work folder beside it. Conspicuity is the
signal-to-noise ratio of `microbleeds.conspicuity`; under 4 or 5 nobody finds a microbleed without false positives.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from benchmark_set import all_cases
from benchmark_tools import group_names, markdown_table, number
from microbleeds.components import region_voxels
from microbleeds.conspicuity import conspicuity
from microbleeds.evaluation.by_kind import visible_microbleeds
from microbleeds.evaluation.drawn_truth import read_drawn_truth
from microbleeds.read_write import read_scan

EDGES = (3.0, 5.0, 8.0, 12.0)
"""Between the groups."""


def found_and_ratio(results: dict, data_set: Path) -> list[tuple[str, str, float, bool]]:
    """Return tier, modality, conspicuity and whether it was found, of every visible microbleed of a result."""
    rows, found = [], {case["name"]: case["found"] for case in results["cases"]}
    for case in all_cases():
        if case.name not in found:
            continue
        image = data_set / case.image
        volume = read_scan(image).volume
        truth = read_drawn_truth(image, data_set / case.brain, volume, image)
        usable = truth.brain.data & (truth.everything.data == 0)
        regions = region_voxels(truth.microbleeds.data, max(item.id for item in truth.drawn))
        for item in visible_microbleeds(truth.drawn):
            voxels = regions[item.id - 1]
            ratio = conspicuity(volume.data, voxels, usable, volume.spacing) if len(voxels) else float("nan")
            rows.append((case.tier, case.modality, ratio, item.id in found[case.name]))
    return rows


def table(rows: list[tuple[str, str, float, bool]]) -> str:
    """Return TPR, found and total by group of conspicuity, one row for each tier and modality."""
    groups = group_names(EDGES)
    lines = []
    for tier in dict.fromkeys(row[0] for row in rows):
        for modality in [*dict.fromkeys(row[1] for row in rows if row[0] == tier), "all"]:
            own = [row for row in rows if row[0] == tier and modality in (row[1], "all")]
            ratios, found = np.array([row[2] for row in own]), np.array([row[3] for row in own])
            known = np.isfinite(ratios)
            cells = [_cell(found[known & (np.digitize(ratios, EDGES) == group)]) for group in range(len(groups))]
            lines.append([f"{tier}, {modality}", *cells, _cell(found[~known])])
    return markdown_table(["", *groups, "not measurable"], lines)


def _cell(found: np.ndarray) -> str:
    return f"{number(found.mean())} ({found.sum()} of {len(found)})" if len(found) else "–"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON file of simulated.py")
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    data_set = options.results.parent.parent / f"set-{results['benchmark']['version']}"
    print(table(found_and_ratio(results, data_set)))


if __name__ == "__main__":
    main()
