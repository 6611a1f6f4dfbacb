import numpy as np
import pytest
import torch
from microbleeds.reference_tiling import reference_probability_map, tile_starts
from scipy import ndimage
from torch import nn


def reference_map(network, image, symmetry, brain):
    """The reference's evaluate, tile by tile, on a cropped volume."""
    i, j, k = np.indices((5, 5, 5)) - 2
    inner = ndimage.grey_erosion(brain.astype(np.uint8), footprint=i**2 + j**2 + k**2 <= 4)
    volume = np.stack([image * inner, symmetry])
    counts = [-(-n // 48) for n in brain.shape]
    result = np.zeros(brain.shape)
    for z in range(counts[2]):
        for y in range(counts[1]):
            for x in range(counts[0]):
                starts = [48 * at if at < count - 1 else max(0, n - 48)
                          for at, count, n in zip((x, y, z), counts, brain.shape, strict=True)]
                box = tuple(slice(a, min(a + 48, n)) for a, n in zip(starts, brain.shape, strict=True))
                part = volume[(slice(None), *box)]
                patch = np.zeros((1, 2, 48, 48, 48), np.float32)
                patch[(0, slice(None), *map(slice, part.shape[1:]))] = part
                with torch.inference_mode():
                    probability = torch.softmax(network(torch.from_numpy(patch)), 1)[0, 1].numpy()
                result[box] = probability[tuple(map(slice, part.shape[1:]))]
    return np.where(brain, result, 0)


@pytest.fixture
def network():
    """A small network with pooling, so that where a tile begins and ends shows everywhere in it."""
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d(4), nn.Conv3d(4, 4, 3, padding=1),
                         nn.ReLU(), nn.ConvTranspose3d(4, 2, 4, 4)).eval()


@pytest.mark.parametrize("shape", [(70, 100, 55), (30, 49, 12), (48, 96, 48)])
def test_the_map_is_the_references(network, shape):
    rng = np.random.default_rng(2)
    image, symmetry = rng.random((2, *shape), np.float32)
    points = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    brain = (points**2).sum(axis=0) < 1.1
    found = reference_probability_map(network, (image * brain, symmetry * brain), brain, "cpu", lambda share: None)
    expected = reference_map(network, image * brain, symmetry * brain, brain)
    assert expected[brain].std() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("size, expected", [(1, [0]), (48, [0]), (49, [0, 1]), (96, [0, 48]), (97, [0, 48, 49])])
def test_the_last_tile_is_moved_back(size, expected):
    assert tile_starts(size) == expected


def test_tiles_without_brain_are_not_run():
    class Fails(nn.Module):
        def forward(self, image):
            raise AssertionError("run")

    empty = np.zeros((60, 50, 20), bool)
    told = []
    result = reference_probability_map(Fails(), (empty.astype(np.float32),) * 2, empty, "cpu", told.append)
    assert not result.any() and told == sorted(told) and told[0] == 0 and told[-1] < 1
