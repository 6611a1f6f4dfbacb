"""Figures that tell a microbleed from its mimics at one place: in the scan, and in any other volume of the same head.

What is told comes as numbers and codes; the sentences are made where they are shown.
"""

import re
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import ndtri

from .components import equivalent_diameter_mm, principal_axes_mm
from .geometry import canonical_axes, crop, ras_to_voxel, voxel_to_ras
from .point_regions import SHELL_MM, focus_voxel, grow_region, voxels_within
from .volume import Volume

ROUND, VESSEL, UNCLEAR = "round", "vessel", "unclear"
PARAMAGNETIC, DIAMAGNETIC = "paramagnetic", "diamagnetic"
POSITIVE, NEGATIVE = "positive", "negative"
DARK, BRIGHT, ISO = "dark", "bright", "iso"

QSM, PHASE, T1, T2, OTHER = "qsm", "phase", "t1", "t2", "other"
KINDS = (QSM, PHASE, T1, T2, OTHER)

REACH_MM = 12.0
"""How far from the focus a structure is followed: its run is known up to twice this."""
ROUND_RATIO = 1.5
"""A structure that is longer than wide by no more than this is round, and one step of the grid is allowed for."""
VESSEL_RATIO = 2.0
"""A structure that is longer than wide by more than this is a vessel, one step of the grid allowed for."""
LONG_MM = 10.0
"""Microbleeds are not longer than this, by all definitions."""
FAINT_RATIO = 3.0
"""A focus nearer to its surroundings than this many standard deviations of the noise has no shape to speak of."""
FOCUS_MM = 1.5
"""How far from the place its counterpart in another volume may lie."""
CLEAR_RATIO = 2.0
"""Fewest standard deviations between a focus and its surroundings that are called a difference."""

_SIDE_MM = 1.5
_NOISE_RATIO = 2.0
_CHANCE = 0.05
_MIXED_SHARE = 0.75
_STEP_MM = 0.5
_SAME_SPACING = 1.1
_MARGIN_MM = 2.5
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
_ANGLES = np.arange(12) * np.pi / 12
_IN_PLANE_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class ScanProbe:
    """What the scan itself shows at one place; None where it cannot be told.

    Attributes
    ----------
    focus_ras : (R, A, S) in mm
        Centre of the darkest voxel (brightest on QSM) within 2 mm of the place.
    contrast : float or None
        (median around - focus) / median around, "around" being 4 to 7 mm off. None on QSM, whose surroundings are near
        zero: there `contrast_to_noise` says it all.
    contrast_to_noise : float or None
        ``|focus - median around|`` over the robust standard deviation around (1.4826 · median absolute deviation).
    region_diameter_mm : float or None
        Of the ball of the volume of the region grown from the focus (`point_regions.grow_region`).
    sphericity : float or None
        Of that region, in (0, 1]; see `sphericity_of`.
    run_slices, run_mm : int and float, or None
        Through how many consecutive slices the structure goes on, and how long that is, whole slices counted.
    run_in_plane_mm : float or None
        Longest extent of the structure within the slice of the focus, whole voxels counted.
    run_cut : bool
        The structure was followed to the edge of what is known (volume, brain mask, 12 mm off): it may be longer.
    shape_reading : {ROUND, VESSEL, UNCLEAR}
    """

    focus_ras: tuple[float, float, float]
    contrast: float | None = None
    contrast_to_noise: float | None = None
    region_diameter_mm: float | None = None
    sphericity: float | None = None
    run_slices: int | None = None
    run_mm: float | None = None
    run_in_plane_mm: float | None = None
    run_cut: bool = False
    shape_reading: str = UNCLEAR


@dataclass(frozen=True)
class Profile:
    """Values along one voxel axis of a volume through a place.

    Attributes
    ----------
    offsets_mm : (n,) tuple
        Distances from the place, rising, in steps of .5 mm; places without a value are left out.
    values : (n,) tuple
        In the units of the volume.
    axis_ras : pair of letters
        World directions nearest to the first and last offset: ("L", "R") runs from left to right.
    """

    offsets_mm: tuple[float, ...]
    values: tuple[float, ...]
    axis_ras: tuple[str, str]


