"""Images of bytes by their numbers, as a network takes them: moved at random and scaled.

On a CPU a compiled kernel reads each byte once and writes each number once. Torch would make a pass over all pixels for
each of its steps, which for a small network takes longer than to learn from them.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from neoteny import compiling
from neoteny.streams.images import as_floats, scaling

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.streams.augment import Augmentation

__all__ = ["picked"]

SOURCE = Path(__file__).with_name("picking.cpp")


def picked(
    images: Tensor, rows: Tensor, pixels: str, augmentation: Augmentation | None = None, keys: Tensor | None = None
) -> Tensor:
    """The images of these numbers, float32.

    Args:
        images: bytes `[N, C, H, W]`.
        rows: which of them, int64 `[..., B]`, on the same device.
        pixels: how bytes become numbers, one of `neoteny.streams.images.PIXELS`.
        augmentation: how images are moved; None leaves them as they are.
        keys: of the augmentation, `[..., 2]`, one for each batch.

    Returns:
        `[..., B, C, H, W]`, the same numbers on every device.

    Raises:
        IndexError: there is no such image.
        SettingError: the augmentation does not suit the images, or not one key a batch.
        UnknownNameError: there is no such scaling.

    >>> import torch
    >>> images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 2, 2).contiguous()
    >>> picked(images, torch.tensor([2, 0]), "bytes")[:, 0, 0]
    tensor([[2., 2.],
            [0., 0.]])
    """
    import torch

    kernel = _kernel() if images.device.type == "cpu" and images.is_contiguous() else None
    if kernel is None:
        floats = as_floats(images.index_select(0, rows.flatten()).unflatten(0, rows.shape), pixels)
        return floats if augmentation is None or keys is None else augmentation(floats, keys)
    shape, moves = images.shape[1:], ()
    shifts = augmentation is not None and augmentation.only_shifts
    if augmentation is not None and keys is not None and shifts:
        augmentation.require_fitting((*rows.shape, *shape), keys)
        moves = augmentation.draw(keys, rows.shape[-1])[:3]
    numbers, out = scaling(pixels, shape[0]), torch.empty(*rows.shape, *shape)
    read = [each.contiguous() for each in (rows, *moves, *numbers)]
    rows_at, *moves_at, means_at, deviations_at = (each.data_ptr() for each in read)
    made = kernel(
        images.data_ptr(), len(images), rows_at, rows.numel(), *(moves_at or (None,) * 3), *shape,
        means_at, deviations_at, out.data_ptr(),
    )  # fmt: skip
    if made < rows.numel():
        raise IndexError(f"there is no image {int(rows.flatten()[made])}: there are {len(images)}.")
    return out if augmentation is None or keys is None or shifts else augmentation(out, keys)


@functools.cache
def _kernel() -> Callable[..., int] | None:
    """The kernel; None without a compiler."""
    library = compiling.optional(SOURCE)
    if library is None:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function = library.neoteny_pick
    function.argtypes = [pointer, number, pointer, number, *[pointer] * 3, *[number] * 3, *[pointer] * 3]
    function.restype = number
    return function
