"""One scan of one subject: all images of a protocol from the same complex signal, and the truth of each."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import ndimage

from ..errors import SettingsError
from ..geometry import apply_affine
from ..volume import Volume
from .image_formation import (
    TissueMaps,
    acquired_kspace,
    add_scanner,
    band_limited,
    motion_of_lines,
    reconstruct,
)
from .protocol import Grids, Protocol, make_grids
from .qsm import Inversion, draw_inversion, susceptibility_map
from .shapes import GHOST, PERIVASCULAR_SPACE, RINGING, Focus, Vessel, part_fraction, vessel_fraction
from .subject import Subject
from .surroundings import background_field, dephasing_of
from .susceptibility import field_of
from .tissue import field_factor, fine_maps, sample_linear
from .truth import Effects, Thing, Truth, artefacts_of, number_things, truth_of
from .weighted_images import minimum_intensity, r2star_map, susceptibility_weighted

MAGNITUDE, PHASE, SWI, MINIMUM, QSM, R2STAR = "T2starw", "part-phase_T2starw", "swi", "minIP", "Chimap", "R2starmap"
IMAGES = (MAGNITUDE, PHASE, SWI, MINIMUM, QSM, R2STAR)
"""Kinds of image, named by their BIDS suffix."""
READ_IMAGES = (MAGNITUDE, SWI, QSM)
"""Those that microbleeds are read on; each has a truth of its own."""

VISIBLE_LOSS = 0.12
"""Share of the local signal that a thing must take for a voxel to belong to its visible region."""
VISIBLE_PPM = 0.06
"""The same for QSM, in ppm."""
VISIBLE_AIR_LOSS = 0.3
OF_FULL_SIGNAL = 0.15
"""Share of the brain's median signal below which losses are taken relative to this floor."""
_FLUID_DENSITY = 0.95
_SMOOTH_TAPER = 0.5
"""Against an image with this taper ringing is told."""
_PEAK, _PEAK_OVER_NOISE = 1.5, 2.5


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """Images by kind (float32; phase in radians, QSM in ppm, R2* in 1/s), truths by kind, brain (bool), on one grid."""

    images: dict[str, Volume]
    truths: dict[str, Truth]
    brain: Volume
    inversion: Inversion


@dataclass(frozen=True, eq=False)
class _Stage:
    """Noise-free last echo (i, j, k) complex and susceptibility at the resolution of the image, with some things in."""

    signal: np.ndarray
    susceptibility_ppm: np.ndarray | None


def least_peak(noise: float, visible: float) -> float:
    """Return the peak, in units of the least `visible` effect, from which a thing is seen in noise of the same unit.

    It is 1.5 times that effect, and 2.5 times the noise.
    """
    return max(_PEAK, _PEAK_OVER_NOISE * noise / visible)


def check_images(images: Collection[str], protocol: Protocol) -> None:
    """Raise SettingsError if a protocol cannot give these images: R2* needs two echoes."""
    if R2STAR in images and len(protocol.echo_times_ms) < 2:
        raise SettingsError("R2* cannot be measured with a single echo; give two or more echo times.")


def simulate(subject: Subject, protocol: Protocol, images: Collection[str], rng: np.random.Generator,
             threads: int = 1) -> SimulatedScan:
    """Scan a subject.

    Three times the signal is formed, of the tissue, with vessels and mimics, and with the microbleeds; the differences
    are the truth. Noise, motion and the scanner's filters are in the images only.

    Raises
    ------
    SettingsError
        If R2* is asked of a single echo.
    """
    check_images(images, protocol)
    affine = subject.anatomy.classes.affine
    head = subject.anatomy.classes.data > 0 if subject.whole_head else subject.anatomy.brain
    grids = make_grids(protocol, *(apply_affine(affine, np.argwhere(mask)[::97])
                                   for mask in (head, subject.anatomy.brain)))
    background = background_field(subject.anatomy, subject.air, threads)
    on_fine = sample_linear(background.data, background.affine, grids.fine_shape, grids.fine_affine)
    stages, kspace = _form(subject, protocol, grids, on_fine, QSM in images, threads)
    brain = sample_linear(subject.anatomy.brain, affine, grids.shape, grids.affine) > 0.5
    level = float(np.median(np.abs(stages[-1].signal)[brain])) if brain.any() else 1.0
    moved = kspace * motion_of_lines(protocol, grids, rng)
    artefacts = _artefacts(kspace[-1:], moved[-1:], stages[-1].signal, protocol, grids)
    kspace, sensitivity = add_scanner(moved, protocol, grids, level, rng)
    echoes = reconstruct(kspace, protocol, grids)
    inversion = draw_inversion(rng)
    outside = sample_linear(background.data, background.affine, grids.shape, grids.affine)

    def image(kind: str) -> np.ndarray:
        if kind == QSM:
            return susceptibility_map(echoes, brain, outside, protocol, grids, inversion)
        if kind == R2STAR:
            return np.where(brain, r2star_map(np.abs(echoes), protocol.echo_times_ms), 0)
        return _image(kind, echoes, sensitivity, protocol)

    shown = {kind: Volume(image(kind), grids.affine) for kind in IMAGES if kind in images}
    things = number_things(subject, protocol, grids)
    air = dephasing_of(outside, protocol) / VISIBLE_AIR_LOSS
    truths = {kind: _truth(kind, shown[kind], things, stages, artefacts, air, len(subject.bleeds), brain, level,
                           protocol) for kind in READ_IMAGES if kind in shown}
    return SimulatedScan(shown, truths, Volume(brain, grids.affine), inversion)


