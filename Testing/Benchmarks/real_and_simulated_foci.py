"""Figures of one focus: contrast, size, shape and company, by one rule for real and simulated scans.

Magnitude and SWI figures are ratios to the shell around the focus, QSM figures differences to it in ppm. The real
foci come without masks, so the focus is cut out again everywhere: voxels beyond halfway between the extreme voxel and
the median of the shell, connected to the extreme, at most `REACH_MM` away.
"""

from dataclasses import dataclass, fields

import numpy as np
from microbleeds.components import equivalent_diameter_mm, label_components
from microbleeds.geometry import apply_affine, bounding_box, crop, ras_to_voxel
from microbleeds.volume import Volume
from scipy import ndimage
from scipy.spatial import cKDTree

SHELL_MM = (4.0, 7.0)
SEARCH_MM = 2.0
"""How far from the given centre the extreme voxel may lie."""
EXTREME_MM = 3.0
REACH_MM = 4.0
PROFILE_MM = np.arange(9)
"""Distances of the radial profile; each is the mean over +- half a millimetre."""
DARK_COMPANY, BRIGHT_COMPANY_PPM = 0.8, 0.1
"""A shell voxel is company (a vessel, most often) below this share of, or this far above the shell's median."""
NOISE_MM = 12.0
LEAST_SHELL = 10
"""Voxels of brain that the shell must have."""
_MARGIN_MM = 14.0
_IMMERKAER = np.outer((1, -2, 1), (1, -2, 1))
"""Blind to planes and edges along the axes; white noise of deviation 1 comes out with deviation 6 (Immerkaer 1996)."""


@dataclass(frozen=True)
class FocusFigures:
    """What was measured; ratios to the shell's median, or on QSM ppm above it.

    Attributes
    ----------
    inside, extreme : float
        Mean of the focus; darkest (QSM: brightest) voxel within `EXTREME_MM` of the given centre.
    drawn_inside : float
        Mean of the darkest as many voxels as the truth has, NaN where it gives no number.
    diameter_mm, slices, roundness : float
        Of the focus: ball of its volume; slices it lies on; short by long axis on the slice of the extreme.
    nearest_mm : float
        To the next focus of the scan, NaN if there is none.
    shell_deviation, gradient_per_mm, company, noise : float
        Of the shell: standard deviation; median in-plane gradient; share of `company` voxels; noise around it.
    profile : tuple of float
        At `PROFILE_MM`, on the slice of the extreme.
    """

    inside: float
    extreme: float
    drawn_inside: float
    diameter_mm: float
    slices: float
    roundness: float
    nearest_mm: float
    shell_deviation: float
    gradient_per_mm: float
    company: float
    noise: float
    profile: tuple[float, ...]


SCALARS = tuple(field.name for field in fields(FocusFigures) if field.name != "profile")


def measure_background(volume: Volume, brain: np.ndarray, modality: str, count: int,
                       rng: np.random.Generator) -> list[FocusFigures]:
    """Measure tissue anywhere as if a focus lay there; only the figures of the shell mean something."""
    inner = ndimage.binary_erosion(brain[::2, ::2, :], np.ones((5, 5, 1)), border_value=0)
    places = np.argwhere(inner) * (2, 2, 1)
    places = places[rng.choice(len(places), min(count, len(places)), replace=False)]
    return measure_foci(volume, brain, apply_affine(volume.affine, places), np.zeros(len(places), int), modality)


def measure_foci(volume: Volume, brain: np.ndarray, centres_ras: np.ndarray, voxel_counts: np.ndarray,
                 modality: str) -> list[FocusFigures]:
    """Measure every focus of a scan whose surroundings lie in the brain.

    Parameters
    ----------
    volume : Volume
        With its slices along the last axis.
    brain : (i, j, k) bool array
    centres_ras : (n, 3) mm
    voxel_counts : (n,) int
        Voxels of the focus in the truth; 0 if not known.
    modality : {"gre", "swi", "qsm"}
    """
    nearest_mm = np.full(len(centres_ras), np.nan)
    if len(centres_ras) > 1:
        nearest_mm = cKDTree(centres_ras).query(centres_ras, k=2)[0][:, 1]
    measured = (measure_focus(volume, brain, centre, int(count), float(near), modality)
                for centre, count, near in zip(centres_ras, voxel_counts, nearest_mm, strict=True))
    return [figures for figures in measured if figures is not None]


def measure_focus(volume: Volume, brain: np.ndarray, centre_ras: np.ndarray, voxel_count: int, nearest_mm: float,
                  modality: str) -> FocusFigures | None:
    """Measure one focus; None if no brain lies around it. Parameters as for `measure_foci`."""
    volume, brain, away_mm = _surroundings(volume, brain, centre_ras)
    near = brain & (np.hypot(away_mm[..., 0], away_mm[..., 1]) <= SEARCH_MM)
    near &= np.abs(away_mm[..., 2]) <= max(SEARCH_MM, volume.spacing[2] / 2 + 1e-3)
    if not near.any():
        return None
    sign = 1 if modality == "qsm" else -1
    peak = np.unravel_index(np.argmax(np.where(near, sign * volume.data, -np.inf)), volume.shape)
    within = brain & (np.linalg.norm(away_mm, axis=-1) <= EXTREME_MM)
    within[peak] = True
    # first about the extreme voxel, which may lie at the edge of the focus, then about the middle of the focus
    parts = _cut_out(volume, brain, away_mm, away_mm[peak], peak, sign)
    parts = parts and _cut_out(volume, brain, away_mm, away_mm[parts.focus].mean(axis=0), peak, sign)
    if parts is None:
        return None
    values, shell, focus, distance_mm = parts.values, parts.shell, parts.focus, parts.distance_mm
    slice_index = peak[2]
    axial, away_axial_mm = focus[..., slice_index], away_mm[..., slice_index, :2]
    gradient = np.hypot(*np.gradient(values, *volume.spacing[:2], axis=(0, 1)))
    company = values > BRIGHT_COMPANY_PPM if modality == "qsm" else values < DARK_COMPANY
    return FocusFigures(
        inside=float(values[focus].mean()), extreme=float(sign * (sign * values[within]).max()),
        drawn_inside=sign * _mean_of_extremes(sign * values, brain, distance_mm, voxel_count),
        diameter_mm=equivalent_diameter_mm(np.count_nonzero(focus) * volume.voxel_volume_mm3),
        slices=float(focus.any(axis=(0, 1)).sum()), roundness=_roundness(axial, volume.spacing[:2]),
        nearest_mm=nearest_mm, shell_deviation=float(values[shell].std()),
        gradient_per_mm=float(np.median(gradient[shell])), company=float(company[shell].mean()),
        noise=_noise(values[..., slice_index], (brain & (distance_mm <= NOISE_MM))[..., slice_index]),
        profile=_profile(values[..., slice_index], brain[..., slice_index],
                         away_axial_mm - away_axial_mm[axial].mean(axis=0)))