@dataclass(frozen=True)
class OtherProbe:
    """What another volume shows at the place.

    Attributes
    ----------
    difference : float or None
        Focus minus median around (4 to 7 mm off), in the units of the volume. The focus is the voxel within 1.5 mm
        that differs most, to either side.
    ratio_to_noise : float or None
        `difference` over the robust standard deviation around.
    reading : str
        QSM: PARAMAGNETIC, DIAMAGNETIC, UNCLEAR. PHASE: POSITIVE, NEGATIVE, UNCLEAR; which of them a microbleed is
        depends on the vendor. All other kinds: DARK, BRIGHT, ISO, and UNCLEAR where nothing is known.
    """

    difference: float | None
    ratio_to_noise: float | None
    reading: str


@dataclass(frozen=True, eq=False)
class _Place:
    """The box around a place: image, its values turned so that lesions are low and NaN where unknown, and the place."""

    image: Volume
    values: np.ndarray
    centre_ras: np.ndarray


@dataclass(frozen=True, eq=False)
class _Run:
    """A structure followed along one voxel axis, and its cut (area, longest extent) through the slice of the focus."""

    slices: int
    step_mm: float
    cut: bool
    area_mm2: float
    in_plane_mm: float
    in_plane_step_mm: float

    @property
    def length_mm(self) -> float:
        return self.slices * self.step_mm


def probe_scan(volume: Volume, centre_ras: np.ndarray, bright: bool) -> ScanProbe:
    """Return what a scan shows at a place (R, A, S in mm).

    NaN, infinite values, and the exact zeros around a masked brain are taken as unknown; zeros are values where the
    place itself lies on one. Outside the volume nothing can be told.

    Parameters
    ----------
    volume : Volume
    centre_ras : (3,) in mm
    bright : bool
        Microbleeds are bright (QSM) instead of dark.
    """
    centre_ras = np.asarray(centre_ras, np.float64)
    place = _place(volume, centre_ras, bright)
    if place is None:
        return ScanProbe(tuple(centre_ras.tolist()))
    focus = focus_voxel(place.image, place.centre_ras, bright)
    focus_ras = tuple(voxel_to_ras(place.image, focus).tolist())
    depth = place.values[tuple(focus)]
    median, spread = _surroundings(place, voxel_to_ras(place.image, focus))
    if not np.isfinite(depth) or median is None:
        return ScanProbe(focus_ras)
    region = grow_region(place.image, place.centre_ras, bright)
    contrast = float((median - depth) / median) if not bright and median > 0 else None
    ratio = float(abs(median - depth) / spread) if spread > 0 else None
    figures = {"contrast": contrast, "contrast_to_noise": ratio,
               "region_diameter_mm": equivalent_diameter_mm(len(region) * volume.voxel_volume_mm3),
               "sphericity": sphericity_of(region, volume.affine)}
    # In noise, something is darker than half way to a faint focus in every slice: what is followed must leave it.
    noise = _noise(place, focus)
    level = min((depth + median) / 2, median - _NOISE_RATIO * noise)
    if depth >= level:
        return ScanProbe(focus_ras, **figures)
    runs = (_follow(place, focus, level, axis) for axis in _slice_axes(volume))
    run = max(runs, key=lambda run: (round(run.length_mm, 3), run.area_mm2))
    return ScanProbe(focus_ras, **figures, run_slices=run.slices, run_mm=run.length_mm,
                     run_in_plane_mm=run.in_plane_mm, run_cut=run.cut,
                     shape_reading=_shape(run) if median - depth >= FAINT_RATIO * noise else UNCLEAR)


def profiles(volume: Volume, centre_ras: np.ndarray, reach_mm: float = 8.0) -> tuple[Profile, Profile, Profile]:
    """Return the values along the voxel axes of a volume, in their order, through a place (R, A, S in mm).

    They are interpolated linearly between voxel centres, and cut where the volume ends or is NaN or infinite.
    """
    centre = ras_to_voxel(volume, centre_ras)
    last = np.array(volume.shape) - 1
    letters = _axis_letters(volume.affine)
    count = int(reach_mm / _STEP_MM + 1e-6)
    offsets_mm = np.arange(-count, count + 1) * _STEP_MM
    lines = []
    for axis in range(3):
        points = np.tile(centre, (len(offsets_mm), 1))
        points[:, axis] += offsets_mm / volume.spacing[axis]
        inside = ((points >= -0.5) & (points <= last + 0.5)).all(axis=1)
        values = _interpolate(volume.data, np.clip(points[inside], 0, last))
        known = np.isfinite(values)
        lines.append(Profile(tuple(offsets_mm[inside][known].tolist()), tuple(values[known].tolist()), letters[axis]))
    return tuple(lines)


