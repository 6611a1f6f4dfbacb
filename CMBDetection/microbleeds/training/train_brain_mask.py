"""Train the brain mask network, SynthStrip-style, on random images made from whole-head label maps.

    python -m microbleeds.training.train_brain_mask --labels FOLDER --work FOLDER

FOLDER holds the 20 label maps of SynthSeg (``training_seg_*.nii.gz``, Apache-2.0). Started again, it goes on from the
last checkpoint in the work folder.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn import functional

from microbleeds.coarse_network import CoarseNetwork, normalise
from microbleeds.training.brain_mask_images import TISSUES, random_geometry, random_image
from microbleeds.training.coarse_training import CoarsePlan, train_coarse
from microbleeds.training.export import write_weights
from microbleeds.training.precision import autocast

WIDTHS = (8, 16, 32, 64, 64)
STEPS = 4500
IMAGES_PER_GEOMETRY = 3
VALIDATION_MAPS = 2
AVERAGING = 0.995
SEED = 20


def main() -> None:
    """Train, validate, and write ``weights.pt`` and ``model.json`` into the work folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, required=True, help="folder of training_seg_*.nii.gz")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and the result")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    maps = load_maps(arguments.labels, arguments.work)
    network = train(maps[:-VALIDATION_MAPS], maps[-VALIDATION_MAPS:], arguments.work, arguments.steps)
    write_model(network, arguments.work, arguments.steps, validate(network, maps[-VALIDATION_MAPS:], 60))


def load_maps(folder: Path, work: Path) -> list[np.ndarray]:
    """Return the maps in RAS order at 1 mm as tissue codes, plus 128 inside the brain mask; kept in `work`."""
    maps = []
    for file in head_files(folder, VALIDATION_MAPS):
        kept = work / (file.name.split(".")[0] + ".npy")
        if not kept.exists():
            np.save(kept, prepare_map(sitk.ReadImage(str(file))))
        maps.append(np.load(kept))
    return maps


def head_files(folder: Path, left_out: int) -> list[Path]:
    """Return the label maps in a folder, in the order of their numbers, if there are more than those left out."""
    files = sorted(folder.glob("training_seg_*.nii.gz"))
    if len(files) <= left_out:
        raise SystemExit(f"{folder} holds {len(files)} label maps training_seg_*.nii.gz; at least {left_out + 1} are "
                         "needed.")
    return files


def prepare_map(image: sitk.Image) -> np.ndarray:
    """Return one map as tissue codes, plus 128 inside the brain mask, in RAS axis order."""
    image = sitk.Cast(sitk.DICOMOrient(image, "LPS"), sitk.sitkInt16)
    codes = np.flip(sitk.GetArrayFromImage(image).transpose(2, 1, 0), (0, 1))  # LPS to RAS
    tissue = np.full(codes.shape, TISSUES["other brain"], np.uint8)
    tissue[codes >= 500] = TISSUES["soft tissue"]
    tissue[codes == 0] = TISSUES["air"]
    for code, name in CODES.items():
        tissue[codes == code] = TISSUES[name]
    return tissue + np.uint8(128) * brain_of(codes)


def brain_of(codes: np.ndarray) -> np.ndarray:
    """Return what counts as brain: every brain code with the CSF, down to the end of the brainstem, smooth, filled."""
    brain = (codes > 0) & (codes < 500)
    lowest = np.flatnonzero(np.isin(codes, (7, 8, 16, 46, 47)).sum(axis=(0, 1)) > 20)[0]
    brain[:, :, :lowest] = False
    mask = sitk.GetImageFromArray(brain.astype(np.uint8))
    mask = sitk.BinaryMorphologicalClosing(mask, [2] * 3)
    mask = sitk.BinaryMorphologicalOpening(sitk.BinaryFillhole(mask), [3] * 3)
    mask = sitk.RelabelComponent(sitk.ConnectedComponent(mask)) == 1
    return sitk.GetArrayFromImage(mask).astype(np.uint8)


