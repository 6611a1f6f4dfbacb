"""How vessels grow: trees found as shortest ways through a space, and free tips that walk along a direction.

Both obey Murray's law (Murray 1926, PNAS 12:207): where a vessel of radius r0 parts, r0³ is the sum of its branches'
r³. A vessel that tapers gives its flow to side branches too thin to be drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from .shapes import Vessel

_SAMPLES_PER_SEGMENT = 5
_REACH_MM = 3.5
_LONGEST_DIP_MM = 7.0
_SIDE_FLOW_PER_MM = 0.02

Guide = Callable[[np.ndarray], np.ndarray]
"""Points (n, 3) RAS mm to directions (n, 3)."""
Allowed = Callable[[np.ndarray], np.ndarray]
"""Points (n, 3) RAS mm to (n,) bool."""


@dataclass(frozen=True, eq=False)
class Tubes:
    """Samples along the branches of several trees.

    `points_ras` (n, 3) RAS mm, `radii_mm` (n,), `step_mm` (n,) the length of tube that a sample stands for, `tree`
    (n,) int, and `parent` (n,) the index of the sample before it on the way from the root, -1 at the root.
    """

    points_ras: np.ndarray
    radii_mm: np.ndarray
    step_mm: np.ndarray
    tree: np.ndarray
    parent: np.ndarray

    def take(self, chosen: np.ndarray) -> "Tubes":
        """Return the samples in `chosen` (indices or bool), with parents renumbered."""
        chosen = np.arange(len(self.tree))[chosen]
        number = np.full(len(self.tree) + 1, -1)
        number[chosen] = np.arange(len(chosen))
        return Tubes(self.points_ras[chosen], self.radii_mm[chosen], self.step_mm[chosen], self.tree[chosen],
                     number[self.parent[chosen]])


@dataclass(frozen=True, eq=False)
class Network:
    """Places that a routed vessel may pass, (n, 3) RAS mm, the cost of the ways between neighbours, and where
    smoothing may move a vessel."""

    points_ras: np.ndarray
    places: cKDTree
    ways: sparse.csr_matrix
    allowed: Allowed


@dataclass(frozen=True)
class Habit:
    """How a free tip walks."""

    wander: float = 0.05
    """Standard deviation of the bend added per step."""
    pull: float = 0.1
    """Weight of the guide against the present direction, per step."""
    branches_per_mm: float = 0.0
    taper_per_mm: float = 0.01
    """Share of the radius lost per mm."""
    thinnest_mm: float = 0.06
    shortest_mm: float = 0.0
    """Trees with less tube than this are left out."""
    step_mm: float = 0.45


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def make_network(points_ras: np.ndarray, cost: np.ndarray, allowed: Allowed, rng: np.random.Generator) -> Network:
    """Join places (n, 3) RAS mm, about 2 mm apart, to their neighbours.

    A way costs its length times the mean `cost` (n,) of its ends, four times that if its middle is not `allowed`, and a
    random factor that keeps vessels from running straight.
    """
    places = cKDTree(points_ras)
    one, two = places.query_pairs(_REACH_MM, output_type="ndarray").T
    length = np.linalg.norm(points_ras[one] - points_ras[two], axis=1)
    weight = length * (cost[one] + cost[two]) / 2 * np.exp(rng.normal(0, 0.35, len(one)))
    weight[~allowed((points_ras[one] + points_ras[two]) / 2)] *= 4
    ways = sparse.csr_matrix((weight, (one, two)), (len(points_ras),) * 2)
    return Network(points_ras, places, ways, allowed)


def route(network: Network, roots_ras: np.ndarray, ends_ras: np.ndarray, flows: np.ndarray,
          trunk_mm: tuple[float, float], rng: np.random.Generator) -> Tubes:
    """Grow one tree per root towards the ends nearest to it.

    Parameters
    ----------
    network : Network
    roots_ras : (m, 3) RAS mm, moved to the nearest place
    ends_ras : (n, 3) RAS mm
        Joined to the nearest place by a short straight piece; ends too far from any place, or without a way to a root,
        are left out.
    flows : (n,)
        What each end carries; the radius goes with its cube root.
    trunk_mm : smallest and largest radius at the roots
    rng : numpy.random.Generator

    Returns
    -------
    Tubes
        Trees are numbered as the roots; a root that no end chose has none.
    """
    if not len(roots_ras) or not len(ends_ras) or not len(network.points_ras):
        return no_tubes()
    roots = np.unique(network.places.query(roots_ras)[1])
    cost, before, _ = csgraph.dijkstra(network.ways, directed=False, indices=roots, min_only=True,
                                       return_predecessors=True)
    far, at = network.places.query(ends_ras)
    good = (far <= _LONGEST_DIP_MM) & np.isfinite(cost[np.minimum(at, len(cost) - 1)])
    number = len(cost)
    points = np.concatenate([network.points_ras, ends_ras[good]])
    before = np.concatenate([before, at[good]])
    cost = np.concatenate([cost, cost[at[good]] + far[good] + 1e-3])
    used = np.zeros(len(points), bool)
    tips = np.arange(number, len(points))
    while len(tips):
        used[tips] = True
        tips = np.unique(before[tips])
        tips = tips[(tips >= 0) & ~used[np.maximum(tips, 0)]]
    order = np.flatnonzero(used)[np.argsort(cost[used], kind="stable")]
    place = np.full(len(points) + 1, -1)
    place[order] = np.arange(len(order))
    parent = place[np.where(before[order] >= 0, before[order], -1)]
    inflow = np.zeros(len(points))
    inflow[number:] = flows[good]
    return _tubes_of_tree(_smoothed(points[order], parent, network.allowed), parent, inflow[order], trunk_mm, rng)


def _tubes_of_tree(points: np.ndarray, parent: np.ndarray, inflow: np.ndarray, trunk_mm: tuple[float, float],
                   rng: np.random.Generator) -> Tubes:
    """Return tubes along nodes (n, 3) that are sorted from the roots outward."""
    if not len(points):
        return no_tubes()
    children = np.bincount(parent[parent >= 0], minlength=len(points))
    length = np.where(parent >= 0, np.linalg.norm(points - points[parent], axis=1), 0)
    side_flow = np.where(children == 1, _SIDE_FLOW_PER_MM * length * np.median(inflow[inflow > 0]), 0)
    flow = inflow + side_flow
    for node in range(len(points) - 1, -1, -1):
        if parent[node] >= 0:
            flow[parent[node]] += flow[node]
    tree = np.arange(len(points))
    for node in range(len(points)):
        if parent[node] >= 0:
            tree[node] = tree[parent[node]]
    # the typical tree gets about the middle of the range, others more or less with their flow
    trunk = np.cbrt(flow / np.median(flow[parent < 0])) * np.mean(trunk_mm) * np.exp(rng.normal(0, 0.2, len(flow)))
    radius = np.clip(trunk, *trunk_mm)[tree] * np.cbrt(flow / flow[tree])
    return _sampled(points, parent, radius, np.unique(tree, return_inverse=True)[1])


def _smoothed(points: np.ndarray, parent: np.ndarray, allowed: Allowed) -> np.ndarray:
    """Return the nodes drawn towards their neighbours, as far as they stay where they may be."""
    points = points.copy()
    children = np.bincount(parent[parent >= 0], minlength=len(points))
    inner = np.flatnonzero((parent >= 0) & (children > 0))
    joined = np.flatnonzero(parent >= 0)
    for _ in range(4):
        total = np.stack([np.bincount(parent[joined], points[joined, axis], len(points)) for axis in range(3)], 1)
        mean_child = total[inner] / children[inner, None]
        moved = points[inner] / 2 + points[parent[inner]] / 4 + mean_child / 4
        fine = allowed(moved)
        points[inner[fine]] = moved[fine]
    return points


def _sampled(points: np.ndarray, parent: np.ndarray, radius: np.ndarray, tree: np.ndarray) -> Tubes:
    """Return samples on Catmull-Rom curves through the nodes; the piece to a node has the radius of that node."""
    end = np.flatnonzero(parent >= 0)
    start = parent[end]
    before = np.where(parent[start] >= 0, parent[start], start)
    widest = np.full(len(points), -1)
    by_radius = end[np.argsort(radius[end], kind="stable")]
    widest[parent[by_radius]] = by_radius
    after = np.where(widest[end] >= 0, widest[end], end)
    p0, p1, p2, p3 = (points[index][:, None] for index in (before, start, end, after))
    edges = np.linspace(0, 1, 2 * _SAMPLES_PER_SEGMENT + 1)[:, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * edges + (2 * p0 - 5 * p1 + 4 * p2 - p3) * edges**2
                   + (3 * p1 - p0 - 3 * p2 + p3) * edges**3)
    step = np.linalg.norm(np.diff(curve[:, ::2], axis=1), axis=2)
    rank = np.full(len(points), -1)
    rank[end] = np.arange(len(end))
    number = np.arange(len(end) * _SAMPLES_PER_SEGMENT).reshape(len(end), _SAMPLES_PER_SEGMENT)
    sample_parent = number - 1
    first = rank[start]
    sample_parent[:, 0] = np.where(first >= 0, first * _SAMPLES_PER_SEGMENT + _SAMPLES_PER_SEGMENT - 1, -1)
    repeat = _SAMPLES_PER_SEGMENT
    return Tubes(curve[:, 1::2].reshape(-1, 3), np.repeat(radius[end], repeat), step.ravel(),
                 np.repeat(tree[end], repeat), sample_parent.ravel())


def walk(starts_ras: np.ndarray, directions: np.ndarray, radii_mm: np.ndarray, lengths_mm: np.ndarray, habit: Habit,
         guide: Guide, allowed: Allowed, rng: np.random.Generator) -> Tubes:
    """Let one tip per start walk until its length is used up, it is too thin, or it leaves what is allowed.

    Parameters
    ----------
    starts_ras, directions : (n, 3) RAS mm, and vectors
    radii_mm, lengths_mm : (n,)
    habit : Habit
    guide, allowed : functions of points (n, 3) RAS mm
    rng : numpy.random.Generator

    Returns
    -------
    Tubes
        Tree i grew from start i.
    """
    point, heading, radius, left = starts_ras, unit(directions), radii_mm, lengths_mm
    bend: np.ndarray = np.zeros((len(starts_ras), 3))
    tree: np.ndarray = np.arange(len(starts_ras))
    last: np.ndarray = np.full(len(tree), -1)
    rows, count = [], 0
    while len(point):
        bend = 0.8 * bend + rng.normal(0, habit.wander, point.shape)
        heading = unit(heading + bend + habit.pull * unit(guide(point)))
        point = point + habit.step_mm * heading
        left = left - habit.step_mm
        alive = np.flatnonzero(allowed(point) & (left > 0) & (radius >= habit.thinnest_mm))
        point, heading, bend, radius, left, tree, last = (
            values[alive] for values in (point, heading, bend, radius, left, tree, last))
        rows.append((point, radius, tree, last))
        last = count + np.arange(len(point))
        count += len(point)
        parting = rng.random(len(point)) < habit.branches_per_mm * habit.step_mm
        share = np.where(parting, rng.uniform(0.15, 0.5, len(point)), 0)
        aside = unit(np.cross(heading, rng.normal(size=point.shape))) * rng.uniform(0.3, 0.7, (len(point), 1))
        taper = np.where(parting, 1, 1 - habit.taper_per_mm * habit.step_mm)
        twig = np.flatnonzero(parting)
        point, tree, last, left = (np.concatenate([v, v[twig]]) for v in (point, tree, last, left))
        bend = np.concatenate([bend, 0 * bend[twig]])
        heading = np.concatenate([unit(heading - aside * share[:, None]), unit(heading + aside)[twig]])
        radius = np.concatenate([radius * taper * np.cbrt(1 - share), (radius * np.cbrt(share))[twig]])
    points, radii, trees, parents = (np.concatenate(column) for column in zip(*rows, strict=True)) \
        if rows else (np.zeros((0, 3)), np.zeros(0), np.zeros(0, int), np.zeros(0, int))
    tubes = Tubes(points, radii, np.full(len(radii), habit.step_mm), trees, parents)
    return tubes.take((np.bincount(trees) * habit.step_mm >= habit.shortest_mm)[trees])


def vessels_of(tubes: Tubes, kind: str, susceptibility_ppm: float, r2star_hz: float,
               density: float) -> list[Vessel]:
    """Return one vessel per tree."""
    order = np.argsort(tubes.tree, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(tubes.tree[order])) + 1) if len(order) else []
    return [Vessel(kind, tubes.points_ras[part], tubes.radii_mm[part], tubes.step_mm[part], susceptibility_ppm,
                   r2star_hz, density) for part in parts]


def no_tubes() -> Tubes:
    """Return no sample at all."""
    return Tubes(np.zeros((0, 3)), np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0, int))
