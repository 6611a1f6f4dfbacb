"""Iron-rich nuclei that label maps lack: red nucleus, substantia nigra, dentate nucleus.

Their places are approximate, relative to the ventral diencephalon and the white matter of the cerebellum of each side;
shape and place carry no truth, only their iron matters, which makes them look like the real mimics they are.
"""

import numpy as np

from ..geometry import voxel_to_ras
from .anatomy import CEREBELLAR_WHITE, VENTRAL_DC, Anatomy
from .protocol import slab_rotation
from .shapes import NUCLEUS, Focus, Part, draw_bumps

_RATE = 0.07
_R2STAR_PER_PPM = 150.0
"""R2* (1/s) that comes with a ppm of tissue iron at 3 T: the pallidum's excess of 20 /s at .131 ppm."""


def draw_nuclei(anatomy: Anatomy, iron: float, age: float, rng: np.random.Generator) -> tuple[Focus, ...]:
    """Draw the three nuclei of both sides; `iron` is the subject's factor, `age` in years.

    χ of .10, .111 and .152 ppm (published phantoms) at 70 years; their iron rises fast in youth and hardly after 35
    (Hallgren & Sourander 1958), here as ``1 - exp(-0.07 age)``.
    """
    iron *= (1 - np.exp(-_RATE * age)) / (1 - np.exp(-_RATE * 70))
    drawn = []
    for side in (-1, 1):
        for middle in _centres(anatomy, VENTRAL_DC, side):
            drawn.append(_nucleus(middle + [-3 * side, -2, 2], (2.6, 2.6, 3.2), 0.10 * iron, (0, 0, 0), rng))
            turned = (0, -35 * side, -30 * side)
            drawn.append(_nucleus(middle + [2 * side, -1, -2], (1.6, 5.5, 2.6), 0.111 * iron, turned, rng))
        for middle in _centres(anatomy, CEREBELLAR_WHITE, side):
            drawn.append(_nucleus(middle + [-4 * side, 3, 0], (3.5, 6.5, 2.6), 0.152 * iron, (15, 0, 30 * side), rng))
    return tuple(drawn)


def _nucleus(centre: np.ndarray, axes_mm: tuple[float, float, float], ppm: float, turned: tuple[float, float, float],
             rng: np.random.Generator) -> Focus:
    ppm *= float(np.exp(rng.normal(0, 0.15)))
    part = Part(centre + rng.normal(0, 0.7, 3), np.array(axes_mm) * rng.uniform(0.85, 1.15, 3), slab_rotation(turned),
                draw_bumps(rng, 0.08), ppm, _R2STAR_PER_PPM * ppm, 1.0)
    return Focus(NUCLEUS, (part,))


def _centres(anatomy: Anatomy, tissue: int, side: int) -> list[np.ndarray]:
    """Return the middle (RAS mm) of a tissue on one side (-1 left, 1 right), an empty list where it has none."""
    points = voxel_to_ras(anatomy.classes, np.argwhere(anatomy.classes.data == tissue))
    midline = np.median(points[:, 0]) if len(points) else 0
    own = points[(points[:, 0] - midline) * side > 0]
    return [own.mean(axis=0)] if len(own) else []
