"""Simulated microbleeds and mimics put into real scans.

Around each thing the signal is formed twice on a local fine grid, with and without it. What the complex sum loses takes
the same share of the real voxels; where that would make them too quiet the scan's own noise is put back. On SWI the
phase mask of the thing follows, on QSM its susceptibility is added at the resolution of the scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from ..errors import InputError, SettingsError
from ..geometry import apply_affine
from ..settings import MODALITIES
from ..volume import Volume
from .bleeds import MAX_COUNT
from .image_formation import TissueMaps, acquired_kspace, band_limited, reconstruct
from .implant_sites import Quality, body_of, draw_implants, free_places, measure
from .protocol import Grids, Protocol
from .shapes import Focus, Vessel
from .simulate import OF_FULL_SIGNAL, VISIBLE_LOSS, VISIBLE_PPM, add_to_tissue, least_peak
from .susceptibility import field_of
from .tissue import field_factor
from .truth import Effects, Truth, place_of, thing_of, truth_of
from .weighted_images import high_pass_phase, phase_mask

Drawn = Focus | Vessel
"""A thing to draw; `truth.Thing` is its record in the truth."""

_TISSUE_R2STAR_HZ = 20.0
"""R2* of brain at 3 T; only its difference to that of blood in a vessel matters."""
_REACH_MM, _FADE_MM = (6.0, 16.0), 3.0
_LEAST_PHASE = 0.05
_LEAST_LOSS, _LEAST_PPM = 1e-3, 1e-4


@dataclass(frozen=True)
class ImplantSettings:
    """What is put into a scan.

    Attributes
    ----------
    modality : {"gre", "swi", "qsm"}
    echo_time_ms, field_tesla : of the scan; not needed for QSM
    bleeds, mimics : how many of each
    """

    modality: str
    echo_time_ms: float | None = None
    field_tesla: float | None = None
    bleeds: int = 5
    mimics: int = 3

    def __post_init__(self):
        if self.modality not in MODALITIES:
            raise SettingsError(f"modality must be one of {', '.join(MODALITIES)}, got {self.modality!r}.")
        if self.modality != "qsm" and self.echo_time_ms is None:
            raise SettingsError("The echo time of the scan is not known; give it in ms with --echo-time.")
        if self.modality != "qsm" and self.field_tesla is None:
            raise SettingsError("The field strength of the scan is not known; give it in T with --field.")
        for name, count in (("microbleeds", self.bleeds), ("mimics", self.mimics)):
            if not 0 <= count <= MAX_COUNT:
                raise SettingsError(f"{count} {name} cannot be implanted; give a number from 0 to {MAX_COUNT}.")

    def protocol(self, spacing: np.ndarray) -> Protocol:
        """Return the protocol of a scan whose slices are along its last axis."""
        # inversions smooth and do not ring, so the edge of k-space is faded out over its whole width for QSM
        return Protocol(field_tesla=3.0 if self.field_tesla is None else self.field_tesla,
                        echo_times_ms=(20.0 if self.echo_time_ms is None else self.echo_time_ms,),
                        in_plane_mm=float(spacing[:2].mean()), slice_mm=float(spacing[2]),
                        taper=1.0 if self.modality == "qsm" else 0.2)


@dataclass(frozen=True, eq=False)
class Implanted:
    """The scan with its implants, their truth, what they are in the order of their numbers, and what was measured.

    `warnings` has a sentence where fewer things found room than were asked for.
    """

    image: Volume
    truth: Truth
    bleeds: tuple[Focus, ...]
    mimics: tuple[Drawn, ...]
    quality: Quality
    warnings: tuple[str, ...]


def implant(scan: Volume, brain: Volume, settings: ImplantSettings, rng: np.random.Generator) -> Implanted:
    """Put drawn microbleeds and mimics into free tissue of a scan.

    Parameters
    ----------
    scan : Volume
        Real intensities, any orientation. B0 is taken to run along S of its affine.
    brain : Volume
        Bool mask on the same grid.
    settings : ImplantSettings
    rng : numpy.random.Generator
        The same state gives the same bytes.

    Raises
    ------
    InputError
        If the mask is empty or there is no free tissue.
    SettingsError
        If the voxels, echo time or field strength cannot be simulated.
    """
    volume, mask, _ = _slices_last(scan, brain)
    if not mask.any():
        raise InputError("the brain mask is empty; mark the brain in it")
    quality = measure(volume, mask, settings.modality)
    drawing, noise = rng.spawn(2)
    tissue, room = free_places(volume, mask, settings.modality, quality)
    bleeds, mimics = draw_implants(tissue, room, volume.affine, (settings.bleeds, settings.mimics), drawing)
    wanted, found = settings.bleeds + settings.mimics, len(bleeds) + len(mimics)
    if wanted and not found:
        raise InputError("no free tissue was found in it; check the brain mask and the modality")
    warnings = () if found == wanted else (f"Only {len(bleeds)} of {settings.bleeds} microbleeds and {len(mimics)} of "
                                           f"{settings.mimics} mimics found room.",)
    done = implant_things(scan, brain, bleeds, mimics, settings, noise, quality)
    return Implanted(done.image, done.truth, done.bleeds, done.mimics, quality, warnings)


def implant_things(scan: Volume, brain: Volume, bleeds: Sequence[Focus], mimics: Sequence[Drawn],
                   settings: ImplantSettings, rng: np.random.Generator, quality: Quality | None = None) -> Implanted:
    """Put these microbleeds and mimics into a scan, wherever they are; see `implant`."""
    volume, mask, back = _slices_last(scan, brain)
    quality = quality or measure(volume, mask, settings.modality)
    protocol = settings.protocol(volume.spacing)
    # foci before vessels, as everywhere
    mimics = tuple(sorted(mimics, key=lambda thing: isinstance(thing, Vessel)))
    before = volume.data.astype(np.float32)
    image = before.copy()
    stages = []
    for things in (mimics, bleeds):
        total = np.full(before.shape, settings.modality != "qsm", np.float32)
        for thing in things:
            box, change = _change(volume, thing, protocol, quality, settings.modality)
            if settings.modality == "qsm":
                total[box] += change.weight
                image[box] += change.weight * np.float32(quality.per_ppm)
            else:
                total[box] *= change.kept * change.weight
                image[box] = _with_noise(image[box], change, protocol, quality, rng)
        stages.append(total)
    # the brain of a QSM ends where its map does
    effects = _effects(before, stages, settings.modality, quality)
    truth = _truth(volume, (*bleeds, *mimics), len(bleeds), effects, mask & (before != 0), protocol)
    only, everything, image = (Volume(np.ascontiguousarray(data.transpose(back)), scan.affine)
                               for data in (truth.microbleeds.data, truth.everything.data, image))
    return Implanted(image, Truth(only, everything, truth.rows), tuple(bleeds), mimics, quality, ())


@dataclass(frozen=True, eq=False)
class _Change:
    """What a thing does in its box: `kept` share of the magnitude, and the mask of SWI or the added ppm as `weight`."""

    grids: Grids
    part: tuple[slice, ...]
    kept: np.ndarray
    weight: np.ndarray


def _change(volume: Volume, thing: Drawn, protocol: Protocol, quality: Quality,
            modality: str) -> tuple[tuple[slice, ...], _Change]:
    """Return the box of voxels that a thing changes, and how."""
    low, grids = _local_grids(volume, thing, protocol, quality.kept)
    ratio, ppm = _formed(thing, protocol, grids, with_ppm=modality == "qsm")
    fade = _fade(grids.shape, volume.spacing)
    kept = np.ones(grids.shape, np.float32)
    if modality == "qsm":
        weight = np.where(np.abs(ppm) < _LEAST_PPM, 0, ppm * fade)
    else:
        kept = _faded(np.abs(ratio), fade)
        weight = _faded(phase_mask(high_pass_phase(ratio, protocol)), fade) if modality == "swi" else np.ones_like(kept)
    first, last = np.maximum(low, 0), np.minimum(low + grids.shape, volume.shape)
    last = np.maximum(first, last)
    box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    part = tuple(slice(a, b) for a, b in zip(first - low, last - low, strict=True))
    return box, _Change(grids, part, kept[part], weight[part].astype(np.float32))


def _local_grids(volume: Volume, thing: Drawn, protocol: Protocol,
                 kept: tuple[float, float]) -> tuple[np.ndarray, Grids]:
    """Return the first voxel of the box around a thing (it may lie outside the scan) and the box's grids.

    The box reaches to where the phase of the dipole, ``2π·γ/2π·B0·TE·χ·2/3·(r/d)³``, has fallen below .05 rad.
    """
    points, radius = body_of(thing)
    ppm = thing.susceptibility_ppm if isinstance(thing, Vessel) else max(
        abs(part.susceptibility_ppm) for part in thing.parts)
    phase = 2 * np.pi * protocol.hertz_per_ppm * protocol.echo_times_ms[-1] / 1000 * abs(ppm) * 2 / 3
    reach_mm = radius + float(np.clip(radius * (phase / _LEAST_PHASE) ** (1 / 3), *_REACH_MM))
    voxels = apply_affine(np.linalg.inv(volume.affine), points)
    reach = reach_mm / volume.spacing
    low = np.floor(voxels.min(axis=0) - reach).astype(int)
    shape = np.ceil(voxels.max(axis=0) + reach).astype(int) + 1 - low
    # transforms of large prime lengths are slow
    shape[:2] = [fft.next_fast_len(int(n)) for n in shape[:2]]
    affine = volume.affine.copy()
    affine[:3, 3] = apply_affine(volume.affine, low)
    fine = [fft.next_fast_len(max(2 * int(n), int(np.ceil(n * side / 0.4))))
            for n, side in zip(shape[:2], volume.spacing[:2], strict=True)]
    step = np.array([shape[0] / fine[0], shape[1] / fine[1], 1 / protocol.layers])
    to_box = np.diag([*step, 1.0])
    to_box[2, 3] = 0.5 / protocol.layers - 0.5
    acquired = [max(2, round(int(n) * share)) for n, share in zip(shape[:2], kept, strict=True)]
    return low, Grids(tuple(shape.tolist()), affine, tuple(acquired), (*fine, int(shape[2]) * protocol.layers),
                      affine @ to_box)


def _formed(thing: Drawn, protocol: Protocol, grids: Grids, with_ppm: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the complex signal with a thing relative to that without it, and its ppm at the scan's resolution."""
    r2star_hz = _TISSUE_R2STAR_HZ * field_factor(protocol.field_tesla)
    maps = TissueMaps(np.ones(grids.fine_shape, np.float32), np.full(grids.fine_shape, r2star_hz, np.float32),
                      np.zeros(grids.fine_shape, np.float32))
    add_to_tissue(maps, thing, grids, protocol)
    if with_ppm:
        return np.ones(grids.shape, np.complex64), band_limited(maps.susceptibility_ppm, protocol, grids)
    field = field_of(maps.susceptibility_ppm, grids.fine_spacing, grids.b0_direction, 1)
    kspace = acquired_kspace(maps, field, protocol, grids, protocol.echo_times_ms, 1)
    # even tissue alone gives the same signal everywhere
    return reconstruct(kspace, protocol, grids)[0] / np.exp(-protocol.echo_times_ms[-1] / 1000 * r2star_hz), None


