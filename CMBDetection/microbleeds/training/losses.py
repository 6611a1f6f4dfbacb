"""Losses of the paper, as the paper means them."""

import torch
from torch.nn import functional

from ..networks import microbleed_logit
from .labelled_scans import IGNORED, MICROBLEED

LESION_WEIGHT = 10.0
TEMPERATURE = 4.0
_FOCUS = 2
"""Exponent of the focal loss."""


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


def lesion_loss(logits: torch.Tensor, classes: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Return a focal loss of the microbleed in which every lesion counts alike, whatever its size.

    ``(sum over lesions of mean of -(1 - p)² log p  +  sum over background of -p² log(1 - p)) / number of lesions``.
    Dice and a mean over voxels hardly feel a lesion of five voxels, and answer doubt with a probability of 0; this
    keeps doubtful lesions in the map, in their order. Focal loss by Lin et al. 2017 (ICCV,
    doi:10.1109/ICCV.2017.324), divided by the number of objects as there; lesions alike as in blob loss (Kofler et al.
    2023, IPMI, doi:10.1007/978-3-031-34048-2_58). The rim of a lesion is neither.

    Parameters
    ----------
    logits : (N, c, i, j, k)
    classes : (N, i, j, k) uint8
    numbers : (N, i, j, k) int
        Number of each lesion in its patch, 0 elsewhere.
    """
    log_odds = microbleed_logit(logits.float())
    probability = log_odds.sigmoid()
    marked = numbers > 0
    near = functional.max_pool3d((classes == MICROBLEED)[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    background = (classes != IGNORED) & ~near
    patch = torch.arange(len(numbers), device=numbers.device).view(-1, 1, 1, 1).expand_as(numbers)[marked]
    keys = patch * (int(numbers.max()) + 1) + numbers[marked]
    _, lesion, sizes = keys.unique(return_inverse=True, return_counts=True)
    missed = (1 - probability[marked])**_FOCUS * -functional.logsigmoid(log_odds[marked]) / sizes[lesion]
    false = probability[background]**_FOCUS * -functional.logsigmoid(-log_odds[background])
    return (missed.sum() + false.sum()) / max(1, len(sizes))


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor, label: torch.Tensor,
                      hard_share: float) -> torch.Tensor:
    """Return ``a·CE(y, s) + (1 - a)·T²·KL(teacher_T || student_T)`` on true logits (N, 2), T = 4 (Hinton 2015).

    The paper's weights are a = 0.4 and 0.6.
    """
    hard = functional.cross_entropy(student.float(), label)
    soft = functional.kl_div((student.float() / TEMPERATURE).log_softmax(1),
                             (teacher.float() / TEMPERATURE).softmax(1), reduction="batchmean")
    return hard_share * hard + (1 - hard_share) * TEMPERATURE**2 * soft
