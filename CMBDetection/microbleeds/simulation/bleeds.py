"""Where microbleeds are and what they are made of: counts, sites, sizes, susceptibility.

Numbers are those of published data sets, pooled (953 microbleeds of CRB, DOU, MOMENI, RODEJA and VALDO as listed by
the labelled sets): cortex and grey-white junction .34, subcortical white matter .40, basal ganglia .08, thalamus .055,
brainstem .045, cerebellum .08; in scans that have any, a median of 1 to 4, a mean of 3 to 7 and a maximum of 83;
nearest neighbours at 3 / 5 / 9 / 20 / 60 mm (5, 25, 50, 75, 95 %).
"""

import numpy as np
from scipy import ndimage

from ..geometry import voxel_to_ras
from . import anatomy as tissues
from .anatomy import Anatomy, class_at
from .shapes import MICROBLEED, PERFORATOR, SULCAL_VESSEL, VEIN, Focus, Part, Vessel, draw_bumps, random_rotation

SITES = {
    "cortex": ((tissues.CORTEX, tissues.HIPPOCAMPUS), 0.34),
    "subcortical white matter": ((tissues.WHITE,), 0.40),
    "basal ganglia": ((tissues.CAUDATE, tissues.PUTAMEN, tissues.PALLIDUM), 0.08),
    "thalamus": ((tissues.THALAMUS,), 0.055),
    "brainstem": ((tissues.BRAINSTEM, tissues.VENTRAL_DC), 0.045),
    "cerebellum": ((tissues.CEREBELLAR_CORTEX, tissues.CEREBELLAR_WHITE), 0.08),
}
"""Where microbleeds are: the tissue classes and the share of all microbleeds."""

MEDIAN_COUNT, COUNT_SPREAD, MAX_COUNT = 2.2, 1.15, 90
"""Log-normal number of microbleeds in a subject who has any."""
_SITE_CONCENTRATION = 3.0
_CLUSTERED_SHARE = 0.45
_BESIDE_VESSEL_SHARE = 0.2
_CLOSEST_MM = 2.5
_BESIDE = (VEIN, PERFORATOR, SULCAL_VESSEL)


def draw_count(rng: np.random.Generator, prevalence: float) -> int:
    """Return how many microbleeds a subject has: none with probability 1 - `prevalence`, else log-normal."""
    if rng.random() >= prevalence:
        return 0
    count = np.exp(rng.normal(np.log(MEDIAN_COUNT), COUNT_SPREAD))
    return int(np.clip(np.rint(count), 1, MAX_COUNT))


def draw_microbleeds(anatomy: Anatomy, vessels: tuple[Vessel, ...], count: int,
                     rng: np.random.Generator) -> tuple[Focus, ...]:
    """Return `count` microbleeds, or fewer where no room is left.

    Every subject has shares of the sites of its own (lobar, deep or mixed patterns), nearly half of the microbleeds lie
    3 to 10 mm beside another, some beside a vessel; none within 2.5 mm of another.
    """
    places = site_places(anatomy)
    names = [name for name in SITES if len(places[name])]
    pooled = np.array([SITES[name][1] for name in names])
    shares = rng.dirichlet(_SITE_CONCENTRATION * pooled / pooled.sum())
    allowed = [tissue for name in names for tissue in SITES[name][0]]
    along = [vessel.points_ras for vessel in vessels if vessel.kind in _BESIDE and len(vessel.points_ras)]
    found: list[np.ndarray] = []
    for _ in range(40 * count):
        if len(found) == count:
            break
        centre = _propose(found, along, [places[name] for name in names], shares, anatomy, rng)
        if class_at(anatomy, centre)[0] not in allowed:
            continue
        if found and min(np.linalg.norm(np.array(found) - centre, axis=1)) < _CLOSEST_MM:
            continue
        found.append(centre)
    return tuple(draw_microbleed(centre, rng) for centre in found)


def draw_microbleed(centre_ras: np.ndarray, rng: np.random.Generator) -> Focus:
    """Return a microbleed at a place (RAS mm): roundish to ovoid, sometimes of two lobes.

    Small sources need a stronger susceptibility to be seen at all; large ones are mostly old and pale. The ranges were
    set so that contrast and visible diameter have the published quantiles (`Testing/Benchmarks`).
    """
    diameter = float(np.clip(np.exp(rng.normal(np.log(1.65), 0.36)), 0.7, 5.5))
    susceptibility = float(rng.uniform(0.2, 1.0) * (2 / diameter) ** 0.7)
    r2star = float(rng.uniform(10, 100))
    ratio = rng.uniform([0.7, 0.75, 1.0], [1.0, 1.0, 1.6])
    semi_axes = 0.5 * diameter * ratio / np.prod(ratio) ** (1 / 3)
    rotation = random_rotation(rng)
    parts = [Part(np.asarray(centre_ras, float), semi_axes, rotation, draw_bumps(rng, 0.12), susceptibility, r2star,
                  1.0)]
    if rng.random() < 0.2:
        beside = parts[0].centre_ras + rotation @ (semi_axes * rng.normal(0, 0.7, 3))
        parts.append(Part(beside, semi_axes * rng.uniform(0.4, 0.8), rotation, draw_bumps(rng, 0.12), susceptibility,
                          r2star, 1.0))
    return Focus(MICROBLEED, tuple(parts))


def site_places(anatomy: Anatomy) -> dict[str, np.ndarray]:
    """Return the voxels (n, 3) RAS mm of each site; at 1 mm most of the cortex lies at one of its edges."""
    classes = anatomy.classes.data
    places = {}
    for name, (own, _) in SITES.items():
        mask = np.isin(classes, own)
        if not mask.any():
            places[name] = np.empty((0, 3))
            continue
        box = ndimage.find_objects(mask.astype(np.int8))[0]
        voxels = np.argwhere(mask[box]) + [part.start for part in box]
        places[name] = voxel_to_ras(anatomy.classes, voxels)
    return places


def _propose(found: list[np.ndarray], along: list[np.ndarray], places: list[np.ndarray], shares: np.ndarray,
             anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Return a place to try, RAS mm."""
    kind = rng.random()
    if found and kind < _CLUSTERED_SHARE:
        step_mm = np.clip(np.exp(rng.normal(np.log(5), 0.45)), 2.6, 14)
        return found[rng.integers(len(found))] + random_rotation(rng)[0] * step_mm
    if along and kind > 1 - _BESIDE_VESSEL_SHARE:
        vessel = along[rng.integers(len(along))]
        return vessel[rng.integers(len(vessel))] + random_rotation(rng)[0] * rng.uniform(0.8, 2.5)
    own = places[rng.choice(len(places), p=shares)]
    return own[rng.integers(len(own))] + rng.uniform(-0.5, 0.5, 3) * anatomy.classes.spacing

