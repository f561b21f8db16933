"""Random flips, shifts and rotations of images, as the paper trains with them on class-incremental CIFAR-100.

Flip, crop and rotation each only say where an output pixel comes from. So they are composed into one map from output to
input pixels, and every pixel of a batch is moved once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from neoteny.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Augmentation", "Moves"]

_TOGETHER = 2**17
"""Pixels that are computed at once: few calls, whose intermediate results stay in a core's cache."""


class Moves(NamedTuple):
    """How each image is moved, `[..., B]`.

    Attributes:
        flipped: whether left and right are exchanged, bool.
        down: rows by which the crop is shifted downwards, int64 in -pad .. pad.
        right: columns by which it is shifted to the right, likewise.
        degrees: the angle of rotation, counter-clockwise, float64.
    """

    flipped: Tensor
    down: Tensor
    right: Tensor
    degrees: Tensor


@dataclass(frozen=True)
class Augmentation:
    """A horizontal flip, then a crop of the reflected surroundings, then a rotation, drawn anew for every image.

    The crop has the image's own size and begins anywhere in the image padded by `pad` reflected pixels on each side.
    The rotation is about the centre; a pixel takes the value of the nearest one, and 0 where there is none: in the
    normalised images to which this is applied, 0 is the mean colour.

    Draws are a pure function of the key: image i of a batch is moved in the same way whatever the number of images, on
    every device, alone and in a stack of runs.

    Args:
        flip: the probability of a flip.
        pad: the largest shift, in pixels.
        degrees: the smallest and largest angle, drawn uniformly; positive angles turn counter-clockwise.

    Raises:
        SettingError: a probability outside [0, 1], a negative pad, or angles that are no finite range.

    >>> import torch
    >>> from neoteny.units import random
    >>> images = torch.rand(2, 5, 3, 32, 32)
    >>> keys = torch.stack([random.key(0), random.key(1)])
    >>> both = Augmentation()(images, keys)
    >>> both.shape, torch.equal(both[1], Augmentation()(images[1], keys[1]))
    (torch.Size([2, 5, 3, 32, 32]), True)

    Source: Dohare et al., Nature 632, 2024, Methods, "Class-incremental CIFAR-100"; rotation as in torchvision.
    """

    flip: float = 0.5
    pad: int = 4
    degrees: tuple[float, float] = (0.0, 15.0)

    def __post_init__(self):
        if not 0 <= self.flip <= 1:
            raise SettingError(f"flip = {self.flip}: the probability of a flip must lie in [0, 1].")
        if self.pad < 0:
            raise SettingError(f"pad = {self.pad}: images can be padded by 0 pixels or more.")
        low, high = self.degrees
        if not -math.inf < low <= high < math.inf:
            raise SettingError(f"degrees = {self.degrees}: give the smallest angle and the largest, both finite.")

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        """The images, moved.

        Args:
            images: `[..., B, C, H, W]`, any type, on any device.
            key: `[..., 2]` of `neoteny.units.random`, one for each batch.

        Returns:
            `[..., B, C, H, W]`, a new tensor of the same type.

        Raises:
            SettingError: images too small to be padded, or not one key a batch.
        """
        import torch

        self.require_fitting(images.shape, key)
        flat = images.reshape(-1, *images.shape[-3:])
        moves = Moves(*(each.reshape(-1) for each in self.draw(key.to(images.device), images.shape[-4])))
        moved = torch.empty_like(flat, memory_format=torch.contiguous_format)
        block = max(_TOGETHER // flat.shape[-2:].numel(), 1) if images.device.type == "cpu" else max(len(flat), 1)
        for start in range(0, len(flat), block):
            some = slice(start, start + block)
            moved[some] = _move(flat[some], Moves(*(each[some] for each in moves)), self.only_shifts)
        return moved.view(images.shape)

    @property
    def only_shifts(self) -> bool:
        """Whether images are never turned."""
        return self.degrees == (0.0, 0.0)

    def require_fitting(self, shape: Sequence[int], key: Tensor) -> None:
        """Check that images of a shape can be moved by these keys.

        Raises:
            SettingError: images too small to be padded, or not one key a batch.
        """
        if len(shape) < 4 or key.shape != (*shape[:-4], 2):
            raise SettingError(
                f"images {list(shape)} with keys {list(key.shape)}: for images [..., B, C, H, W] "
                "there must be keys [..., 2], one for each batch."
            )
        if self.pad >= min(shape[-2:]):
            raise SettingError(
                f"pad = {self.pad} for images of {shape[-2]} x {shape[-1]} pixels: "
                "reflection reaches no further than to the opposite edge; pad by less than the side."
            )

    def draw(self, key: Tensor, count: int) -> Moves:
        """How the `count` images of each batch are moved, `[..., count]`, for keys `[..., 2]`."""
        from neoteny.units import random

        flipped, down, right, angle = random.uniform(key, (count, 4)).double().unbind(-1)
        low, high = self.degrees

        def shift(share: Tensor) -> Tensor:
            # in single precision the largest draw is 1 itself
            return (share * (2 * self.pad + 1)).floor().clamp(max=2 * self.pad).long() - self.pad

        return Moves(flipped <= self.flip, shift(down), shift(right), low + (high - low) * angle)


def _move(images: Tensor, moves: Moves, only_shifts: bool) -> Tensor:
    """The images `[B, C, H, W]`, moved, with `[B]` moves."""
    import torch

    height, width = images.shape[-2:]
    flipped, down, right, degrees = (each.unsqueeze(1) for each in moves)

    def reflected(place: Tensor, side: int) -> Tensor:
        """The place in the image that a place in its reflected padding shows; any place if that lies outside."""
        return (side - 1 - (side - 1 - place.abs()).abs()).clamp_(min=0)

    # flip and padding come before crop and rotation: along each axis a table of what is at each place of the crop
    rows = reflected(torch.arange(height, device=images.device) + down, height) * width
    columns = reflected(torch.arange(width, device=images.device) + right, width)
    columns = torch.where(flipped, width - 1 - columns, columns)
    if only_shifts:
        place, outside = (rows.unsqueeze(2) + columns.unsqueeze(1)).flatten(1), None
    else:
        row, column = _turned(degrees, height, width)
        outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
        place = rows.gather(1, row.clamp_(0, height - 1).flatten(1))
        place += columns.gather(1, column.clamp_(0, width - 1).flatten(1))
    index = place.unsqueeze(1).expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, index).view(images.shape)
    return moved if outside is None else moved.masked_fill_(outside.unsqueeze(1), 0)


def _turned(degrees: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Row and column `[B, H, W]` of the crop that each pixel comes from, rows counted downwards, by angles `[B, 1]`.

    In double precision, so that all devices round alike.
    """
    import torch

    sine, cosine = degrees.deg2rad().sin(), degrees.deg2rad().cos()
    y, x = (torch.arange(side, device=degrees.device).double() - (side - 1) / 2 for side in (height, width))
    row = ((cosine * y + (height - 1) / 2).unsqueeze(2) + (sine * x).unsqueeze(1)).round_().long()
    column = ((sine * -y + (width - 1) / 2).unsqueeze(2) + (cosine * x).unsqueeze(1)).round_().long()
    return row, column
