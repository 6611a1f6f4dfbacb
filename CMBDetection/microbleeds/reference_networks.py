"""The two networks of MicrobleedNet that detection needs (Sundaresan et al. 2023), so that published weights load.

Written anew from a table of the layers of the authors' code; module names are those of their state dicts, which decide
the keys. Where code and paper differ (second kernel of a block, head without activations), the code counts, because
the weights were made with it. Both take ``(N, 2, i, j, k)`` float32: the inverted image and its radial symmetry.
"""

import torch
from torch import nn
from torch.nn import functional


class _Single(nn.Module):
    """1³ convolution that grows each side by one voxel."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.single_conv = nn.Sequential(nn.Conv3d(inputs, outputs, 1, padding=1), nn.BatchNorm3d(outputs), nn.ReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.single_conv(image)


class _Double(nn.Module):
    def __init__(self, inputs: int, outputs: int, second_kernel: int):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs), nn.ReLU(),
            nn.Conv3d(outputs, outputs, second_kernel, padding=second_kernel // 2), nn.BatchNorm3d(outputs), nn.ReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.double_conv(image)


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, second_kernel: int):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool3d(2), _Double(inputs, outputs, second_kernel))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.maxpool_conv(image)


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, outputs, 3, stride=2)
        self.conv = _Double(inputs, outputs, second_kernel=1)

    def forward(self, image: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
        image = self.up(image)
        # one voxel too many on each axis of even size: the first is dropped
        surplus = [have - want for have, want in zip(image.shape[2:], skipped.shape[2:], strict=True)]
        image = functional.pad(image, [cut for n in reversed(surplus) for cut in (-n, 0)])
        return self.conv(torch.cat([skipped, image], dim=1))


class _Point(nn.Module):
    """1³ convolution and nothing else."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(image)


class ReferenceDetector(nn.Module):
    """``CDetNet``: two logits per voxel (background, microbleed); the authors' tiles have 48³ voxels."""

    def __init__(self):
        super().__init__()
        self.inpconv = _Point(2, 3)
        self.convfirst = _Double(3, 64, second_kernel=1)
        self.down1 = _Down(64, 128, second_kernel=1)
        self.down2 = _Down(128, 256, second_kernel=1)
        self.up2 = _Up(256, 128)
        self.up1 = _Up(128, 64)
        self.outconv = _Point(64, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.convfirst(self.inpconv(image))
        second = self.down1(first)
        return self.outconv(self.up1(self.up2(self.down2(second), second), first))


class ReferenceStudent(nn.Module):
    """``CDiscStudentNet``: two logits per 24³ patch (not a microbleed, microbleed)."""

    def __init__(self):
        super().__init__()
        self.inpconv = _Point(2, 3)
        self.convfirst = _Double(3, 64, second_kernel=1)
        self.down1 = _Down(64, 128, second_kernel=1)
        self.down2 = _Down(128, 256, second_kernel=1)
        self.classconvfirst = _Single(256, 128)
        self.classdown1 = _Down(128, 128, second_kernel=3)
        self.classdown2 = _Down(128, 128, second_kernel=3)
        self.fc1 = nn.Linear(1024, 128)
        self.fc2 = nn.Linear(128, 32)
        self.fc3 = nn.Linear(32, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.down2(self.down1(self.convfirst(self.inpconv(image))))
        features = self.classdown2(self.classdown1(self.classconvfirst(features)))
        return self.fc3(self.fc2(self.fc1(features.flatten(1))))
