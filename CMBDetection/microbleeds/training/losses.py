"""Losses of the paper, as the paper means them."""

import torch
from torch.nn import functional

LESION_WEIGHT = 10.0
TEMPERATURE = 4.0


def lesion_weights(truth: torch.Tensor) -> torch.Tensor:
    """Return the smooth weight map of a batch of masks (N, i, j, k): 1 in the background, about 10 at a lesion.

    A 3x3x3 mean, per patch; the reference smooths across the batch and then reduces the map to a scalar.
    """
    near = functional.avg_pool3d(truth[:, None].float(), 3, stride=1, padding=1)[:, 0]
    return 1 + (LESION_WEIGHT - 1) * torch.maximum(near, truth.float())


def voxel_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return soft Dice plus voxel-weighted cross-entropy of logits (N, 2, i, j, k) against a mask (N, i, j, k)."""
    logits, target = logits.float(), truth.float()
    weight = lesion_weights(truth)
    entropy = functional.cross_entropy(logits, truth.long(), reduction="none")
    probability = logits.softmax(1)[:, 1]
    dice = 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)
    return dice + (entropy * weight).sum() / weight.sum()


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor, label: torch.Tensor,
                      hard_share: float = 0.4) -> torch.Tensor:
    """Return ``a·CE(y, s) + (1 - a)·T²·KL(teacher_T || student_T)`` on true logits (N, 2), T = 4 (Hinton 2015).

    The paper's weights are a = 0.4 and 0.6.
    """
    hard = functional.cross_entropy(student.float(), label)
    soft = functional.kl_div((student.float() / TEMPERATURE).log_softmax(1),
                             (teacher.float() / TEMPERATURE).softmax(1), reduction="batchmean")
    return hard_share * hard + (1 - hard_share) * TEMPERATURE**2 * soft
