"""How a scan is acquired: one record, its checks, the ranges that protocols are drawn from, and the two grids."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft

from ..errors import SettingsError

FIELDS_TESLA = (0.2, 12.0)
ECHO_TIME_LIMIT_MS = 100.0
FINEST_SLICE_MM, THICKEST_SLICE_MM = 0.4, 8.0
FINEST_IN_PLANE_MM, COARSEST_IN_PLANE_MM = 0.25, 3.0
HIGHEST_SIGNAL_TO_NOISE = 1e5
_LARGEST_MATRIX = 1024
_FINE_IN_PLANE_MM = 0.5
_SIGNAL_TO_NOISE = {"gre": (8, 45), "swi": (12, 50), "qsm": (20, 80)}
_FLUID_WEIGHT = {"gre": (0.55, 1.1), "swi": (0.35, 0.8), "qsm": (0.35, 0.9)}
"""Two-dimensional GRE has long repetition times and bright fluid, three-dimensional SWI short ones."""
_FINE_SLICE_MM = 0.8


@dataclass(frozen=True)
class Protocol:
    """One acquisition.

    Attributes
    ----------
    field_tesla : field strength
    echo_times_ms : ascending; magnitude, phase and SWI are those of the last echo
    in_plane_mm, slice_mm, gap_mm : reconstructed voxel, slice thickness, distance between slices
    matrix : voxels (i, j, k), None for as many as cover the head (or the brain)
    tilt_degrees : rotation of the slab about R, A, S; B0 runs along S
    kept_bandwidth : acquired share of the in-plane k-space; the rest is zero-filled by the scanner
    phase_axis : in-plane axis of phase encoding (0 or 1), along which ghosts run
    phase_share : resolution along that axis relative to the other
    taper : share of the acquired band over which the scanner fades it out; 0 leaves Gibbs ringing
    signal_to_noise : median brain signal of the last echo over the standard deviation of each noise channel, before
        smoothing
    shading : standard deviation of the coil's sensitivity (logarithm)
    normalised : the scanner divides by the coil's sensitivity
    smoothing_mm : standard deviation of the scanner's magnitude filter
    motion_mm : size of the head's motion during the scan
    fluid_weight : signal of fluid relative to its proton density, because of T1 (low for short repetition times)
    """

    field_tesla: float = 3.0
    echo_times_ms: tuple[float, ...] = (6.0, 12.0, 18.0, 24.0)
    in_plane_mm: float = 0.9
    slice_mm: float = 2.0
    gap_mm: float = 0.0
    matrix: tuple[int, int, int] | None = None
    tilt_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    kept_bandwidth: float = 1.0
    phase_axis: int = 1
    phase_share: float = 1.0
    taper: float = 0.2
    signal_to_noise: float = 30.0
    shading: float = 0.15
    normalised: bool = True
    smoothing_mm: float = 0.0
    motion_mm: float = 0.0
    fluid_weight: float = 0.8

    def __post_init__(self):
        echoes = self.echo_times_ms
        inside = all(0 < echo <= ECHO_TIME_LIMIT_MS for echo in echoes)
        if not echoes or not inside or list(echoes) != sorted(set(echoes)):
            raise SettingsError(f"Echo times of {_list(echoes)} ms cannot be simulated; give ascending ones above 0 "
                                f"and up to {ECHO_TIME_LIMIT_MS:g} ms.")
        _check("A field strength", self.field_tesla, *FIELDS_TESLA, "T")
        _check("A slice thickness", self.slice_mm, FINEST_SLICE_MM, THICKEST_SLICE_MM, "mm")
        _check("A gap between slices", self.gap_mm, 0, self.slice_mm, "mm")
        _check("An in-plane voxel size", self.in_plane_mm, FINEST_IN_PLANE_MM, COARSEST_IN_PLANE_MM, "mm")
        _check("A signal-to-noise ratio", self.signal_to_noise, 1, HIGHEST_SIGNAL_TO_NOISE, "")
        _check("An acquired share of k-space", self.kept_bandwidth, 0.3, 1, "")
        _check("A phase encoding axis", self.phase_axis, 0, 1, "")
        _check("A share of resolution along the phase axis", self.phase_share, 0.3, 1, "")
        _check("A weight of fluid", self.fluid_weight, 0, 2, "")
        _check("A taper", self.taper, 0, 1, "")
        _check("A coil shading", self.shading, 0, 1, "")
        _check("A smoothing", self.smoothing_mm, 0, 5, "mm")
        _check("A motion", self.motion_mm, 0, 10, "mm")
        if self.matrix is not None and (len(self.matrix) != 3 or not all(4 <= n <= _LARGEST_MATRIX
                                                                         for n in self.matrix)):
            raise SettingsError(f"A matrix of {_list(self.matrix)} voxels cannot be simulated; give three numbers, "
                                f"each from 4 to {_LARGEST_MATRIX}.")

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size of the image in mm, slices at the distance of their centres."""
        return np.array([self.in_plane_mm, self.in_plane_mm, self.slice_mm + self.whole_gap_mm])

    @property
    def layers(self) -> int:
        """Number of fine layers that make one slice."""
        return max(2, int(np.ceil(self.slice_mm / _FINE_SLICE_MM)))

    @property
    def gap_layers(self) -> int:
        """Number of fine layers between two slices."""
        return round(self.gap_mm / self.slice_mm * self.layers)

    @property
    def whole_gap_mm(self) -> float:
        """The gap, rounded to whole fine layers."""
        return self.gap_layers * self.slice_mm / self.layers

    @property
    def hertz_per_ppm(self) -> float:
        """Frequency offset of protons per ppm of field, 42.577 MHz/T times the field."""
        return 42.577 * self.field_tesla


