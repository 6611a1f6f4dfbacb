"""What is put into the tissue: foci (ellipsoids with an uneven surface) and vessels (tubes), and how both are drawn.

Both become maps of volume fractions on the fine grid, so that a thing thinner than a voxel keeps its volume.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..geometry import apply_affine

MICROBLEED = "microbleed"
CALCIFICATION, MINERALISATION, CAVERNOMA = "calcification", "mineralisation", "cavernoma"
INFARCT_RIM, AIR_INTERFACE = "infarct rim", "air interface"
VEIN, SULCAL_VESSEL, PERFORATOR = "vein", "sulcal vessel", "perforator"
ARTERY, PERIVASCULAR_SPACE = "artery", "perivascular space"
FOCAL_MIMICS = (CALCIFICATION, MINERALISATION, CAVERNOMA, INFARCT_RIM, AIR_INTERFACE)
VESSELS = (VEIN, SULCAL_VESSEL, PERFORATOR, ARTERY, PERIVASCULAR_SPACE)
GHOST, RINGING = "motion ghost", "Gibbs ringing"
ARTEFACTS = (GHOST, RINGING)
MIMICS = (*FOCAL_MIMICS, *VESSELS, *ARTEFACTS)
NUCLEUS = "nucleus"
"""Normal iron-rich nucleus; it has no number in the truth."""

Grid = tuple[tuple[int, int, int], np.ndarray]
"""Shape (i, j, k) and affine (4, 4) to RAS mm."""

_SUBSAMPLES = 3
_POINTS = (8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, eq=False)
class Part:
    """One body of a focus.

    Attributes
    ----------
    centre_ras : (3,) RAS mm
    semi_axes_mm : (3,)
    rotation : (3, 3), columns are the directions of the semi-axes in RAS
    bumps : (n, 4)
        The radius in direction u (unit vector in the frame of the axes) is that of the ellipsoid times
        ``1 + sum of a·cos(w·u)`` over rows ``(w1, w2, w3, a)``.
    susceptibility_ppm : added to that of the tissue
    r2star_hz : added to that of the tissue, 1/s
    density : proton density of the body relative to the tissue around it
    """

    centre_ras: np.ndarray
    semi_axes_mm: np.ndarray
    rotation: np.ndarray
    bumps: np.ndarray
    susceptibility_ppm: float
    r2star_hz: float
    density: float


@dataclass(frozen=True, eq=False)
class Focus:
    """One focal thing with one number in the truth: a microbleed, or a mimic of parts that belong together."""

    kind: str
    parts: tuple[Part, ...]

    @property
    def centre_ras(self) -> np.ndarray:
        """Mean of the parts' centres weighted by their volumes, (3,) RAS mm."""
        volumes = [part.semi_axes_mm.prod() for part in self.parts]
        return np.average([part.centre_ras for part in self.parts], axis=0, weights=volumes)

    @property
    def diameter_mm(self) -> float:
        """Diameter of the ball with the volume of all parts."""
        return float(2 * sum(part.semi_axes_mm.prod() for part in self.parts) ** (1 / 3))


@dataclass(frozen=True, eq=False)
class Vessel:
    """One tree of tubes with one number in the truth.

    `points_ras` (n, 3) RAS mm are samples along all branches, each standing for `step_mm` (n,) of a tube of
    `radii_mm` (n,); susceptibility (ppm) and R2* (1/s) replace those of the tissue, `density` its proton density
    (relative: 1 keeps it).
    """

    kind: str
    points_ras: np.ndarray
    radii_mm: np.ndarray
    step_mm: np.ndarray
    susceptibility_ppm: float
    r2star_hz: float
    density: float


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Return a uniformly drawn rotation (3, 3)."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def draw_bumps(rng: np.random.Generator, amplitude: float, count: int = 4) -> np.ndarray:
    """Return `count` surface waves (n, 4) whose amplitudes have the standard deviation `amplitude` in sum."""
    waves = rng.normal(0, 2.5, (count, 3))
    return np.column_stack([waves, rng.normal(0, amplitude * np.sqrt(2 / count), count)])


