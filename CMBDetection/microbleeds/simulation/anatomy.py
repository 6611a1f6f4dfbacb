"""From a FreeSurfer-coded label map to proton density, R2* and susceptibility on a fine grid."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..volume import Volume

WHITE, CORTEX, CSF, CAUDATE, PUTAMEN, PALLIDUM, THALAMUS, BRAINSTEM, CEREBELLUM, OTHER_GREY, SKULL, SCALP = range(1, 13)

_CLASS_OF_LABEL = {
    WHITE: (2, 41, 77, 85, 251, 252, 253, 254, 255),
    CORTEX: (3, 42),
    CSF: (4, 5, 14, 15, 24, 30, 31, 43, 44, 62, 63, 72),
    CAUDATE: (11, 50, 26, 58),
    PUTAMEN: (12, 51, 136, 137, 163, 164),
    PALLIDUM: (13, 52),
    THALAMUS: (10, 49),
    BRAINSTEM: (16, 28, 60),
    CEREBELLUM: (7, 8, 46, 47),
    OTHER_GREY: (17, 18, 53, 54),
    SKULL: (502, 511, 512, 514, 515),
    SCALP: (165, 506, 507, 508, 509, 516, 530),
}

# Proton density, T2* in ms at 3 T, susceptibility in ppm. T2*: Péran 2007, Krebs 2016; susceptibility: see
# shared/data/README.md, figures of published phantoms.
_TISSUE = {
    WHITE: (0.70, 48, -0.03), CORTEX: (0.80, 58, 0.02), CSF: (0.90, 400, 0.019), CAUDATE: (0.80, 42, 0.044),
    PUTAMEN: (0.80, 36, 0.038), PALLIDUM: (0.72, 24, 0.131), THALAMUS: (0.76, 45, 0.02), BRAINSTEM: (0.72, 46, 0.0),
    CEREBELLUM: (0.78, 52, 0.02), OTHER_GREY: (0.80, 55, 0.02), SKULL: (0.06, 5, -0.1), SCALP: (0.70, 35, 0.0)}


@dataclass(frozen=True)
class Tissue:
    """Tissue on a fine grid: class per voxel and the three maps, all (i, j, k); R2* in 1/s, susceptibility in ppm."""

    classes: np.ndarray
    density: np.ndarray
    r2star: np.ndarray
    susceptibility: np.ndarray


def class_map(labels: np.ndarray) -> np.ndarray:
    """Return the tissue class (uint8, 0 outside) of FreeSurfer labels.

    Codes not listed become white matter inside the brain (lesions, for example) and scalp outside (500 and more), so
    that no black hole is left that would pass for a bleed.
    """
    table = np.full(int(labels.max()) + 1, SCALP, np.uint8)
    table[:500] = WHITE
    table[0] = 0
    for tissue, codes in _CLASS_OF_LABEL.items():
        table[[code for code in codes if code < table.size]] = tissue
    return table[labels.astype(np.int64)]


def brain_of(classes: np.ndarray) -> np.ndarray:
    """Return the brain with its fluid: every class inside the skull."""
    return (classes > 0) & (classes < SKULL)


def fine_tissue(classes: Volume, to_fine: np.ndarray, shape: tuple[int, int, int], fine_spacing: np.ndarray,
                field_tesla: float, rng: np.random.Generator) -> Tissue:
    """Sample a class map on a fine grid and give each class its drawn properties.

    `to_fine` (4, 4) takes voxels of the fine grid to voxels of `classes`. R2* grows with the field (3 T reference),
    iron-rich nuclei get a drawn, age-like factor, and borders are partial volumes of about 1 mm.
    """
    sampled = ndimage.affine_transform(classes.data, to_fine[:3, :3], to_fine[:3, 3], shape, order=0)
    tables = np.zeros((3, SCALP + 1), np.float32)
    iron = rng.uniform(0.6, 2.0)
    for tissue, (density, t2star_ms, susceptibility) in _TISSUE.items():
        aged = iron if tissue in (CAUDATE, PUTAMEN, PALLIDUM) else 1.0
        contrast = rng.uniform(0.45, 1.1) if tissue == CSF else rng.normal(1, 0.06)
        r2star = 1000 / t2star_ms * (field_tesla / 3) ** 0.8 * aged**0.5 * rng.normal(1, 0.08)
        tables[:, tissue] = density * contrast, max(r2star, 1), susceptibility * aged
    sigma = 0.5 / fine_spacing
    maps = [ndimage.gaussian_filter(table[sampled], sigma) for table in tables]
    texture = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), rng.uniform(0.5, 1.2) / fine_spacing)
    maps[0] *= 1 + rng.uniform(0.01, 0.05) * texture / texture.std()
    return Tissue(sampled, *maps)
