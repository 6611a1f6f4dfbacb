import numpy as np
import pytest
import torch
from microbleeds import tiling
from microbleeds.networks import TILE_MULTIPLES, Detector
from microbleeds.tiling import cut, probability_map, ready, tiles_of
from torch import nn


def run(network, channels, brain=None):
    brain = np.ones(channels[0].shape, bool) if brain is None else brain
    return probability_map(network, channels, brain, "cpu", lambda fraction: None)


def noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.3, shape).astype(np.float32) for _ in range(2)]


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiling, "MOST_VOXELS", 70_000)


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


def blob(shape, seed):
    """Return an odd mask: some balls, maybe far from each other."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    mask = np.zeros(shape, bool)
    for _ in range(rng.integers(1, 4)):
        centre, radius = rng.uniform(0, shape), rng.uniform(2, 40)
        mask |= sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)) < radius**2
    return mask


@pytest.mark.parametrize("shape", [(1, 1, 1), (33, 97, 3), (96, 96, 32), (150, 101, 61), (20, 200, 90)])
@pytest.mark.parametrize("most", [30_000, 200_000, 2_000_000])
@pytest.mark.parametrize("seed", [1, 2])
def test_tiles_cover_the_brain_once_with_their_surroundings(shape, most, seed):
    brain = blob(shape, seed)
    filled = np.argwhere(brain).reshape(-1, 3)
    first, last = (filled.min(axis=0), filled.max(axis=0) + 1) if len(filled) else (None, None)
    covered = np.zeros(shape, int)
    for tile in tiles_of(brain, most):
        covered[tuple(map(slice, tile.low, tile.high))] += 1
        for axis, multiple in enumerate(TILE_MULTIPLES):
            start, end = tile.start[axis], tile.start[axis] + tile.shape[axis]
            assert start % multiple == tile.shape[axis] % multiple == 0
            assert start <= max(tile.low[axis] - tiling._MARGIN[axis], first[axis] - tiling._RIM[axis])
            assert end >= min(tile.high[axis] + tiling._MARGIN[axis], last[axis] + tiling._RIM[axis])
    assert covered.max(initial=0) <= 1 and (covered[brain] == 1).all()


def test_tiles_are_no_larger_than_allowed_and_no_more_than_needed():
    brain = np.zeros((200, 240, 80), bool)
    brain[20:180, 20:220, 10:70] = True
    assert len(tiles_of(brain, 200 * 240 * 80)) == 1
    for most, share in ((2_000_000, 2.8), (500_000, 6)):
        tiles = tiles_of(brain, most)
        assert all(np.prod(tile.shape) <= most for tile in tiles)
        assert sum(np.prod(tile.shape) for tile in tiles) < share * brain.sum()
    assert tiles_of(np.zeros_like(brain), 1000) == []


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
    brain = np.zeros(whole.shape, bool)
    brain[4:-4, 4:-4, 4:-4] = True
    assert len(tiles_of(brain, tiling.MOST_VOXELS)) > 1
    # the face of a tile differs, but there its weight is small
    np.testing.assert_allclose(run(network, channels, brain), np.where(brain, whole, 0), atol=5e-3)


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


class Counter(nn.Module):
    """Gives 0.5 everywhere and notes the voxels of what it was given, in the list that its class holds."""

    seen: list[int] = []

    def forward(self, x):
        self.seen.append(x[0, 0].numel())
        return torch.zeros_like(x)


def test_only_the_brain_and_its_surroundings_are_run(monkeypatch):
    monkeypatch.setattr(Counter, "seen", [])
    brain = np.zeros((128, 128, 64), bool)
    brain[63, 63, 31] = True
    result = run(Counter(), noise(brain.shape), brain)
    assert len(Counter.seen) == 1 and Counter.seen[0] <= 40 * 40 * 20
    assert result[63, 63, 31] == 0.5 and (result[~brain] == 0).all()
    Counter.seen.clear()
    assert not run(Counter(), noise(brain.shape), np.zeros_like(brain)).any() and not Counter.seen


def test_tiles_become_smaller_where_memory_is_short(monkeypatch):
    class Small(Counter):
        def forward(self, x):
            if x[0, 0].numel() > 150_000:
                raise torch.OutOfMemoryError("no room")
            return super().forward(x)

    monkeypatch.setattr(Counter, "seen", [])
    brain = np.ones((96, 96, 64), bool)
    assert (run(Small(), noise(brain.shape), brain) == 0.5).all()
    assert max(Counter.seen) <= 150_000

    class Never(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        run(Never(), noise(brain.shape), brain)


def test_folding_the_normalisation_changes_nothing(detector):
    image = torch.from_numpy(np.stack(noise((32, 32, 16))))[None]
    folded = ready(detector, "cpu")
    assert not any(isinstance(part, nn.BatchNorm3d) for part in folded.modules())
    assert any(isinstance(part, nn.BatchNorm3d) for part in detector.modules())
    with torch.inference_mode():
        np.testing.assert_allclose(folded(image), detector(image), atol=1e-4)


def test_cut_is_zero_outside():
    data = np.arange(1, 28, dtype=np.float32).reshape(3, 3, 3)
    box = cut([data, -data], (-1, 1, 2), (3, 4, 2))
    assert box.shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(box[0, 1:, :2, 0], data[:2, 1:, 2])
    assert box[0].sum() == data[:2, 1:, 2].sum() and (box[1] == -box[0]).all()
    assert not cut([data], (10, 0, 0), (2, 2, 2)).any() and not cut([data], (-9, 0, 0), (2, 2, 2)).any()
