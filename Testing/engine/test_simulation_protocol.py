"""Protocols: what is refused and how it is said, what is drawn, and the two grids."""

from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import SettingsError
from microbleeds.simulation.protocol import Protocol, draw_protocol, make_grids, slab_rotation

HEAD = np.random.default_rng(1).uniform(-70, 70, (500, 3))
BRAIN = HEAD * 0.7

WRONG = [
    ({"echo_times_ms": (-5.0,)}, "Echo times of -5 ms"), ({"echo_times_ms": (20.0, 10.0)}, "Echo times of 20, 10 ms"),
    ({"echo_times_ms": (10.0, 10.0)}, "ascending"), ({"echo_times_ms": ()}, "Echo times of none"),
    ({"echo_times_ms": (400.0,)}, "up to 100 ms"), ({"echo_times_ms": (float("nan"),)}, "Echo times of nan"),
    ({"slice_mm": 0.1}, "slice thickness of 0.1 mm cannot be simulated; give one between 0.4 and 8 mm"),
    ({"slice_mm": float("nan")}, "slice thickness of nan"), ({"slice_mm": 20.0}, "slice thickness of 20 mm"),
    ({"gap_mm": -1.0}, "gap between slices of -1 mm"), ({"gap_mm": 30.0}, "gap between slices of 30 mm"),
    ({"in_plane_mm": 0.0}, "in-plane voxel size of 0 mm"), ({"field_tesla": -3.0}, "field strength of -3 T"),
    ({"signal_to_noise": 0.0}, "signal-to-noise ratio of 0 cannot be simulated; give one between 1 and"),
    ({"kept_bandwidth": 1.5}, "share of k-space of 1.5"), ({"taper": -0.1}, "taper of -0.1"),
    ({"signal_to_noise": float("inf")}, "signal-to-noise ratio of inf"),
    ({"motion_mm": -1.0}, "motion of -1 mm"), ({"smoothing_mm": 9.0}, "smoothing of 9 mm"),
    ({"shading": 2.0}, "shading of 2"), ({"matrix": (2, 2, 2)}, "matrix of 2, 2, 2"),
    ({"matrix": (10, 10)}, "matrix of 10, 10"),
]


@pytest.mark.parametrize("wrong, message", WRONG)
def test_what_cannot_be_simulated_is_refused_in_one_sentence(wrong, message):
    with pytest.raises(SettingsError) as caught:
        Protocol(**wrong)
    said = str(caught.value)
    assert message in said and "give" in said
    assert said.endswith(".") and ". " not in said and "\n" not in said and "  " not in said


@pytest.mark.parametrize("modality, echoes, thickest", [("gre", (1, 1), 5.0), ("swi", (1, 1), 2.5),
                                                        ("qsm", (3, 12), 2.5)])
def test_drawn_protocols_lie_in_the_ranges_asked_for(modality, echoes, thickest):
    drawn = [draw_protocol(np.random.default_rng(seed), modality) for seed in range(300)]
    assert {protocol.field_tesla for protocol in drawn} == {1.5, 3.0, 7.0}
    last = np.array([protocol.echo_times_ms[-1] for protocol in drawn])
    assert 12.9 <= last.min() and last.max() <= 45.1
    assert all(echoes[0] <= len(protocol.echo_times_ms) <= echoes[1] for protocol in drawn)
    slices = np.array([protocol.slice_mm for protocol in drawn])
    assert 0.8 <= slices.min() < 1.5 and thickest - 1 < slices.max() <= thickest
    if modality == "gre":
        assert any(protocol.gap_mm for protocol in drawn) and any(protocol.kept_bandwidth < 1 for protocol in drawn)
    seven = [protocol.echo_times_ms[-1] for protocol in drawn if protocol.field_tesla == 7]
    assert max(seven) < np.median(last)


@pytest.mark.parametrize("modality", ["gre", "swi", "qsm"])
@pytest.mark.parametrize("fixed", [{"slice_mm": 0.5}, {"in_plane_mm": 2.0}, {"field_tesla": 0.5}, {"gap_mm": 0.3},
                                   {"echo_times_ms": (20.0,)}, {"matrix": (64, 64, 16)}, {"signal_to_noise": 8.0}])
def test_what_is_given_stays_and_never_clashes_with_what_is_drawn(modality, fixed):
    for seed in range(60):
        drawn = draw_protocol(np.random.default_rng(seed), modality, **fixed)
        assert {name: getattr(drawn, name) for name in fixed} == fixed


def test_the_grids_cover_head_and_brain():
    for tilt in ((0.0, 0.0, 0.0), (15.0, -8.0, 20.0)):
        protocol = Protocol(tilt_degrees=tilt, in_plane_mm=1.1, slice_mm=3.0, gap_mm=0.6)
        grids = make_grids(protocol, HEAD, BRAIN)
        for points, axes in ((HEAD, slice(0, 2)), (BRAIN, slice(2, 3))):
            voxels = (points - grids.affine[:3, 3]) @ np.linalg.inv(grids.affine[:3, :3]).T
            assert (voxels[:, axes] >= -0.5).all()
            assert (voxels[:, axes] <= np.array(grids.shape)[axes] - 0.5).all()


@pytest.mark.parametrize("settings", [{}, {"kept_bandwidth": 0.5}, {"in_plane_mm": 0.45}, {"slice_mm": 0.8},
                                      {"slice_mm": 5.0, "gap_mm": 1.0}, {"phase_share": 0.7, "phase_axis": 0}])
def test_the_fine_grid_is_at_least_twice_finer_than_what_is_acquired(settings):
    protocol = Protocol(**settings)
    grids = make_grids(protocol, HEAD, BRAIN)
    acquired_mm = np.array(grids.shape[:2]) * protocol.in_plane_mm / grids.acquired
    assert (grids.fine_spacing[:2] <= acquired_mm / 2 + 1e-9).all()
    assert grids.fine_spacing[2] <= protocol.slice_mm / 2 + 1e-9
    assert grids.fine_spacing.max() <= 0.8
    # fine grid and image span the same field of view
    np.testing.assert_allclose(grids.fine_spacing * grids.fine_shape, protocol.spacing * grids.shape, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(grids.affine[:3, :3], axis=0), protocol.spacing)


def test_slabs_are_turned_but_b0_stays_along_s():
    tilt = (20.0, -10.0, 5.0)
    rotation = slab_rotation(tilt)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    # about R by 20°: the slice normal leans from S towards -A
    np.testing.assert_allclose(slab_rotation((20.0, 0.0, 0.0))[:, 2],
                               [0, -np.sin(np.deg2rad(20)), np.cos(np.deg2rad(20))], atol=1e-12)
    grids = make_grids(replace(Protocol(), tilt_degrees=tilt), HEAD, BRAIN)
    axes = grids.affine[:3, :3] / np.linalg.norm(grids.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes @ grids.b0_direction, [0, 0, 1], atol=1e-9)


def test_a_gap_is_whole_layers():
    protocol = Protocol(slice_mm=3.0, gap_mm=0.5)
    layer_mm = protocol.slice_mm / protocol.layers
    assert protocol.whole_gap_mm == pytest.approx(protocol.gap_layers * layer_mm)
    assert abs(protocol.whole_gap_mm - 0.5) <= layer_mm / 2
