"""Simulated scans with the regions of their heads, for the region network: on its grid, with a detection's mask."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..brain_mask import brain_mask
from ..geometry import ras_to_voxel, voxel_to_ras
from ..read_write import read_scan
from ..region_lookup import ON_THE_RIGHT
from ..region_map import PARTS, map_affine, on_working_grid
from ..simulation.anatomy import Anatomy, read_anatomy
from ..simulation.deformation import Deformation, deform
from ..simulation.region_rules import region_map
from ..volume import Volume
from .layouts_simulated import find_simulated


@dataclass(frozen=True)
class RegionScan:
    """One scan on the working grid.

    Attributes
    ----------
    image : (i, j, k) float32 array
        Raw intensities.
    brain : (i, j, k) float32 array
        Share of the brain mask in every voxel.
    parts : (8, i, j, k) uint8 array
        Region and side of the eighths of every voxel, 0 outside the brain.
    """

    image: np.ndarray
    brain: np.ndarray
    parts: np.ndarray


def drawn_anatomy(drawn: Path, labels: Path) -> Anatomy:
    """Return the head of a simulated case: its label map, which lies in the folder `labels`, deformed as it was."""
    content = json.loads(drawn.read_text(encoding="utf-8"))
    values = {name: tuple(value) if isinstance(value, list) else value for name, value
              in content["deformation"].items()}
    return deform(read_anatomy(labels / content["plan"]["labels"]["name"]), Deformation(**values))


def load_scans(folders: Sequence[Path], labels: Path, work: Path) -> list[RegionScan]:
    """Return the scans of simulated data sets, made from the label maps in `labels`; kept in `work`."""
    return [_kept(work / f"{folder.name}-{scan.name}.npz", scan.image, labels)
            for folder in folders for scan in find_simulated(folder)]


def _kept(path: Path, image: Path, labels: Path) -> RegionScan:
    if not path.exists():
        drawn = image.parent / f"{image.parent.parent.name}_desc-drawn.json"
        scan = region_scan(read_scan(image).volume, drawn_anatomy(drawn, labels))
        beside = path.with_suffix(".part.npz")
        np.savez_compressed(beside, **vars(scan))
        os.replace(beside, path)
    with np.load(path) as content:
        return RegionScan(content["image"], content["brain"], content["parts"])


def region_scan(volume: Volume, head: Anatomy) -> RegionScan:
    """Return a scan (raw intensities) of a head, in the same RAS mm, with the mask that a detection makes."""
    canonical, image, share = on_working_grid(volume, brain_mask(volume))
    regions, right = region_map(head)
    codes = regions + np.where(regions > 0, ON_THE_RIGHT * right, 0).astype(np.uint8)
    fine = np.zeros([2 * side for side in image.shape], np.uint8)
    grid = Volume(fine, map_affine(canonical, fine.shape))
    voxels = np.rint(ras_to_voxel(head.classes, voxel_to_ras(grid, np.argwhere(np.ones(fine.shape, bool)))))
    voxels = voxels.astype(int)
    inside = ((voxels >= 0) & (voxels < codes.shape)).all(axis=1)
    fine.ravel()[inside] = codes[tuple(voxels[inside].T)]
    parts = np.stack([fine[tuple(slice(half, None, 2) for half in part)] for part in PARTS])
    return RegionScan(image, share, parts)