@dataclass(frozen=True, eq=False)
class _Parts:
    """Figures relative to the shell, shell and focus (bool), and distances from the middle, all (i, j, k)."""

    values: np.ndarray
    shell: np.ndarray
    focus: np.ndarray
    distance_mm: np.ndarray


def _cut_out(volume: Volume, brain: np.ndarray, away_mm: np.ndarray, middle_mm: np.ndarray, peak: tuple[int, ...],
             sign: int) -> _Parts | None:
    """Return shell and focus about a middle; None if hardly any brain is in the shell."""
    distance_mm = np.linalg.norm(away_mm - middle_mm, axis=-1)
    shell = brain & (distance_mm >= SHELL_MM[0]) & (distance_mm <= SHELL_MM[1])
    if np.count_nonzero(shell) < LEAST_SHELL:
        return None
    level = float(np.median(volume.data[shell]))
    values, rest = (volume.data - level, 0.0) if sign > 0 else (volume.data / max(level, 1e-6), 1.0)
    focus = _grown(sign * values, brain & (distance_mm <= REACH_MM), peak, sign * (values[peak] + rest) / 2)
    return _Parts(values, shell, focus, distance_mm)


def _surroundings(volume: Volume, brain: np.ndarray,
                  centre_ras: np.ndarray) -> tuple[Volume, np.ndarray, np.ndarray]:
    """Return the box around a centre, its brain, and how far every voxel is from the centre along the axes in mm."""
    at = np.zeros(volume.shape, bool)
    voxel = np.clip(np.rint(ras_to_voxel(volume, centre_ras)).astype(int), 0, np.array(volume.shape) - 1)
    at[tuple(voxel)] = True
    box = bounding_box(at, _MARGIN_MM, volume.spacing)
    brain = brain[tuple(slice(a, b) for a, b in box.T)]
    volume = crop(volume, box)
    grid = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    away_ras = apply_affine(volume.affine, grid) - centre_ras
    return volume.with_data(volume.data.astype(float)), brain, away_ras @ (volume.affine[:3, :3] / volume.spacing)


def _grown(strength: np.ndarray, allowed: np.ndarray, peak: tuple[int, ...], threshold: float) -> np.ndarray:
    """Return the allowed voxels of at least a strength that hang together with the peak."""
    labels, _ = label_components(allowed & (strength >= threshold))
    focus = labels == labels[peak] if labels[peak] else np.zeros(labels.shape, bool)
    focus[peak] = True
    return focus


def _mean_of_extremes(strength: np.ndarray, brain: np.ndarray, distance_mm: np.ndarray, count: int) -> float:
    """Return the mean of the `count` strongest voxels of a ball that would hold about four times as many.

    Stands in for a mask of which only the size is known.
    """
    if not 1 <= count <= brain.sum() // 4:
        return float("nan")
    reach_mm = 1.6 * np.sort(distance_mm[brain])[count - 1] + 1e-3
    return float(np.sort(strength[brain & (distance_mm <= reach_mm)])[-count:].mean())


def _roundness(axial: np.ndarray, spacing_mm: np.ndarray) -> float:
    """Return short by long axis of a region (i, j); a pixel's own extent is added to both."""
    places_mm = np.argwhere(axial) * spacing_mm
    covariance = np.atleast_2d(np.cov(places_mm.T, bias=True)) + np.diag(spacing_mm**2) / 12
    short, long = np.linalg.eigvalsh(covariance)
    return float(np.sqrt(short / long))


def _noise(values: np.ndarray, where: np.ndarray) -> float:
    """Return the deviation of white noise that would explain the finest in-plane structure (Immerkaer 1996)."""
    inner = ndimage.binary_erosion(where, np.ones((3, 3)))
    if not inner.any():
        return float("nan")
    return float(1.4826 * np.median(np.abs(ndimage.convolve(values, _IMMERKAER)[inner])) / 6)


def _profile(values: np.ndarray, brain: np.ndarray, away_mm: np.ndarray) -> tuple[float, ...]:
    """Return the mean at `PROFILE_MM` from the middle of the focus on its slice; NaN where there is no brain."""
    from_middle_mm = np.linalg.norm(away_mm, axis=-1)
    bins = [brain & (np.abs(from_middle_mm - at_mm) <= 0.5) for at_mm in PROFILE_MM]
    return tuple(float(values[where].mean()) if where.any() else float("nan") for where in bins)
