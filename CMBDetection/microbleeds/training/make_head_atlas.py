"""Make the atlas of tissues and regions (`head_atlas`) of label maps.

    python -m microbleeds.training.make_head_atlas --labels FOLDER -o atlas.npz

FOLDER holds the 20 label maps of SynthSeg (``training_seg_*.nii.gz``, Apache-2.0); the last 5 are left out, as in the
training of the region network. Its SHA-256 belongs in the card beside it (``"atlas"``). Takes some 10 minutes.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..geometry import ras_to_voxel
from ..head_atlas import FIRST_MM, LEVELS, SHAPE, SPACING_MM, TISSUES
from ..regions import REGIONS
from ..simulation import anatomy as classes
from ..simulation.anatomy import Anatomy, read_anatomy
from ..simulation.deformation import deform, draw_deformation
from ..simulation.region_rules import region_map, to_mni
from ..simulation.subject import AGES
from .train_brain_mask import head_files
from .train_region_map import TEST_MAPS, VALIDATION_MAPS

LEFT_OUT = VALIDATION_MAPS + TEST_MAPS
VARIANTS = 2
"""Deformations of each map, as the simulator draws them for older adults."""
SEED = 77
SMOOTHED_MM = 2.5
SMALLEST_MM3 = 300
"""Rarer pairs are left out."""
_EVERY = 2
_CLASSES = {
    "ventricle": (classes.VENTRICLE, classes.CHOROID),
    "fluid": (classes.CSF, classes.AIR, classes.SKULL, classes.SCALP),
    "white matter": (classes.WHITE,),
    "cortex": (classes.CORTEX, classes.HIPPOCAMPUS),
    "nucleus": (classes.CAUDATE, classes.PUTAMEN, classes.THALAMUS),
    "pallidum": (classes.PALLIDUM, classes.VENTRAL_DC),
    "brainstem": (classes.BRAINSTEM,),
    "cerebellar white matter": (classes.CEREBELLAR_WHITE,),
    "cerebellar cortex": (classes.CEREBELLAR_CORTEX,)}
_TISSUE_OF_CLASS = np.array([next(number for number, name in enumerate(TISSUES) if own in _CLASSES[name])
                             for own in range(len(classes.CLASS_NAMES))])


def main() -> None:
    """Count all heads and write the atlas."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, required=True, help="folder of training_seg_*.nii.gz")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    files = head_files(arguments.labels, LEFT_OUT)[:-LEFT_OUT]
    counts, heads = 0, 0
    for number, file in enumerate(files, 1):
        for variant in range(VARIANTS + 1):
            head = read_anatomy(file)
            if variant:
                random = np.random.default_rng((SEED, number, variant))
                head = deform(head, draw_deformation(random, random.uniform(*AGES)))
            counts, heads = counts + pairs_of(head), heads + 1
            print(f"{file.name}, {variant}", flush=True)
    np.savez_compressed(arguments.output, **packed(counts, heads))


def pairs_of(head: Anatomy) -> np.ndarray:
    """Return for every pair whether a head has it, (tissues * 13, ...) uint16, at every second mm in MNI space."""
    regions, _ = region_map(head)
    to_head = np.linalg.inv(to_mni(head))
    shape = [_EVERY * side - 1 for side in SHAPE]
    places = FIRST_MM + SPACING_MM / _EVERY * np.argwhere(np.ones(shape, bool))
    voxels = np.rint(ras_to_voxel(head.classes, places @ to_head[:3, :3].T + to_head[:3, 3])).astype(int)
    within = ((voxels >= 0) & (voxels < regions.shape)).all(axis=1)
    own = tuple(voxels[within].T)
    numbers = np.full(len(places), -1)
    region = regions[own].astype(int)
    numbers[within] = np.where(region > 0, _TISSUE_OF_CLASS[head.classes.data[own]] * len(REGIONS) + region - 1, -1)
    return np.stack([(numbers == pair).reshape(shape) for pair in range(len(TISSUES) * len(REGIONS))]).astype(np.uint16)


def packed(counts: np.ndarray, heads: int) -> dict[str, np.ndarray]:
    """Return the arrays of the atlas file: smoothed, made symmetric, and of the left half and the midline only."""
    shares, pairs = [], []
    for (tissue, region), own in zip(product(range(len(TISSUES)), range(1, len(REGIONS) + 1)), counts, strict=True):
        own = (own + own[::-1]) / np.float32(2 * heads)
        if own.sum() * (SPACING_MM / _EVERY) ** 3 >= SMALLEST_MM3:
            smooth = ndimage.gaussian_filter(own, SMOOTHED_MM / SPACING_MM * _EVERY)
            shares.append(smooth[::_EVERY, ::_EVERY, ::_EVERY][:SHAPE[0] // 2 + 1])
            pairs.append((tissue, region))
    tissues, regions = np.array(pairs, np.uint8).T
    return {"shares": np.rint(LEVELS * np.stack(shares)).astype(np.uint8), "tissues": tissues, "regions": regions}


if __name__ == "__main__":
    main()