@dataclass(frozen=True, eq=False)
class Grids:
    """The grid of the image, the in-plane matrix that is acquired, and the fine grid that the tissue is drawn on.

    The first voxel of image and fine grid in plane have the same centre; `fine_affine` and `affine` go to RAS mm.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    acquired: tuple[int, int]
    fine_shape: tuple[int, int, int]
    fine_affine: np.ndarray

    @property
    def fine_spacing(self) -> np.ndarray:
        """Voxel size of the fine grid in mm."""
        return np.linalg.norm(self.fine_affine[:3, :3], axis=0)

    @property
    def b0_direction(self) -> np.ndarray:
        """Direction of B0 (RAS S) along the axes of the grid."""
        return (self.fine_affine[:3, :3] / self.fine_spacing)[2]


def make_grids(protocol: Protocol, head_ras: np.ndarray, brain_ras: np.ndarray | None = None,
               margin_mm: float = 4.0) -> Grids:
    """Return the grids of a slab that covers the head in plane and the brain across, or has the protocol's matrix.

    `head_ras` and `brain_ras` (default: the same) are points (n, 3) RAS mm; a given matrix lies around their middle.
    In plane, fine voxels are at most half the acquired ones and at most 0.5 mm; each slice is cut into at least two
    layers of at most 0.8 mm.
    """
    rotation = slab_rotation(protocol.tilt_degrees)
    spacing = protocol.spacing
    head, brain = head_ras @ rotation, (head_ras if brain_ras is None else brain_ras) @ rotation
    low, high = (np.append(edge(head, 0)[:2], edge(brain, 0)[2]) for edge in (np.min, np.max))
    shape = np.array(protocol.matrix or np.ceil((high - low + 2 * margin_mm) / spacing).astype(int))
    if protocol.matrix is None:
        shape[:2] = [fft.next_fast_len(int(n)) for n in shape[:2]]
    kept = np.full(2, protocol.kept_bandwidth)
    kept[protocol.phase_axis] *= protocol.phase_share
    acquired = np.maximum(np.rint(shape[:2] * kept).astype(int), 2)
    field_of_view = shape[:2] * protocol.in_plane_mm
    fine = np.maximum(2 * acquired, np.ceil(field_of_view / _FINE_IN_PLANE_MM).astype(int))
    fine = [fft.next_fast_len(int(n)) for n in fine]
    layer_mm = protocol.slice_mm / protocol.layers
    per_slice = protocol.layers + protocol.gap_layers
    fine_spacing = np.array([*(field_of_view / fine), layer_mm])
    corner = (low + high) / 2 - spacing * shape / 2
    first = corner + np.array([spacing[0], spacing[1], protocol.slice_mm]) / 2
    fine_first = np.array([*first[:2], corner[2] + layer_mm / 2])
    return Grids(tuple(shape.tolist()), _affine(rotation, spacing, first), tuple(acquired.tolist()),
                 (*fine, int(shape[2]) * per_slice), _affine(rotation, fine_spacing, fine_first))


def slab_rotation(tilt_degrees: tuple[float, float, float]) -> np.ndarray:
    """Return the rotation (3, 3) whose columns are the slab's axes in RAS, turned about R, then A, then S."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(tilt_degrees)):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        rotation = rotation @ turn
    return rotation