CODES = {
    **dict.fromkeys((2, 41), "white matter"), **dict.fromkeys((3, 42), "cortex"),
    **dict.fromkeys((4, 5, 14, 15, 43, 44, 72), "ventricle"), **dict.fromkeys((7, 46), "cerebellar white matter"),
    **dict.fromkeys((8, 47), "cerebellar cortex"), **dict.fromkeys((10, 49), "thalamus"),
    **dict.fromkeys((11, 50), "caudate"), **dict.fromkeys((12, 51), "putamen"), **dict.fromkeys((13, 52), "pallidum"),
    16: "brainstem", **dict.fromkeys((17, 18, 53, 54), "hippocampus"), 24: "csf", **dict.fromkeys((28, 60), "ventral"),
    502: "artery", 506: "eye", 509: "mucosa", 511: "skin", 512: "cord", 514: "vein", 515: "cortical bone",
    516: "marrow",
}  # fmt: skip


def train(maps: list[np.ndarray], held_out: list[np.ndarray], work: Path, steps: int) -> CoarseNetwork:
    """Return the network with averaged weights after `steps` images."""
    random, geometry = None, None

    def loss_of(network: CoarseNetwork, step: int) -> torch.Tensor:
        nonlocal random, geometry
        if step % IMAGES_PER_GEOMETRY == 0:
            random = np.random.default_rng((SEED, step))
            geometry = random_geometry(maps[random.integers(len(maps))], random)
        return mask_loss(network, *random_image(*geometry, random))

    plan = CoarsePlan(SEED, steps, AVERAGING, 100 * IMAGES_PER_GEOMETRY, 500 * IMAGES_PER_GEOMETRY)
    return train_coarse(lambda: CoarseNetwork(WIDTHS), loss_of, lambda average: validate(average, held_out, 15), plan,
                        work)


def mask_loss(network: CoarseNetwork, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy plus Dice loss on one image (i, j, k) and its brain fractions."""
    with autocast("cpu"):
        logits = network(normalise(image)[None, None])
    logits = logits.float()[0, 0]
    fraction = torch.sigmoid(logits)
    dice = (2 * (fraction * target).sum() + 1) / (fraction.square().sum() + target.square().sum() + 1)
    return functional.binary_cross_entropy_with_logits(logits, target) + (1 - dice)


def validate(network: CoarseNetwork, maps: list[np.ndarray], count: int) -> dict[str, float]:
    """Return the median and lowest Dice over `count` random images of each held-out map."""
    dice = []
    with torch.inference_mode():
        for index, label_map in enumerate(maps):
            for number in range(0, count, IMAGES_PER_GEOMETRY):
                random = np.random.default_rng((SEED, 10**6 + index, number))
                geometry = random_geometry(label_map, random)
                for _ in range(IMAGES_PER_GEOMETRY):
                    image, target = random_image(*geometry, random)
                    found = network(normalise(image)[None, None])[0, 0] >= 0
                    true = target >= 0.5
                    dice.append(float(2 * (found & true).sum() / (found.sum() + true.sum()).clamp(min=1)))
    quantiles = {"dice_median": 0.5, "dice_p05": 0.05, "dice_min": 0.0}
    return {name: round(float(np.quantile(dice, q)), 4) for name, q in quantiles.items()}


def write_model(network: CoarseNetwork, work: Path, steps: int, figures: dict[str, float]) -> None:
    """Write the weights in half precision and the card."""
    card = {
        "name": "brain-mask",
        **write_weights(work / "weights.pt", network),
        "architecture": {"kind": "BrainMaskNetwork", "widths": list(WIDTHS)},
        "licence": "Apache-2.0",
        "training": {"steps": steps, "seed": SEED, "data": "SynthSeg label maps, simulated images"},
        "validation": figures,
    }
    (work / "model.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
