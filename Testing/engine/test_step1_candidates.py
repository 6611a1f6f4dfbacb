import time

import numpy as np
import pytest
import torch
from microbleeds.settings import CandidateSettings
from microbleeds.step0_prepare import Prepared
from microbleeds.step1_candidates import cut_into_regions, find_candidates, summit
from microbleeds.volume import Volume
from torch import nn

MM = np.ones(3)


class ImageAsProbability(nn.Module):
    """A detector whose probability is the image channel."""

    def forward(self, x):
        value = x[:, 0].clamp(1e-6, 1 - 1e-6)
        return torch.stack([torch.zeros_like(value), torch.logit(value)], dim=1)


def hills(shape, centres, heights, sigma=1.5, spacing=MM):
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    result = np.zeros(shape, np.float32)
    for centre, height in zip(centres, heights, strict=True):
        distance_mm = np.linalg.norm((points - centre) * spacing, axis=-1)
        result = np.maximum(result, height * np.exp(-distance_mm**2 / (2 * sigma**2)))
    return result.astype(np.float32)


def find(data, affine=None, brain=None, **settings):
    image = Volume(data, np.eye(4) if affine is None else affine)
    brain = np.ones(data.shape, bool) if brain is None else brain
    prepared = Prepared(image, image.with_data(np.zeros_like(data)), image.with_data(brain))
    return find_candidates(prepared, ImageAsProbability(), CandidateSettings(**settings), "cpu", lambda fraction: None)


def test_candidates_are_where_the_hills_are_most_probable_first(draw_affine):
    affine = draw_affine(np.random.default_rng(2), True, (0.6, 0.6, 2))
    centres = [(10, 11, 6), (30, 20, 12), (20, 35, 4)]
    found = find(hills((40, 44, 16), centres, [0.5, 0.9, 0.7], 1.5, (0.6, 0.6, 2)), affine)
    assert [round(c.detector_probability, 3) for c in found] == [0.9, 0.7, 0.5]
    for candidate, centre in zip(found, [centres[1], centres[2], centres[0]], strict=True):
        np.testing.assert_allclose(candidate.position_ras, affine[:3, :3] @ centre + affine[:3, 3], atol=1e-2)
        assert candidate.probability is None


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 2), (0.5, 0.5, 4)])
def test_touching_lesions_are_separate(spacing):
    spacing = np.array(spacing, float)
    centres = np.array([(16, 20, 8), (16 + round(4.5 / spacing[0]), 20, 8)])
    map_ = hills((48, 48, 16), centres, [0.95, 0.7], 1.6, spacing)
    first, second = cut_into_regions(map_, spacing, CandidateSettings(0.2))
    assert len(first) + len(second) == (map_ >= 0.2).sum()
    peaks = sorted(map_[tuple(region.T)].max() for region in (first, second))
    np.testing.assert_allclose(peaks, [0.7, 0.95], atol=1e-5)


def test_one_lesion_with_noise_stays_one():
    rng = np.random.default_rng(0)
    map_ = hills((30, 30, 30), [(15, 15, 15)], [0.9], 3.5)
    noisy = np.where(map_ > 0.01, map_ + rng.uniform(-0.02, 0.02, map_.shape), 0)
    assert len(cut_into_regions(noisy, MM, CandidateSettings(0.3))) == 1
    plateau = np.zeros((20, 20, 20))
    plateau[4:16, 8:12, 8:12] = 1
    assert len(cut_into_regions(plateau, MM, CandidateSettings(0.3))) == 1


def test_sure_lesions_are_separate_though_the_map_hardly_falls_between_them():
    map_ = np.maximum(hills((40, 16, 16), [(12, 8, 8), (20, 8, 8)], [0.99, 0.98], 3.0), 0)
    map_[10:23, 7:10, 7:10] = np.maximum(map_[10:23, 7:10, 7:10], 0.95)
    first, second = cut_into_regions(map_, MM, CandidateSettings(0.2))
    assert sorted(round(float(map_[tuple(region.T)].max()), 3) for region in (first, second)) == [0.98, 0.99]


def test_what_is_surer_than_can_be_told_is_one():
    ripples = 1 - 1e-6 * np.random.default_rng(0).uniform(1, 50, (20, 8, 8)).astype(np.float32)
    map_ = np.pad(ripples, 4)
    assert map_.max() == map_[4:-4, 4:-4, 4:-4].max() > 0.99999
    assert len(cut_into_regions(map_, MM, CandidateSettings(0.2))) == 1


def test_three_in_a_row_are_three():
    map_ = hills((30, 12, 12), [(6, 6, 6), (11, 6, 6), (16, 6, 6)], [0.8, 0.9, 0.85])
    assert len(cut_into_regions(map_, MM, CandidateSettings(0.02))) == 3


def test_a_share_of_the_peak_leaves_what_hangs_together_with_it():
    # two hills that touch above the threshold and are too near to be two lesions; between them it is lower
    map_ = np.maximum(hills((40, 20, 20), [(15, 10, 10)], [0.9], 2.0), hills((40, 20, 20), [(15, 10, 14)], [0.3], 1.0))
    (whole,) = find(map_, threshold=0.1)
    (top,) = find(map_, threshold=0.1, peak_share=0.5)
    distance_mm = np.linalg.norm(np.argwhere(map_ >= 0.45) - (15, 10, 10), axis=1)
    assert len(top.voxels) == len(distance_mm) < len(whole.voxels) and distance_mm.max() < 2.4
    np.testing.assert_allclose(top.position_ras, (15, 10, 10), atol=1e-6)
    assert top.detector_probability == whole.detector_probability
    # as high as the peak's share, but apart from it
    bar = np.zeros((20, 9, 9), np.float32)
    bar[2:17, 4, 4], bar[4, 4, 4], bar[14, 4, 4] = 0.5, 0.9, 0.88
    assert summit(np.argwhere(bar > 0), bar, 0.8).tolist() == [[4, 4, 4]]


def test_brain_and_limit_are_kept():
    centres = [(6, 6, 6), (20, 6, 6), (34, 6, 6)]
    map_ = hills((40, 14, 14), centres, [0.9, 0.8, 0.7])
    brain = np.ones(map_.shape, bool)
    brain[:12] = False
    assert [round(c.detector_probability, 2) for c in find(map_, brain=brain)] == [0.8, 0.7]
    assert [round(c.detector_probability, 2) for c in find(map_, max_candidates=1)] == [0.9]
    assert find(np.zeros((20, 20, 20), np.float32)) == ()


def test_a_huge_connected_region_does_not_hang():
    rng = np.random.default_rng(0)
    begin = time.perf_counter()
    regions = cut_into_regions(rng.uniform(0.3, 1, (60, 60, 20)), np.array([0.5, 0.5, 2]), CandidateSettings(0.2))
    assert sum(map(len, regions)) == 72000 and time.perf_counter() - begin < 20
