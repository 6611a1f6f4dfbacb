"""What can be seen of each drawn thing on an image: its voxels, its size, and the table that lists all of them."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from ..components import equivalent_diameter_mm
from ..geometry import apply_affine
from ..volume import Volume
from .protocol import Grids, Protocol
from .region_rules import regions_at
from .shapes import AIR_INTERFACE, ARTEFACTS, GHOST, RINGING, Focus, Vessel, part_fraction
from .subject import Subject

_REACH_MM = 3.0
_AIR_REACH_MM = 30.0
_MIN_VOXELS = 2
_RINGING_TAPER = 0.1


@dataclass(frozen=True, eq=False)
class Thing:
    """One drawn thing with its number in the truth, its source's voxels (n, 3) on the image grid, and its facts."""

    id: int
    kind: str
    ras_mm: tuple[float, float, float]
    source_diameter_mm: float
    susceptibility_ppm: float
    region: str
    seeds: np.ndarray


@dataclass(frozen=True)
class Row:
    """One line of the truth table of one image; `visible_diameter_mm` is None for what cannot be seen."""

    id: int
    kind: str
    R_mm: float
    A_mm: float
    S_mm: float
    source_diameter_mm: float
    visible_diameter_mm: float | None
    visible: bool
    susceptibility_ppm: float
    region: str


@dataclass(frozen=True, eq=False)
class Truth:
    """Truth of one image: label maps (int32, value = number) of microbleeds and of everything, and the table."""

    microbleeds: Volume
    everything: Volume
    rows: tuple[Row, ...]


@dataclass(frozen=True, eq=False)
class Effects:
    """What the drawn things do to an image, (i, j, k) float32 in units of the least visible effect; 1 can be seen.

    `bleeds` is what the microbleeds add to everything else, `others` what vessels and focal mimics add to the tissue,
    `air` what air near the brain takes, `artefacts` what each kind of artefact takes. A thing is visible where its peak
    reaches `peak`.
    """

    bleeds: np.ndarray
    others: np.ndarray
    air: np.ndarray
    peak: float
    artefacts: dict[str, np.ndarray] = field(default_factory=dict)


def artefacts_of(protocol: Protocol) -> tuple[str, ...]:
    """Return the kinds of artefact that a protocol makes: ghosts with motion, ringing where k-space ends abruptly."""
    made = {GHOST: protocol.motion_mm > 0, RINGING: protocol.taper < _RINGING_TAPER}
    return tuple(kind for kind in ARTEFACTS if made[kind])


def number_things(subject: Subject, protocol: Protocol, grids: Grids) -> tuple[Thing, ...]:
    """Number everything drawn: microbleeds from 1 on, then mimics, vessels, air, and artefacts of the whole image."""
    drawn = (*subject.bleeds, *subject.mimics, *subject.vessels, *subject.air)
    points = [place_of(thing) for thing in drawn]
    regions = regions_at(subject.anatomy, np.array(points)) if drawn else []
    things = [thing_of(number, thing, point, region, grids)
              for number, (thing, point, region) in enumerate(zip(drawn, points, regions, strict=True), 1)]
    for kind in artefacts_of(protocol):
        things.append(Thing(len(things) + 1, kind, (0.0, 0.0, 0.0), 0.0, 0.0, "everywhere", np.empty((0, 3))))
    return tuple(things)


def truth_of(image: Volume, things: tuple[Thing, ...], effects: Effects, bleeds: int, brain: np.ndarray,
             protocol: Protocol) -> Truth:
    """Return the truth on the grid of an image; see `visible_regions`."""
    only, everything = visible_regions(things, effects, bleeds, brain, protocol)
    rows = table(things, everything, image.voxel_volume_mm3)
    return Truth(image.with_data(only), image.with_data(everything), rows)


