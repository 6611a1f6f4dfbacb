"""Simulation: the field of a sphere is the textbook's, and a small scan says where its lesions are."""

import numpy as np
import pytest
from microbleeds.simulation import anatomy
from microbleeds.simulation.acquisition import Acquisition, complex_image
from microbleeds.simulation.simulate import simulate_scan
from microbleeds.simulation.susceptibility import field_of
from microbleeds.volume import Volume


def sphere(radius, size=64):
    grid = np.arange(size) - size // 2
    i, j, k = np.meshgrid(grid, grid, grid, indexing="ij")
    return i, j, k, (i**2 + j**2 + k**2 <= radius**2)


def test_the_field_of_a_sphere_is_a_dipole_outside_and_zero_inside():
    i, j, k, inside = sphere(6)
    field = field_of(inside.astype(np.float32), np.ones(3), np.array([0, 0, 1]))
    assert abs(field[32, 32, 32]) < 0.02
    r = np.sqrt(i**2 + j**2 + k**2)
    shell = (r > 9) & (r < 14)
    volume_radius = (3 * inside.sum() / 4 / np.pi) ** (1 / 3)
    expected = (volume_radius / r[shell]) ** 3 * (3 * (k[shell] / r[shell]) ** 2 - 1) / 3
    assert np.abs(field[shell] - expected).max() < 0.02


def test_the_signal_decays_with_echo_time_and_r2star():
    acquisition = Acquisition("gre", 1.0, 1.0, 20.0, 3.0, np.inf, 1.0, (0, 0, 0), (1, 1, 1))
    ones = np.ones((4, 4, 4), np.float32)
    signal = complex_image(ones, 50 * ones, 0 * ones, acquisition)
    np.testing.assert_allclose(np.abs(signal), np.exp(-1), rtol=1e-5)


@pytest.mark.parametrize("modality", ["gre", "swi", "qsm"])
def test_a_small_scan_shows_its_lesions(modality):
    i, j, k, inside = sphere(18, 48)
    classes = Volume(np.where(inside, anatomy.WHITE, 0).astype(np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    acquisition = Acquisition(modality, 1.0, 2.0, 30.0, 3.0, 60.0, 1.0, (5.0, 0.0, 3.0), (2, 2, 2))
    scan = simulate_scan(classes, acquisition, 4, np.random.default_rng(3))
    again = simulate_scan(classes, acquisition, 4, np.random.default_rng(3))
    assert np.array_equal(scan.image.data, again.image.data)
    np.testing.assert_allclose(scan.image.spacing, acquisition.spacing)
    numbers = np.unique(scan.truth.data[scan.truth.data > 0])
    assert len(numbers) + len(scan.invisible) == 4
    assert len(numbers) >= 2
    lesion, tissue = scan.image.data[scan.truth.data > 0], scan.image.data[scan.brain.data & (scan.truth.data == 0)]
    assert (lesion.mean() > tissue.mean()) == (modality == "qsm")


def test_labels_without_a_class_of_their_own_leave_no_hole():
    classes = anatomy.class_map(np.array([0, 2, 25, 57, 511, 999]))
    assert classes.tolist() == [0, anatomy.WHITE, anatomy.WHITE, anatomy.WHITE, anatomy.SKULL, anatomy.SCALP]
