"""The losses do what the paper says: voxel weights reach the gradient, soft labels span (0, 1)."""

import torch
from microbleeds.training.losses import distillation_loss, lesion_weights, voxel_loss


def lesion_in(shape=(2, 8, 8, 8)):
    truth = torch.zeros(shape, dtype=torch.bool)
    truth[0, 4, 4, 4] = True
    return truth


def test_the_weight_is_ten_at_a_lesion_one_far_away_and_stays_in_its_patch():
    weight = lesion_weights(lesion_in())
    assert weight[0, 4, 4, 4] == 10
    assert 1 < weight[0, 5, 4, 4] < 10
    assert weight[0, 0, 0, 0] == 1
    assert (weight[1] == 1).all()


def test_the_weight_multiplies_the_gradient_at_a_lesion_voxel(monkeypatch):
    truth = lesion_in()

    def gradient(weight):
        monkeypatch.setattr("microbleeds.training.losses.LESION_WEIGHT", weight)
        logits = torch.zeros(2, 2, 8, 8, 8, requires_grad=True)
        voxel_loss(logits, truth).backward()
        return logits.grad[:, 1]

    weighted, plain = gradient(10.0), gradient(1.0)
    assert weighted[0, 4, 4, 4].abs() > 1.5 * plain[0, 4, 4, 4].abs()
    # A lesion's gain is the background's loss: the weights are normalised.
    assert weighted[1, 0, 0, 0].abs() < plain[1, 0, 0, 0].abs()


def test_a_perfect_answer_costs_almost_nothing():
    truth = lesion_in()
    logits = torch.stack([~truth, truth], dim=1).float() * 40 - 20
    assert voxel_loss(logits, truth) < 0.01


def test_distillation_is_least_when_the_student_equals_the_teacher():
    teacher = torch.tensor([[2.0, -3.0], [-1.0, 4.0]])
    label = torch.tensor([0, 1])
    same = distillation_loss(teacher.clone(), teacher, label, hard_share=0.0)
    other = distillation_loss(torch.zeros(2, 2), teacher, label, hard_share=0.0)
    assert abs(float(same)) < 1e-6 < float(other)


def test_soft_labels_span_the_open_interval():
    teacher = torch.tensor([[-40.0, 40.0]])
    assert (teacher / 4).softmax(1)[0, 1] > 0.99
