"""The region map by the shipped network, on the simulated sample scan, whose header can be trusted."""

import numpy as np
import pytest
import torch
from microbleeds import region_map, regions
from microbleeds.brain_mask import brain_mask
from microbleeds.cli import SAMPLE
from microbleeds.coarse_network import bundled_network
from microbleeds.geometry import apply_affine, voxel_to_ras
from microbleeds.read_write import read_scan
from microbleeds.region_lookup import ON_THE_RIGHT, locate
from microbleeds.region_map import INPUTS, LEAST_MARGIN, MODEL, OUTPUTS, find_regions, predict_regions, region_logits
from microbleeds.resources import resource_path
from microbleeds.volume import Volume


@pytest.fixture(scope="module")
def head():
    """The sample scan, every second voxel in plane, with its brain mask."""
    volume = read_scan(resource_path(SAMPLE)).volume
    coarse = Volume(volume.data[::2, ::2], volume.affine @ np.diag([2, 2, 1, 1]))
    return coarse, brain_mask(coarse)


@pytest.fixture(scope="module")
def found(head):
    return find_regions(*head)


def centres(mapped):
    """Return the middle (R, A, S) of every region."""
    numbers = mapped.data & (ON_THE_RIGHT - 1)
    return {name: voxel_to_ras(mapped, np.argwhere(numbers == number)).mean(axis=0)
            for number, name in enumerate(regions.REGIONS, 1)}


def agreement(first, second, points):
    """Return the share of points that two maps give the same region and side."""
    places = [(locate(first, tuple(point)), locate(second, tuple(point))) for point in points]
    known = [(one.region, one.side, other.region, other.side) for one, other in places if one and other]
    return np.mean([one[:2] == one[2:] for one in known])


def inside(brain, step):
    return voxel_to_ras(brain, np.argwhere(brain.data)[::step])


def test_every_region_is_there_and_lies_where_it_does_in_every_brain(found):
    mapped, margin = found
    assert mapped is not None and margin > LEAST_MARGIN + 0.01
    middle = centres(mapped)
    assert middle["frontal"][1] > middle["parietal"][1] > middle["occipital"][1]
    assert middle["cerebellum"][2] < middle["temporal"][2] < middle["parietal"][2]
    assert middle["brainstem"][2] < middle["thalamus"][2] < middle["corpus callosum"][2]
    right = mapped.data >= ON_THE_RIGHT
    assert 0.4 < right.sum() / (mapped.data > 0).sum() < 0.6
    sides = [voxel_to_ras(mapped, np.argwhere((mapped.data > 0) & (right == side)))[:, 0].mean() for side in (0, 1)]
    assert sides[1] - sides[0] > 40


def test_the_map_covers_the_brain(head, found):
    brain = head[1]
    places = [locate(found[0], tuple(point)) for point in inside(brain, 3001)]
    assert all(place is not None for place in places)


def test_axes_and_directions_of_the_file_do_not_matter(head, found):
    volume, brain = head
    to_old = np.eye(4)[:, [2, 0, 1, 3]]
    turned = volume.data.transpose(2, 0, 1)[:, ::-1]
    flip = np.eye(4)
    flip[1, 1], flip[1, 3] = -1, turned.shape[1] - 1
    affine = volume.affine @ np.linalg.inv(to_old.T) @ flip
    np.testing.assert_allclose(apply_affine(affine, np.array([[3.0, turned.shape[1] - 1 - 5, 7]])),
                               apply_affine(volume.affine, np.array([[5.0, 7, 3]])))
    again, _ = find_regions(Volume(turned, affine), Volume(brain.data.transpose(2, 0, 1)[:, ::-1], affine))
    assert agreement(found[0], again, inside(brain, 2003)) > 0.99


def test_a_mirrored_head_has_its_sides_exchanged(head, found):
    volume, brain = head
    mirrored, _ = find_regions(volume.with_data(volume.data[::-1]), brain.with_data(brain.data[::-1]))
    middle = apply_affine(volume.affine, (np.array(volume.shape) - 1)[None] / 2)[0]
    axis = volume.affine[:3, 0] / np.linalg.norm(volume.affine[:3, 0])
    points = inside(brain, 2003)
    partners = points - 2 * ((points - middle) @ axis)[:, None] * axis
    pairs = [(locate(found[0], tuple(a)), locate(mirrored, tuple(b))) for a, b in zip(points, partners, strict=True)]
    pairs = [(a, b) for a, b in pairs if a and b and a.side_confidence > 0.95]
    assert np.mean([a.side != b.side for a, b in pairs]) > 0.98
    assert np.mean([a.region == b.region for a, b in pairs]) > 0.85


