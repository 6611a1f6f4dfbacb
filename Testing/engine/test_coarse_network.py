"""The coarse grid that small networks see a whole head on, and what they see of it."""

import numpy as np
import pytest
import torch
from microbleeds.coarse_network import (
    CoarseNetwork,
    cuts_of,
    from_working_grid,
    normalise,
    to_working_grid,
    window_along,
)


@pytest.mark.parametrize("spacing", [(0.5, 1.0, 4.0), (2.5, 2.5, 2.5), (3.0, 0.7, 6.0)])
def test_working_grid_keeps_a_ramp(spacing):
    shape = tuple(round(150 / step) for step in spacing)
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    ramp = (axes[0][:, None, None] + 2 * axes[1][:, None] - axes[2]).astype(np.float32)
    coarse = to_working_grid(ramp, np.array(spacing))
    assert all(n == np.ceil(m * step / 2.5 - 1e-3) for n, m, step in zip(coarse.shape, shape, spacing, strict=True))
    inner = tuple(slice(int(12 / step), -int(12 / step)) for step in spacing)
    assert np.allclose(from_working_grid(coarse, shape, np.array(spacing))[inner], ramp[inner], atol=0.3)


def test_normalise_keeps_zero_and_sign():
    data = torch.tensor([0.0, -1.0, 2.0, 0.5])
    assert torch.equal(torch.sign(normalise(data)), torch.sign(data))
    assert torch.equal(normalise(torch.zeros(4)), torch.zeros(4))


def test_network_gives_logits_for_every_voxel():
    assert CoarseNetwork((2, 3, 4))(torch.zeros(1, 1, 8, 12, 4)).shape == (1, 1, 8, 12, 4)
    assert CoarseNetwork((2, 3, 4), 5, 14)(torch.zeros(2, 5, 8, 12, 4)).shape == (2, 14, 8, 12, 4)


def test_window_holds_what_is_filled_and_its_margin():
    filled = np.zeros(60, bool)
    filled[20:50] = True
    start, length = window_along(filled, 3, 16, 112)
    assert length == 48 and start <= 17 and start + length >= 53
    assert window_along(filled, 3, 64, 112)[1] == 64
    assert window_along(np.zeros(60, bool), 3, 16, 112)[1] == 80


def test_cuts_put_a_grid_into_windows_that_leave_it():
    grid = np.arange(10)
    for window in ((-3, 8), (2, 5), (6, 9)):
        inside, within = cuts_of([window], grid.shape)
        seen = np.full(window[1], -1)
        seen[within] = grid[inside]
        assert all(value in (-1, place + window[0]) for place, value in enumerate(seen))
        assert (seen >= 0).sum() == len(set(range(window[0], sum(window))) & set(range(10)))
