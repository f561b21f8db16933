"""Images as a network takes them: bytes turned into numbers, on the device where they are used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from neoteny.errors import SettingError, UnknownNameError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["PIXELS", "as_floats", "scaling", "shrink", "shrink_flat"]

PIXELS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "bytes": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
        "signed": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        "imagenet": (tuple(255 * m for m in (0.485, 0.456, 0.406)), tuple(255 * s for s in (0.229, 0.224, 0.225))),
        "hare-and-tortoise": ((255 * 0.4914,) * 3, (255 * 0.3081,) * 3),
        "cifar100": (
            tuple(255 * m for m in (0.5071, 0.4865, 0.4409)),
            tuple(255 * s for s in (0.2673, 0.2564, 0.2762)),
        ),
    }
)
"""What is subtracted from each colour of an image of bytes, and what it is then divided by: `bytes` leaves 0 to 255,
`unit` makes 0 to 1, `signed` -1 to 1; the others standardise with the data set's means and standard deviations.
`hare-and-tortoise` has the mean of CIFAR-10's red and the deviation of MNIST, as that paper's code for MNIST."""


def as_floats(images: Tensor, pixels: str) -> Tensor:
    """Bytes [..., C, H, W] as float32, scaled as one of `PIXELS`.

    Grey images (C = 1) are scaled as the first colour is.

    Raises:
        UnknownNameError: there is no such scaling.

    >>> import torch
    >>> as_floats(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), "unit").unique()
    tensor([1.])
    """
    means, deviations = (each.to(images.device).view(-1, 1, 1) for each in scaling(pixels, images.shape[-3]))
    floats = images.float()
    return floats if pixels == "bytes" else floats.sub_(means).div_(deviations)


def scaling(pixels: str, colours: int) -> tuple[Tensor, Tensor]:
    """What is subtracted from each of an image's colours, and what it is then divided by, float32 `[colours]`.

    Raises:
        UnknownNameError: there is no such scaling.
    """
    import torch

    if pixels not in PIXELS:
        raise UnknownNameError(pixels, PIXELS, "scaling of pixels")
    means, deviations = (torch.tensor(each[:colours]) for each in PIXELS[pixels])
    return means, deviations


def shrink(images: Tensor, side: int) -> Tensor:
    """Bytes [N, ..., H, H] as [N, ..., side, side], each pixel the rounded mean of a square of them.

    Raises:
        SettingError: the squares do not fill the image, or its numbers are no bytes.

    >>> import torch
    >>> shrink(torch.tensor([[[[0, 10], [20, 31]]]], dtype=torch.uint8), 1)
    tensor([[[[15]]]], dtype=torch.uint8)
    """
    import torch

    if images.dtype != torch.uint8:
        raise SettingError(
            f"images of type {images.dtype}: they must be bytes (uint8), brightnesses from 0 to 255 that are neither "
            "scaled nor normalised, since streams scale them."
        )
    whole = images.shape[-1]
    if side < 1 or whole % side:
        raise SettingError(
            f"side = {side}: images of {whole} pixels cannot be shrunk to it; give a divisor of {whole}."
        )
    if side == whole:
        return images
    squares = images.unflatten(-1, (side, -1)).unflatten(-3, (side, -1))
    return torch.cat([block.float().mean((-3, -1)).round_().to(torch.uint8) for block in squares.split(5_000)])


def shrink_flat(images: np.ndarray, side: int) -> np.ndarray:
    """Grey images, bytes [N, H * H] row by row, as [N, side * side]; see `shrink`.

    >>> import numpy as np
    >>> shrink_flat(np.array([[0, 10, 20, 31]], dtype=np.uint8), 1)
    array([[15]], dtype=uint8)
    """
    import torch

    whole = math.isqrt(images.shape[1])
    squares = torch.from_numpy(images).view(-1, whole, whole)
    return shrink(squares, side).flatten(1).numpy()
