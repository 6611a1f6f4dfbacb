"""What the region network learns from: images of scans beside their regions, mirrored and cut together."""

import numpy as np
import pytest
import torch
from microbleeds import regions
from microbleeds.coarse_network import CoarseNetwork
from microbleeds.geometry import ras_to_voxel, to_canonical, voxel_to_ras
from microbleeds.region_lookup import ON_THE_RIGHT
from microbleeds.region_map import INPUTS, OUTPUTS, PARTS, map_affine, predict_regions, region_logits
from microbleeds.simulation.region_rules import region_map
from microbleeds.training.region_images import region_image_of_scan
from microbleeds.training.region_scans import RegionScan, region_scan
from microbleeds.training.train_region_map import region_loss, regions_of, right_shares
from microbleeds.volume import Volume
from simulation_phantoms import toy_anatomy


def interleaved(parts):
    """Return the eighths (8, i, j, k) as one map (2 i, 2 j, 2 k)."""
    fine = np.zeros([2 * side for side in parts.shape[1:]], parts.dtype)
    for part, own in zip(PARTS, parts, strict=True):
        fine[tuple(slice(half, None, 2) for half in part)] = own
    return fine


@pytest.fixture(scope="module")
def scan():
    """A box whose left half is frontal and right half parietal; the border lies between two halves of a voxel."""
    brain = np.zeros((30, 26, 22), np.float32)
    brain[4:25, 4:22, 4:18] = 1
    fine = np.full([2 * side for side in brain.shape], regions.FRONTAL, np.uint8)
    fine[29:] = regions.PARIETAL + ON_THE_RIGHT
    image = np.where(np.arange(30) < 14, 100, 300)[:, None, None] * brain
    parts = np.stack([fine[tuple(slice(half, None, 2) for half in part)] for part in PARTS])
    return RegionScan(image.astype(np.float32), brain, parts * (brain > 0).astype(np.uint8))


@pytest.mark.parametrize("seed", range(12))
def test_image_and_regions_stay_together(scan, seed):
    seen, parts = region_image_of_scan(scan, np.random.default_rng(seed))
    assert seen.shape == (INPUTS, *parts.shape[1:]) and len(parts) == 8
    mask = seen[1] > 0
    assert (parts[:, ~mask] == 0).all()
    fine = interleaved(parts.numpy())
    known = np.argwhere(fine > 0)
    if len(known) == 0:
        return
    right = fine[tuple(known.T)] >= ON_THE_RIGHT
    # the right side is always the far end of the first axis, to the half voxel
    if right.any() and (~right).any():
        assert known[right, 0].min() > known[~right, 0].max()
    # mirrored, the bright half of the head is on the left; it stays parietal
    bright = seen[0][mask] > seen[0][mask].mean()
    parietal = (regions_of(parts.max(dim=0).values[mask]) + 1) == regions.PARIETAL
    if parietal.any() and (~parietal).any():
        assert (bright == parietal).float().mean() > 0.8


def test_a_scan_gets_the_regions_of_its_head():
    head = toy_anatomy()
    classes = head.classes
    # other voxels and other axes than those of the head
    turned = Volume(classes.data[::-1].astype(np.float32).transpose(2, 0, 1) * 50, classes.affine
                    @ np.array([[0, -1, 0, classes.shape[0] - 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]))
    made = region_scan(turned, head)
    fine = interleaved(made.parts)
    canonical = to_canonical(turned)
    grid = Volume(fine, map_affine(canonical, fine.shape))
    truth, right = region_map(head)
    places = np.argwhere(fine > 0)[::997]
    voxels = np.rint(ras_to_voxel(classes, voxel_to_ras(grid, places))).astype(int)
    inside = ((voxels >= 0) & (voxels < classes.shape)).all(axis=1)
    assert inside.mean() > 0.95 and len(np.unique(fine & 15)) > 8
    codes = fine[tuple(places[inside].T)]
    own = tuple(voxels[inside].T)
    assert (codes & 15 == truth[own]).all() and ((codes >= ON_THE_RIGHT) == right[own]).all()
    assert made.image.shape == made.brain.shape == made.parts.shape[1:]


def test_training_learns_what_is_shown(scan):
    torch.manual_seed(0)
    network = CoarseNetwork((8, 8), INPUTS, OUTPUTS)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-2)
    before = [value.clone() for value in network.parameters()]
    seen, parts = region_image_of_scan(scan, np.random.default_rng(0))
    # the brain alone, because time is spent on every voxel
    brain = torch.nonzero(seen[1]) // 4 * 4
    box = tuple(map(slice, brain.amin(0).tolist(), (brain.amax(0) + 4).tolist()))
    seen, parts = seen[(slice(None), *box)], parts[(slice(None), *box)]
    losses = []
    for _ in range(30):
        loss = region_loss(network, seen, parts)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all((old != new).any() for old, new in zip(before, network.parameters(), strict=True))
    found = predict_regions(network.eval(), scan.image, scan.brain >= 0.5)
    truth = interleaved(scan.parts)
    assert (found[truth > 0] == truth[truth > 0]).mean() > 0.95


def test_shares_and_logits_are_those_of_the_eighths():
    parts = torch.zeros((8, 2, 1, 1), dtype=torch.uint8)
    parts[:4, 0], parts[4:6, 0] = regions.INSULA, regions.INSULA + ON_THE_RIGHT
    inside, right = right_shares(parts)
    assert inside[:, 0, 0].tolist() == [True, False] and right.tolist() == pytest.approx([1 / 3])
    assert regions.REGIONS[int(regions_of(parts[0, 0]))] == "insula"
    logits = torch.arange(OUTPUTS)
    assert region_logits(logits)[2, 3] == 3 * len(regions.REGIONS) + 2
