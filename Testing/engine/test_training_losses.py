"""The losses do what the paper says: voxel weights reach the gradient, nothing is learned where nothing is known."""

import numpy as np
import pytest
import torch
from microbleeds.training import losses
from microbleeds.training.labelled_scans import IGNORED, MICROBLEED, MIMIC, VESSEL
from microbleeds.training.losses import (
    LESION_WEIGHT,
    TEMPERATURE,
    distillation_loss,
    lesion_loss,
    voxel_loss,
    voxel_weights,
)
from microbleeds.training.sampling import lesion_weight

SHAPE = (2, 8, 8, 8)
LESION, FAR, OTHER_PATCH = (0, 4, 4, 4), (0, 0, 0, 0), (1, 4, 4, 4)
KNOWN, UNKNOWN = torch.tensor([True, True]), torch.tensor([False, False])


def one_lesion(weight=1.0):
    """Return classes and lesion weights of two patches, of which the first has a lesion of one voxel."""
    classes, weights = torch.zeros(SHAPE, dtype=torch.uint8), torch.zeros(SHAPE)
    classes[LESION], weights[LESION] = MICROBLEED, weight
    return classes, weights


def drawn_logits(classes=4, seed=0):
    return torch.randn((2, classes, *SHAPE[1:]), generator=torch.Generator().manual_seed(seed))


def gradient(loss, logits):
    logits = logits.clone().requires_grad_()
    loss(logits).backward()
    return logits.grad


def dice(logits, classes):
    """Return the paper's soft Dice loss of the microbleed's probability, by hand."""
    probability, truth = logits.softmax(1)[:, 1], (classes == MICROBLEED).float()
    return 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)


def test_the_weight_is_ten_at_a_lesion_falls_off_around_it_and_stays_in_its_patch():
    weights = voxel_weights(*one_lesion())
    assert weights[LESION] == LESION_WEIGHT == 10
    assert weights[0, 5, 4, 4] == pytest.approx(1 + 9 / 27)
    assert weights[0, 6, 4, 4] == weights[FAR] == 1
    assert (weights[1] == 1).all()


def test_a_lesion_at_the_border_of_a_patch_weighs_as_much():
    classes, weights = (part.roll((4, 4, 4), (1, 2, 3)) for part in one_lesion())
    assert voxel_weights(classes, weights)[0, 0, 0, 0] == 10


def test_voxels_of_small_lesions_weigh_more_and_of_large_ones_less():
    small, usual, large = (float(voxel_weights(*one_lesion(float(lesion_weight(np.array([voxels]))[0])))[LESION])
                           for voxels in (8, 60, 500))
    assert large < usual == 10 < small
    assert small == pytest.approx(1 + 9 * np.sqrt(60 / 8))


@pytest.mark.parametrize("count", [2, 4])
def test_the_weight_multiplies_the_gradient_at_a_lesion_voxel(count):
    classes, weights = one_lesion()
    logits = torch.zeros(2, count, *SHAPE[1:])
    whole = gradient(lambda own: voxel_loss(own, classes, weights, KNOWN), logits)
    of_entropy = (whole - gradient(lambda own: dice(own, classes), logits))[:, 1]
    total = float(voxel_weights(classes, weights).sum())
    # of a weighted mean of cross-entropies: weight · (softmax - truth) / sum of weights
    at_lesion, far, in_other_patch = (float(of_entropy[place]) for place in (LESION, FAR, OTHER_PATCH))
    assert at_lesion == pytest.approx(10 * (1 / count - 1) / total, rel=1e-3)
    assert far == pytest.approx(1 / count / total, rel=1e-3) and in_other_patch == far
    assert at_lesion / far == pytest.approx(-LESION_WEIGHT * (count - 1), rel=2e-3)


def test_without_the_weight_the_lesion_pulls_less(monkeypatch):
    classes, weights = one_lesion()

    def pull(weight):
        monkeypatch.setattr(losses, "LESION_WEIGHT", weight)
        own = gradient(lambda logits: voxel_loss(logits, classes, weights, KNOWN), torch.zeros(2, 2, *SHAPE[1:]))[:, 1]
        return float(own[LESION].abs()), float(own[FAR].abs())

    (lesion, far), (plain_lesion, plain_far) = pull(10.0), pull(1.0)
    assert lesion > 1.2 * plain_lesion
    # the mean is weighted: a lesion's gain is the background's loss
    assert far < plain_far


