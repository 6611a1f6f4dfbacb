from itertools import permutations

import numpy as np
import pytest
from microbleeds.evaluation.matching import (
    Counts,
    cluster_centres_ras,
    lesions_from_clusters,
    lesions_from_points,
    match_centres,
    match_clusters,
)
from microbleeds.volume import Volume

SHAPE = (12, 12, 6)
SPACING = np.diag([1.0, 1.0, 4.0, 1.0])


def clusters(*boxes, affine=SPACING):
    """A map with the boxes ((i0, i1), (j0, j1), (k0, k1)) numbered 1, 2, ..."""
    data = np.zeros(SHAPE, np.int32)
    for number, box in enumerate(boxes, 1):
        data[tuple(slice(a, b) for a, b in box)] = number
    return Volume(data, affine)


def by_overlap(predicted, truth):
    return match_clusters(clusters(*predicted), lesions_from_clusters(clusters(*truth)))


A, B = ((1, 3), (1, 3), (1, 3)), ((7, 9), (7, 9), (3, 5))


def test_overlap_hit_miss_and_false_positive():
    beside_a = ((3, 4), (1, 3), (1, 3))
    assert by_overlap([A], [A]) == Counts(1, 1, 1, 1)
    assert by_overlap([beside_a], [A]) == Counts(1, 0, 1, 0)
    assert by_overlap([A, B], [A]) == Counts(1, 1, 2, 1)
    assert by_overlap([A], [A, B]) == Counts(2, 1, 1, 1)


def test_one_common_voxel_is_enough():
    corner = ((2, 5), (2, 5), (2, 5))
    assert by_overlap([corner], [A]) == Counts(1, 1, 1, 1)


def test_two_predictions_on_one_lesion_find_it_once_and_neither_is_false():
    left, right = ((1, 2), (1, 3), (1, 3)), ((2, 3), (1, 3), (1, 3))
    counts = by_overlap([left, right, B], [A])
    assert counts == Counts(lesions=1, found=1, predictions=3, correct=2)
    assert (counts.false_positives, counts.missed) == (1, 0)


def test_one_prediction_across_two_lesions_finds_both():
    across = ((1, 9), (1, 9), (1, 5))
    assert by_overlap([across], [A, B]) == Counts(lesions=2, found=2, predictions=1, correct=1)


def test_overlap_with_nothing_on_either_side():
    assert by_overlap([], []) == Counts(0, 0, 0, 0)
    assert by_overlap([], [A, B]) == Counts(2, 0, 0, 0)
    assert by_overlap([A, B], []) == Counts(0, 0, 2, 0)


def test_lesions_of_a_map():
    lesions = lesions_from_clusters(clusters(A, B))
    assert np.allclose(lesions.centres_ras, [[1.5, 1.5, 6.0], [7.5, 7.5, 14.0]])
    assert [len(region) for region in lesions.voxels] == [8, 8]
    assert cluster_centres_ras(clusters()).shape == (0, 3)


def test_a_point_counts_with_every_voxel_its_sphere_touches():
    grid = clusters()
    at_voxel = lesions_from_points([[5.0, 5.0, 8.0]], [1.0], grid).voxels[0]
    assert {tuple(voxel) for voxel in at_voxel.tolist()} == {
        (5, 5, 2), (4, 5, 2), (6, 5, 2), (5, 4, 2), (5, 6, 2)}
    between_slices = lesions_from_points([[5.0, 5.0, 10.0]], [0.5], grid).voxels[0]
    assert between_slices.tolist() == [[5, 5, 2], [5, 5, 3]]


def test_a_point_is_cut_at_the_border_and_empty_outside():
    inside, outside = lesions_from_points([[-0.4, 0.0, 0.0], [-9.0, 0.0, 0.0]], [2.0, 2.0], clusters()).voxels
    assert inside.size > 0 and outside.size == 0


def test_points_follow_an_oblique_left_handed_grid():
    turn = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    affine = turn @ np.diag([-0.5, 0.5, 3.0, 1.0])
    affine[:3, 3] = 10, -20, 30
    grid = clusters(A, affine=affine)
    point = (affine @ [1.5, 1.5, 1.5, 1])[:3]
    assert match_clusters(grid, lesions_from_points([point], [0.2], grid)) == Counts(1, 1, 1, 1)
    far = (affine @ [6, 6, 1.5, 1])[:3]
    assert match_clusters(grid, lesions_from_points([far], [0.2], grid)) == Counts(1, 0, 1, 0)


@pytest.mark.parametrize(("distance", "found"), [(4.999, 1), (5.0, 0), (5.001, 0), (0.0, 1)])
def test_centres_must_be_nearer_than_5_mm(distance, found):
    assert match_centres([[0, 0, 0]], [[0, 0, distance]]) == Counts(1, found, 1, found)


def test_centres_match_one_to_one():
    assert match_centres([[0, 0, 0], [1, 0, 0]], [[0, 0, 0]]) == Counts(1, 1, 2, 1)
    assert match_centres([[0, 0, 0]], [[-1, 0, 0], [1, 0, 0]]) == Counts(2, 1, 1, 1)


def test_most_pairs_come_before_the_nearest_pair():
    """The middle prediction is nearest to the first lesion, but is the only one near the second."""
    assert match_centres([[0, 0, 0], [4, 0, 0]], [[3.9, 0, 0], [8.5, 0, 0]]) == Counts(2, 2, 2, 2)


def test_centres_with_nothing_on_either_side():
    assert match_centres([], []) == Counts(0, 0, 0, 0)
    assert match_centres(np.empty((0, 3)), [[0, 0, 0]]) == Counts(1, 0, 0, 0)
    assert match_centres([[0, 0, 0]], []) == Counts(0, 0, 1, 0)


@pytest.mark.parametrize("seed", range(20))
def test_centres_agree_with_trying_every_pairing(seed):
    rng = np.random.default_rng(seed)
    predicted, lesions = rng.uniform(0, 12, (4, 3)), rng.uniform(0, 12, (rng.integers(1, 5), 3))
    near = np.linalg.norm(predicted[:, None] - lesions[None], axis=2) < 5
    best = max(sum(near[row, column] for column, row in enumerate(order))
               for order in permutations(range(4), len(lesions)))
    assert match_centres(predicted, lesions).found == best