def test_intensity_scale_does_not_matter(head, found):
    volume, brain = head
    scaled, _ = find_regions(volume.with_data(volume.data * 1e-4), brain)
    assert np.mean(scaled.data == found[0].data) > 0.999


def test_no_map_is_better_than_a_wrong_one(head):
    volume, brain = head
    noise = np.random.default_rng(1).normal(100, 30, (64, 64, 30)).astype(np.float32)
    box = Volume(noise, np.diag([3.0, 3, 4, 1]))
    assert find_regions(box, box.with_data(np.ones(box.shape, bool)))[0] is None
    for axes in (1, 2, (1, 2)):
        lying = (one.with_data(np.flip(one.data, axes)) for one in (volume, brain))
        mapped, margin = find_regions(*lying)
        assert mapped is None and margin < LEAST_MARGIN - 0.01
    assert find_regions(volume, brain.with_data(np.zeros(brain.shape, bool))) == (None, 0.0)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_slab_of_one_working_voxel_is_no_fault(head, axis):
    volume, brain = head
    cut = [slice(None)] * 3
    place = int(np.argmax(brain.data.any(axis=tuple({0, 1, 2} - {axis})))) + 20 // (axis + 1)
    cut[axis] = slice(place, place + 1)
    affine = volume.affine @ np.diag([0.8 / volume.spacing[axis] if number == axis else 1.0 for number in range(4)])
    mapped, _ = find_regions(*(Volume(np.repeat(one.data[tuple(cut)], 3, axis), affine) for one in (volume, brain)))
    assert mapped is None or mapped.data.any()


def test_a_mask_of_one_layer_is_no_fault(head, monkeypatch):
    volume, brain = head
    layer = np.zeros(brain.shape, bool)
    layer[brain.shape[0] // 2 + 2] = brain.data[brain.shape[0] // 2 + 2]
    monkeypatch.setattr(region_map, "LEAST_MARGIN", -1.0)
    mapped, _ = find_regions(volume, brain.with_data(layer))
    assert mapped.data.any()


def test_brain_on_both_sides_of_an_empty_middle_has_no_map(head):
    volume, brain = head
    sides = np.zeros(brain.shape, bool)
    sides[:3, 30:40, 10:20] = sides[-3:, 30:40, 10:20] = True
    assert find_regions(volume, brain.with_data(sides)) == (None, 0.0)


def test_regions_and_sides_are_the_largest_logits_of_the_whole_network(monkeypatch):
    """The last layer is applied to the brain alone; its answers are those of the network as it was trained."""
    monkeypatch.setattr(region_map, "RAISED", {})
    rng = np.random.default_rng(0)
    shape = (32, 48, 32)
    inside = np.linalg.norm((np.indices(shape).T - np.array(shape) / 2) / (13, 18, 12), axis=-1).T < 1
    image = rng.uniform(0.5, 1, shape).astype(np.float32)
    found = predict_regions(bundled_network(MODEL), image, inside)
    seen = region_map.network_input(torch.from_numpy(image), torch.from_numpy(inside))
    with torch.inference_mode():
        logits = bundled_network(MODEL)(seen[None])[0][:, torch.from_numpy(inside)]
    numbers = region_logits(logits).argmax(dim=0) + 1 + ON_THE_RIGHT * (logits[-1] > 0)
    for part, expected in zip(region_map.PARTS, numbers.numpy(), strict=True):
        own = found[tuple(slice(half, None, 2) for half in part)]
        assert np.mean(own[inside] == expected) > 0.999 and not own[~inside].any()


def test_the_network_is_the_one_of_its_card():
    network = bundled_network(MODEL)
    assert network.head.out_channels == OUTPUTS == 8 * len(regions.REGIONS) + 1
    assert network.down[0][0][0].in_channels == INPUTS
