"""The vessels of one head, grown inside its class map: veins, perforators, arteries and perivascular spaces.

Where they run follows the venous anatomy of susceptibility-weighted images (Huang & Wolf 1964; Barnes & Haacke 2009):
cortical veins rise through the sulci to the sagittal sinus or sink to the transverse one, medullary veins run from the
white matter straight to the wall of the lateral ventricle, subependymal veins along it to the internal cerebral veins.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..geometry import apply_affine, bounding_box, crop, ras_to_voxel
from ..volume import Volume
from . import anatomy as tissue
from .anatomy import Anatomy, brain_of, class_at
from .shapes import ARTERY, PERFORATOR, PERIVASCULAR_SPACE, SULCAL_VESSEL, VEIN, Vessel
from .vessel_growth import Allowed, Guide, Habit, Tubes, make_network, no_tubes, route, vessels_of, walk

_MOST_RECORDS = {"medullary": 100, "perforators": 60}
_SPACES_PER_RECORD = 6
_GUIDE_MM = 2
_BASAL_GANGLIA = (tissue.CAUDATE, tissue.PUTAMEN, tissue.PALLIDUM)


@dataclass(frozen=True)
class VesselSettings:
    """What differs between subjects."""

    amount: float = 1.0
    """Mean number of vessels, relative."""
    amount_spread: float = 0.3
    """Standard deviation of the logarithm of the number of vessels."""
    oxygenation: tuple[float, float] = (0.5, 0.75)
    """Range of venous oxygen saturation: 0.6 to 0.65 in health, more scatter in old age (Jain 2010, JCBFM 30:1598;
    Lu 2011, Cereb Cortex 21:1426)."""
    haematocrit: tuple[float, float] = (0.38, 0.45)
    blood_r2star_hz: tuple[float, float] = (30.0, 60.0)
    """R2* of venous blood at 3 T, 1/s (Zhao 2007, MRM 58:592)."""


@dataclass(frozen=True, eq=False)
class _Head:
    """The class map at about 1 mm, cut to the brain, and landmarks (3,) RAS mm that the groups share."""

    map: Anatomy
    thalamus: np.ndarray
    monro: np.ndarray
    galen: np.ndarray
    front: np.ndarray

    def where(self, *classes: int) -> np.ndarray:
        """Return the centres of the voxels of some classes, (n, 3) RAS mm."""
        return apply_affine(self.map.classes.affine, np.argwhere(np.isin(self.map.classes.data, classes)))

    def inside(self, *classes: int) -> Allowed:
        """Return the test whether points lie in some classes."""
        return lambda points: np.isin(class_at(self.map, points), classes)

    def side(self, points: np.ndarray) -> np.ndarray:
        """Return the distance from the midline, mm, negative on the left."""
        return points[:, 0] - self.thalamus[0]


def draw_vessels(anatomy: Anatomy, rng: np.random.Generator,
                 settings: VesselSettings | None = None) -> tuple[Vessel, ...]:
    """Grow the vessels of one head.

    Parameters
    ----------
    anatomy : Anatomy
        Of 0.5 to 2 mm.
    rng : numpy.random.Generator
        The same state gives the same vessels.
    settings : VesselSettings, optional

    Returns
    -------
    tuple of Vessel
        At most about 300 trees or groups. Susceptibility is relative to tissue. R2* is that at 3 T.
    """
    settings = settings or VesselSettings()
    head = _head_of(anatomy)
    # 4 pi times 0.27 ppm (cgs) between empty and full haemoglobin (Spees 2001, MRM 45:533; Jain 2010; Weisskoff &
    # Kiihne 1992 found 0.18) gives 0.3 to 0.76 ppm; voxel averages of veins on QSM, .19 ppm and more, are lower because
    # a vein seldom fills its voxel
    oxygenation = np.clip(rng.normal(np.mean(settings.oxygenation), 0.05), *settings.oxygenation)
    blood_ppm = 4 * np.pi * 0.27 * rng.uniform(*settings.haematocrit) * (1 - oxygenation)
    blood_r2star = rng.uniform(*settings.blood_r2star_hz)
    amount = settings.amount * np.exp(rng.normal(0, settings.amount_spread))

    def amount_of(mean: float) -> int:
        return int(np.ceil(mean * np.clip(amount * np.exp(rng.normal(0, 0.25)), 0.3, 2.5)))

    vessels = vessels_of(_cortical(head, amount_of(700), rng), SULCAL_VESSEL, blood_ppm, blood_r2star, 1.0)
    veins = (_medullary(head, amount_of(160), rng), *_deep(head, rng), *_basal(head, rng),
             _cerebellar(head, amount_of(110), rng))
    for tubes in veins:
        vessels += vessels_of(tubes, VEIN, blood_ppm, blood_r2star, 1.0)
    perforators = _perforators(head, amount_of(56), rng)
    for vessel in vessels_of(perforators, PERFORATOR, blood_ppm, blood_r2star, 1.0):
        # arteries and veins alike: the less oxygen is left, the darker
        share = rng.uniform(0.4, 1)
        vessels.append(Vessel(PERFORATOR, vessel.points_ras, vessel.radii_mm, vessel.step_mm, share * blood_ppm,
                              (0.5 + 0.5 * share) * blood_r2star, 1.0))
    for tubes in _arteries(head, rng):
        vessels += vessels_of(tubes, ARTERY, 0.0, rng.uniform(10, 25), rng.uniform(0.05, 0.3))
    spaces = _perivascular_spaces(head, perforators, amount_of(60), rng)
    for tubes in spaces:
        vessels += vessels_of(tubes, PERIVASCULAR_SPACE, 0.0, rng.uniform(2, 5), 1.0)
    return tuple(vessels)


def _head_of(anatomy: Anatomy) -> _Head:
    """Return the head at about 1 mm; without labels outside the brain, its edge counts as fluid."""
    every = np.maximum(1, np.rint(1 / anatomy.classes.spacing)).astype(int)
    affine = anatomy.classes.affine @ np.diag([*every, 1.0])
    classes = anatomy.classes.data[tuple(slice(None, None, n) for n in every)]
    volume = Volume(classes, affine)
    volume = crop(volume, bounding_box(brain_of(classes), 4.0, volume.spacing))
    classes = volume.data.copy()
    if not (classes >= tissue.SKULL).any():
        edge = ndimage.binary_dilation(classes != tissue.AIR, iterations=2) & (classes == tissue.AIR)
        classes[edge] = tissue.CSF
    smaller = Anatomy(anatomy.name, volume.with_data(classes))
    centre = classes == tissue.THALAMUS
    thalamus = apply_affine(volume.affine, np.argwhere(centre if centre.any() else brain_of(classes)))
    middle = np.median(thalamus, axis=0)
    low, high = np.percentile(thalamus, [2, 95], axis=0)
    return _Head(smaller, middle, np.array([middle[0], high[1] - 2, high[2] - 4]),
                 np.array([middle[0], low[1] - 5, middle[2] + 3]), np.array([middle[0], high[1] + 6, low[2] - 8]))


def _places(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one of the points (n, 3) of every cube of 2 mm, moved a little within its voxel."""
    points = points[rng.permutation(len(points))]
    cube = np.floor(points / _GUIDE_MM).astype(int) + 2**15
    first = np.unique(cube @ (2**32, 2**16, 1), return_index=True)[1]
    return points[np.sort(first)] + rng.uniform(-0.4, 0.4, (len(first), 3))


