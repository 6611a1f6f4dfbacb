"""Losses of the paper, as the paper means them."""

import torch
from torch.nn import functional

from ..networks import microbleed_logit
from .labelled_scans import IGNORED, MICROBLEED

LESION_WEIGHT = 10.0
TEMPERATURE = 4.0
_LEAST_PROBABILITY = 1e-4


def voxel_weights(classes: torch.Tensor, lesion_weights: torch.Tensor) -> torch.Tensor:
    """Return the smooth weight map of a batch (N, i, j, k): 1 in the background, about 10 at a lesion, 0 if ignored.

    A 3x3x3 mean, per patch; the reference smooths across the batch and then reduces the map to a scalar.
    `lesion_weights` is 0 outside lesions and 1 in lesions of the usual size.
    """
    near = functional.avg_pool3d(lesion_weights[:, None].float(), 3, stride=1, padding=1)[:, 0]
    weights = 1 + (LESION_WEIGHT - 1) * torch.maximum(near, lesion_weights.float())
    return weights * (classes != IGNORED)


def voxel_loss(logits: torch.Tensor, classes: torch.Tensor, lesion_weights: torch.Tensor,
               kinds_known: torch.Tensor) -> torch.Tensor:
    """Return soft Dice plus voxel-weighted cross-entropy.

    Parameters
    ----------
    logits : (N, c, i, j, k)
        Of the classes of `labelled_scans`, the first `c` of them.
    classes : (N, i, j, k) uint8
    lesion_weights : (N, i, j, k)
        See `voxel_weights`.
    kinds_known : (N,) bool
        Where False, "tissue" may be any class but a microbleed.
    """
    logits, target = logits.float(), (classes == MICROBLEED).float()
    weight = voxel_weights(classes, lesion_weights)
    seen = (classes != IGNORED).float()
    log_odds = microbleed_logit(logits)
    entropy = functional.binary_cross_entropy_with_logits(log_odds, target, reduction="none")
    if logits.shape[1] > 2:
        known = kinds_known[:, None, None, None] | (classes > 0)
        indices = torch.where(classes == IGNORED, 0, classes).long()
        of_kinds = functional.cross_entropy(logits, indices, reduction="none")
        entropy = torch.where(known, of_kinds, entropy)
    probability = log_odds.sigmoid() * seen
    dice = 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)
    return dice + (entropy * weight).sum() / weight.sum().clamp(min=1)


def lesion_loss(logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Return the mean over lesions of minus the log of the mean probability inside each; 0 without a lesion.

    Every lesion counts alike here, whatever its size, and one that is missed wholly counts most: Dice and cross-entropy
    hardly feel it (the aim of blob loss, Kofler et al. 2023, IPMI, doi:10.1007/978-3-031-34048-2_58).

    Parameters
    ----------
    logits : (N, c, i, j, k)
    numbers : (N, i, j, k) int
        Number of each lesion in its patch, 0 elsewhere.
    """
    marked = numbers > 0
    probability = microbleed_logit(logits.float()).sigmoid()
    if not marked.any():
        return probability.sum() * 0
    patch = torch.arange(len(numbers), device=numbers.device).view(-1, 1, 1, 1).expand_as(numbers)[marked]
    keys = patch * (int(numbers.max()) + 1) + numbers[marked]
    _, lesion, sizes = keys.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(sizes), device=logits.device).index_add(0, lesion, probability[marked])
    return -(sums / sizes).clamp(min=_LEAST_PROBABILITY).log().mean()


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor, label: torch.Tensor,
                      hard_share: float) -> torch.Tensor:
    """Return ``a·CE(y, s) + (1 - a)·T²·KL(teacher_T || student_T)`` on true logits (N, 2), T = 4 (Hinton 2015).

    The paper's weights are a = 0.4 and 0.6.
    """
    hard = functional.cross_entropy(student.float(), label)
    soft = functional.kl_div((student.float() / TEMPERATURE).log_softmax(1),
                             (teacher.float() / TEMPERATURE).softmax(1), reduction="batchmean")
    return hard_share * hard + (1 - hard_share) * TEMPERATURE**2 * soft
