"""The three networks of the method as bare modules (Sundaresan et al. 2023, figures 4 and 5), of configurable width.

All take ``(N, 2, i, j, k)`` float32: the working image and its radial symmetry, slice axis last. Three things differ
from the paper's figures. Clinical slices are several times thicker than their pixels and a lesion is often seen on one
slice alone, so the first pooling and half of the finest convolutions are in plane only; there is one level more, which
sees a vessel on its way through the slices; and the voxel logits may have classes for the mimics, which a simulator
can label, beside "no microbleed" and "microbleed".
"""

import torch
from torch import nn

PATCH = 24
"""Edge of the classifier's patch, in voxels."""
TILE_MULTIPLES = (8, 8, 4)
"""Sizes the detector takes are multiples of these."""
MICROBLEED = 1
"""Its class among the logits of every network; class 0 is everything that has no class of its own."""
_POOLINGS = ((2, 2, 1), (2, 2, 2), (2, 2, 2))
_IN_PLANE, _ALL_AXES = (3, 3, 1), (3, 3, 3)
_SLICES_AT_A_TIME = 16


def _convolutions(inputs: int, outputs: int, *kernels: tuple[int, int, int]) -> nn.Sequential:
    layers = []
    for kernel in kernels:
        padding = tuple(size // 2 for size in kernel)
        layers += [nn.Conv3d(inputs, outputs, kernel, padding=padding, bias=False), nn.BatchNorm3d(outputs),
                   nn.ReLU(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers)


def _widths(width: int) -> tuple[int, int, int, int]:
    return width, 2 * width, 4 * width, 6 * width


class Extractor(nn.Module):
    """Feature extractor shared by all three networks (the paper's Tf); returns the features of each level."""

    def __init__(self, width: int):
        super().__init__()
        widths = _widths(width)
        self.level0 = _convolutions(2, width, _IN_PLANE, _ALL_AXES)
        self.deeper = nn.ModuleList(
            nn.Sequential(nn.MaxPool3d(pooling), _convolutions(above, own, _ALL_AXES, _ALL_AXES))
            for pooling, above, own in zip(_POOLINGS, widths, widths[1:], strict=False))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        features = [self.level0(image)]
        for level in self.deeper:
            features.append(level(features[-1]))
        return features


class _Expansion(nn.Module):
    """One step up: the level below is enlarged and joined with the features of the extractor."""

    def __init__(self, below: int, width: int, scale: tuple[int, int, int], kernels: tuple[tuple[int, int, int], ...]):
        super().__init__()
        self.enlarge = nn.ConvTranspose3d(below, width, scale, scale)
        self.join = _convolutions(2 * width, width, *kernels)

    def forward(self, features: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        return self.join(torch.cat([features, self.enlarge(below)], dim=1))


class Segmentor(nn.Module):
    """Expanding path (the paper's Ts): features of each level to `classes` logits per voxel."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        widths = _widths(width)
        kernels = ((_IN_PLANE, _IN_PLANE), (_ALL_AXES, _ALL_AXES), (_ALL_AXES, _ALL_AXES))
        self.levels = nn.ModuleList(
            _Expansion(widths[level + 1], widths[level], _POOLINGS[level], kernels[level]) for level in range(3))
        self.out = nn.Conv3d(width, classes, 1)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        below = features[-1]
        for level in (2, 1):
            below = self.levels[level](features[level], below)
        if self.training:
            return self._finest(features[0], below)
        # all in plane, so some slices at a time give the same, in half the memory
        parts = (part.split(_SLICES_AT_A_TIME, -1) for part in (features[0], below))
        return torch.cat([self._finest(*part) for part in zip(*parts, strict=True)], dim=-1)

    def _finest(self, features: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        return self.out(self.levels[0](features, below))


class Classifier(nn.Module):
    """Patch classifier (the paper's Tc): deepest features of a 24³ patch to two logits, as in its figure 5."""

    def __init__(self, width: int):
        super().__init__()
        channels = 4 * width
        self.convolutions = nn.Sequential(_convolutions(_widths(width)[-1], channels, (1, 1, 1), _ALL_AXES),
                                          nn.MaxPool3d((1, 1, 2)), _convolutions(channels, channels, _ALL_AXES))
        self.head = nn.Sequential(
            nn.Linear(channels * 27, 128), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Dropout(0.2),
            nn.Linear(128, 32), nn.BatchNorm1d(32), nn.ReLU(inplace=True), nn.Linear(32, 2))

    def forward(self, deepest: torch.Tensor) -> torch.Tensor:
        return self.head(self.convolutions(deepest).flatten(1))


class Detector(nn.Module):
    """Step 1: `classes` logits per voxel, of which number 1 is that of a microbleed."""

    def __init__(self, width: int, classes: int = 2):
        super().__init__()
        self.extractor = Extractor(width)
        self.segmentor = Segmentor(width, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.segmentor(self.extractor(image))


class Teacher(nn.Module):
    """Detector plus patch classifier; returns voxel logits and patch logits."""

    def __init__(self, width: int, classes: int = 2):
        super().__init__()
        self.extractor = Extractor(width)
        self.segmentor = Segmentor(width, classes)
        self.classifier = Classifier(width)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.extractor(image)
        return self.segmentor(features), self.classifier(features[-1])


class Student(nn.Module):
    """Step 2: extractor and classifier; two logits per 24³ patch (not a microbleed, microbleed)."""

    def __init__(self, width: int):
        super().__init__()
        self.extractor = Extractor(width)
        self.classifier = Classifier(width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.extractor(image)[-1])


def microbleed_logit(logits: torch.Tensor) -> torch.Tensor:
    """Return the log-odds of class 1 against all others; logits (N, classes, ...) to (N, ...).

    The sigmoid of this is the softmax's probability of the class.
    """
    others = torch.cat([logits[:, :MICROBLEED], logits[:, MICROBLEED + 1:]], dim=1)
    return logits[:, MICROBLEED] - others.logsumexp(1)
