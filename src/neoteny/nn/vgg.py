"""VGG16 with batch norms, for small images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar

from torch import nn

from neoteny.errors import SettingError
from neoteny.nn.initialised import Layered, Scheme

__all__ = ["VGG16"]

_STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Maps as a multiple of the first stage's, and convolutions, of each stage."""
_SHRINKS = 2 ** len(_STAGES)


class VGG16(Layered):
    """Thirteen convolutions in five stages, each halving the side at its end, and a perceptron on all that is left.

    Stages of w, 2w, 4w, 8w and 8w maps have 2, 2, 3, 3 and 3 convolutions of 3x3, padded, each with a batch norm and
    ReLU, and end in 2x2 max-pooling. The 8w (pixels / 32)^2 features go through the hidden layers with ReLU and a
    linear output. The weights are torch's default initialisation, of biases too, as in the authors' code.

    Args:
        outputs: number of classes.
        width: w, the maps of the first stage.
        hidden: sizes of the hidden layers of the perceptron.
        pixels: the side of the images, a multiple of 32.
        initialisation: as for `neoteny.nn.MLP`.

    Attributes:
        SMALL: a width and hidden layers for a computer with two cores.

    Shapes: inputs [batch, 3, pixels, pixels], outputs [batch, outputs].

    Raises:
        SettingError: a size below 1, or a side that is no multiple of 32.
        UnknownNameError: an initialisation that does not exist.

    >>> import torch
    >>> net = VGG16(outputs=10, pixels=32, **VGG16.SMALL)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    Source: Simonyan & Zisserman, ICLR 2015, Table 1, D; Lee et al., ICML 2024, and the authors' public `Hare-Tortoise`
    (batch norms, hidden layers of 1,024).
    """

    SMALL: ClassVar[Mapping[str, Any]] = MappingProxyType({"width": 16, "hidden": (256, 256)})

    def __init__(
        self,
        outputs: int = 200,
        width: int = 64,
        hidden: Sequence[int] = (1024, 1024),
        pixels: int = 64,
        initialisation: Scheme = "default",
    ):
        if min(outputs, width, *hidden) < 1:
            raise SettingError(
                f"outputs = {outputs}, width = {width}, hidden = {tuple(hidden)}: sizes must be at least 1."
            )
        if pixels < _SHRINKS or pixels % _SHRINKS:
            raise SettingError(f"pixels = {pixels}: five poolings halve the side; use {_SHRINKS} or a multiple of it.")
        layers: list[nn.Module] = []
        channels = 3
        for share, convolutions in _STAGES:
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, share * width, 3, padding=1), nn.BatchNorm2d(share * width), nn.ReLU()]
                channels = share * width
            layers.append(nn.MaxPool2d(2))
        layers.append(nn.Flatten())
        sizes = [channels * (pixels // _SHRINKS) ** 2, *hidden]
        for fan_in, size in pairwise(sizes):
            layers += [nn.Linear(fan_in, size), nn.ReLU()]
        layers.append(nn.Linear(sizes[-1], outputs))
        super().__init__(nn.Sequential(*layers), initialisation, gain=2**0.5)
