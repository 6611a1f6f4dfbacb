"""Which microbleeds of the simulated benchmark are found, by how far they stand out of their surroundings.

    python Testing/Benchmarks/conspicuity.py build/simulated-benchmark/results-1/NAME.json

A result of `simulated.py` says which were found; the images lie in the work folder beside it. The conspicuity of a
microbleed of n voxels is ``|mean inside - median around| · √n / s``, where s is the standard deviation around it: the
signal-to-noise ratio of its sum over voxels, were all that surrounds it white noise. "Around" is the ring from 1.5 to
5 mm in the slices it lies on, inside the brain, without anything drawn. Among the 10⁵ or so places of a brain a blob
with a ratio under 4 or 5 has equals by chance alone, so no reader and no program finds it without false positives.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from benchmark_tools import markdown_table, number
from microbleeds.evaluation.by_kind import visible_microbleeds
from microbleeds.evaluation.drawn_truth import DrawnTruth, read_drawn_truth
from microbleeds.read_write import read_scan
from microbleeds.volume import Volume
from scipy import ndimage

EDGES = (3.0, 5.0, 8.0, 12.0)
"""Between the groups."""
_RING_MM = (1.5, 5.0)
_FEWEST_AROUND = 20


def conspicuity(image: Volume, truth: DrawnTruth, number_of: int) -> float:
    """Return the ratio of one visible microbleed; NaN if it has no voxels of its own or nothing around it.

    Parameters
    ----------
    image : Volume
    truth : DrawnTruth
        On the same grid.
    number_of : its id
    """
    places = np.argwhere(truth.microbleeds.data == number_of)
    if not len(places):
        return float("nan")
    reach = np.array([*np.ceil(_RING_MM[1] / image.spacing[:2]).astype(int), 0])
    low, high = np.maximum(places.min(axis=0) - reach, 0), places.max(axis=0) + reach + 1
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    inside = truth.microbleeds.data[box] == number_of
    # slices apart count as far away, so that the ring stays in plane
    away_mm = ndimage.distance_transform_edt(~inside, sampling=[*image.spacing[:2], 1e3])
    ring = (away_mm > _RING_MM[0]) & (away_mm <= _RING_MM[1]) & truth.brain.data[box] \
        & (truth.everything.data[box] == 0)
    if ring.sum() < _FEWEST_AROUND:
        return float("nan")
    values = image.data[box].astype(np.float64)
    return float(abs(values[inside].mean() - np.median(values[ring])) * np.sqrt(inside.sum()) / values[ring].std())


def found_and_ratio(results: dict, data_set: Path) -> list[tuple[str, str, float, bool]]:
    """Return tier, modality, conspicuity and whether it was found, of every visible microbleed of a result."""
    rows = []
    for case in results["cases"]:
        anatomy = data_set / case["name"] / "anat"
        image = next(path for path in anatomy.glob("*.nii.gz") if "_desc-" not in path.name)
        volume = read_scan(image).volume
        truth = read_drawn_truth(image, anatomy / f"{case['name']}_desc-brain_mask.nii.gz", volume, image)
        rows += [(case["tier"], case["modality"], conspicuity(volume, truth, item.id), item.id in case["found"])
                 for item in visible_microbleeds(truth.drawn)]
    return rows


def table(rows: list[tuple[str, str, float, bool]]) -> str:
    """Return TPR, found and total by group of conspicuity, one row for each tier and modality."""
    groups = [f"under {EDGES[0]:g}", *(f"{low:g} to {high:g}" for low, high in zip(EDGES, EDGES[1:], strict=False)),
              f"{EDGES[-1]:g} and more"]
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
