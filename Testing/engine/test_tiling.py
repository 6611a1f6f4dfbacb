import numpy as np
import pytest
import torch
from microbleeds import tiling
from microbleeds.networks import TILE_MULTIPLES, Detector
from microbleeds.tiling import cut, probability_map, tile_shape, tile_starts
from torch import nn


def run(network, channels, brain=None, overlap=0.25):
    brain = np.ones(channels[0].shape, bool) if brain is None else brain
    return probability_map(network, channels, brain, overlap, "cpu", lambda fraction: None)


def noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.3, shape).astype(np.float32) for _ in range(2)]


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiling, "TILE_SHAPE", (32, 32, 16))


@pytest.fixture
def detector():
    torch.manual_seed(3)
    network = Detector(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 1.0
    # one pass gives the normalisation the statistics of the noise, without which all voxels look alike
    network.train()(torch.from_numpy(np.stack(noise((48, 48, 24), seed=1)))[None])
    return network.eval()


@pytest.mark.parametrize("shape", [(1, 1, 1), (33, 97, 3), (96, 96, 32), (250, 101, 61), (20, 400, 90)])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.7, 0.99])
def test_tiles_cover_the_volume_and_start_on_multiples(shape, overlap):
    size = tile_shape(shape)
    for axis in range(3):
        starts = sorted({start[axis] for start in tile_starts(shape, overlap)})
        assert starts[0] == 0 and all(start % TILE_MULTIPLES[axis] == 0 for start in starts)
        assert starts[-1] + size[axis] >= shape[axis]
        step = max(TILE_MULTIPLES[axis], int(size[axis] * (1 - overlap)))
        assert all(b - a <= step for a, b in zip(starts, starts[1:], strict=False))


def test_a_network_that_sees_single_voxels_gives_the_same_as_without_tiles(small_tiles):
    class Pointwise(nn.Module):
        def forward(self, x):
            return torch.stack([torch.zeros_like(x[:, 0]), 3 * x[:, 0] - x[:, 1]], dim=1)

    image, symmetry = noise((70, 45, 37))
    expected = 1 / (1 + np.exp(symmetry - 3 * image))
    np.testing.assert_allclose(run(Pointwise(), [image, symmetry]), expected, atol=1e-5)


def test_tiles_agree_with_one_pass_where_the_network_sees_little(small_tiles):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1)).eval()
    channels = noise((72, 48, 40))
    with torch.inference_mode():
        whole = torch.softmax(network(torch.from_numpy(np.stack(channels))[None]), 1)[0, 1].numpy()
    # the face of a tile differs, but there its weight is small
    np.testing.assert_allclose(run(network, channels), whole, atol=5e-3)


def test_result_hardly_depends_on_where_the_crop_begins(detector):
    channels = noise((136, 80, 44))
    shift = 3 * np.array(TILE_MULTIPLES)
    whole = run(detector, channels)
    moved = run(detector, [channel[tuple(slice(s, None) for s in shift)] for channel in channels])
    inner = tuple(slice(s + 24, -24) if axis < 2 else slice(s + 10, -10) for axis, s in enumerate(shift))
    outer = tuple(part if axis == 3 else slice(24, -24) if axis < 2 else slice(10, -10)
                  for axis, part in enumerate(inner))
    difference = np.abs(whole[inner] - moved[outer])
    assert whole[inner].std() > 0.01
    assert whole[inner].max() > 0.5
    assert difference.mean() < 0.002 and difference.max() < 0.03


def test_only_tiles_with_brain_are_run(small_tiles):
    seen = []

    class Counter(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return torch.zeros_like(x)

    brain = np.zeros((128, 128, 64), bool)
    brain[3, 3, 3] = True
    result = run(Counter(), noise(brain.shape), brain)
    assert sum(seen) == 1
    assert result[3, 3, 3] == 0.5 and (result[~brain] == 0).all()
    seen.clear()
    assert not run(Counter(), noise(brain.shape), np.zeros_like(brain)).any() and not seen


def test_cut_is_zero_outside():
    data = np.arange(1, 28, dtype=np.float32).reshape(3, 3, 3)
    box = cut([data, -data], (-1, 1, 2), (3, 4, 2))
    assert box.shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(box[0, 1:, :2, 0], data[:2, 1:, 2])
    assert box[0].sum() == data[:2, 1:, 2].sum() and (box[1] == -box[0]).all()
    assert not cut([data], (10, 0, 0), (2, 2, 2)).any() and not cut([data], (-9, 0, 0), (2, 2, 2)).any()