def _form(subject: Subject, protocol: Protocol, grids: Grids, background_ppm: np.ndarray, with_qsm: bool,
          threads: int) -> tuple[list[_Stage], np.ndarray]:
    """Return the three stages and the k-space (all echoes) of the last one."""
    maps = fine_maps(subject.anatomy, subject.tissue, protocol, grids, subject.whole_head, threads)
    steps = (subject.nuclei, (*subject.mimics, *subject.vessels), subject.bleeds)
    stages: list[_Stage] = []
    for number, step in enumerate(steps):
        for thing in step:
            add_to_tissue(maps, thing, grids, protocol)
        if step or not stages:
            field = field_of(maps.susceptibility_ppm, grids.fine_spacing, grids.b0_direction, threads)
            field += background_ppm
        last = number == len(steps) - 1
        echoes = protocol.echo_times_ms if last else protocol.echo_times_ms[-1:]
        kspace = acquired_kspace(maps, field, protocol, grids, echoes, threads)
        signal = reconstruct(kspace[-1:], protocol, grids)[0]
        ppm = band_limited(maps.susceptibility_ppm, protocol, grids) if with_qsm else None
        stages.append(_Stage(signal, ppm))
    return stages, kspace


def add_to_tissue(maps: TissueMaps, thing: Focus | Vessel, grids: Grids, protocol: Protocol) -> None:
    """Draw a focus or a vessel into the maps, in place: a focus adds to the tissue, a vessel takes its place."""
    r2star_factor = field_factor(protocol.field_tesla)
    grid = (grids.fine_shape, grids.fine_affine)
    if isinstance(thing, Focus):
        for part in thing.parts:
            box, fraction = part_fraction(part, grid)
            maps.density[box] *= 1 - fraction * np.float32(1 - part.density)
            maps.susceptibility_ppm[box] += fraction * np.float32(part.susceptibility_ppm)
            changed = maps.r2star_hz[box] + fraction * np.float32(part.r2star_hz * r2star_factor)
            maps.r2star_hz[box] = np.maximum(changed, 1)
        return
    voxels, fraction = vessel_fraction(thing, grid)
    place = np.unravel_index(voxels, grids.fine_shape)
    own = maps.density[place]
    # a perivascular space holds fluid, which has the weight of fluid
    within = _FLUID_DENSITY * protocol.fluid_weight if thing.kind == PERIVASCULAR_SPACE else own * thing.density
    maps.density[place] += fraction * (within - own).astype(np.float32)
    for data, value in ((maps.susceptibility_ppm, thing.susceptibility_ppm),
                        (maps.r2star_hz, thing.r2star_hz * r2star_factor)):
        data[place] += fraction * (np.float32(value) - data[place])


def _image(kind: str, echoes: np.ndarray, sensitivity: np.ndarray, protocol: Protocol) -> np.ndarray:
    last = echoes[-1] / sensitivity if protocol.normalised else echoes[-1]
    if kind == PHASE:
        return np.angle(last).astype(np.float32)
    image = np.abs(last) if kind == MAGNITUDE else susceptibility_weighted(last, protocol)
    if protocol.smoothing_mm:
        sigma = protocol.smoothing_mm / protocol.in_plane_mm
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    return minimum_intensity(image, protocol) if kind == MINIMUM else image.astype(np.float32)


def _artefacts(still: np.ndarray, moved: np.ndarray, signal: np.ndarray, protocol: Protocol,
               grids: Grids) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return of each kind of artefact the complex image (i, j, k) without and with it, from k-space without noise."""
    smooth = replace(protocol, taper=max(protocol.taper, _SMOOTH_TAPER))
    made: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        GHOST: lambda: (signal, reconstruct(moved, protocol, grids)[0]),
        RINGING: lambda: (reconstruct(still, smooth, grids)[0], signal)}
    return {kind: made[kind]() for kind in artefacts_of(protocol)}


def _truth(kind: str, image: Volume, things: tuple[Thing, ...], stages: list[_Stage],
           artefacts: dict[str, tuple[np.ndarray, np.ndarray]], air: np.ndarray, bleeds: int, brain: np.ndarray,
           level: float, protocol: Protocol) -> Truth:
    if kind == QSM:
        shown = [stage.susceptibility_ppm for stage in stages]
        others, own = (np.abs(after - before) / VISIBLE_PPM for before, after in zip(shown, shown[1:], strict=False))
        brain = brain & (image.data != 0)
        noise_ppm = 1.48 * np.median(np.abs(image.data - shown[-1])[brain]) if brain.any() else 0.0
        effects = Effects(own, others, np.zeros_like(own), least_peak(noise_ppm, VISIBLE_PPM))
    else:
        show = np.abs if kind == MAGNITUDE else partial(susceptibility_weighted, protocol=protocol)

        def taken(before: np.ndarray, after: np.ndarray) -> np.ndarray:
            # relative to what was there, but not to next to nothing
            return (before - after) / np.maximum(before, OF_FULL_SIGNAL * level) / VISIBLE_LOSS

        tissue, with_others, with_bleeds = (show(stage.signal) for stage in stages)
        effects = Effects(taken(with_others, with_bleeds), taken(tissue, with_others), air,
                          least_peak(1 / protocol.signal_to_noise, VISIBLE_LOSS),
                          {name: taken(show(before), show(after)) for name, (before, after) in artefacts.items()})
    return truth_of(image, things, effects, bleeds, brain, protocol)
