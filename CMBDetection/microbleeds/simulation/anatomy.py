"""The anatomy of a subject: tissue classes from a FreeSurfer-coded label map, and where a point of it lies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..geometry import ras_to_voxel, to_canonical
from ..image_files import IMAGE_SUFFIXES
from ..read_write import read_labels
from ..resources import resource_path
from ..volume import Volume

(AIR, WHITE, CORTEX, CSF, VENTRICLE, CHOROID, CAUDATE, PUTAMEN, PALLIDUM, THALAMUS, HIPPOCAMPUS, VENTRAL_DC, BRAINSTEM,
 CEREBELLAR_WHITE, CEREBELLAR_CORTEX, SKULL, SCALP) = range(17)
"""Tissue classes; everything from `WHITE` to `CEREBELLAR_CORTEX` lies inside the skull."""

CLASS_NAMES = ("air", "white matter", "cortex", "cerebrospinal fluid", "ventricle", "choroid plexus", "caudate",
               "putamen", "pallidum", "thalamus", "hippocampus or amygdala", "ventral diencephalon", "brainstem",
               "cerebellar white matter", "cerebellar cortex", "skull", "scalp")

_CODES = {
    WHITE: (2, 41, 77, 85, 250, 251, 252, 253, 254, 255),
    CORTEX: (3, 42),
    CSF: (24, 30, 62, 257),
    VENTRICLE: (4, 5, 14, 15, 43, 44, 72),
    CHOROID: (31, 63),
    CAUDATE: (11, 50, 26, 58),
    PUTAMEN: (12, 51, 136, 137, 163, 164),
    PALLIDUM: (13, 52),
    THALAMUS: (9, 10, 48, 49),
    HIPPOCAMPUS: (17, 18, 53, 54),
    VENTRAL_DC: (28, 60),
    BRAINSTEM: (16, 170, 171, 172, 173, 174, 175, 178),
    CEREBELLAR_WHITE: (7, 46),
    CEREBELLAR_CORTEX: (8, 47),
    SKULL: (165, 502, 511, 512, 514, 515),
    SCALP: (258, 259, 506, 507, 508, 509, 516, 530),
}
_NEEDED = (WHITE, CORTEX, VENTRICLE, CAUDATE, PUTAMEN, PALLIDUM, THALAMUS, BRAINSTEM, CEREBELLAR_WHITE,
           CEREBELLAR_CORTEX)
_FIRST_OUTSIDE_CODE, _LARGEST_CODE = 500, 19_999
_BRAIN_LITRES = (0.2, 3.0)
MAX_LABEL_SPACING_MM = 2.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A head: `classes` (uint8, canonical axes, RAS affine, spacing about 1 mm) and the name of what it came from."""

    name: str
    classes: Volume

    @property
    def brain(self) -> np.ndarray:
        """Everything inside the skull, (i, j, k) bool on the grid of `classes`."""
        return brain_of(self.classes.data)


def carried_anatomies() -> tuple[Path, ...]:
    """Return the label maps that come with the software."""
    return tuple(sorted(resource_path("Anatomy").glob("*.nii.gz")))


def find_label_maps(path: Path) -> tuple[Path, ...]:
    """Return a label map, or all images of a folder, sorted by name.

    Raises
    ------
    InputError
        If there is none.
    """
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path} does not exist; name a FreeSurfer-coded label map or a folder of them.")
        return (path,)
    found = tuple(sorted(file for file in path.iterdir() if file.name.lower().endswith(IMAGE_SUFFIXES)))
    if not found:
        raise InputError(f"{path} holds no images; name a FreeSurfer-coded label map or a folder of them.")
    return found


def read_anatomy(path: Path) -> Anatomy:
    """Read a FreeSurfer-coded label map (aseg, aparc+aseg, SynthSeg; with or without labels outside the brain).

    Raises
    ------
    InputError
        If the file cannot be read, a structure is missing, or its voxels are too large.
    """
    labels = to_canonical(read_labels(path))
    if labels.spacing.max() > MAX_LABEL_SPACING_MM:
        raise InputError(f"{path} has voxels of {labels.spacing.max():.2g} mm; give a label map of "
                         f"{MAX_LABEL_SPACING_MM:g} mm or finer.")
    low, high = int(labels.data.min()), int(labels.data.max())
    if low < 0 or high > _LARGEST_CODE:
        raise InputError(f"{path} has values from {low} to {high}; give a label map with FreeSurfer's codes.")
    classes = _without_gaps(class_map(labels.data))
    litres = brain_of(classes).sum() * labels.voxel_volume_mm3 / 1e6
    if not _BRAIN_LITRES[0] <= litres <= _BRAIN_LITRES[1]:
        raise InputError(f"{path} has a brain of {litres:.2g} litres; give a label map of a whole brain with "
                         "FreeSurfer's codes.")
    present = np.bincount(classes.ravel(), minlength=len(CLASS_NAMES))
    missing = [f"{CLASS_NAMES[tissue]} ({', '.join(map(str, _CODES[tissue][:2]))})" for tissue in _NEEDED
               if not present[tissue]]
    if missing:
        raise InputError(f"{path} has no {', no '.join(missing)}; give a label map of a whole brain with FreeSurfer's "
                         "codes.")
    return Anatomy(path.name, labels.with_data(classes))


def class_map(labels: np.ndarray) -> np.ndarray:
    """Return the tissue class (uint8) of FreeSurfer labels.

    Cortical parcels (1000 to 2999, 11100 to 12199) become cortex, white matter parcels (3000 to 4999) white matter,
    other codes that are not listed white matter inside the brain (lesions, for example) and scalp outside (500 to 999),
    so that no black hole is left that would pass for a bleed.
    """
    table = np.full(_LARGEST_CODE + 1, WHITE, np.uint8)
    table[0] = AIR
    table[_FIRST_OUTSIDE_CODE:1000] = SCALP
    table[1000:3000] = table[11100:12200] = CORTEX
    for tissue, codes in _CODES.items():
        table[list(codes)] = tissue
    return table[labels.astype(np.int64)]


def _without_gaps(classes: np.ndarray) -> np.ndarray:
    """Return the classes with fluid in holes and narrow gaps of the brain, which would be black dots on an image."""
    brain = brain_of(classes)
    reach = 2
    closed = ndimage.binary_closing(np.pad(brain, 2 * reach), iterations=reach)[(slice(2 * reach, -2 * reach),) * 3]
    gaps = ndimage.binary_fill_holes(closed) & ~brain
    return np.where(gaps, np.uint8(CSF), classes)


def brain_of(classes: np.ndarray) -> np.ndarray:
    """Return the brain with its fluid: every class inside the skull."""
    return (classes > AIR) & (classes < SKULL)


def class_at(anatomy: Anatomy, points_ras: np.ndarray) -> np.ndarray:
    """Return the tissue class at points (n, 3) RAS mm, `AIR` outside the map."""
    index = np.rint(ras_to_voxel(anatomy.classes, np.atleast_2d(points_ras))).astype(int)
    inside = ((index >= 0) & (index < anatomy.classes.shape)).all(axis=1)
    found = np.zeros(len(index), np.uint8)
    found[inside] = anatomy.classes.data[tuple(index[inside].T)]
    return found
