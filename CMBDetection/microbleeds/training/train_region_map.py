"""Train the region network on random images made from label maps.

    python -m microbleeds.training.train_region_map --labels FOLDER --simulated FOLDER... --work FOLDER

The first FOLDER holds the 20 label maps of SynthSeg (``training_seg_*.nii.gz``, Apache-2.0); the last 5 are not trained
on. The others hold scans that ``simulated_sets`` made from the first 15; every second image is one of them.
Started again, it goes on from the last checkpoint in the work folder; every step is seeded by its number.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn import functional

from microbleeds.coarse_network import CoarseNetwork
from microbleeds.region_lookup import ON_THE_RIGHT
from microbleeds.region_map import INPUTS, OUTPUTS, region_logits
from microbleeds.regions import REGIONS
from microbleeds.simulation import anatomy as tissues
from microbleeds.simulation.anatomy import read_anatomy
from microbleeds.simulation.deformation import deform, draw_deformation
from microbleeds.simulation.region_rules import region_map
from microbleeds.simulation.subject import AGES
from microbleeds.training.brain_mask_images import IN_BRAIN, TISSUES
from microbleeds.training.coarse_training import CoarsePlan, train_coarse
from microbleeds.training.export import write_weights
from microbleeds.training.precision import autocast
from microbleeds.training.region_images import IGNORED, region_geometry, region_image, region_image_of_scan
from microbleeds.training.region_scans import RegionScan, load_scans
from microbleeds.training.train_brain_mask import head_files, prepare_map

WIDTHS = (16, 24, 48, 64, 64)
STEPS = 5700
VARIANTS = 2
IMAGES_PER_GEOMETRY = 3
VALIDATION_MAPS, TEST_MAPS = 2, 3
AVERAGING = 0.997
SEED = 30

_NAMES_OF_CLASSES = {
    tissues.AIR: "air", tissues.WHITE: "white matter", tissues.CORTEX: "cortex", tissues.CSF: "csf",
    tissues.VENTRICLE: "ventricle", tissues.CHOROID: "other brain", tissues.CAUDATE: "caudate",
    tissues.PUTAMEN: "putamen", tissues.PALLIDUM: "pallidum", tissues.THALAMUS: "thalamus",
    tissues.HIPPOCAMPUS: "hippocampus", tissues.VENTRAL_DC: "ventral", tissues.BRAINSTEM: "brainstem",
    tissues.CEREBELLAR_WHITE: "cerebellar white matter", tissues.CEREBELLAR_CORTEX: "cerebellar cortex",
    tissues.SKULL: "cortical bone", tissues.SCALP: "soft tissue"}  # fmt: skip
CODES_OF_CLASSES = np.array([TISSUES[_NAMES_OF_CLASSES[number]] for number in range(len(tissues.CLASS_NAMES))],
                            np.uint8)
"""Tissue of the random images by class of the simulator's anatomy."""


def main() -> None:
    """Train, validate, and write ``weights.pt`` and ``model.json`` into the work folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, required=True, help="folder of training_seg_*.nii.gz")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and the result")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--simulated", type=Path, nargs="+", required=True, help="simulated data sets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    maps = load_maps(arguments.labels, arguments.work)[:-TEST_MAPS]
    scans = load_scans(arguments.simulated, arguments.labels, arguments.work)
    network = train(maps[:-VALIDATION_MAPS], scans, maps[-VALIDATION_MAPS:], arguments.work, arguments.steps)
    figures = validate(network, maps[-VALIDATION_MAPS:], 60)
    card = {
        "name": "region-map",
        **write_weights(arguments.work / "weights.pt", network),
        "architecture": {"kind": "region map", "widths": list(WIDTHS), "inputs": INPUTS, "outputs": OUTPUTS},
        "licence": "Apache-2.0",
        "training": {"steps": arguments.steps, "seed": SEED,
                     "data": "SynthSeg label maps, random images, simulated scans"},
        "validation": figures,
    }
    (arguments.work / "model.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card, indent=2))


def load_maps(folder: Path, work: Path) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Return of every label map the tissue codes and the regions, in RAS order at 1 mm; kept in `work`.

    After the map itself come variants with other ventricles and sulci, as the simulator draws them for older adults.
    """
    files = head_files(folder, VALIDATION_MAPS + TEST_MAPS)
    return [[_kept(work / f"{file.name.split('.')[0]}-{variant}.npz", file, (number, variant))
             for variant in range(VARIANTS + 1)] for number, file in enumerate(files)]


