"""ResNet-18 for small images, of any width, as the papers train it on CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from neoteny.errors import SettingError, UnknownNameError
from neoteny.nn.initialised import InitialisedModule, initialisers_of
from neoteny.units.initialise import Initialiser

__all__ = ["ResNet18"]

Draw = Literal["kaiming_normal", "default"]


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))."""

    def __init__(self, inputs: int, maps: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, maps, 3, stride, padding=1)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(maps)
        # registered behind the convolutions, so that the authors' chain of units goes on at conv1 and not here
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != maps:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, maps, 1, stride), nn.BatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [batch, maps, side / stride, side / stride] of maps [batch, inputs, side, side]."""
        hidden = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.downsample(x))


class ResNet18(InitialisedModule):
    """A residual network of 18 layers, without the pooling that would leave little of a small image.

    A 3x3 convolution of stride 1; stages of w, 2w, 4w and 8w maps, two blocks each, every stage but the first halving
    the side; the mean over positions; hidden layers with ReLU, if any; a linear output. Batch norms follow all
    convolutions, and all have biases, the 1x1 convolutions of the three shortcuts too, as in the authors' code.
    Submodules are named as in torchvision.

    Weights are normal with variance 2 / fan_in in convolutions and hidden layers and 1 / fan_in in the output; biases
    and shifts begin at 0, gains at 1.

    Args:
        outputs: number of classes.
        width: w, the maps of the first stage: 64 in the papers on plasticity, 16 in Ash & Adams 2020.
        initialisation: `kaiming_normal`, the one above; or `default`, torch's, of biases too.
        hidden: sizes of the hidden layers between the mean and the output: none in most papers, 512 in Lee et al. 2024.

    Attributes:
        SMALL: a width for a computer with two cores.

    Shapes: inputs [batch, 3, side, side] with side a multiple of 8, outputs [batch, outputs].

    Raises:
        SettingError: a size below 1.
        UnknownNameError: an initialisation that does not exist.

    >>> import torch
    >>> net = ResNet18(outputs=10, width=4)
    >>> net(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 10])

    Source: Dohare et al., Nature 632, 2024, Methods; He et al. 2016, Table 1; the authors' public
    `lop/nets/torchvision_modified_resnet.py`; Lee et al., ICML 2024, and the authors' public `Hare-Tortoise` (hidden
    layer).
    """

    SMALL: ClassVar[Mapping[str, Any]] = MappingProxyType({"width": 16})

    def __init__(
        self,
        outputs: int = 100,
        width: int = 64,
        initialisation: Draw = "kaiming_normal",
        hidden: Sequence[int] = (),
    ):
        if min(outputs, width, *hidden) < 1:
            raise SettingError(
                f"outputs = {outputs}, width = {width}, hidden = {tuple(hidden)}: sizes must be at least 1."
            )
        if initialisation not in get_args(Draw):
            raise UnknownNameError(initialisation, get_args(Draw), "initialisation")
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        sizes = [8 * width, *hidden]
        self.hidden = nn.Sequential(
            *(module for fan_in, size in pairwise(sizes) for module in (nn.Linear(fan_in, size), nn.ReLU()))
        )
        self.fc = nn.Linear(sizes[-1], outputs)
        self.initialisers = {}
        for name, parameter in self.named_parameters():
            layer, _, own = name.rpartition(".")
            module = self.get_submodule(layer)
            if isinstance(module, nn.BatchNorm2d):
                initialiser = Initialiser("constant", float(own == "weight"))
            elif initialisation == "default":
                initialiser = initialisers_of(module, "default", gain=1.0)[own]
            elif own == "bias":
                initialiser = Initialiser("constant", 0.0)
            else:
                gain = 1.0 if layer == "fc" else math.sqrt(2)
                initialiser = Initialiser.kaiming_normal(parameter[0].numel(), gain)
            self.initialisers[name] = initialiser
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """The output [batch, outputs] for images [batch, 3, side, side]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.hidden(x.mean((-2, -1))))


def _stage(inputs: int, maps: int, stride: int) -> nn.Sequential:
    """Two blocks, the first of which changes the number of maps and the side."""
    return nn.Sequential(_Block(inputs, maps, stride), _Block(maps, maps, 1))
