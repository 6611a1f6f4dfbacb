"""Small labelled data sets in plain folders, with brain masks, for the tests of preparing and training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from microbleeds.geometry import voxel_to_ras
from microbleeds.read_write import write_image, write_label_map
from microbleeds.volume import Volume

SHAPE = (40, 36, 14)
SPACING_MM = (0.8, 0.8, 2.5)


def affine_las(spacing_mm=SPACING_MM) -> np.ndarray:
    """Return a grid whose first axis runs to the left, away from the origin."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[0] *= -1
    affine[:3, 3] = 31, -17, 40
    return affine


@dataclass(frozen=True, eq=False)
class Drawn:
    """A drawn scan: raw GRE image, brain mask and numbered microbleeds on one grid, and their centres in RAS mm."""

    image: Volume
    brain: Volume
    labels: Volume
    centres_ras: np.ndarray


def drawn_scan(seed=0, shape=SHAPE, affine=None, bleeds=3, dark_shadows=2, radius_mm=2.0) -> Drawn:
    """Return an ellipsoid of noisy tissue with dark balls, of which the last ones, fainter, are no microbleeds."""
    rng = np.random.default_rng(seed)
    affine = affine_las() if affine is None else affine
    grid = Volume(np.zeros(shape, np.float32), affine)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    middle = (np.array(shape) - 1) / 2
    brain = (((voxels - middle) / (np.array(shape) * 0.48)) ** 2).sum(-1) <= 1
    image = np.where(brain, rng.normal(500, 15, shape), rng.uniform(0, 20, shape))
    labels, centres = np.zeros(shape, np.int32), []
    while len(centres) < bleeds + dark_shadows:
        centre = middle + rng.uniform(-0.28, 0.28, 3) * shape
        if any(np.linalg.norm((centre - other) * grid.spacing) < 7 for other in centres):
            continue
        ball = np.linalg.norm((voxels - centre) * grid.spacing, axis=-1) <= radius_mm
        if len(centres) < bleeds:
            labels[ball] = len(centres) + 1
        image[ball] *= 0.4 if len(centres) < bleeds else 0.7
        centres.append(centre)
    return Drawn(grid.with_data(image.astype(np.float32)), grid.with_data(brain.astype(np.uint8)),
                 grid.with_data(labels), voxel_to_ras(grid, np.reshape(centres[:bleeds], (-1, 3))))


def write_scan(folder: Path, name: str, drawn: Drawn) -> None:
    """Write a scan into the plain folders layout: images (with the brain mask beside) and labels."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_image(folder / "images" / f"{name}.nii.gz", drawn.image)
    write_label_map(folder / "images" / f"{name}_brain_mask.nii.gz", drawn.brain)
    write_label_map(folder / "labels" / f"{name}.nii.gz", drawn.labels)


def write_set(folder: Path, names, seed=0, **options) -> Path:
    """Write one drawn scan of each name and return the folder; `options` are those of `drawn_scan`."""
    for number, name in enumerate(names):
        write_scan(folder, name, drawn_scan(100 * seed + number, **options))
    return folder
