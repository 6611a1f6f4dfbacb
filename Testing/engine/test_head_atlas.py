"""The head atlas: the shipped one, and the fit of a scan to it, on maps that the atlas itself gives at known places."""

import shutil

import numpy as np
import pytest
import torch
from microbleeds import regions
from microbleeds.errors import ModelError
from microbleeds.head_atlas import ATLAS_FILE, FIRST_MM, SHAPE, SPACING_MM, fit_to_atlas, read_atlas, sample
from microbleeds.region_map import MODEL
from microbleeds.resources import resource_path


@pytest.fixture(scope="module")
def atlas():
    return read_atlas(resource_path(MODEL))


def seen_through(atlas, matrix, shift):
    """Return what a network would say of a head that lies in the scan as x -> matrix x + shift lies in the atlas."""
    scan = np.argwhere(np.ones((26, 32, 26), bool)) * 7.0 - (90, 110, 90)
    places = scan @ matrix.T + shift
    found = sample(atlas.by_region(), places)
    brain = found.sum(axis=0) > 0.5
    return found[:, brain], (places[brain, 0] > 0).astype(float), scan[brain], places[brain]


def test_structures_lie_where_they_lie_in_mni_space(atlas):
    places = FIRST_MM + SPACING_MM * np.argwhere(np.ones(SHAPE, bool))
    shares = atlas.by_region().flatten(1).numpy()
    middles = {name: shares[number] @ places / shares[number].sum() for number, name in enumerate(regions.REGIONS)}
    assert middles["frontal"][1] > 10 and middles["occipital"][1] < -70
    assert np.allclose(middles["thalamus"], (0, -18, 2), atol=6)
    assert middles["cerebellum"][2] < middles["temporal"][2] < middles["parietal"][2]
    assert abs(middles["insula"][0]) < 1e-3
    assert shares.sum(axis=0).max() < 1.05


@pytest.mark.parametrize("degrees", [12, -20])
def test_a_turned_shifted_and_scaled_head_is_brought_back(atlas, degrees):
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    shares, right, scan, places = seen_through(atlas, turn * (1.08, 0.94, 1.05), (2, -14, 11))
    affine = fit_to_atlas(atlas, shares, right, scan)
    error = np.linalg.norm(scan @ affine[:3, :3].T + affine[:3, 3] - places, axis=1)
    assert error.mean() < 1


def test_a_head_without_its_top_is_brought_back(atlas):
    shares, right, scan, places = seen_through(atlas, np.diag([1.05, 1.05, 1.05]), (0, 8, -9))
    low = scan[:, 2] < 20
    affine = fit_to_atlas(atlas, shares[:, low], right[low], scan[low])
    error = np.linalg.norm(scan[low] @ affine[:3, :3].T + affine[:3, 3] - places[low], axis=1)
    assert error.mean() < 2


def test_values_between_the_voxels_are_interpolated_and_edges_go_on():
    ramp = torch.arange(SHAPE[0]).float()[:, None, None].expand(SHAPE)[None]
    places = np.array([FIRST_MM, FIRST_MM + (6, 0, 0), FIRST_MM - 50])
    assert np.allclose(sample(ramp, places), [[0, 1.5, 0]], atol=1e-4)


@pytest.mark.parametrize("damage", ["missing", "other bytes"])
def test_a_damaged_atlas_is_refused(tmp_path, damage):
    shutil.copytree(resource_path(MODEL), tmp_path / "model")
    path = tmp_path / "model" / ATLAS_FILE
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="install CMBDetection again"):
        read_atlas(tmp_path / "model")
