"""The network of Continual ImageNet: three convolutions, three linear layers, two classes."""

from __future__ import annotations

import math

from torch import nn

from neoteny.errors import SettingError
from neoteny.nn.activations import activation as find_activation
from neoteny.nn.initialised import Layered, Normalisation, Scheme, check_variations, norm_of

__all__ = ["ContinualImageNetNet"]

_CONVOLUTIONS = ((32, 5), (64, 3), (128, 3))
_HIDDEN = (128, 128)
_SMALLEST = 24
"""Pixels a side that leave one pixel behind the last pooling."""


class ContinualImageNetNet(Layered):
    """Convolutions 5x5x32, 3x3x64, 3x3x128, each with activation and 2x2 max-pooling; then 512-128-128-outputs.

    No convolution pads, so 32x32 pixels become 14x14, 6x6 and 2x2 maps, and 128 * 2 * 2 = 512 features: feature map i
    owns the features 4 i to 4 i + 3. The authors keep torch's default initialisation here, of biases too.

    Hidden layer l: h_l = dropout(f(norm(W_l h_(l-1) + b_l))), pooled behind a convolution.

    Args:
        outputs: number of classes.
        activation: one of `neoteny.nn.activations.ACTIVATIONS`.
        initialisation: as for `neoteny.nn.MLP`.
        width: the share of the paper's maps and hidden units that each layer has, rounded, one at least.
        normalisation: `batch` puts a batch norm in front of every activation; `layer` normalises each example, a
            convolution's over maps and positions together.
        dropout: the probability with which a hidden activation is dropped in training.
        pixels: the side of the images.

    Shapes: inputs [batch, 3, pixels, pixels], outputs [batch, outputs].

    Raises:
        SettingError: fewer than one output, a width that is not positive, images under 24 pixels (nothing is left
            behind the last pooling), or a dropout outside [0, 1).
        UnknownNameError: an activation, initialisation or normalisation that does not exist.

    >>> import torch
    >>> net = ContinualImageNetNet()
    >>> net(torch.zeros(7, 3, 32, 32)).shape
    torch.Size([7, 2])

    Source: Dohare et al., Nature 632, 2024, Extended Data Table 1; the authors' public `lop/nets/conv_net.py`.
    """

    def __init__(
        self,
        outputs: int = 2,
        activation: str = "relu",
        initialisation: Scheme = "default",
        width: float = 1.0,
        normalisation: Normalisation | None = None,
        dropout: float = 0.0,
        pixels: int = 32,
    ):
        if outputs < 1:
            raise SettingError(f"outputs = {outputs}: a network needs at least one output.")
        if not 0 < width < math.inf:
            raise SettingError(f"width = {width}: the share of the paper's maps and units must be a positive number.")
        if pixels < _SMALLEST:
            raise SettingError(
                f"pixels = {pixels}: three unpadded convolutions with pooling leave nothing of images this small; "
                f"use {_SMALLEST} or more."
            )
        check_variations(normalisation, dropout)
        nonlinearity = find_activation(activation)

        def scaled(size: int) -> int:
            return max(1, round(size * width))

        def hidden(size: int, maps: bool) -> list[nn.Module]:
            norm = [] if normalisation is None else [norm_of(normalisation, size, maps)]
            return [*norm, nonlinearity.module(), *([nn.Dropout(dropout)] if dropout else [])]

        layers: list[nn.Module] = []
        channels, side = 3, pixels
        for paper, kernel in _CONVOLUTIONS:
            maps = scaled(paper)
            layers += [nn.Conv2d(channels, maps, kernel), *hidden(maps, True)]
            layers.append(nn.MaxPool2d(2))
            channels, side = maps, (side - kernel + 1) // 2
        layers.append(nn.Flatten())
        fan_in = channels * side**2
        for paper in _HIDDEN:
            units = scaled(paper)
            layers += [nn.Linear(fan_in, units), *hidden(units, False)]
            fan_in = units
        layers.append(nn.Linear(fan_in, outputs))
        super().__init__(nn.Sequential(*layers), initialisation, nonlinearity.gain)
