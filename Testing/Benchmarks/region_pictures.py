"""Pictures to look at: the regions of the brain laid over scans, six axial slices each.

    python Testing/Benchmarks/region_pictures.py IMAGE ... -o DIR

Writes ``S_regions.png`` for each image S: the slices above, the same with the borders of the regions below.
"""

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from microbleeds.brain_mask import brain_mask
from microbleeds.geometry import resample_like, resample_to_spacing, to_canonical
from microbleeds.read_write import read_scan
from microbleeds.region_map import find_regions
from microbleeds.volume import Volume

HEIGHTS = (0.25, 0.38, 0.47, 0.55, 0.65, 0.8)
SPACING_MM = 1.25
SCALE = 2
COLOURS = np.array([(230, 25, 75), (245, 130, 48), (255, 225, 25), (60, 180, 75), (70, 240, 240), (0, 130, 200),
                    (145, 30, 180), (240, 50, 230), (170, 110, 40), (128, 128, 255), (170, 255, 195), (255, 215, 180),
                    (255, 105, 180)], np.uint8)


def main() -> None:
    """Write the pictures and print the margin of each map."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for path in options.images:
        scan = read_scan(path)
        brain = brain_mask(scan.volume)
        regions, margin = find_regions(scan.volume, brain)
        print(f"{scan.stem}: margin {margin:.3f}{'' if regions else ', no map'}", flush=True)
        picture = overlay(to_canonical(scan.volume), brain, regions)
        target = options.output / f"{scan.stem}_regions.png"
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(target))


def overlay(scan: Volume, brain: Volume, regions: Volume | None) -> np.ndarray:
    """Return rows of slices (rows, columns, 3) uint8, the patient's right on the left."""
    grid = regions or resample_to_spacing(scan, np.full(3, SPACING_MM))
    image = resample_like(scan, grid, 1).data
    low, high = np.percentile(image[image != 0], (1, 99.5)) if image.any() else (0, 1)
    grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    inside = resample_like(brain, grid, 0).data
    filled = np.flatnonzero(inside.any(axis=(0, 1))) if inside.any() else np.arange(image.shape[2])
    rows = []
    for shown in (None, regions.data if regions else None):
        tiles = []
        for height in HEIGHTS:
            k = int(filled[0] + height * (filled[-1] - filled[0]))
            tile = np.repeat(grey[:, :, k, None], 3, axis=2)
            if shown is not None:
                numbers = shown[:, :, k] & 15
                coloured = COLOURS[np.maximum(numbers, 1) - 1]
                tile = np.where((numbers > 0)[..., None], (0.6 * tile + 0.4 * coloured).astype(np.uint8), tile)
            # the first axis runs to the right, shown to the left; the second to the front, shown upwards
            tiles.append(tile[::-1, ::-1].transpose(1, 0, 2).repeat(SCALE, 0).repeat(SCALE, 1))
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows, axis=0)


if __name__ == "__main__":
    main()