def probe_other(volume: Volume, centre_ras: np.ndarray, kind: str) -> OtherProbe | None:
    """Return what another volume of the same head shows at a place (R, A, S in mm); None if it does not reach there.

    A difference is called clear from `CLEAR_RATIO` standard deviations on, and from more where the focus is the most
    extreme of many voxels, so that mere noise would be called clear at one place of 20. QSM and phase are also unclear
    where both signs are about as strong, as around a dipole.

    Parameters
    ----------
    volume : Volume
        On any grid.
    centre_ras : (3,) in mm
    kind : {QSM, PHASE, T1, T2, OTHER}
    """
    place = _place(volume, np.asarray(centre_ras, np.float64), bright=False)
    if place is None:
        return None
    median, spread = _surroundings(place, place.centre_ras)
    voxels, _ = voxels_within(place.image, place.centre_ras, FOCUS_MM)
    near = place.values[tuple(voxels.T)]
    near = near[np.isfinite(near)]
    if median is None or not len(near):
        return OtherProbe(None, None, UNCLEAR)
    differences = near - median
    difference = float(differences[np.argmax(np.abs(differences))])
    opposite = max(0.0, float((-np.sign(difference) * differences).max()))
    clear = abs(difference) > spread * max(CLEAR_RATIO, -ndtri(_CHANCE / 2 / len(near)))
    mixed = opposite >= _MIXED_SHARE * abs(difference)
    return OtherProbe(difference, difference / spread if spread > 0 else None,
                      _reading(kind, np.sign(difference) if clear else 0, mixed))


def sphericity_of(voxels: np.ndarray, affine: np.ndarray) -> float:
    """Return the intercept sphericity ``(b c / a²)^(1/3)`` of a region with principal axes a >= b >= c.

    The formula is that of Krumbein (J Sediment Petrol 1941;11:64-72); the axes are those of `principal_axes_mm`, to
    which the longest voxel edge is added in every direction, so that a lesion on one thick slice is not flat. A ball
    gives .6 to 1, the less the fewer and thicker its slices are; a piece of a straight vessel .2 to .6, but up to .8
    where it runs obliquely through slices of 3 mm.

    Parameters
    ----------
    voxels : (n, 3) int array
        n >= 1.
    affine : (4, 4) array
        Voxel indices to RAS mm.
    """
    longest, middle, shortest = principal_axes_mm(voxels, affine)
    return float(min(1.0, np.cbrt(middle * shortest / longest**2)))


def _place(volume: Volume, centre_ras: np.ndarray, bright: bool) -> _Place | None:
    """Return the box around a place; None outside the volume, or where there is no value within 1.5 mm."""
    own, _ = voxels_within(volume, centre_ras, 0)
    if not len(own):
        return None
    reach = np.ceil((REACH_MM + _MARGIN_MM) / volume.spacing).astype(int)
    corner = np.maximum(own[0] - reach, 0)
    box = crop(volume, np.stack([corner, np.minimum(own[0] + reach + 1, volume.shape)]))
    values = box.data.astype(np.float64)
    known = np.isfinite(values)
    own = own[0] - corner
    if not known[tuple(own)]:
        near, distance_mm = voxels_within(box, centre_ras, FOCUS_MM)
        distance_mm[~known[tuple(near.T)]] = np.inf
        if np.isinf(distance_mm).all():
            return None
        own = near[np.argmin(distance_mm)]
        centre_ras = voxel_to_ras(box, own)
    if values[tuple(own)] != 0:
        known &= values != 0
        image = np.where(known, values, 0)
    else:
        image = np.where(known, values, np.median(values[known]))
    return _Place(box.with_data(image), np.where(known, -values if bright else values, np.nan), centre_ras)


def _surroundings(place: _Place, centre_ras: np.ndarray) -> tuple[float | None, float]:
    """Return median and robust standard deviation of the tissue around; None and 0 if there is none."""
    voxels, distance_mm = voxels_within(place.image, centre_ras, SHELL_MM[1])
    values = place.values[tuple(voxels[distance_mm >= SHELL_MM[0]].T)]
    values = values[np.isfinite(values)]
    if not len(values):
        return None, 0.0
    median = float(np.median(values))
    return median, float(1.4826 * np.median(np.abs(values - median)))


def _noise(place: _Place, focus: np.ndarray) -> float:
    """Return the standard deviation of the noise around, from neighbours in the two finest directions.

    Unlike the values themselves, their differences do not spread where white matter, cortex and fluid meet.
    """
    reach = np.ceil(SHELL_MM[1] / place.image.spacing).astype(int)
    box = place.values[tuple(slice(max(0, at - n), at + n + 1) for at, n in zip(focus, reach, strict=True))]
    steps = np.concatenate([np.diff(box, axis=axis).ravel() for axis in np.argsort(place.image.spacing)[:2]])
    steps = steps[np.isfinite(steps)]
    return float(1.4826 * np.median(np.abs(steps)) / np.sqrt(2)) if len(steps) else 0.0


