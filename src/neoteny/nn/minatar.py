"""The network for MinAtar's games: one convolution and one hidden layer on a 10x10 grid of symbols."""

from __future__ import annotations

from torch import nn

from neoteny.errors import SettingError
from neoteny.nn.activations import activation as find_activation
from neoteny.nn.initialised import Layered, Normalisation, Scheme, check_variations, norm_of

__all__ = ["MinAtarNet"]

_MAPS, _KERNEL, _SIDE = 16, 3, 10


class MinAtarNet(Layered):
    """A convolution 3x3x16 without padding, then 1024-128-outputs.

    Hidden layer l: h_l = f(norm(W_l h_(l-1) + b_l)); a layer norm behind the convolution goes over all maps and
    positions.

    Args:
        channels: kinds of objects that the grid shows.
        outputs: number of outputs, such as a value an action.
        hidden: units of the hidden layer.
        activation: as for `neoteny.nn.MLP`.
        initialisation: as for `neoteny.nn.MLP`.
        normalisation: as for `neoteny.nn.MLP`.

    Shapes: inputs [batch, channels * 100], a grid after the other; outputs [batch, outputs].

    Raises:
        SettingError: a size below 1.
        UnknownNameError: an activation, initialisation or normalisation that does not exist.

    >>> import torch
    >>> MinAtarNet(4, 6)(torch.zeros(2, 400)).shape
    torch.Size([2, 6])

    Source: Young & Tian, "MinAtar", arXiv 1903.03176, 2019, for the layers; Elsayed, Vasan & Mahmood, arXiv 2410.14606,
    2024, for norm, activation and initialisation.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        hidden: int = 128,
        activation: str = "leaky_relu",
        initialisation: Scheme = "sparse",
        normalisation: Normalisation | None = "plain_layer",
    ):
        if min(channels, outputs, hidden) < 1:
            raise SettingError(
                f"A network of {channels} channels, {hidden} hidden units and {outputs} outputs has an empty layer: "
                "every size must be at least 1."
            )
        check_variations(normalisation, 0.0)
        nonlinearity = find_activation(activation)

        def norm(size: int, maps: bool) -> list[nn.Module]:
            return [] if normalisation is None else [norm_of(normalisation, size, maps)]

        layers = [
            nn.Unflatten(1, (channels, _SIDE, _SIDE)),
            nn.Conv2d(channels, _MAPS, _KERNEL),
            *norm(_MAPS, True),
            nonlinearity.module(),
            nn.Flatten(),
            nn.Linear(_MAPS * (_SIDE - _KERNEL + 1) ** 2, hidden),
            *norm(hidden, False),
            nonlinearity.module(),
            nn.Linear(hidden, outputs),
        ]
        super().__init__(nn.Sequential(*layers), initialisation, nonlinearity.gain)
