import json

import numpy as np
import pytest
from microbleeds.region_codes import region_from_json, region_to_json


@pytest.mark.parametrize("seed", range(20))
def test_a_region_survives_json(seed):
    rng = np.random.default_rng(seed)
    voxels = np.unique(rng.integers(0, 12, (rng.integers(1, 300), 3)) + rng.integers(0, 400, 3), axis=0)
    there = json.loads(json.dumps(region_to_json(voxels)))
    np.testing.assert_array_equal(region_from_json(there), voxels)


def test_no_voxels_are_none():
    assert region_to_json(np.empty((0, 3), int)) is None
    assert region_from_json(None).shape == (0, 3)


@pytest.mark.parametrize("change", [{"shape": [2, 2]}, {"shape": [50, 50, 50]}, {"bits": "no base64!"},
                                    {"bits": "AAAA"}, {"corner": [1, 2]}, {"corner": "x"},
                                    {"bits": None}, {"shape": [0, 3, 4]}, {"shape": [9**9, 9**9, 9**9]}])
def test_another_form_is_refused(change):
    content = {**region_to_json(np.argwhere(np.ones((2, 3, 4)))), **change}
    with pytest.raises(ValueError, match="a region is not as documented"):
        region_from_json(content)