def draw_protocol(rng: np.random.Generator, modality: str, **fixed: Any) -> Protocol:
    """Draw a protocol for "gre", "swi" or "qsm" from the ranges of published data sets; `fixed` fields stay.

    Ranges: protocols of the public microbleed data sets and of clinical SWI and QSM (GRE at TE 13 to 45 ms and .43 to
    1.05 mm × .8 to 5 mm; SWI and QSM at .45 to 1 mm × .8 to 2.5 mm; 1.5 and 3 T, rarely 7 T).
    """
    thick = bool(rng.random() < 0.75) and modality == "gre"
    slice_mm = rng.uniform(2.5, 5.0) if thick else rng.uniform(0.8, 2.5)
    slice_mm = fixed.get("slice_mm", slice_mm)
    in_plane = rng.choice([rng.uniform(0.43, 0.55), rng.uniform(0.75, 1.05)]) if modality == "gre" else \
        rng.uniform(0.45, 1.0)
    in_plane = fixed.get("in_plane_mm", in_plane)
    slice_mm = fixed.get("slice_mm", max(slice_mm, fixed.get("gap_mm", 0)))
    field_tesla = fixed.get("field_tesla", float(rng.choice([1.5, 3.0, 7.0], p=[0.4, 0.55, 0.05])))
    longest = rng.uniform(13, 24) if field_tesla > 4 else rng.uniform(17, 45) * (1 if field_tesla < 2 else 0.85)
    echoes = int(rng.integers(4, 7)) if modality == "qsm" else 1
    # so fine is rarely measured; the public scans of .45 mm hold about half of that resolution
    interpolated = in_plane < 0.65
    drawn = {
        "field_tesla": field_tesla,
        "echo_times_ms": tuple(round(float(longest * (n + 1) / echoes), 2) for n in range(echoes)),
        "in_plane_mm": float(in_plane), "slice_mm": float(slice_mm),
        "gap_mm": float(slice_mm * rng.choice([0, 0.1, 0.2])) if thick else 0.0,
        "tilt_degrees": tuple(float(angle) for angle in rng.normal(0, (10, 4, 4))),
        "kept_bandwidth": float(rng.uniform(0.48, 0.8)) if interpolated else 1.0,
        "taper": float(rng.choice([0.0, rng.uniform(0.1, 0.6)], p=[0.2, 0.8])),
        "phase_axis": int(rng.integers(2)),
        "phase_share": float(rng.choice([1.0, rng.uniform(0.6, 0.95)], p=[0.4, 0.6])),
        "signal_to_noise": float(np.exp(rng.uniform(*np.log(_SIGNAL_TO_NOISE[modality])))),
        "fluid_weight": float(rng.uniform(*_FLUID_WEIGHT[modality])),
        "shading": float(rng.uniform(0.05, 0.25)), "normalised": bool(rng.random() < 0.5),
        "smoothing_mm": float(rng.choice([0, rng.uniform(0.2, 0.5)], p=[0.7, 0.3])),
        "motion_mm": float(rng.choice([0, rng.uniform(0.1, 0.8)], p=[0.7, 0.3])),
    }

    return Protocol(**{**drawn, **fixed})


def _affine(rotation: np.ndarray, spacing: np.ndarray, first: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = rotation @ first
    return affine


def _check(what: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise SettingsError(f"{what} of {value:g} {unit}".rstrip() + " cannot be simulated; give one between "
                            f"{low:g} and {high:g} {unit}".rstrip() + ".")


def _list(values: tuple) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"
