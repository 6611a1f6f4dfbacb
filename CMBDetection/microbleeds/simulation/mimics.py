"""Focal things that are no microbleeds but look like them: calcification, mineralisation, cavernoma, infarct rim.

Vessels are drawn in `vessels`, air in `surroundings`, motion and ringing in `image_formation`.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ..geometry import voxel_to_ras
from . import anatomy as tissues
from .anatomy import Anatomy
from .shapes import (
    CALCIFICATION,
    CAVERNOMA,
    INFARCT_RIM,
    MINERALISATION,
    Focus,
    Part,
    draw_bumps,
    random_rotation,
)

_CALCIFIED = ((tissues.CHOROID, tissues.VENTRICLE), (tissues.PALLIDUM,), (tissues.CSF,), (tissues.CORTEX,),
              (tissues.CEREBELLAR_WHITE,))
_CALCIFIED_SHARES = (0.35, 0.2, 0.15, 0.2, 0.1)


def draw_mimics(anatomy: Anatomy, rate: float, age: float, rng: np.random.Generator) -> tuple[Focus, ...]:
    """Draw the focal mimics of a subject; `rate` multiplies how often each occurs (1: as in older adults)."""
    older = np.clip((age - 40) / 40, 0.2, 1.2)
    means: tuple[tuple[Callable, float], ...] = (
        (draw_calcification, 1.5 * older), (draw_pallidal_mineral, 0.9 * older), (draw_dentate_mineral, 0.3 * older),
        (draw_cavernoma, 0.08), (draw_infarct_rim, 0.12 * older))
    drawn = [draw(anatomy, rng) for draw, mean in means for _ in range(rng.poisson(rate * mean))]
    return tuple(focus for focus in drawn if focus is not None)


def draw_calcification(anatomy: Anatomy, rng: np.random.Generator) -> Focus | None:
    """Draw a diamagnetic body in choroid plexus, pallidum, falx or tissue.

    χ is -0.3 to -3 ppm; published phantoms have -3.3 ppm for dense calcification.
    """
    centre = _random_place(anatomy, _CALCIFIED[rng.choice(len(_CALCIFIED), p=_CALCIFIED_SHARES)], rng)
    if centre is None:
        return None
    return calcification_at(centre, rng)


def calcification_at(centre_ras: np.ndarray, rng: np.random.Generator) -> Focus:
    """Return a calcification at a place (RAS mm)."""
    diameter = float(np.clip(np.exp(rng.normal(np.log(2.2), 0.5)), 1.0, 7.0))
    dense = float(rng.uniform(0.1, 0.9))
    axes = 0.5 * diameter * rng.uniform(0.7, 1.3, 3)
    return Focus(CALCIFICATION, (Part(centre_ras, axes, random_rotation(rng), draw_bumps(rng, 0.2), -3.3 * dense,
                                      150 * dense, 1 - 0.8 * dense),))


def draw_pallidal_mineral(anatomy: Anatomy, rng: np.random.Generator) -> Focus | None:
    """Draw mineral grains in one pallidum, mostly along its medial third: a spotted area, paramagnetic."""
    return _grains(anatomy, (tissues.PALLIDUM,), int(rng.integers(4, 25)), 5.0, rng)


def draw_dentate_mineral(anatomy: Anatomy, rng: np.random.Generator) -> Focus | None:
    """Draw mineral grains in the white matter of one half of the cerebellum, where the dentate nucleus lies."""
    return _grains(anatomy, (tissues.CEREBELLAR_WHITE,), int(rng.integers(5, 30)), 6.0, rng)


def draw_cavernoma(anatomy: Anatomy, rng: np.random.Generator) -> Focus | None:
    """Draw a cavernoma of more than 10 mm: lobules of old and fresh blood (popcorn) within a dark rim."""
    centre = _random_place(anatomy, (tissues.WHITE, tissues.BRAINSTEM, tissues.CEREBELLAR_WHITE), rng)
    if centre is None:
        return None
    radius = rng.uniform(5.2, 9)
    parts = [Part(centre, radius * rng.uniform(0.85, 1.15, 3), random_rotation(rng), draw_bumps(rng, 0.15),
                  float(rng.uniform(0.3, 0.8)), float(rng.uniform(20, 60)), 1.0)]
    for _ in range(int(rng.integers(4, 12))):
        place = centre + random_rotation(rng)[0] * radius * rng.uniform(0, 0.75)
        fresh = rng.random() < 0.5
        parts.append(Part(place, rng.uniform(0.8, 2.2, 3), random_rotation(rng), draw_bumps(rng, 0.15),
                          -0.2 if fresh else float(rng.uniform(0.3, 1.0)), 0.0 if fresh else 40.0,
                          1.3 if fresh else 0.9))
    return Focus(CAVERNOMA, tuple(parts))


def draw_infarct_rim(anatomy: Anatomy, rng: np.random.Generator) -> Focus | None:
    """Draw a haemorrhagic infarct of 10 to 30 mm: a watery core with beads of iron along part of its rim."""
    centre = _random_place(anatomy, (tissues.CORTEX, tissues.WHITE), rng)
    if centre is None:
        return None
    axes, rotation = rng.uniform(5, 15) * rng.uniform(0.6, 1.2, 3), random_rotation(rng)
    parts = [Part(centre, axes, rotation, draw_bumps(rng, 0.15), 0.0, -float(rng.uniform(3, 10)),
                  float(rng.uniform(1.0, 1.25)))]
    towards = rotation[0]
    for _ in range(int(rng.integers(10, 40))):
        direction = random_rotation(rng)[0] + towards
        place = centre + rotation @ (axes * (direction / np.linalg.norm(direction)))
        parts.append(Part(place, rng.uniform(0.5, 1.5, 3), random_rotation(rng), draw_bumps(rng, 0.15),
                          float(rng.uniform(0.1, 0.6)), float(rng.uniform(5, 40)), 1.0))
    return Focus(INFARCT_RIM, tuple(parts))


def _grains(anatomy: Anatomy, own: tuple[int, ...], count: int, reach_mm: float,
            rng: np.random.Generator) -> Focus | None:
    """Draw mineral grains of one focus within `reach_mm` of a place deep in the given tissue."""
    mask = np.isin(anatomy.classes.data, own)
    deep = ndimage.binary_erosion(mask)
    if not deep.any():
        return None
    places = voxel_to_ras(anatomy.classes, np.argwhere(mask))
    inner = voxel_to_ras(anatomy.classes, np.argwhere(deep))
    centre = inner[rng.integers(len(inner))]
    near = places[np.linalg.norm(places - centre, axis=1) < reach_mm]
    return grains_at(near, count, rng)


def grains_at(near: np.ndarray, count: int, rng: np.random.Generator) -> Focus:
    """Return mineral grains, one focus, at some of the places `near` (n, 3) RAS mm."""
    strength = rng.uniform(0.15, 0.8)
    parts = [Part(near[rng.integers(len(near))] + rng.uniform(-0.5, 0.5, 3), rng.uniform(0.3, 1.0, 3),
                  random_rotation(rng), draw_bumps(rng, 0.15), float(strength * rng.uniform(0.3, 1)),
                  float(rng.uniform(5, 40)), 1.0) for _ in range(count)]
    return Focus(MINERALISATION, tuple(parts))


def _random_place(anatomy: Anatomy, own: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | None:
    """Return a random place (RAS mm) in the given tissue, None where there is none."""
    voxels = np.flatnonzero(np.isin(anatomy.classes.data, own))
    if not len(voxels):
        return None
    voxel = np.array(np.unravel_index(voxels[rng.integers(len(voxels))], anatomy.classes.shape))
    voxel = voxel + rng.uniform(-0.5, 0.5, 3)
    return voxel_to_ras(anatomy.classes, voxel)
