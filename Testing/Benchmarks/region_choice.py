"""What the numbers beside the region network were chosen on: held-out simulated scans, not those of the benchmark.

    python Testing/Benchmarks/region_choice.py --simulated DIR/valid --labels LABEL_MAPS

DIR/valid is the set for thresholds (README, "Training"), of two heads that the network was not trained on. In each scan
300 points are drawn with the sites of published microbleeds. Printed are, for the network alone and with the atlas
(`region_anatomy`) and for the error of borders (`region_lookup.BORDER_ERROR_MM`), the share of points in the right
region and category, of each head and of all, and the calibration error of the confidence, as it is and times
`region_lookup.NAMED_RIGHT`. Last comes which regions are taken for which, with the numbers that ship.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from benchmark_tools import markdown_table
from microbleeds import region_lookup, region_map
from microbleeds.brain_mask import brain_mask
from microbleeds.coarse_network import bundled_network
from microbleeds.evaluation.reliability import expected_calibration_error, reliability
from microbleeds.geometry import ras_to_voxel
from microbleeds.head_atlas import read_atlas
from microbleeds.read_write import read_scan
from microbleeds.region_lookup import locate
from microbleeds.regions import REGIONS, category_of
from microbleeds.resources import resource_path
from microbleeds.simulation import region_rules
from microbleeds.simulation.anatomy import Anatomy
from microbleeds.simulation.bleeds import SITES, site_places
from microbleeds.training.layouts_simulated import find_simulated
from microbleeds.training.region_scans import drawn_anatomy
from microbleeds.volume import Volume

POINTS = 300
MAPS = {"network": False, "with the atlas": True}
BORDER_ERRORS_MM = (2.5, 3.5)
BORDER_ERROR_MM, NAMED_RIGHT = region_lookup.BORDER_ERROR_MM, region_lookup.NAMED_RIGHT


@dataclass(frozen=True, eq=False)
class Named:
    """Points of one scan: head, true regions (n,) from 1, and by map and border error what the map says of each.

    `said` holds region (from 1), confidence, and the category's, (n, 3).
    """

    head: str
    true: np.ndarray
    said: dict[tuple[str, float], np.ndarray]


def main() -> None:
    """Name the points of every scan and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True, help="folder of the label maps that it was made from")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th scan")
    options = parser.parse_args()
    scans = []
    for scan in find_simulated(options.simulated)[::options.every]:
        scans.append(named_points(scan.image, options.labels, len(scans)))
        print(f"{scan.name}: {len(scans[-1].true)} points", flush=True)
    print(table(scans))
    print()
    print(confusions(scans))


def named_points(image: Path, labels: Path, seed: int) -> Named:
    """Draw points in the head of a simulated scan and name them, with every choice of the numbers."""
    drawn = image.parent / f"{image.parent.parent.name}_desc-drawn.json"
    head = drawn_anatomy(drawn, labels)
    points, true = draw_points(head, np.random.default_rng(seed))
    volume = read_scan(image).volume
    canonical, working, share = region_map.on_working_grid(volume, brain_mask(volume))
    network = bundled_network(region_map.MODEL)
    said = {}
    for name, with_atlas in MAPS.items():
        atlas = read_atlas(resource_path(region_map.MODEL)) if with_atlas else None
        data = region_map.predict_regions(network, working, share >= 0.5, atlas=atlas)
        regions = Volume(data, region_map.map_affine(canonical, data.shape))
        for error_mm in BORDER_ERRORS_MM:
            region_lookup.BORDER_ERROR_MM = error_mm
            said[name, error_mm] = np.array([_said(regions, point) for point in points])
    head_name = json.loads(drawn.read_text(encoding="utf-8"))["plan"]["labels"]["name"]
    return Named(head_name, true, said)


def draw_points(head: Anatomy, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, 3) RAS mm with the sites of published microbleeds, and their regions (n,) from 1."""
    places = site_places(head)
    names = [name for name in SITES if len(places[name])]
    shares = np.array([SITES[name][1] for name in names])
    chosen = [places[names[number]] for number in rng.choice(len(names), POINTS, p=shares / shares.sum())]
    points = np.array([own[rng.integers(len(own))] for own in chosen]) + rng.uniform(-0.5, 0.5, (POINTS, 3))
    regions, _ = region_rules.region_map(head)
    voxels = np.clip(np.rint(ras_to_voxel(head.classes, points)).astype(int), 0, np.array(regions.shape) - 1)
    true = regions[tuple(voxels.T)]
    return points[true > 0], true[true > 0]


def table(scans: Sequence[Named]) -> str:
    """Return the shares and errors of every choice, in Markdown."""
    true = np.concatenate([scan.true for scan in scans])
    heads = np.concatenate([np.full(len(scan.true), scan.head) for scan in scans])
    categories = np.array(["", *map(category_of, REGIONS)])
    header = ["map", "border error, mm"]
    header += [f"{what}, {head}" for head in (*sorted(set(heads)), "all") for what in ("region", "category")]
    header += [f"{what} ECE{times}" for what in ("region", "category") for times in ("", f" × {NAMED_RIGHT:g}")]
    rows = []
    for choice in product(MAPS, BORDER_ERRORS_MM):
        said = np.concatenate([scan.said[choice] for scan in scans])
        found = said[:, 0].astype(int)
        right = {"region": found == true, "category": categories[found] == categories[true]}
        row = [choice[0], f"{choice[1]:g}"]
        for head in (*sorted(set(heads)), "all"):
            own = np.ones(len(heads), bool) if head == "all" else heads == head
            row += [f"{right[what][own].mean():.3f}" for what in ("region", "category")]
        for column, what in enumerate(("region", "category"), 1):
            row += [f"{expected_calibration_error(reliability(times * said[:, column], right[what])):.3f}"
                    for times in (1.0, NAMED_RIGHT)]
        rows.append(row)
    return markdown_table(header, rows)


def confusions(scans: Sequence[Named]) -> str:
    """Return how many points of each region (lines) get which, with the numbers that ship, in Markdown."""
    counts = np.zeros((len(REGIONS) + 1, len(REGIONS) + 1), int)
    for scan in scans:
        found = scan.said["with the atlas", BORDER_ERROR_MM][:, 0].astype(int)
        np.add.at(counts, (scan.true, found), 1)
    rows = [[name, *map(str, counts[number, 1:])] for number, name in enumerate(REGIONS, 1)]
    return markdown_table(["true region", *REGIONS], rows)


def _said(regions: Volume, point: np.ndarray) -> tuple[float, float, float]:
    place = locate(regions, tuple(point.tolist()))
    if place is None:
        return 0.0, 0.0, 0.0
    return REGIONS.index(place.region) + 1, place.confidence, place.category_confidence


if __name__ == "__main__":
    # it is applied to the table, so that both are in it
    region_lookup.NAMED_RIGHT = 1.0
    torch.set_num_threads(1)
    main()
