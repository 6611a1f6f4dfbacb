"""Ways of looking that the shipped detection does not have, for the ablation: flips, two networks, a 1 mm grid."""

from dataclasses import replace

import numpy as np
import torch
from microbleeds.geometry import resample_like, resample_to_spacing
from microbleeds.radial_symmetry import radial_symmetry
from microbleeds.settings import PrepareSettings
from microbleeds.training.cases import Case
from microbleeds.volume import Volume
from torch import nn


class Flipped(nn.Module):
    """The mean probability of a network over mirrored images: as it is, along each axis in plane, and both."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        axes = ((), (2,), (3,), (2, 3))
        return _mean([self.network(images.flip(own)).flip(own) for own in axes])


class Mean(nn.Module):
    """The mean probability of several networks."""

    def __init__(self, *networks: nn.Module):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return _mean([network(images) for network in self.networks])


def _mean(logits: list[torch.Tensor]) -> torch.Tensor:
    """Return log probabilities, which are logits of the mean probability."""
    return torch.stack([own.softmax(1) for own in logits]).mean(0).clamp(min=1e-7).log()


def one_millimetre(case: Case) -> Case:
    """Return a case on an isotropic grid of 1 mm; microbleeds that no voxel centre hits get the nearest voxel."""
    grid = np.diag([*case.spacing, 1.0])
    image = Volume(np.asarray(case.images[0], np.float32), grid)
    coarse = resample_to_spacing(image, np.ones(3))
    brain, classes, lesions = (np.array(resample_like(Volume(np.array(data), grid), coarse, order=0).data)
                               for data in (case.brain, case.classes, case.lesions))
    to_coarse = np.linalg.inv(coarse.affine)
    for number in np.unique(case.lesions[case.lesions > 0]):
        if not (lesions == number).any():
            centre_mm = np.argwhere(case.lesions == number).mean(0) * case.spacing
            voxel = np.rint(to_coarse[:3, :3] @ centre_mm + to_coarse[:3, 3]).astype(int)
            place = tuple(np.clip(voxel, 0, np.array(coarse.shape) - 1))
            lesions[place], classes[place] = number, 1
    shown = np.where(brain, coarse.data, 0).astype(np.float32)
    symmetry = radial_symmetry(shown, np.ones(3), PrepareSettings().symmetry_radii_mm, brain)
    return replace(case, spacing=np.ones(3), images=np.stack([shown, symmetry]).astype(np.float16), brain=brain,
                   lesions=lesions, classes=classes)
