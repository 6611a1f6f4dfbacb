"""Working intensity scale: known values, hot voxels, scale, holes, errors."""

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.intensity import normalise
from microbleeds.volume import Volume

AFFINE = np.diag([-0.5, 0.6, 3.0, 1.0])


def scan(rng=None, scale=1.0):
    """Return an image of tissue 100 +- 5 (float32) and its mask, brain in the middle."""
    rng = rng or np.random.default_rng(0)
    data = (rng.normal(100, 5, (40, 36, 20)) * scale).astype(np.float32)
    mask = np.zeros(data.shape, bool)
    mask[5:-5, 5:-5, 2:-2] = True
    return data, mask


def run(data, mask, modality="gre"):
    return normalise(Volume(data, AFFINE), Volume(mask, AFFINE), modality).data


@pytest.mark.parametrize("modality", ["gre", "swi"])
def test_known_values(modality):
    data, mask = np.full((9, 9, 9), 200, np.int16), np.ones((9, 9, 9), bool)
    data[1, 1, 1], data[2, 2, 2], data[3, 3, 3], data[4, 4, 4], data[5, 5, 5] = 0, 150, 300, 1000, -7
    mask[0] = False
    out = run(data, mask, modality)
    assert out.dtype == np.float32
    assert [float(out[i, i, i]) for i in range(7)] == [0, 1, 0.25, -0.5, -1, 1, 0]
    assert not out[0].any()


def test_known_values_qsm():
    rng = np.random.default_rng(1)
    chi = rng.normal(-0.005, 0.05 / 1.349, (40, 40, 20))
    mask = np.ones(chi.shape, bool)
    chi[3, 3, 3], chi[4, 4, 4], chi[5, 5, 5] = 0.3, -0.4, 9
    out = run(chi, mask, "qsm")
    assert out[3, 3, 3] == pytest.approx(0.61, abs=0.02)
    assert out[4, 4, 4] == pytest.approx(-0.79, abs=0.02)
    assert out[5, 5, 5] == 1
    assert abs(np.median(out)) < 1e-3


@pytest.mark.parametrize("modality", ["gre", "qsm"])
@pytest.mark.parametrize("inside", [True, False])
def test_one_hot_voxel_changes_nothing_else(modality, inside):
    data, mask = scan()
    data = np.round(data) - (100 if modality == "qsm" else 0)
    hot = data.copy()
    place = (20, 18, 10) if inside else (1, 1, 1)
    hot[place] = 1e9
    before, after = run(data, mask, modality).copy(), run(hot, mask, modality).copy()
    before[place] = after[place]
    np.testing.assert_array_equal(before, after)


def test_one_hot_voxel_in_continuous_values():
    data, mask = np.random.default_rng(2).normal(100, 5, (100, 100, 60)), np.ones((100, 100, 60), bool)
    hot = data.copy()
    hot[50, 50, 30] = 1e9
    difference = np.abs(run(data, mask) - run(hot, mask))
    difference[50, 50, 30] = 0
    assert difference.max() < 1e-6


@pytest.mark.parametrize("modality", ["gre", "qsm"])
@pytest.mark.parametrize("scale", [2.0**-20, 0.25, 1024.0])
def test_scale_does_not_matter(modality, scale):
    data, mask = scan()
    data = data - (100 if modality == "qsm" else 0)
    np.testing.assert_array_equal(run(data, mask, modality), run(data * np.float32(scale), mask, modality))
    np.testing.assert_allclose(run(data, mask, modality), run(data * 1.7, mask, modality), atol=1e-6)


@pytest.mark.parametrize("modality", ["gre", "qsm"])
def test_holes_and_bad_voxels(modality):
    data, mask = scan()
    data = data - (100 if modality == "qsm" else 0)
    holed = data.copy()
    holed[:, :, 3:9] = 0
    holed[20, 20, 12], holed[21, 21, 13] = np.nan, np.inf
    out = run(holed, mask, modality)
    assert np.isfinite(out).all() and out[20, 20, 12] == 0 and out[21, 21, 13] == 0
    np.testing.assert_allclose(out[mask][holed[mask] == data[mask]], run(data, mask, modality)[mask & (holed == data)],
                               atol=0.01)


def test_heavy_tailed_and_constant_qsm():
    mask = np.ones((10, 10, 10), bool)
    chi = np.full((10, 10, 10), 1e-9)
    chi[:, :, :2] = 0.1
    assert run(chi, mask, "qsm").max() == pytest.approx(1)
    assert not run(np.full((10, 10, 10), 0.3), mask, "qsm").any()


def test_errors():
    data, mask = scan()
    with pytest.raises(InputError, match="no voxel with signal"):
        run(data, np.zeros_like(mask))
    with pytest.raises(InputError, match="no voxel with signal"):
        run(-np.abs(data), mask)
    with pytest.raises(InputError, match="no voxel with signal"):
        run(data * 0, mask, "qsm")
    with pytest.raises(ValueError, match="modality"):
        run(data, mask, "t1")
    with pytest.raises(ValueError, match="grid"):
        normalise(Volume(data, AFFINE), Volume(mask, np.eye(4)), "gre")
