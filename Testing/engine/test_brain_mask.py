"""The automatic brain mask, on heads made of ellipsoids; the shipped network has never seen one."""

import json
import shutil

import numpy as np
import pytest
from microbleeds import brain_mask as module
from microbleeds.brain_mask import brain_mask
from microbleeds.coarse_network import load_network
from microbleeds.errors import ModelError
from microbleeds.resources import resource_path
from microbleeds.volume import Volume

MODEL = resource_path(module.MODEL)


def head(spacing=(1.0, 1.0, 3.0), field_of_view=(190, 220, 180), centre=(0, 0, 0)):
    """A T2*-like head of ellipsoids, centred on the grid: scalp, skull, CSF, brain, ventricles; and the true brain."""
    shape = [round(size / step) for size, step in zip(field_of_view, spacing, strict=True)]
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    r, a, s = np.meshgrid(*axes, indexing="ij", sparse=True)
    r, a, s = r - centre[0], a - centre[1], s - centre[2]
    layers = [((82, 100, 82), 500), ((76, 94, 76), 40), ((70, 86, 69), 700), ((66, 82, 65), 480), ((12, 30, 12), 800)]
    data = np.zeros(shape, np.float32)
    for radii, value in layers:
        data[(r / radii[0]) ** 2 + (a / radii[1]) ** 2 + (s / radii[2]) ** 2 < 1] = value
    data = np.abs(data + np.random.default_rng(0).normal(0, 15, shape)).astype(np.float32)
    brain = (r / 70) ** 2 + (a / 86) ** 2 + (s / 69) ** 2 < 1
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    return Volume(data, affine), brain


def dice(first, second):
    return 2 * np.sum(first & second) / (np.sum(first) + np.sum(second))


@pytest.fixture(scope="module")
def whole_head():
    volume, brain = head()
    return volume, brain, brain_mask(volume)


def test_mask_of_whole_head(whole_head):
    volume, brain, mask = whole_head
    assert mask.data.dtype == bool
    assert mask.same_grid(volume)
    assert dice(mask.data, brain) > 0.95


def test_mask_of_stripped_scan_stays_inside_it_and_covers_it(whole_head):
    volume, brain, _ = whole_head
    stripped = volume.with_data(np.where(brain, volume.data, 0))
    mask = brain_mask(stripped).data
    assert not mask[~brain].any()
    assert dice(mask, brain) > 0.97


def test_mask_of_signed_scan():
    volume, brain = head()
    noise = np.random.default_rng(1).normal(0, 0.04, volume.shape) + 0.03 * np.sign(volume.data - 480)
    mask = brain_mask(volume.with_data(np.where(brain, noise, 0).astype(np.float32))).data
    assert dice(mask, brain) > 0.97


def test_zeros_inside_the_brain_are_brain(whole_head):
    volume, brain, _ = whole_head
    data = np.where(brain, volume.data, 0)
    middle = tuple(slice(n // 2, n // 2 + 3) for n in volume.shape)
    data[middle] = 0
    assert brain_mask(volume.with_data(data)).data[middle].all()


@pytest.mark.parametrize("stripped", [False, True])
def test_mask_of_seven_thick_slices(stripped):
    volume, brain = head(spacing=(0.9, 0.9, 4.0), field_of_view=(190, 220, 28), centre=(0, 0, -10))
    if stripped:
        volume = volume.with_data(np.where(brain, volume.data, 0))
    assert volume.shape[2] == 7
    assert dice(brain_mask(volume).data, brain) > 0.93


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 2, 0)])
def test_order_and_direction_of_axes_do_not_matter(whole_head, axes):
    volume, _, mask = whole_head
    turned = np.flip(volume.data.transpose(axes), 0)
    to_volume = np.zeros((4, 4))
    to_volume[3, 3] = 1
    for new, old in enumerate(axes):
        to_volume[old, new] = -1 if new == 0 else 1
    to_volume[axes[0], 3] = turned.shape[0] - 1
    found = brain_mask(Volume(turned, volume.affine @ to_volume)).data
    assert np.array_equal(found, np.flip(mask.data.transpose(axes), 0))


@pytest.mark.parametrize("axis", [0, 1])
def test_header_that_lies_about_a_direction(whole_head, axis):
    volume, brain, _ = whole_head
    assert dice(brain_mask(volume.with_data(np.flip(volume.data, axis))).data, np.flip(brain, axis)) > 0.95


def test_intensity_scale_and_one_hot_voxel_do_not_matter(whole_head):
    volume, _, mask = whole_head
    data = volume.data * 1e-3
    data[5, 5, 5] = 1e6
    assert dice(brain_mask(volume.with_data(data)).data, mask.data) > 0.99


@pytest.mark.parametrize("value", [0, np.nan])
def test_nothing_in_nothing(value):
    mask = brain_mask(Volume(np.full((20, 30, 16), value, np.float32), np.diag([2.0, 2.0, 4.0, 1.0])))
    assert mask.data.dtype == bool and not mask.data.any()


def test_card_and_weights_are_small_and_match():
    card = json.loads((MODEL / "model.json").read_text(encoding="utf-8"))
    assert (MODEL / card["file"]).stat().st_size < 3e6
    assert card["licence"] == "Apache-2.0"
    assert not load_network(MODEL).training


def test_missing_model_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="model.json"):
        load_network(tmp_path / "none")


def test_changed_weights_are_a_model_error(tmp_path):
    folder = shutil.copytree(MODEL, tmp_path / "changed")
    weights = folder / json.loads((folder / "model.json").read_text(encoding="utf-8"))["file"]
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match="SHA-256"):
        load_network(folder)


def test_other_layers_are_a_model_error(tmp_path):
    folder = shutil.copytree(MODEL, tmp_path / "other")
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    card["architecture"]["widths"] = [4, 8]
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelError, match="does not hold"):
        load_network(folder)
