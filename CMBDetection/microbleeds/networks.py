"""The three networks of the method as bare modules (Sundaresan et al. 2023, figures 4 and 5), of configurable width.

All take ``(N, 2, i, j, k)`` float32: the working image and its radial symmetry, slice axis last. Where the paper pools
by 2 along all axes, the first pooling here is in plane only, because clinical slices are several times thicker than
their pixels and a lesion is often seen on one slice alone.
"""

import torch
from torch import nn

PATCH = 24
"""Edge of the classifier's patch, in voxels."""
TILE_MULTIPLES = (4, 4, 2)
"""Sizes the detector takes are multiples of these."""
_POOLINGS = ((2, 2, 1), (2, 2, 2))


def _double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    layers = []
    for width in (inputs, outputs):
        layers += [nn.Conv3d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Extractor(nn.Module):
    """Feature extractor shared by all three networks (the paper's Tf); returns the features of each level."""

    def __init__(self, width: int):
        super().__init__()
        self.level0 = _double_convolution(2, width)
        self.level1 = nn.Sequential(nn.MaxPool3d(_POOLINGS[0]), _double_convolution(width, 2 * width))
        self.level2 = nn.Sequential(nn.MaxPool3d(_POOLINGS[1]), _double_convolution(2 * width, 4 * width))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first = self.level0(image)
        second = self.level1(first)
        return first, second, self.level2(second)


class Segmentor(nn.Module):
    """Expanding path (the paper's Ts): features of each level to two logits per voxel."""

    def __init__(self, width: int):
        super().__init__()
        self.up1 = nn.ConvTranspose3d(4 * width, 2 * width, _POOLINGS[1], _POOLINGS[1])
        self.level1 = _double_convolution(4 * width, 2 * width)
        self.up0 = nn.ConvTranspose3d(2 * width, width, _POOLINGS[0], _POOLINGS[0])
        self.level0 = _double_convolution(2 * width, width)
        self.out = nn.Conv3d(width, 2, 1)

    def forward(self, first: torch.Tensor, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
        second = self.level1(torch.cat([second, self.up1(third)], dim=1))
        return self.out(self.level0(torch.cat([first, self.up0(second)], dim=1)))


class Classifier(nn.Module):
    """Patch classifier (the paper's Tc): deepest features of a 24³ patch to two logits, as in its figure 5."""

    def __init__(self, width: int):
        super().__init__()
        channels = 2 * width
        self.reduce = nn.Sequential(nn.Conv3d(4 * width, channels, 1, bias=False), nn.BatchNorm3d(channels),
                                    nn.ReLU(inplace=True), nn.MaxPool3d((1, 1, 2)))
        self.level1 = nn.Sequential(_double_convolution(channels, channels), nn.MaxPool3d(2))
        self.level2 = _double_convolution(channels, channels)
        self.head = nn.Sequential(
            nn.Linear(channels * 27, 128), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Dropout(0.2),
            nn.Linear(128, 32), nn.BatchNorm1d(32), nn.ReLU(inplace=True), nn.Linear(32, 2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(self.level2(self.level1(self.reduce(features))).flatten(1))


class Detector(nn.Module):
    """Step 1: two logits per voxel (background, microbleed)."""

    def __init__(self, width: int):
        super().__init__()
        self.extractor = Extractor(width)
        self.segmentor = Segmentor(width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.segmentor(*self.extractor(image))


class Teacher(nn.Module):
    """Detector plus patch classifier; returns voxel logits and patch logits."""

    def __init__(self, width: int):
        super().__init__()
        self.extractor = Extractor(width)
        self.segmentor = Segmentor(width)
        self.classifier = Classifier(width)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.extractor(image)
        return self.segmentor(*features), self.classifier(features[-1])


class Student(nn.Module):
    """Step 2: extractor and classifier; two logits per 24³ patch (not a microbleed, microbleed)."""

    def __init__(self, width: int):
        super().__init__()
        self.extractor = Extractor(width)
        self.classifier = Classifier(width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.extractor(image)[-1])
