"""Where a point lies in a region map: two half spaces, whose border is known."""

import json
from math import erf

import numpy as np
import pytest
from microbleeds import regions
from microbleeds.geometry import apply_affine
from microbleeds.region_lookup import (
    BORDER_ERROR_MM,
    NAMED_RIGHT,
    ON_THE_RIGHT,
    locate,
    region_map_from_json,
    region_map_to_json,
)
from microbleeds.volume import Volume


@pytest.fixture
def halves(draw_affine):
    """Left frontal up to voxel 19.5 along i, right parietal above; nothing in the last slices."""
    data = np.full((40, 30, 24), regions.FRONTAL, np.uint8)
    data[20:] = regions.PARIETAL + ON_THE_RIGHT
    data[:, :, 20:] = 0
    return Volume(data, draw_affine(np.random.default_rng(3), True, (2.5, 2.5, 2.5)))


def at(volume, *voxel):
    return tuple(apply_affine(volume.affine, np.array([voxel], float))[0])


def test_a_point_far_from_any_border_is_as_certain_as_the_network(halves):
    place = locate(halves, at(halves, 5, 15, 10))
    assert (place.region, place.side) == ("frontal", "left")
    assert (place.confidence, place.category_confidence, place.side_confidence) == (NAMED_RIGHT, NAMED_RIGHT, 1)


@pytest.mark.parametrize("voxels", [0.5, 1, 2])
def test_confidence_is_the_chance_that_the_border_is_not_beyond(halves, voxels):
    place = locate(halves, at(halves, 19.5 + voxels, 15, 10))
    expected = 0.5 * (1 + erf(voxels * 2.5 / BORDER_ERROR_MM / 2**0.5))
    assert (place.region, place.side) == ("parietal", "right")
    assert place.confidence == pytest.approx(NAMED_RIGHT * expected, abs=0.03)
    assert place.side_confidence == pytest.approx(expected, abs=0.03)
    assert place.category_confidence == NAMED_RIGHT


def test_near_the_edge_of_the_map_only_what_it_says_counts(halves):
    place = locate(halves, at(halves, 5, 15, 21))
    assert place.region == "frontal" and place.confidence == NAMED_RIGHT
    assert locate(halves, at(halves, 5, 15, 30)) is None
    assert locate(halves, at(halves, 500, 15, 10)) is None


def test_json_round_trip(halves):
    again = region_map_from_json(json.loads(json.dumps(region_map_to_json(halves))))
    assert np.array_equal(again.data, halves.data) and np.array_equal(again.affine, halves.affine)


@pytest.mark.parametrize("change", [
    {"shape": [40, 30]}, {"shape": [40, 30, 25]}, {"shape": [10**6, 10**6, 10**6]}, {"values": "AAAA"}, {"values": 3},
    {"affine": [[1]]}, {"affine": np.full((4, 4), np.nan).tolist()}])
def test_a_damaged_map_is_told(halves, change):
    with pytest.raises(ValueError, match="not as documented"):
        region_map_from_json({**region_map_to_json(halves), **change})


def test_a_value_that_is_no_region_is_told(halves):
    with pytest.raises(ValueError, match="no region"):
        region_map_from_json(region_map_to_json(halves.with_data(np.full(halves.shape, 15, np.uint8))))


def test_categories():
    assert regions.category_of("brainstem") == regions.INFRATENTORIAL
    assert regions.category_of("corpus callosum") == regions.DEEP
    assert regions.category_of("insula") == regions.LOBAR
    with pytest.raises(ValueError):
        regions.category_of("moon")