def _distance_to(head: _Head, mask: np.ndarray) -> Volume:
    """Return the distance to a mask on the grid of the head, mm, on a grid of about 2 mm."""
    near = np.zeros(-(-np.array(mask.shape) // _GUIDE_MM), bool)
    near[tuple(np.argwhere(mask).T // _GUIDE_MM)] = True
    affine = head.map.classes.affine @ np.diag([_GUIDE_MM] * 3 + [1.0])
    affine[:3, 3] += head.map.classes.affine[:3, :3] @ np.full(3, (_GUIDE_MM - 1) / 2)
    if not near.any():
        return Volume(np.full(near.shape, 1e3, np.float32), affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(ndimage.distance_transform_edt(~near, spacing).astype(np.float32), affine)


def _at(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Return the values (n,) of a volume at points (n, 3) RAS mm."""
    return ndimage.map_coordinates(volume.data, ras_to_voxel(volume, points).T, order=1, mode="nearest")


def _uphill(volume: Volume) -> Guide:
    """Return the direction in which a smoothed volume on a grid along the axes of RAS increases."""
    smooth = ndimage.gaussian_filter(volume.data, 1.0)
    slopes = [volume.with_data(slope) for slope in np.gradient(smooth)]
    turn = np.linalg.inv(volume.affine[:3, :3])
    return lambda points: np.stack([_at(slope, points) for slope in slopes], axis=1) @ turn


def _pick(points: np.ndarray, chosen: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return up to `count` of the points (n, 3) where `chosen` (n,) is true."""
    index = np.flatnonzero(chosen)
    return points[rng.choice(index, min(count, len(index)), replace=False)]


def _spread(points: np.ndarray, chosen: np.ndarray, angle: np.ndarray, count: int,
            rng: np.random.Generator) -> list[np.ndarray]:
    """Return up to `count` of the chosen points, one from each stretch of equally many along `angle` (n,)."""
    index = np.flatnonzero(chosen)
    index = index[np.argsort(angle[index])]
    return [points[rng.choice(part)] for part in np.array_split(index, count) if len(part)]


def _by_place(head: _Head, starts: np.ndarray) -> np.ndarray:
    """Return points (n, 3) sorted so that neighbours follow each other: by side, then from back to front."""
    return starts[np.lexsort((starts[:, 1], head.side(starts) > 0))]


def _together(tubes: Tubes, size: int) -> Tubes:
    """Return the tubes with every `size` trees in a row as one, to share a number in the truth."""
    return replace(tubes, tree=tubes.tree // max(size, 1))


def _cortical(head: _Head, count: int, rng: np.random.Generator) -> Tubes:
    """Grow veins of the brain's surface and sulci, with branches that dip into the gyri."""
    classes = head.map.classes.data
    depth = _distance_to(head, ~brain_of(classes))
    to_cortex = _distance_to(head, classes == tissue.CORTEX)
    to_cerebellum = _distance_to(head, classes == tissue.CEREBELLAR_CORTEX)
    points = _places(head.where(tissue.CSF), rng)
    near, below = _at(to_cortex, points), _at(depth, points)
    points, near, below = (values[near < 3] for values in (points, near, below))
    cost = 1 + np.minimum(below, 24) / 6 + near / 2
    allowed = head.inside(tissue.CSF)
    network = make_network(points, cost, allowed, rng)
    side, from_middle = head.side(points), points - head.thalamus
    angle = np.arctan2(from_middle[:, 2], from_middle[:, 1])
    surface = below < 6
    top = surface & (np.abs(side) > 2) & (np.abs(side) < 11) & (from_middle[:, 2] > 10)
    tentorial = surface & (_at(to_cerebellum, points) < 10) & (np.abs(side) > 15)
    temporal = surface & (from_middle[:, 1] > 12) & (from_middle[:, 2] < -5) & (np.abs(side) > 20)
    roots = []
    for here in (side < 0, side > 0):
        for region, number in ((top, rng.integers(8, 13)), (tentorial, rng.integers(3, 6)), (temporal, 2)):
            roots += _spread(points, region & here, angle, int(number), rng)
    dips = rng.permutation(head.where(tissue.CORTEX))[:int(0.6 * count)]
    ends = np.concatenate([dips, rng.permutation(points)[:count - len(dips)]])
    flows = np.where(np.arange(len(ends)) < len(dips), 0.15, 1) * np.exp(rng.normal(0, 0.5, len(ends)))
    return route(network, np.array(roots).reshape(-1, 3), ends, flows, (0.5, 1.3), rng)


def _medullary(head: _Head, count: int, rng: np.random.Generator) -> Tubes:
    """Grow thin veins from the wall of the lateral ventricles outward through the white matter."""
    classes = head.map.classes.data
    ventricle = classes == tissue.VENTRICLE
    wall = ndimage.binary_dilation(ventricle, iterations=2) & (classes == tissue.WHITE)
    points = apply_affine(head.map.classes.affine, np.argwhere(wall))
    lateral = (np.abs(head.side(points)) > 6) & (points[:, 2] > head.thalamus[2] - 4)
    starts = _pick(points, lateral, count, rng)
    starts = _by_place(head, starts)
    outward = _uphill(_distance_to(head, ventricle))
    radii = np.clip(np.exp(rng.normal(np.log(0.18), 0.35, len(starts))), 0.08, 0.35)
    headings = outward(starts) + rng.normal(0, 0.05, starts.shape)
    habit = Habit(wander=0.035, pull=0.12, branches_per_mm=0.03, thinnest_mm=0.05, shortest_mm=5)
    tubes = walk(starts, headings, radii, rng.uniform(12, 50, len(starts)), habit, outward, head.inside(tissue.WHITE),
                 rng)
    return _together(tubes, -(-len(starts) // _MOST_RECORDS["medullary"]))


def _deep(head: _Head, rng: np.random.Generator) -> list[Tubes]:
    """Grow subependymal veins (septal, thalamostriate, atrial) to the foramen, and the internal cerebral veins on."""
    classes = head.map.classes.data
    ventricle = classes == tissue.VENTRICLE
    shell = ndimage.binary_dilation(ventricle, iterations=2) & ~ndimage.binary_erosion(ventricle, iterations=2)
    shell &= brain_of(classes) & ~np.isin(classes, (tissue.CEREBELLAR_CORTEX, tissue.CEREBELLAR_WHITE,
                                                    tissue.BRAINSTEM, tissue.CORTEX))
    points = _places(apply_affine(head.map.classes.affine, np.argwhere(shell)), rng)
    points = points[points[:, 2] > head.thalamus[2] - 8]
    allowed = head.inside(*range(tissue.WHITE, tissue.BRAINSTEM))
    network = make_network(points, np.ones(len(points)), allowed, rng)
    box = head.where(*range(tissue.WHITE, tissue.BRAINSTEM))
    lowest, highest = np.minimum(head.galen, head.monro) - (5, 2, 4), np.maximum(head.galen, head.monro) + (5, 2, 4)
    middle = _places(box[((box > lowest) & (box < highest)).all(axis=1)], rng)
    fluid = head.inside(tissue.CSF, tissue.VENTRICLE)
    central = make_network(middle, np.where(fluid(middle), 1, 3), allowed, rng)
    tubes = []
    for sign in (-1, 1):
        here = sign * head.side(points) > 1
        ends = _pick(points, here, int(rng.integers(9, 16)), rng)
        foramen = head.monro + (2.5 * sign, 0, 0)
        tubes.append(route(network, foramen[None], ends, np.exp(rng.normal(0, 0.5, len(ends))), (0.6, 0.9), rng))
        tubes.append(route(central, head.galen[None] + (1.5 * sign, 0, 0), foramen[None], np.ones(1),
                           (0.7, 1.0), rng))
    return tubes


def _basal(head: _Head, rng: np.random.Generator) -> list[Tubes]:
    """Grow the basal veins around the midbrain to the great vein."""
    classes = head.map.classes.data
    to_midbrain = _distance_to(head, np.isin(classes, (tissue.BRAINSTEM, tissue.VENTRAL_DC)))
    points = head.where(tissue.CSF, tissue.VENTRICLE, tissue.HIPPOCAMPUS, tissue.VENTRAL_DC, tissue.THALAMUS,
                        tissue.BRAINSTEM, tissue.WHITE)
    up = points[:, 2] - head.thalamus[2]
    near = (up > -30) & (up < 10) & (_at(to_midbrain, points) < 7)
    points = _places(points[near | (np.linalg.norm(points - head.galen, axis=1) < 8)], rng)
    fluid = head.inside(tissue.CSF)
    # through tissue only where the label map leaves no way through fluid
    network = make_network(points, np.where(fluid(points), 1, 8), fluid, rng)
    forward = points[:, 1] > np.percentile(points[:, 1], 70)
    tubes = []
    for sign in (-1, 1):
        ends = _pick(points, fluid(points) & forward & (sign * head.side(points) > 8), int(rng.integers(3, 6)), rng)
        tubes.append(route(network, head.galen[None] + (3 * sign, 0, 0), ends, np.ones(len(ends)), (0.5, 1.0), rng))
    return tubes


def _cerebellar(head: _Head, count: int, rng: np.random.Generator) -> Tubes:
    """Grow veins over the cerebellum and between its folia, which label maps do not show."""
    cerebellum = np.isin(head.map.classes.data, (tissue.CEREBELLAR_CORTEX, tissue.CEREBELLAR_WHITE))
    near = ndimage.binary_dilation(cerebellum, iterations=3) & (head.map.classes.data == tissue.CSF)
    points = _places(apply_affine(head.map.classes.affine, np.argwhere(near)), rng)
    inside = head.where(tissue.CEREBELLAR_CORTEX)
    if not len(inside):
        return no_tubes()
    points = np.concatenate([points, _places(inside, rng)])
    fluid = head.inside(tissue.CSF)
    free = fluid(points)
    allowed = head.inside(tissue.CSF, tissue.CEREBELLAR_CORTEX)
    network = make_network(points, np.where(free, 1, 2.5), allowed, rng)
    centre = inside.mean(axis=0)
    side, up = head.side(points), points[:, 2] - centre[2]
    behind = free & (points[:, 1] < centre[1])
    roots = [*_pick(points, free & (np.abs(side) < 6) & (up > 10), 2, rng)]
    for sign in (-1, 1):
        roots += [*_pick(points, behind & (sign * side > 15) & (np.abs(up) < 15), 2, rng)]
    ends = rng.permutation(inside)[:count]
    return route(network, np.array(roots).reshape(-1, 3), ends, np.exp(rng.normal(0, 0.5, len(ends))), (0.35, 0.6),
                 rng)


def _perforators(head: _Head, count: int, rng: np.random.Generator) -> Tubes:
    """Grow clusters of steep, slightly diverging vessels from the underside of striatum and thalamus."""
    starts, headings = [], []
    for classes, share, depth_mm in ((_BASAL_GANGLIA, 0.7, 18.0), ((tissue.THALAMUS,), 0.3, 14.0)):
        points = head.where(*classes)
        if not len(points):
            continue
        columns = np.unique(np.rint(points[:, :2]).astype(int), axis=0, return_inverse=True)[1].ravel()
        floor = np.full(columns.max() + 1, np.inf)
        np.minimum.at(floor, columns, points[:, 2])
        bottom = points[points[:, 2] <= floor[columns] + 1]
        for sign in (-1, 1):
            here = bottom[sign * head.side(bottom) > 2]
            if not len(here):
                continue
            here = here[here[:, 2] <= np.percentile(here[:, 2], 60)]
            # a few clusters, as the vessels enter through the anterior and posterior perforated substance
            seeds = here[rng.integers(len(here), size=3)]
            near = np.exp(-((here[:, None] - seeds) ** 2).sum(-1) / 2 / 4**2).sum(1)
            chosen = here[rng.choice(len(here), min(len(here), round(share * count / 2)), replace=False,
                                     p=near / near.sum())]
            starts.append(chosen)
            headings.append((chosen - np.median(here, axis=0)) * (0.35, 0.35, 0) + (3 * sign, 0, depth_mm))
    start, heading = np.concatenate([np.zeros((0, 3)), *starts]), np.concatenate([np.zeros((0, 3)), *headings])
    radii = np.clip(np.exp(rng.normal(np.log(0.2), 0.35, len(start))), 0.1, 0.4)
    allowed = head.inside(*_BASAL_GANGLIA, tissue.THALAMUS, tissue.VENTRAL_DC, tissue.WHITE)
    habit = Habit(wander=0.06, pull=0.05, branches_per_mm=0.01, shortest_mm=6)
    tubes = walk(start, heading, radii, rng.uniform(8, 30, len(start)), habit,
                 lambda points: np.tile([0.0, -0.2, 1.0], (len(points), 1)), allowed, rng)
    return _together(tubes, -(-len(start) // _MOST_RECORDS["perforators"]))


def _arteries(head: _Head, rng: np.random.Generator) -> list[Tubes]:
    """Grow the basilar with the posterior, and the carotids with the middle and anterior cerebral arteries."""
    classes = head.map.classes.data
    to_insula = _distance_to(head, np.isin(classes, (tissue.PUTAMEN, tissue.PALLIDUM)))
    to_brainstem = _distance_to(head, classes == tissue.BRAINSTEM)
    stem = head.where(tissue.BRAINSTEM)
    points = head.where(tissue.CSF)
    points = _places(points[(points[:, 1] > head.galen[1] - 10) & (points[:, 2] < head.front[2] + 60)], rng)
    if not len(stem) or not len(points):
        return []
    fluid = head.inside(tissue.CSF)
    low, middle = np.percentile(stem[:, 2], 15), np.median(stem[:, 1])
    side, forward, up = head.side(points), points[:, 1] - middle, points[:, 2] - head.front[2]
    near_stem = _at(to_brainstem, points)
    # below the midbrain only the midline is cheap, so that the basilar artery parts at its top
    network = make_network(points, 1 + np.where((up < -8) & (near_stem < 12), np.abs(side), 0), fluid, rng)
    basilar = (near_stem < 4) & (np.abs(points[:, 2] - low) < 4) & (forward > 0) & (np.abs(side) < 6)
    around = (near_stem < 9) & (np.abs(up) < 8) & (np.abs(side) > 5) & (forward < 8)
    sylvian = (_at(to_insula, points) < 24) & (up > 0) & (np.abs(side) > 26)
    anterior = (np.abs(side) < 4) & (points[:, 1] > head.front[1] + 2) & (up > 8) & (up < 50)
    behind = np.concatenate([_pick(points, around & (sign * side > 0), 3, rng) for sign in (-1, 1)])
    tubes = [route(network, _pick(points, basilar, 1, rng), behind, np.ones(len(behind)), (1.3, 1.8), rng)]
    for sign in (-1, 1):
        here = sign * side > 0
        ends = np.concatenate([_pick(points, sylvian & here, 7, rng), _pick(points, anterior & here, 3, rng)])
        carotid = head.front + (9 * sign, 0, 0)
        tubes.append(route(network, carotid[None], ends, np.ones(len(ends)), (1.4, 1.8), rng))
    return tubes


def _perivascular_spaces(head: _Head, perforators: Tubes, count: int,
                         rng: np.random.Generator) -> list[Tubes]:
    """Grow fluid-filled spaces around some perforators, and in the centrum semiovale from below the cortex inward."""
    kept = rng.permutation(np.unique(perforators.tree))[:count // 3]
    along = perforators.take(np.isin(perforators.tree, kept))
    width = _space_width(perforators.tree.max(initial=0) + 1, rng)
    along = _together(replace(along, radii_mm=width[along.tree]), 3)
    inward = _uphill(_distance_to(head, head.map.classes.data == tissue.CORTEX))
    white = head.where(tissue.WHITE)
    high = (white[:, 2] > head.monro[2] + 12) & (np.abs(head.side(white)) > 8)
    starts = _by_place(head, _pick(white, high, count - count // 3, rng))
    tubes = walk(starts, inward(starts) - (0, 0, 0.5), _space_width(len(starts), rng),
                 rng.uniform(4, 14, len(starts)), Habit(wander=0.04, shortest_mm=2), inward,
                 head.inside(tissue.WHITE), rng)
    return [along, _together(tubes, _SPACES_PER_RECORD)]


def _space_width(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return radii (n,) of perivascular spaces, mm."""
    return np.clip(np.exp(rng.normal(np.log(0.42), 0.3, count)), 0.3, 0.9)