def _slice_axes(volume: Volume) -> tuple[int, ...]:
    """Return the axes a structure is followed along: through the slices, or all of them if there is no thickest."""
    thick = np.flatnonzero(volume.spacing * _SAME_SPACING >= volume.spacing.max())
    return tuple(thick.tolist()) if len(thick) == 3 else (volume.slice_axis,)


def _follow(place: _Place, focus: np.ndarray, level: float, axis: int) -> _Run:
    """Follow what is darker than `level` from the focus through the slices across one axis, both ways.

    The darkest voxel of the next slice is taken that lies within 1.5 mm of the cut through this slice, and no farther
    from the last voxel than 1.5 mm and a tilt of 45° lead.
    """
    slices = np.moveaxis(place.values, axis, 0)
    spacing = np.delete(place.image.spacing, axis)
    step_mm = float(place.image.spacing[axis])
    index, own = int(focus[axis]), np.delete(focus, axis)
    reach = int(REACH_MM / step_mm)
    count, cut = 1, False
    for way in (-1, 1):
        here, voxel = index, own
        while True:
            if not 0 <= here + way < len(slices) or abs(here + way - index) > reach:
                cut = True
                break
            search = _search(slices[here] < level, voxel, spacing, _SIDE_MM + step_mm)
            values = np.where(search, slices[here + way], np.nan)
            if np.isnan(values).all():
                cut = True
                break
            lowest = np.nanargmin(values)
            if values.flat[lowest] >= level:
                break
            here, voxel, count = here + way, np.array(np.unravel_index(lowest, values.shape)), count + 1
    area, extent = _cut_of(slices[index] < level, own, spacing)
    return _Run(count, step_mm, cut, area, extent, float(spacing.max()))


def _search(dark: np.ndarray, voxel: np.ndarray, spacing: np.ndarray, reach_mm: float) -> np.ndarray:
    """Return where (i, j) the next slice may go on: near the cut through this slice and near its voxel (2,)."""
    steps = np.ceil((reach_mm + _SIDE_MM) / spacing).astype(int)
    low = np.maximum(voxel - steps, 0)
    window = tuple(slice(a, b) for a, b in zip(low, voxel + steps + 1, strict=True))
    grid = np.ogrid[tuple(slice(0, n) for n in dark[window].shape)]
    off_mm = np.hypot(*((where - start) * mm for where, start, mm in zip(grid, voxel - low, spacing, strict=True)))
    labels, _ = ndimage.label(dark[window] & (off_mm <= reach_mm), _IN_PLANE_NEIGHBOURS)
    own = labels == labels[tuple(voxel - low)]
    near = ndimage.distance_transform_edt(~own, sampling=spacing) <= _SIDE_MM
    result = np.zeros(dark.shape, bool)
    result[window] = near & (off_mm <= reach_mm)
    return result


def _cut_of(dark: np.ndarray, voxel: np.ndarray, spacing: np.ndarray) -> tuple[float, float]:
    """Return area (mm²) and longest extent (mm, one voxel for a voxel) of the dark region of one slice at a voxel."""
    labels, _ = ndimage.label(dark, _IN_PLANE_NEIGHBOURS)
    own = (np.argwhere(labels == labels[tuple(voxel)]) - voxel) * spacing
    along = own @ np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    return float(len(own) * spacing.prod()), float(np.ptp(along, axis=0).max() + np.sqrt(spacing.prod()))


def _shape(run: _Run) -> str:
    """Read the shape from lengths and widths.

    Through the slices the length is the run, and the width the diameter of the disc with the area of the cut; within
    the slice the length is the longest extent of the cut, and the width that of the ellipse of this length and area.
    One step of the grid is granted to each length, because what lies between two slices shows on both. A length is
    a vessel's if it is over twice the width, or over 1.5 times and 10 mm; it is round up to 1.5 times the width. The
    thing is a vessel if either length is a vessel's; round if both are round, it is not over 10 mm wide, and it is
    seen whole.
    """
    wide_mm = 2 * np.sqrt(run.area_mm2 / np.pi)
    narrow_mm = 4 * run.area_mm2 / (np.pi * run.in_plane_mm)
    sides = ((run.length_mm, wide_mm, run.step_mm), (run.in_plane_mm, narrow_mm, run.in_plane_step_mm))
    if any(_over(VESSEL_RATIO, side) or (side[0] > LONG_MM and _over(ROUND_RATIO, side)) for side in sides):
        return VESSEL
    if run.cut or wide_mm > LONG_MM:
        return UNCLEAR
    return UNCLEAR if _over(ROUND_RATIO, sides[1]) or (run.slices > 2 and _over(ROUND_RATIO, sides[0])) else ROUND