def _fade(shape: tuple[int, int, int], spacing: np.ndarray) -> np.ndarray:
    """Return weights (i, j, k) that fall to 0 over the outer 3 mm, so that no box shows an edge."""
    axes = []
    for n, step in zip(shape, spacing, strict=True):
        from_end_mm = (np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5) * step
        axes.append(np.sin(0.5 * np.pi * np.clip(from_end_mm / _FADE_MM, 0, 1)) ** 2)
    return np.multiply.outer(np.multiply.outer(axes[0], axes[1]), axes[2]).astype(np.float32)


def _faded(share: np.ndarray, fade: np.ndarray) -> np.ndarray:
    return np.where(np.abs(share - 1) < _LEAST_LOSS, 1, 1 + (share - 1) * fade).astype(np.float32)


def _with_noise(values: np.ndarray, change: _Change, protocol: Protocol, quality: Quality,
                rng: np.random.Generator) -> np.ndarray:
    """Return magnitudes less what the thing takes, with as much noise as they had.

    The share r leaves r of the noise; complex noise of the rest, ``sqrt(1 - r²)``, at the bandwidth of the scan makes
    the magnitude Rician again where little signal is left.
    """
    acquired = (1, *change.grids.acquired, change.grids.shape[2])
    white = rng.standard_normal((*acquired, 2), np.float32).view(np.complex64)[..., 0]
    noise = reconstruct(white, protocol, change.grids)[0]
    noise *= quality.noise / max(float(noise.real.std()), 1e-9)
    missing = noise[change.part] * np.sqrt(np.clip(1 - change.kept**2, 0, 1))
    changed = np.abs(values * change.kept + missing) * change.weight
    return np.where((change.kept == 1) & (change.weight == 1), values, changed)


