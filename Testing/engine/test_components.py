"""Connected regions: connectivity, listing, and measures of shapes with known answers."""

import time

import numpy as np
import pytest
from microbleeds.components import (
    box_ras,
    equivalent_diameter_mm,
    label_components,
    principal_axes_mm,
    region_voxels,
)


def test_corners_connect():
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    labels, count = label_components(mask)
    assert count == 2 and labels.dtype == np.int32
    assert labels[0, 0, 0] == labels[1, 1, 1] == 1 and labels[3, 3, 3] == 2


def test_listing_agrees_with_a_scan_per_label():
    mask = np.random.default_rng(0).random((30, 31, 29)) > 0.93
    labels, count = label_components(mask)
    regions = region_voxels(labels, count)
    assert len(regions) == count > 100
    for number, voxels in enumerate(regions, 1):
        np.testing.assert_array_equal(voxels, np.argwhere(labels == number))


def test_no_region():
    labels, count = label_components(np.zeros((4, 4, 4), bool))
    assert count == 0 and region_voxels(labels, count) == []


def test_missing_label_gives_an_empty_list():
    labels = np.zeros((4, 4, 4), np.int32)
    labels[1, 1, 1], labels[2, 2, 2] = 1, 3
    assert [len(v) for v in region_voxels(labels, 4)] == [1, 0, 1, 0]


def test_thousands_of_regions_are_quick():
    mask = np.zeros((120, 120, 120), bool)
    mask[::6, ::6, ::6] = True
    labels, count = label_components(mask)
    begin = time.perf_counter()
    assert len(region_voxels(labels, count)) == 8000
    assert time.perf_counter() - begin < 2


def draw(half_mm, spacing_mm, offset_mm=(0, 0, 0)):
    """Voxels of an ellipsoid with these half axes, and the affine of a rotated grid."""
    axes = [(np.arange(-40, 41)) * s - o for s, o in zip(spacing_mm, offset_mm, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    voxels = np.argwhere(sum((g / h) ** 2 for g, h in zip(grid, half_mm, strict=True)) <= 1)
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing_mm
    return voxels, affine


def test_axes_of_an_ellipsoid():
    voxels, affine = draw((6, 4, 2), (0.25, 0.2, 0.3))
    np.testing.assert_allclose(principal_axes_mm(voxels, affine), 2 * np.array([6, 4, 2]) / np.sqrt(5), rtol=0.02)


def test_axes_of_a_line():
    voxels = np.stack([np.arange(60), np.zeros(60, int), np.zeros(60, int)], axis=1)
    axes = principal_axes_mm(voxels, np.diag([0.5, 0.5, 0.5, 1]))
    assert axes[0] == pytest.approx(30 / np.sqrt(3), rel=0.01)
    assert axes[1] == axes[2] == pytest.approx(0.5 / np.sqrt(3))


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 1), (1, 1, 3), (0.45, 0.45, 4), (0.9, 0.9, 5)])
@pytest.mark.parametrize("offset", [0, 0.5])
def test_voxel_size_does_not_elongate_a_ball(spacing_mm, offset):
    # Half a slice off: the ball shows on two slices.
    voxels, affine = draw((2, 2, max(2, 0.6 * spacing_mm[2])), spacing_mm, (0, 0, offset * spacing_mm[2]))
    axes = principal_axes_mm(voxels, affine)
    assert axes[0] / axes[1] <= 2


def test_single_voxel_is_round():
    axes = principal_axes_mm(np.array([[3, 4, 5]]), np.diag([0.45, 0.45, 4, 1]))
    np.testing.assert_allclose(axes, 4 / np.sqrt(3))


def test_equivalent_diameter():
    assert equivalent_diameter_mm(4 / 3 * np.pi * 1.5**3) == pytest.approx(3)
    assert equivalent_diameter_mm(0) == 0


def test_box_holds_whole_voxels():
    affine = np.array([[-2.0, 0, 0, 10], [0, 3, 0, 0], [0, 0, 4, -1], [0, 0, 0, 1]])
    assert box_ras(np.array([[1, 1, 1], [2, 1, 1]]), affine) == ((5, 1.5, 1), (9, 4.5, 5))


def test_box_on_an_oblique_grid_holds_every_corner():
    voxels, affine = draw((4, 3, 2), (0.7, 0.8, 1.5))
    steps = np.array([(i, j, k) for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    corners = (voxels[:, None] + steps).reshape(-1, 3) @ affine[:3, :3].T
    low, high = box_ras(voxels, affine)
    np.testing.assert_allclose(low, corners.min(0), atol=1e-9)
    np.testing.assert_allclose(high, corners.max(0), atol=1e-9)