@pytest.mark.parametrize("known", [KNOWN, UNKNOWN])
@pytest.mark.parametrize("count", [2, 4])
def test_ignored_voxels_give_no_gradient_and_do_not_count(known, count):
    classes, weights = one_lesion()
    classes[0, 1:3, 1:3, 1:3] = IGNORED
    ignored = (classes == IGNORED)[:, None].expand(2, count, *SHAPE[1:])
    logits = drawn_logits(count)
    grad = gradient(lambda own: voxel_loss(own, classes, weights, known), logits)
    assert not grad[ignored].any() and grad[~ignored].all()
    other = torch.where(ignored, 30 * drawn_logits(count, seed=1), logits)
    assert torch.equal(voxel_loss(other, classes, weights, known), voxel_loss(logits, classes, weights, known))


def test_a_perfect_answer_costs_almost_nothing_and_the_opposite_much():
    classes, weights = one_lesion()
    classes[1, 2, 2, 2], classes[1, 6, 6, 6] = VESSEL, MIMIC
    right = 30 * torch.nn.functional.one_hot(classes.long(), 4).movedim(-1, 1).float()
    assert voxel_loss(right, classes, weights, KNOWN) < 1e-3
    assert voxel_loss(-right, classes, weights, KNOWN) > 2


def test_where_kinds_are_unknown_tissue_may_be_anything_but_a_microbleed():
    classes, weights = one_lesion()
    vessel, microbleed = torch.zeros(2, 4, *SHAPE[1:]), torch.zeros(2, 4, *SHAPE[1:])
    vessel[0, VESSEL, 0, 0, 0], microbleed[0, MICROBLEED, 0, 0, 0] = 8, 8

    def cost(logits, known):
        return float(voxel_loss(logits, classes, weights, known))

    plain = torch.zeros(2, 4, *SHAPE[1:])
    assert cost(vessel, UNKNOWN) < cost(plain, UNKNOWN) < cost(microbleed, UNKNOWN)
    assert cost(vessel, KNOWN) > cost(plain, KNOWN)
    # of each patch on its own
    assert cost(vessel, torch.tensor([False, True])) < cost(vessel, torch.tensor([True, False]))


def test_where_kinds_are_unknown_tissue_only_learns_what_is_no_microbleed():
    classes, weights = one_lesion()
    logits = drawn_logits()
    grad = gradient(lambda own: voxel_loss(own, classes, weights, UNKNOWN), logits)[(0, slice(None), *FAR[1:])]
    others = logits[(0, [0, VESSEL, MIMIC], *FAR[1:])].softmax(0)
    # the other classes share the push in the proportion they have: none of them is preferred
    torch.testing.assert_close(grad[[0, VESSEL, MIMIC]] / -grad[MICROBLEED], others, rtol=1e-3, atol=1e-5)


def test_a_marked_mimic_is_learned_though_not_all_of_them_are_marked():
    classes, weights = one_lesion()
    classes[0, 1, 1, 1] = MIMIC
    right, wrong = torch.zeros(2, 4, *SHAPE[1:]), torch.zeros(2, 4, *SHAPE[1:])
    right[0, MIMIC, 1, 1, 1], wrong[0, VESSEL, 1, 1, 1] = 8, 8
    assert voxel_loss(right, classes, weights, UNKNOWN) < voxel_loss(wrong, classes, weights, UNKNOWN)


def test_with_two_classes_a_mimic_is_no_microbleed():
    classes, weights = one_lesion()
    marked = classes.clone()
    marked[0, 1, 1, 1], marked[1, 2, 2, 2] = MIMIC, VESSEL
    logits = drawn_logits(2)
    assert voxel_loss(logits, marked, weights, KNOWN) == voxel_loss(logits, classes, weights, KNOWN)


def cross_entropy(logits, labels):
    shifted = logits - logits.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]))