def part_fraction(part: Part, grid: Grid) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the box of voxels that a part may touch and the fraction (0 to 1, float32) of each that it fills.

    Each voxel is sampled at 3×3×3 places.
    """
    shape, affine = grid
    to_voxel = np.linalg.inv(affine)
    centre = to_voxel[:3, :3] @ part.centre_ras + to_voxel[:3, 3]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    largest = part.semi_axes_mm.max() * (1 + np.abs(part.bumps[:, 3]).sum())
    reach = np.ceil(largest / spacing).astype(int) + 1
    low = np.clip(np.floor(centre).astype(int) - reach, 0, shape)
    high = np.clip(np.ceil(centre).astype(int) + reach + 1, low, shape)
    offsets = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
    axes = [(np.arange(a, b)[:, None] + offsets).ravel() - c for a, b, c in zip(low, high, centre, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inside = _inside(part, points @ (affine[:3, :3].T @ part.rotation))
    sides = high - low
    blocks = [n for side in sides for n in (side, _SUBSAMPLES)]
    fraction = inside.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), fraction


def _inside(part: Part, offsets_mm: np.ndarray) -> np.ndarray:
    """Return which offsets (..., 3) in mm from the centre, in the frame of the axes, lie in the part."""
    scaled = offsets_mm / part.semi_axes_mm
    radius = np.sqrt((scaled**2).sum(-1))
    if not len(part.bumps):
        return radius <= 1
    direction = scaled / np.maximum(radius, 1e-6)[..., None]
    surface = 1 + np.cos(direction @ part.bumps[:, :3].T) @ part.bumps[:, 3]
    return radius <= surface


def vessel_fraction(vessel: Vessel, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat indices of the voxels that a vessel touches and the fraction of each (float32) that it fills.

    Every sample of the tube gives its volume ``π r² · step`` to points in a ball of the tube's radius, and each point
    to its eight nearest voxels, so thin tubes keep their volume; fractions are cut at 1.
    """
    shape, affine = grid
    to_voxel = np.linalg.inv(affine)
    voxel_mm3 = float(abs(np.linalg.det(affine[:3, :3])))
    indices, weights = [], []
    for own, count in _by_thickness(vessel.radii_mm, voxel_mm3):
        radii = vessel.radii_mm[own]
        points = vessel.points_ras[own][:, None] + radii[:, None, None] * _ball(count)
        volume = np.repeat(np.pi * radii**2 * vessel.step_mm[own] / count / voxel_mm3, count)
        voxels = apply_affine(to_voxel, points.reshape(-1, 3))
        base = np.floor(voxels).astype(np.int64)
        part = voxels - base
        for corner in np.ndindex(2, 2, 2):
            index = base + corner
            valid = ((index >= 0) & (index < shape)).all(axis=1)
            weight = np.prod(np.where(corner, part, 1 - part), axis=1) * volume
            indices.append(np.ravel_multi_index(index[valid].T, shape))
            weights.append(weight[valid])
    touched, inverse = np.unique(np.concatenate(indices), return_inverse=True)
    filled = np.bincount(inverse, np.concatenate(weights), minlength=len(touched))
    return touched, np.minimum(filled, 1).astype(np.float32)


def _by_thickness(radii_mm: np.ndarray, voxel_mm3: float) -> Iterator[tuple[np.ndarray, int]]:
    """Yield samples of like radius (n,) bool, and how many points each of them needs: some 30 per voxel filled."""
    needed = np.clip(np.ceil(30 * radii_mm**3 / voxel_mm3), _POINTS[0], _POINTS[-1])
    level = np.searchsorted(_POINTS, needed)
    for number, count in enumerate(_POINTS):
        if (level == number).any():
            yield level == number, count


def _ball(count: int) -> np.ndarray:
    """Return `count` points (n, 3) in the unit ball, always the same ones, for tubes of even density.

    Directions on a Fibonacci spiral; the distances from the middle have the density ``r² / sqrt(1 - r²)``, for which a
    row of such balls fills its tube evenly.
    """
    number = np.arange(count) + 0.5
    height = 1 - 2 * number / count
    angle = np.pi * (1 + np.sqrt(5)) * number
    ring = np.sqrt(1 - height**2)
    turn = np.linspace(0, np.pi / 2, 500)
    share = (turn - np.sin(2 * turn) / 2) * 2 / np.pi
    radius = np.sin(np.interp((number * 0.6180339887) % 1, share, turn))
    return radius[:, None] * np.column_stack([ring * np.cos(angle), ring * np.sin(angle), height])