def _over(ratio: float, side: tuple[float, float, float]) -> bool:
    """Whether a (length, width, step of the grid) is longer than `ratio` times the width."""
    length_mm, width_mm, step_mm = side
    return length_mm > ratio * width_mm + step_mm + 1e-6


def _reading(kind: str, sign: float, mixed: bool) -> str:
    """Return the word of a kind of volume for a sign: 1, -1, or 0 for no clear difference."""
    if kind in (QSM, PHASE):
        words = {QSM: (PARAMAGNETIC, DIAMAGNETIC), PHASE: (POSITIVE, NEGATIVE)}[kind]
        return UNCLEAR if sign == 0 or mixed else words[0 if sign > 0 else 1]
    return {1: BRIGHT, -1: DARK}.get(int(sign), ISO)


def _axis_letters(affine: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Return for each voxel axis the letters of the world directions that it comes from and goes to."""
    order, flips = canonical_axes(affine)
    letters = [("", "")] * 3
    for world, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        letters[axis] = _LETTERS[world][::-1] if flip else _LETTERS[world]
    return tuple(letters)


def _interpolate(data: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return linear interpolations (n,) at voxel coordinates (n, 3) inside the grid; NaN where a value needed is none.

    Neighbours of weight zero are not needed, so a value on a voxel's centre does not depend on others.
    """
    if not len(points):
        return np.empty(0)
    low = np.floor(points + 1e-9).astype(int)
    share = np.clip(points - low, 0, 1)
    share[share < 1e-6] = 0
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        at = np.minimum(low + corner, np.array(data.shape) - 1)
        values = data[tuple(at.T)].astype(np.float64)
        total += np.where(weight > 0, weight * np.where(np.isfinite(values), values, np.nan), 0)
    return total


_SPACED = r"\1 \2"
# No letter may touch a word; a number may. Looked for in this order: what is said first decides.
_WORDS = (
    (OTHER, r"part-(mag|real|imag)|phase[ _-]?(contrast|enc(oding)?)"),
    (QSM, r"qsm|chi([ _-]?map)?|susceptibility[ _-]?map(ping)?|quantitative[ _-]?susceptibility"),
    (PHASE, r"phase(diff)?|phas?|ph"),
    (OTHER, r"t2[ _-]?star(w|map)?|t2s|t2\*w?|r2[ _-]?star(map)?|r2\*|r2s|swip?|swan|ven[ _-]?bold|"
            r"susceptibility[ _-]?weighted|m(in)?ip|mnip|r[12][ _-]?map|t[12][ _-]?(rho|map)"),
    (T1, r"t1(?!\d)w?|(t1[ _-]?)?(mp2?rage|mpr|bravo|f?spgr|tfe|tfl)|t1[ _-]?(flair|tse|fse|space)"),
    (T2, r"flair"),
    (OTHER, r"(me|mp|m)?gre|ffe|ha?emo|flash|fl[23]d|mag(nitude)?"),
    (T2, r"t2(?!\d)w?|t2[ _-]?(flair|tse|fse|space)"),
)
_PATTERNS = tuple((kind, re.compile(rf"(?<![a-z])(?:[23]d)?(?:{words})(?![a-z*])")) for kind, words in _WORDS)


def kind_of_name(name: str) -> str:
    """Return the kind of a volume of this name: QSM, PHASE, T1, T2 or OTHER.

    FLAIR counts as T2. T2*-weighted images, SWI, magnitudes, and maps of relaxation times or rates, on which dark and
    bright mean other things, are OTHER.

    Examples
    --------
    >>> kind_of_name("sub-01_ses-T1_T2starw"), kind_of_name("sub-01_part-phase_GRE"), kind_of_name("t2_flair_sag")
    ('other', 'phase', 't2')
    """
    name = re.sub(r"(?i)(?<![a-z])(sub|ses)-[a-z0-9]+", "", name)
    plain = f"{name} {re.sub('([a-z])([A-Z])', _SPACED, name)}".lower()
    return next((kind for kind, pattern in _PATTERNS if pattern.search(plain)), OTHER)
