"""Convolutions without skips: pooling, strides, norms, groups, one to three dimensions."""

from __future__ import annotations

import torch
from torch import nn

from architectures.architecture import Architecture


def images(batch, side):
    return torch.randn(batch, 3, side, side)


def lenet(width, side):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(2 * width * (side // 4) ** 2, 4 * width), nn.ReLU(), nn.Linear(4 * width, 3),
    )  # fmt: skip


def normed(width, side):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width, affine=True), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(2, width), nn.SiLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 2, stride=2), nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.BatchNorm1d(2 * width), nn.Linear(2 * width, 3),
    )  # fmt: skip


def separable(inputs, outputs, stride):
    """The block of MobileNet: a filter a channel, then a mixture of channels."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6(),
    )  # fmt: skip


def mobilenet(width, side):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
        separable(width, 2 * width, 1), separable(2 * width, 2 * width, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(2 * width, 3),
    )  # fmt: skip


def multiplied(width, side):
    """Groups of several channels, and a depthwise convolution that makes two of each channel."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, groups=width), nn.ReLU(),
        nn.Conv2d(2 * width, width, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 3, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
    )  # fmt: skip


def temporal(width, length):
    """A dilated convolution over time."""
    return nn.Sequential(
        nn.Conv1d(2, width, 3, padding=1), nn.GELU(), nn.Conv1d(width, width, 3, padding=2, dilation=2), nn.GELU(),
        nn.AvgPool1d(2), nn.Flatten(), nn.Linear(width * (length // 2), 2),
    )  # fmt: skip


def volume(width, side):
    return nn.Sequential(
        nn.Conv3d(1, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2 * width * (side // 2) ** 3, 3),
    )  # fmt: skip


class UNet(nn.Module):
    """Down and up again, with skips that are concatenated."""

    def __init__(self, width, side):
        super().__init__()

        def block(inputs, outputs):
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

        self.down1, self.down2, self.middle = block(3, width), block(width, 2 * width), block(2 * width, 4 * width)
        self.up2, self.join2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), block(4 * width, 2 * width)
        self.up1, self.join1 = nn.ConvTranspose2d(2 * width, width, 2, 2), block(2 * width, width)
        self.pool, self.out = nn.MaxPool2d(2), nn.Conv2d(width, 2, 1)

    def forward(self, x):
        first = self.down1(x)
        second = self.down2(self.pool(first))
        x = self.up2(self.middle(self.pool(second)))
        x = self.up1(self.join2(torch.cat([second, x], 1)))
        return self.out(self.join1(torch.cat([first, x], 1)))


class DenseNet(nn.Module):
    """Every layer reads the concatenation of all before it."""

    def __init__(self, width, side):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(self.layer((1 + i) * width, width) for i in range(3))
        self.transition = nn.Sequential(
            nn.BatchNorm2d(4 * width), nn.ReLU(), nn.Conv2d(4 * width, 2 * width, 1, bias=False), nn.AvgPool2d(2)
        )
        self.last = self.layer(2 * width, width)
        self.norm, self.out = nn.BatchNorm2d(3 * width), nn.Linear(3 * width, 3)

    @staticmethod
    def layer(inputs, growth):
        return nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, 2 * growth, 1, bias=False),
            nn.BatchNorm2d(2 * growth), nn.ReLU(), nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        x = self.transition(x)
        x = torch.cat([x, self.last(x)], 1)
        return self.out(torch.relu(self.norm(x)).mean((2, 3)))


CONVOLUTIONS = {
    "LeNet": Architecture(
        lenet, images, (4, 8), (16, 32), 32, {"0": 4, "3": 8, "7": 16},
    ),
    "norms, pools and strides": Architecture(
        normed, images, (4, 16), (32, 32), 32, {"0": 4, "3": 4, "6": 4, "10": 8},
    ),
    "MobileNet": Architecture(
        mobilenet, images, (4, 8), (32, 32), 32, {"0": 4, "3.3": 8, "4.3": 8},
    ),
    "grouped convolutions": Architecture(
        multiplied, images, (4, 6), (32, 16), 32, {"0": 4, "2": 8, "4": 4},
    ),
    "Conv1d, dilated": Architecture(
        temporal, lambda batch, length: torch.randn(batch, 2, length), (4, 8), (64, 128), 32, {"0": 4, "2": 4},
    ),
    "Conv3d": Architecture(
        volume, lambda batch, side: torch.randn(batch, 1, side, side, side), (3, 4), (16, 16), 8, {"0": 3, "4": 6},
    ),
    "U-Net": Architecture(
        UNet, images, (3, 8), (16, 32), 16,
        {"down1.0": 3, "down2.0": 6, "middle.0": 12, "up2": 6, "join2.0": 6, "up1": 3, "join1.0": 3},
    ),
    "DenseNet": Architecture(
        DenseNet, images, (3, 6), (16, 32), 16,
        {"stem": 3, **{f"layers.{i}.{k}": n for i in range(3) for k, n in ((2, 6), (5, 3))},
         "transition.2": 6, "last.2": 6, "last.5": 3},
    ),
}  # fmt: skip