def visible_regions(things: tuple[Thing, ...], effects: Effects, bleeds: int, brain: np.ndarray,
                    protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth of one image: microbleeds alone, and everything; (i, j, k) int32, value = number.

    A voxel with a visible effect belongs to the nearest thing that has that kind of effect, if its source is within
    3 mm in plane (slices count by their number, 2 mm each, because blooming fills whole slices). The first `bleeds`
    things are the microbleeds.
    """
    focal = tuple(thing for thing in things[bleeds:] if thing.kind not in ARTEFACTS)
    air = tuple(thing for thing in focal if thing.kind == AIR_INTERFACE)
    focal = tuple(thing for thing in focal if thing.kind != AIR_INTERFACE)
    only = _assign(things[:bleeds], effects.bleeds, effects.peak, brain, _REACH_MM, protocol)
    everything = np.zeros(brain.shape, np.int32)
    for thing in things:
        if thing.kind in effects.artefacts:
            everything[brain & (effects.artefacts[thing.kind] >= effects.peak)] = thing.id
    near_air = _assign(air, effects.air, 1.0, brain, _AIR_REACH_MM, protocol)
    everything[near_air > 0] = near_air[near_air > 0]
    others = _assign(focal, effects.others, effects.peak, brain, _REACH_MM, protocol)
    everything[others > 0] = others[others > 0]
    everything[only > 0] = only[only > 0]
    return only, everything


def table(things: tuple[Thing, ...], regions: np.ndarray, voxel_mm3: float) -> tuple[Row, ...]:
    """Return the rows of the truth table of one image with the regions (i, j, k) of `visible_regions`."""
    sizes = np.bincount(regions.ravel(), minlength=len(things) + 1)
    rows = []
    for thing in things:
        size = int(sizes[thing.id])
        rows.append(Row(thing.id, thing.kind, *(round(value, 2) for value in thing.ras_mm),
                        round(thing.source_diameter_mm, 2),
                        round(equivalent_diameter_mm(size * voxel_mm3), 2) if size else None, size > 0,
                        round(thing.susceptibility_ppm, 4), thing.region))
    return tuple(rows)


def place_of(thing: Focus | Vessel) -> np.ndarray:
    """Return the place of a thing in the table: the centre of a focus, the point of a vessel nearest to its middle."""
    if isinstance(thing, Focus):
        return thing.centre_ras
    middle = thing.points_ras.mean(axis=0)
    return thing.points_ras[np.argmin(((thing.points_ras - middle) ** 2).sum(axis=1))]


def thing_of(number: int, thing: Focus | Vessel, point: np.ndarray, region: str, grids: Grids) -> Thing:
    """Return the record of one drawn thing at a place (RAS mm) with the voxels of its source on the image's grid."""
    to_voxel = np.linalg.inv(grids.affine)
    if isinstance(thing, Focus):
        strongest = max(thing.parts, key=lambda part: abs(part.susceptibility_ppm) * part.semi_axes_mm.prod())
        diameter, ppm = thing.diameter_mm, strongest.susceptibility_ppm
        seeds = [apply_affine(to_voxel, np.array([part.centre_ras for part in thing.parts]))]
        for part in thing.parts:
            box, fraction = part_fraction(part, (grids.shape, grids.affine))
            seeds.append(np.argwhere(fraction > 0) + [side.start for side in box])
        seeds = np.concatenate(seeds)
    else:
        diameter, ppm = 2 * float(thing.radii_mm.max(initial=0)), thing.susceptibility_ppm
        seeds = apply_affine(to_voxel, thing.points_ras)
    return Thing(number, thing.kind, tuple(point.tolist()), diameter, ppm, region, seeds)


def _assign(things: tuple[Thing, ...], effect: np.ndarray, peak: float, brain: np.ndarray, reach_mm: float,
            protocol: Protocol) -> np.ndarray:
    """Give each voxel with an effect to the nearest thing in reach; things that are too faint or small get none."""
    regions = np.zeros(effect.shape, np.int32)
    voxels = np.argwhere((effect >= 1) & brain)
    if not things or not len(voxels):
        return regions
    metric = protocol.spacing * [1, 1, 2 / max(2, protocol.spacing[2])]
    tree = cKDTree(np.concatenate([thing.seeds for thing in things]) * metric)
    owners = np.repeat([thing.id for thing in things], [len(thing.seeds) for thing in things])
    distance, nearest = tree.query(voxels * metric, distance_upper_bound=reach_mm)
    near = np.isfinite(distance)
    voxels, numbers = voxels[near], owners[nearest[near]]
    strength = effect[tuple(voxels.T)]
    largest = np.zeros(owners.max() + 1, np.float32)
    np.maximum.at(largest, numbers, strength)
    seen = (largest >= peak) & (np.bincount(numbers, minlength=len(largest)) >= _MIN_VOXELS)
    kept = seen[numbers]
    regions[tuple(voxels[kept].T)] = numbers[kept]
    return regions