def _kept(path: Path, file: Path, seed: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    if not path.exists():
        anatomy = read_anatomy(file)
        tissue = prepare_map(sitk.ReadImage(str(file)))
        if seed[1]:
            random = np.random.default_rng((SEED, *seed))
            anatomy = deform(anatomy, draw_deformation(random, random.uniform(*AGES)))
            tissue = CODES_OF_CLASSES[anatomy.classes.data] + np.uint8(IN_BRAIN) * anatomy.brain
        regions, right = region_map(anatomy)
        sides = np.where(regions > IGNORED, ON_THE_RIGHT * right, 0).astype(np.uint8)
        np.savez_compressed(path, tissue=tissue, regions=regions + sides)
    with np.load(path) as content:
        return content["tissue"], content["regions"]


def train(maps: list, scans: list[RegionScan], held_out: list, work: Path, steps: int) -> CoarseNetwork:
    """Return the network with averaged weights after `steps` images, of label maps and of scans in turns."""
    geometry = None

    def loss_of(network: CoarseNetwork, step: int) -> torch.Tensor | None:
        nonlocal geometry
        random = np.random.default_rng((SEED, step))
        if step % (2 * IMAGES_PER_GEOMETRY) == 0:
            variants = maps[random.integers(len(maps))]
            geometry = region_geometry(*variants[random.integers(len(variants))], random)
        image = region_image_of_scan(scans[random.integers(len(scans))], random) if step % 2 else region_image(
            *geometry, random)
        return region_loss(network, *image)

    plan = CoarsePlan(SEED, steps, AVERAGING, 50 * IMAGES_PER_GEOMETRY, 250 * IMAGES_PER_GEOMETRY)
    return train_coarse(lambda: CoarseNetwork(WIDTHS, INPUTS, OUTPUTS), loss_of,
                        lambda average: validate(average, held_out, 15), plan, work)


def region_loss(network: CoarseNetwork, seen: torch.Tensor, parts: torch.Tensor) -> torch.Tensor | None:
    """Return the loss on one image (5, i, j, k) and its regions (8, i, j, k), None if no region is known in it.

    Cross-entropy and Dice over the regions, cross-entropy over the sides. Two of the eighths, drawn anew each time, are
    enough and take less time.
    """
    known = (parts > IGNORED) & (torch.randperm(len(parts)) < 2)[:, None, None, None]
    if not known.any():
        return None
    with autocast("cpu"):
        logits = network(seen[None])
    logits = logits.float()[0]
    numbers = regions_of(parts[known])
    region_logs = functional.log_softmax(region_logits(logits)[:, known], dim=0)
    probabilities = region_logs.exp()
    cross_entropy = functional.nll_loss(region_logs.T, numbers)
    sums = [torch.zeros(len(REGIONS)).index_add(0, numbers, own) for own in
            (probabilities.gather(0, numbers[None])[0], torch.ones(len(numbers)))]
    dice = (2 * sums[0] + 1) / (probabilities.square().sum(dim=1) + sums[1] + 1)
    inside, right = right_shares(parts)
    side = functional.binary_cross_entropy_with_logits(logits[-1][inside], right)
    return cross_entropy + 0.5 * (1 - dice).mean() + side


def regions_of(codes: torch.Tensor) -> torch.Tensor:
    """Return which region, from 0, known codes stand for."""
    return (codes & (ON_THE_RIGHT - 1)).long() - 1


def right_shares(parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which voxels (i, j, k) have a known part, and of these the share (n) of the right side."""
    known = parts > IGNORED
    inside = known.any(dim=0)
    return inside, ((parts >= ON_THE_RIGHT).sum(dim=0) / known.sum(dim=0))[inside]


def validate(network: CoarseNetwork, maps: list, count: int) -> dict[str, float]:
    """Return shares of voxels that are right, over `count` random images of each map: median and low of images."""
    region, category, side = [], [], []
    categories = torch.tensor([0, 0] + [1] * 6 + [2] * 5)
    with torch.inference_mode():
        for index, variants in enumerate(maps):
            for number in range(0, count, IMAGES_PER_GEOMETRY):
                random = np.random.default_rng((SEED, 10**6 + index, number))
                geometry = region_geometry(*variants[number % len(variants)], random)
                for _ in range(IMAGES_PER_GEOMETRY):
                    seen, parts = region_image(*geometry, random)
                    logits = network(seen[None])[0]
                    known = parts > IGNORED
                    if known.sum() < 8000:
                        continue
                    found, true = region_logits(logits)[:, known].argmax(dim=0), regions_of(parts[known])
                    region.append((found == true).float().mean())
                    category.append((categories[found] == categories[true]).float().mean())
                    inside, right = right_shares(parts)
                    side.append(((logits[-1][inside] > 0) == (right > 0.5)).float().mean())
    return {f"{name}_{level}": round(float(np.quantile(values, quantile)), 4)
            for name, values in (("region", region), ("category", category), ("side", side))
            for level, quantile in (("median", 0.5), ("p05", 0.05))}


if __name__ == "__main__":
    main()
