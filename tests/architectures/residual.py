"""Residual networks of convolutions: basic, bottleneck and grouped blocks, inverted residuals."""

from __future__ import annotations

from torch import nn

from architectures.architecture import Architecture
from architectures.convolutions import images


def normed(inputs, outputs, kernel=3, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)), with a convolution on the shortcut where shapes change."""

    def __init__(self, body, inputs, outputs, stride):
        super().__init__()
        self.body, self.relu = body, nn.ReLU(inplace=True)
        self.shortcut = normed(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x):
        y = self.body(x)
        y += self.shortcut(x)
        return self.relu(y)


def basic(inputs, width, stride):
    body = nn.Sequential(normed(inputs, width, 3, stride), nn.ReLU(inplace=True), normed(width, width))
    return Residual(body, inputs, width, stride)


def bottleneck(inputs, width, stride, groups=1):
    body = nn.Sequential(
        normed(inputs, width, 1), nn.ReLU(inplace=True), normed(width, width, 3, stride, groups),
        nn.ReLU(inplace=True), normed(width, 4 * width, 1),
    )  # fmt: skip
    return Residual(body, inputs, 4 * width, stride)


def resnet(block, expansion, blocks, width, **options):
    layers, inputs = [normed(3, width), nn.ReLU(inplace=True)], width
    for stage, count in enumerate(blocks):
        for number in range(count):
            own = width * 2**stage
            layers.append(block(inputs, own, 2 if stage and not number else 1, **options))
            inputs = expansion * own
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 3))


def inner(blocks, width, modules):
    """The layers within the blocks: name and size, block by block."""
    widths = [width * 2**stage for stage, count in enumerate(blocks) for _ in range(count)]
    return {f"{2 + i}.body.{module}.0": own for i, own in enumerate(widths) for module in modules}


def streams(blocks, width, last, first):
    """The residual streams: one a stage, of all that is added up there."""
    found, number = {}, 2
    for stage, count in enumerate(blocks):
        own = [f"{number + i}.body.{last}.0" for i in range(count)]
        shortcut = f"{number}.shortcut.0"
        parts = [own[0], shortcut, *own[1:]] if stage or first is None else [first, *own]
        found["+".join(parts)] = width * 2**stage
        number += count
    return found


class InvertedResidual(nn.Module):
    """The block of MobileNetV2: expand, filter each channel, project, add."""

    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            normed(width, 3 * width, 1), nn.ReLU6(), normed(3 * width, 3 * width, groups=3 * width), nn.ReLU6(),
            normed(3 * width, width, 1),
        )  # fmt: skip

    def forward(self, x):
        return x + self.body(x)


def mobilenet_v2(width, side):
    return nn.Sequential(
        normed(3, width, stride=2), nn.ReLU6(), InvertedResidual(width), InvertedResidual(width),
        nn.Conv2d(width, 2 * width, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 3),
    )  # fmt: skip


DEEP, DEEPER = (2, 2, 2, 2), (3, 4, 6, 3)

RESIDUAL = {
    "ResNet-18": Architecture(
        lambda width, side: resnet(basic, 1, DEEP, width), images, (2, 8), (64, 32), 16,
        inner(DEEP, 2, [0]), streams(DEEP, 2, 2, "0.0"),
    ),
    "ResNet-50": Architecture(
        lambda width, side: resnet(bottleneck, 4, DEEPER, width), images, (2, 8), (32, 32), 8,
        {"0.0": 2, **inner(DEEPER, 2, [0, 2])}, streams(DEEPER, 8, 4, None),
    ),
    "ResNeXt": Architecture(
        lambda width, side: resnet(bottleneck, 4, (1, 2), width, groups=2), images, (4, 8), (32, 32), 16,
        {"0.0": 4, **inner((1, 2), 4, [0, 2]), "2.body.4.0+2.shortcut.0": 16},
        {"3.body.4.0+3.shortcut.0+4.body.4.0": 32},
    ),
    "MobileNetV2": Architecture(
        mobilenet_v2, images, (3, 8), (32, 32), 16,
        {"2.body.0.0": 9, "3.body.0.0": 9, "4": 6},
        {"0.0+2.body.4.0+3.body.4.0": 3},
    ),
}  # fmt: skip
