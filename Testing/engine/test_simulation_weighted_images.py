"""SWI, its minimum-intensity slabs, and R2*."""

from dataclasses import replace

import numpy as np
import pytest
from microbleeds.simulation.image_formation import acquired_kspace, add_scanner, reconstruct
from microbleeds.simulation.protocol import Protocol
from microbleeds.simulation.weighted_images import (
    high_pass_phase,
    minimum_intensity,
    phase_mask,
    r2star_map,
    susceptibility_weighted,
)
from simulation_phantoms import centred_grids, fine_points, image_of, uniform_maps

PROTOCOL = Protocol(matrix=(64, 64, 8), in_plane_mm=0.8, slice_mm=2.0, echo_times_ms=(20.0,))


def test_the_phase_mask_is_one_below_zero_and_falls_to_zero_at_half_a_turn():
    # (1 - phase / pi)^4, Haacke et al. 2004
    phases = np.array([-np.pi, -0.5, 0, np.pi / 4, np.pi / 2, np.pi])
    np.testing.assert_allclose(phase_mask(phases), [1, 1, 1, (3 / 4) ** 4, 1 / 16, 0], atol=1e-6)


def test_the_high_pass_removes_what_varies_slowly_and_whole_wraps():
    i, j = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    slow = 12 * np.exp(-((i - 30) ** 2 + (j - 34) ** 2) / (2 * 45**2))
    image = np.exp(1j * slow)[..., None].astype(np.complex64)
    assert np.abs(high_pass_phase(image, PROTOCOL)[12:-12, 12:-12]).max() < 0.1
    spot = image.copy()
    spot[32, 32] *= np.exp(1j)
    assert high_pass_phase(spot, PROTOCOL)[32, 32, 0] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("ppm", [0.3, -0.3])
def test_a_vein_along_b0_is_darker_on_swi_than_on_magnitude_and_calcium_is_not(ppm):
    grids = centred_grids(PROTOCOL)
    r, a = (fine_points(grids) - [0.1, -0.2, 0])[..., :2].transpose(3, 0, 1, 2)
    vein = (np.hypot(r, a) < 0.6).astype(np.float32)
    # the whole length of the slab and its copies: the field of an infinite tube along B0 is chi/3 inside, 0 outside
    image = image_of(uniform_maps(vein.shape, 1, 20), PROTOCOL, grids, vein * ppm / 3)[0]
    magnitude, weighted = np.abs(image), susceptibility_weighted(image, PROTOCOL)
    depth = [1 - shown.min() / np.median(shown) for shown in (magnitude, weighted)]
    assert depth[0] > 0.05
    assert depth[1] > 1.5 * depth[0] if ppm > 0 else depth[1] == pytest.approx(depth[0], abs=0.02)


def test_minimum_slabs_show_the_darkest_of_their_slices():
    image = np.ones((5, 5, 20), np.float32)
    image[2, 2, 10] = 0.2
    slab = minimum_intensity(image, PROTOCOL)
    assert slab.shape == image.shape and (slab <= image).all()
    dark = np.flatnonzero(slab[2, 2] < 0.5)
    # 8 mm of slices of 2 mm
    assert len(dark) == 4 and 10 in dark and (np.diff(dark) == 1).all()
    assert (slab == 1).sum() == image.size - 4
    thick = minimum_intensity(image, replace(PROTOCOL, slice_mm=8.0))
    assert (thick < 0.5).sum() == 2


def test_r2star_is_exact_without_noise_and_within_three_percent_with():
    protocol = Protocol(matrix=(32, 32, 6), in_plane_mm=1.0, slice_mm=2.0, echo_times_ms=(5.0, 12.0, 20.0, 30.0),
                        signal_to_noise=40.0, shading=0.0, taper=0.0)
    times = np.array(protocol.echo_times_ms)[:, None, None, None] / 1000
    true = np.linspace(5, 120, 60).reshape(3, 4, 5)
    np.testing.assert_allclose(r2star_map(700 * np.exp(-times * true), protocol.echo_times_ms), true, rtol=1e-3)
    grids = centred_grids(protocol)
    for rate in (20.0, 50.0):
        maps = uniform_maps(grids.fine_shape, 1, rate)
        kspace = acquired_kspace(maps, 0 * maps.density, protocol, grids, protocol.echo_times_ms, 1)
        kspace, _ = add_scanner(kspace, protocol, grids, float(np.exp(-0.03 * rate)), np.random.default_rng(1))
        found = r2star_map(np.abs(reconstruct(kspace, protocol, grids)), protocol.echo_times_ms)
        assert np.median(found) == pytest.approx(rate, rel=0.03)


def test_r2star_stays_in_its_range_where_there_is_no_signal():
    noise = np.abs(np.random.default_rng(2).normal(size=(3, 6, 6, 6)))
    found = r2star_map(noise * np.array([1, 1, 0])[:, None, None, None], (5.0, 10.0, 15.0))
    assert np.isfinite(found).all() and found.min() >= 0
