"""The network of Continual ImageNet: three convolutions, three linear layers, two classes."""

from __future__ import annotations

from torch import nn

from neoteny.errors import SettingError
from neoteny.nn.activations import activation as find_activation
from neoteny.nn.initialised import InitialisedModule, Scheme

__all__ = ["ContinualImageNetNet"]


class ContinualImageNetNet(InitialisedModule):
    """Convolutions 5x5x32, 3x3x64, 3x3x128, each with activation and 2x2 max-pooling; then 512-128-128-outputs.

    No convolution pads, so 32x32 pixels become 14x14, 6x6 and 2x2 maps, and 128 * 2 * 2 = 512 features: feature map i
    owns the features 4 i to 4 i + 3. The authors keep torch's default initialisation here, of biases too.

    Arguments:
        outputs: number of classes.
        activation: one of `neoteny.nn.activations.ACTIVATIONS`.
        initialisation: as for `neoteny.nn.MLP`.

    Shapes: inputs [batch, 3, 32, 32], outputs [batch, outputs].

    Raises:
        SettingError: fewer than one output.
        UnknownNameError: an activation or initialisation that does not exist.

    >>> import torch
    >>> net = ContinualImageNetNet()
    >>> net(torch.zeros(7, 3, 32, 32)).shape
    torch.Size([7, 2])

    Source: Dohare et al., Nature 632, 2024, Extended Data Table 1; the authors' public `lop/nets/conv_net.py`.
    """

    def __init__(self, outputs: int = 2, activation: str = "relu", initialisation: Scheme = "default"):
        if outputs < 1:
            raise SettingError(f"outputs = {outputs}: a network needs at least one output.")
        nonlinearity = find_activation(activation)
        layers: list[nn.Module] = []
        for channels, maps, kernel in [(3, 32, 5), (32, 64, 3), (64, 128, 3)]:
            layers += [nn.Conv2d(channels, maps, kernel), nonlinearity.module(), nn.MaxPool2d(2)]
        layers.append(nn.Flatten())
        for fan_in in (512, 128):
            layers += [nn.Linear(fan_in, 128), nonlinearity.module()]
        layers.append(nn.Linear(128, outputs))
        super().__init__(nn.Sequential(*layers), initialisation, nonlinearity.gain)