def softmax(logits):
    value = np.exp(logits - logits.max(1, keepdims=True))
    return value / value.sum(1, keepdims=True)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_distillation_against_a_computation_by_hand(share):
    rng = np.random.default_rng(0)
    student, teacher, labels = rng.normal(0, 3, (6, 2)), rng.normal(0, 6, (6, 2)), np.array([0, 1, 1, 0, 1, 0])
    soft, own = softmax(teacher / 4), softmax(student / 4)
    divergence = float(np.mean((soft * np.log(soft / own)).sum(1)))
    expected = share * cross_entropy(student, labels) + (1 - share) * 16 * divergence
    found = distillation_loss(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels), share)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_soft_labels_span_the_open_interval():
    odds = torch.linspace(-24, 24, 25)
    teacher = torch.stack([-odds / 2, odds / 2], 1)
    label = torch.zeros(25, dtype=torch.long)
    grad = gradient(lambda own: distillation_loss(own, teacher, label, 0.0), torch.zeros(25, 2))[:, 1]
    # T² · KL has the gradient T · (own - soft) / n
    soft = 0.5 - grad * 25 / TEMPERATURE
    torch.testing.assert_close(soft, (odds / 4).sigmoid())
    assert 0 < soft.min() < 0.01 and 0.99 < soft.max() < 1 and (soft.diff() > 0).all()


def test_distillation_is_least_when_the_student_equals_the_teacher():
    teacher, label = torch.tensor([[2.0, -3.0], [-1.0, 4.0]]), torch.tensor([0, 1])
    grad = gradient(lambda own: distillation_loss(own, teacher, label, 0.0), teacher)
    assert abs(float(distillation_loss(teacher, teacher, label, 0.0))) < 1e-6 and grad.abs().max() < 1e-6


def two_patches():
    """Two patches with three lesions: a large one and one voxel in the first, one voxel in the second."""
    numbers = torch.zeros(2, 8, 8, 8, dtype=torch.int32)
    numbers[0, :4, :4, :4], numbers[0, 6, 6, 6], numbers[1, 2, 2, 2] = 1, 2, 1
    return (numbers > 0).to(torch.uint8) * MICROBLEED, numbers


def test_every_lesion_counts_alike_whatever_its_size():
    classes, numbers = two_patches()
    # a probability of 1/2 in lesions, and of none elsewhere
    logits = torch.zeros(2, 4, 8, 8, 8)
    logits[:, 1] = torch.where(numbers > 0, np.log(3), -40.0)
    assert float(lesion_loss(logits, classes, numbers)) == pytest.approx(0.25 * np.log(2), rel=1e-4)
    grad = gradient(lambda own: lesion_loss(own, classes, numbers), logits)[:, 1]
    alike = [grad[0, :4, :4, :4].sum(), grad[0, 6, 6, 6], grad[1, 2, 2, 2]]
    assert all(own == pytest.approx(float(alike[0]), rel=1e-4) and own < -0.09 for own in alike)


def test_background_is_summed_and_shared_among_the_lesions_and_their_rim_and_ignored_voxels_are_neither():
    classes, numbers = two_patches()
    classes[1, 7, 7, 7] = IGNORED
    logits = torch.zeros(2, 4, 8, 8, 8)
    logits[:, 1] = torch.where(numbers > 0, 60.0, np.log(3))
    free = classes == 0
    for n, i, j, k in torch.nonzero(classes == MICROBLEED).tolist():
        free[n, max(0, i - 1):i + 2, max(0, j - 1):j + 2, max(0, k - 1):k + 2] = False
    expected = int(free.sum()) * 0.25 * np.log(2) / 3
    assert float(lesion_loss(logits, classes, numbers)) == pytest.approx(expected, rel=1e-4)
    grad = gradient(lambda own: lesion_loss(own, classes, numbers), logits)[:, 1]
    assert (grad[free] > 0).all() and grad[~free].abs().max() < 1e-9


def test_the_loss_by_lesion_of_patches_without_one_is_that_of_their_background():
    logits = torch.zeros(1, 2, 4, 4, 4)
    nothing = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    assert float(lesion_loss(logits, nothing, nothing.int())) == pytest.approx(64 * 0.25 * np.log(2), rel=1e-4)
