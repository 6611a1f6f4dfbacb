"""The field of a susceptibility map: textbook spheres and cylinders, any direction of B0, and another package's field.

Formulae: Schenck 1996 (Med Phys 23:815), Haacke et al. 1999 (Magnetic Resonance Imaging, ch. 25). Errors are in units
of the object's susceptibility; near a surface the transform rings, so limits of the largest error are wider.
"""

import numpy as np
import pytest
import qsm_forward
from microbleeds.simulation.susceptibility import field_of
from scipy import ndimage
from scipy.spatial.transform import Rotation
from simulation_phantoms import ellipsoid

DIRECTIONS = ([0, 0, 1], [1, 0, 0], [0.3, -0.5, 0.8])


def offsets(shape, spacing, centre_mm):
    return np.meshgrid(*(np.arange(n) * s - c for n, s, c in zip(shape, spacing, centre_mm, strict=True)),
                       indexing="ij")


def root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 1.0)])
def test_a_sphere_has_no_field_inside_and_a_dipole_outside(spacing, direction):
    # chi/3 · (a/r)³ · (3 cos² - 1) outside, 0 inside with the Lorentz correction
    shape, radius = (96, 96, 96), 8 * spacing[0] + 1
    centre = np.array(shape) / 2 * spacing
    field = field_of(ellipsoid(shape, spacing, centre, radius), np.array(spacing), np.array(direction))
    axes = offsets(shape, spacing, centre)
    distance = np.maximum(np.sqrt(sum(axis**2 for axis in axes)), 1e-9)
    unit = np.array(direction) / np.linalg.norm(direction)
    cosine = sum(axis * part for axis, part in zip(axes, unit, strict=True)) / distance
    inside = distance < radius - 1.5 * max(spacing)
    outside = (distance > radius + 1.5 * max(spacing)) & (distance < 2.5 * radius)
    error = field[outside] - ((radius / distance) ** 3 * (3 * cosine**2 - 1) / 3)[outside]
    assert abs(field[inside].mean()) < 0.003 and np.abs(field[inside]).max() < 0.04
    assert root_mean_square(error) < 0.005 and np.abs(error).max() < 0.05


@pytest.mark.parametrize("degrees", [0, 54.7356, 90])
def test_a_long_cylinder_follows_its_angle_to_b0(degrees):
    # chi/6 · (3 cos² - 1) inside, chi/2 · sin² · cos(2 phi) · (a/r)² outside; 2 % for the finite length and grid
    angle, radius, shape = np.deg2rad(degrees), 6.0, (112, 112, 200)
    disc = ellipsoid((112, 112, 1), (1, 1, 1), (56, 56, 0), (radius, radius, 1e3))
    direction = np.array([np.sin(angle), 0, np.cos(angle)])
    field = field_of(np.repeat(disc, shape[2], axis=2), np.ones(3), direction)[..., shape[2] // 2]
    i, j = np.meshgrid(np.arange(112) - 56, np.arange(112) - 56, indexing="ij")
    distance, azimuth = np.maximum(np.hypot(i, j), 1e-9), np.arctan2(j, i)
    inside = distance < radius - 1.5
    outside = (distance > radius + 1.5) & (distance < 3 * radius)
    expected = np.sin(angle) ** 2 / 2 * np.cos(2 * azimuth) * (radius / distance) ** 2
    assert np.abs(field[inside] - (3 * np.cos(angle) ** 2 - 1) / 6).max() < 0.02
    assert np.abs((field - expected)[outside]).max() < 0.02


def test_turning_b0_is_turning_the_object_the_other_way():
    turn = Rotation.from_euler("xyz", [25, -40, 30], degrees=True).as_matrix()
    shape, spacing, middle, axes_mm = (80, 80, 80), np.ones(3), np.full(3, 40.0), (4, 7, 10)
    up = np.array([0, 0, 1.0])
    turned_object = field_of(ellipsoid(shape, spacing, middle, axes_mm, turn), spacing, up)
    turned_b0 = field_of(ellipsoid(shape, spacing, middle, axes_mm), spacing, turn.T @ up)
    points = np.stack(np.meshgrid(*[np.arange(-14.0, 15)] * 3, indexing="ij"), -1).reshape(-1, 3)
    one = ndimage.map_coordinates(turned_object, (points @ turn.T + middle).T, order=3)
    other = ndimage.map_coordinates(turned_b0, (points + middle).T, order=3)
    assert root_mean_square(one - other) < 0.01
    assert np.corrcoef(one, other)[0, 1] > 0.99


def test_axes_can_be_exchanged():
    rng = np.random.default_rng(1)
    chi = ndimage.gaussian_filter(np.pad(rng.normal(size=(10, 18, 14)).astype(np.float32), 6), 1.5)
    field = field_of(chi, np.array([1.0, 0.5, 2.0]), np.array([0.2, 0.4, 0.9]))
    other = field_of(chi.transpose(2, 0, 1), np.array([2.0, 1.0, 0.5]), np.array([0.9, 0.2, 0.4]))
    np.testing.assert_allclose(field, other.transpose(1, 2, 0), atol=0.01 * field.std())


def test_fields_add_up():
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=(2, 24, 20, 28)).astype(np.float32)
    direction = np.array([0.1, -0.3, 0.9])
    both = field_of(2 * one - 3 * two, np.ones(3), direction)
    parts = 2 * field_of(one, np.ones(3), direction) - 3 * field_of(two, np.ones(3), direction)
    np.testing.assert_allclose(both, parts, atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 2.0)])
def test_qsm_forward_finds_the_same_field(spacing, direction):
    # qsm-forward (Marques et al. 2021) pads to twice the size, keeps the mean; 3 % of the field's standard deviation
    rng = np.random.default_rng(3)
    shape, chi = (64, 72, 56), np.zeros((64, 72, 56), np.float32)
    for _ in range(12):
        chi += rng.uniform(-1, 1) * ellipsoid(shape, (1, 1, 1), rng.uniform(20, 38, 3), rng.uniform(2, 6, 3))
    unit = np.array(direction) / np.linalg.norm(direction)
    field = field_of(chi, np.array(spacing), unit)
    other = qsm_forward.generate_field(chi, voxel_size=spacing, B0_dir=unit)
    difference = field - other
    assert root_mean_square(difference - difference.mean()) < 0.03 * other.std()
    assert abs(difference.mean()) < 0.02 * other.std()
