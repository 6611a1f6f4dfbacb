"""A picture of one simulated subject: all its images at the slice with most microbleeds, below with frames on them.

    cmbdetect simulate -n 1 --seed 7 --bleeds 40 --mimics 4 --field 3 --in-plane 0.6 --slice 1.5
        --snr 40 --motion 0 --brain-only -o DATA
    python Testing/Benchmarks/simulator_pictures.py DATA/sub-0001 Resources/Figures/simulated_subject.png
"""

import argparse
from pathlib import Path

import numpy as np
from microbleeds.geometry import to_canonical
from microbleeds.image_files import read_image
from microbleeds.read_write import read_labels
from microbleeds.simulation.simulate import MAGNITUDE, MINIMUM, PHASE, QSM, R2STAR, SWI
from microbleeds.snapshots import png
from scipy import ndimage

WINDOWS = {MAGNITUDE: (0, 900), PHASE: (-4096, 4096), SWI: (0, 900), MINIMUM: (0, 800), QSM: (-0.12, 0.22),
           R2STAR: (0, 70)}
"""Shown black and white, in the units of the files."""
LEAST_AREA = 0.8
"""Of the brain's largest slice, so that the picture shows a whole one."""
FRAME = 7
"""Pixels from a microbleed's centre to its frame."""


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", type=Path, help="folder of one subject with all images")
    parser.add_argument("out", type=Path, help="PNG file")
    options = parser.parse_args()
    name, folder = options.subject.name, options.subject / "anat"
    truth = to_canonical(read_labels(folder / f"{name}_{MAGNITUDE}_desc-cmb_truth.nii.gz")).data
    brain = to_canonical(read_labels(folder / f"{name}_desc-brain_mask.nii.gz")).data > 0
    area = brain.sum(axis=(0, 1))
    shown = [len(np.unique(truth[:, :, k])) * (area[k] > LEAST_AREA * area.max()) for k in range(truth.shape[2])]
    number = int(np.argmax(shown))
    plane = (*ndimage.find_objects(brain[:, :, number].astype(int))[0], number)
    columns = []
    for kind, window in WINDOWS.items():
        image = to_canonical(read_image(folder / f"{name}_{kind}.nii.gz").volume).data[plane]
        grey = np.clip((image - window[0]) / (window[1] - window[0]), 0, 1) * 255
        columns.append(np.concatenate([_upright(grey), _upright(_framed(grey, truth[plane]))]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(png(np.concatenate(columns, axis=1)))


def _upright(plane: np.ndarray) -> np.ndarray:
    """Return a plane (right, anterior) as a picture: the patient's right on the left, anterior at the top."""
    return np.rint(plane.T[::-1, ::-1]).astype(np.uint8)


def _framed(grey: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return a plane with a white frame around each number's voxels."""
    result = grey.copy()
    for number in np.unique(numbers[numbers > 0]):
        centre = np.rint(np.argwhere(numbers == number).mean(axis=0)).astype(int)
        low, high = np.maximum(centre - FRAME, 0), np.minimum(centre + FRAME, np.array(grey.shape) - 1)
        result[low[0]:high[0] + 1, [low[1], high[1]]] = 255
        result[[low[0], high[0]], low[1]:high[1] + 1] = 255
    return result


if __name__ == "__main__":
    main()
