"""Encoders of images: the convolutions of the first DQN, and the residual ones that larger agents have."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from neoteny.errors import SettingError

__all__ = ["ImpalaEncoder", "NatureEncoder", "maps_of"]


def maps_of(usual: Sequence[int], width: float) -> list[int]:
    """Numbers of maps, `width` times as many as usual.

    Raises:
        SettingError: a layer would have no map.

    >>> maps_of([32, 64], 0.25)
    [8, 16]
    """
    maps = [int(number * width) for number in usual]
    if min(maps) < 1:
        raise SettingError(f"width = {width}: a layer of {min(usual)} maps would have none; give a larger width.")
    return maps


class NatureEncoder(nn.Sequential):
    """Convolutions 8x8 of stride 4, 4x4 of stride 2 and 3x3, of 32, 64 and 64 maps, without padding, each with ReLU.

    Args:
        channels: of an image, such as the frames of a stack.
        width: times as many maps.

    Attributes:
        maps: of the output.

    Shapes: images [batch, channels, side, side] with side >= 36; output [batch, 64 width, 7, 7] for a side of 84.

    Raises:
        SettingError: a layer would have no map.

    >>> import torch
    >>> NatureEncoder(4, 0.25)(torch.zeros(2, 4, 84, 84)).shape
    torch.Size([2, 16, 7, 7])

    Source: Mnih et al., Nature 518, 2015, Methods.
    """

    def __init__(self, channels: int, width: float = 1.0):
        first, second, third = maps_of((32, 64, 64), width)
        super().__init__(
            nn.Conv2d(channels, first, 8, 4),
            nn.ReLU(),
            nn.Conv2d(first, second, 4, 2),
            nn.ReLU(),
            nn.Conv2d(second, third, 3),
            nn.ReLU(),
        )
        self.maps = third


class _Residual(nn.Module):
    """x + conv2(relu(conv1(relu(x)))), 3x3."""

    def __init__(self, maps: int):
        super().__init__()
        self.conv1 = nn.Conv2d(maps, maps, 3, padding=1)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class _Stage(nn.Module):
    """A convolution 3x3, the maximum over 3x3 at every second position, and two residual blocks."""

    def __init__(self, channels: int, maps: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, maps, 3, padding=1)
        self.blocks = nn.Sequential(_Residual(maps), _Residual(maps))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(F.max_pool2d(self.conv(x), 3, 2, padding=1))


class ImpalaEncoder(nn.Sequential):
    """Three stages of 16, 32 and 32 maps, then ReLU.

    A stage is a convolution 3x3, a maximum over 3x3 of stride 2, and twice x + conv(relu(conv(relu(x)))), 3x3; all are
    padded by a border of width 1.

    Args:
        channels: of an image.
        width: times as many maps; 4 in BBF.

    Attributes:
        maps: of the output.

    Shapes: images [batch, channels, side, side]; output [batch, 32 width, 11, 11] for a side of 84.

    Raises:
        SettingError: a layer would have no map.

    >>> import torch
    >>> ImpalaEncoder(4, 0.25)(torch.zeros(2, 4, 84, 84)).shape
    torch.Size([2, 8, 11, 11])

    Source: Espeholt et al., "IMPALA", ICML 2018, Figure 3 (right); Schwarzer et al., "Bigger, better, faster", ICML
    2023, for the width.
    """

    def __init__(self, channels: int, width: float = 1.0):
        maps = maps_of((16, 32, 32), width)
        stages = [_Stage(before, own) for before, own in zip([channels, *maps], maps, strict=False)]
        super().__init__(*stages, nn.ReLU())
        self.maps = maps[-1]