def _effects(before: np.ndarray, stages: list[np.ndarray], modality: str, quality: Quality) -> Effects:
    """Return what mimics and then microbleeds do, as `simulate` measures it."""
    others, own = stages
    if modality == "qsm":
        return Effects(np.abs(own) / VISIBLE_PPM, np.abs(others) / VISIBLE_PPM, np.zeros_like(own),
                       least_peak(0, VISIBLE_PPM))
    floor = np.float32(OF_FULL_SIGNAL * quality.level)

    def lost(signal: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return signal * (1 - kept) / np.maximum(signal, floor) / VISIBLE_LOSS

    return Effects(lost(before * others, own), lost(before, others), np.zeros_like(own),
                   least_peak(quality.noise / quality.level, VISIBLE_LOSS))


def _truth(volume: Volume, things: Sequence[Drawn], bleeds: int, effects: Effects, brain: np.ndarray,
           protocol: Protocol) -> Truth:
    grids = Grids(volume.shape, volume.affine, volume.shape[:2], volume.shape, volume.affine)
    numbered = tuple(thing_of(number, thing, place_of(thing), "unknown", grids)
                     for number, thing in enumerate(things, 1))
    return truth_of(volume, numbered, effects, bleeds, brain, protocol)


def _slices_last(scan: Volume, brain: Volume) -> tuple[Volume, np.ndarray, list[int]]:
    """Return the scan and its brain with the slice axis last, and the order of axes that undoes it."""
    order = [axis for axis in range(3) if axis != scan.slice_axis] + [scan.slice_axis]
    volume = Volume(np.ascontiguousarray(scan.data.transpose(order)), scan.affine[:, [*order, 3]])
    mask = np.ascontiguousarray(np.asarray(brain.data, bool).transpose(order))
    return volume, mask, np.argsort(order).tolist()
