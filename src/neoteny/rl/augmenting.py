"""Augmented images: random shifts, and noise in the brightness.

Kostrikov, Yarats & Fergus, "Image augmentation is all you need", ICLR 2021 (DrQ); the brightness: Schwarzer et al.,
ICLR 2021 (SPR).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from neoteny import compiling
from neoteny.units import random

__all__ = ["brightened", "moved"]

SOURCE = Path(__file__).with_name("moving.cpp")


def moved(images: Tensor, offsets: Tensor) -> Tensor:
    """Each image moved by whole pixels, with its border repeated; and the channels last, as convolutions read them.

    All channels of an image move together, so the frames of a stack do. On a CPU a compiled kernel does it in one pass.

    Args:
        images: bytes [N, channels, height, width].
        offsets: by how many pixels down and to the right what is shown lies in the image, int64 [N, 2].

    Returns:
        Bytes [N, height, width, channels].

    >>> image = torch.arange(9, dtype=torch.uint8).reshape(1, 1, 3, 3)
    >>> moved(image, torch.tensor([[1, -1]]))[0, :, :, 0]
    tensor([[3, 3, 4],
            [6, 6, 7],
            [6, 6, 7]], dtype=torch.uint8)

    Source: Kostrikov et al. 2021, Section 3.1: a crop of the padded image.
    """
    count, channels, height, width = images.shape
    kernel = _kernel() if images.device.type == "cpu" else None
    if kernel is not None:
        images, offsets = images.contiguous(), offsets.contiguous()
        found = torch.empty((count, height, width, channels), dtype=torch.uint8)
        kernel(images.data_ptr(), offsets.data_ptr(), count, channels, height, width, found.data_ptr())
        return found
    rows = (torch.arange(height, device=images.device) + offsets[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + offsets[:, 1:]).clamp(0, width - 1)
    numbers = torch.arange(count, device=images.device)
    return images.permute(0, 2, 3, 1)[numbers[:, None, None], rows[:, :, None], columns[:, None]]


@functools.cache
def _kernel() -> Callable[..., None] | None:
    """The kernel; None without a compiler."""
    library = compiling.optional(SOURCE)
    if library is None:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function = library.neoteny_move
    function.argtypes, function.restype = [pointer, pointer, *[number] * 4, pointer], None
    return function


def brightened(images: Tensor, key: Tensor, intensity: float) -> Tensor:
    """Each image multiplied by 1 + s e, with e normal and clipped to [-2, 2].

    Args:
        images: real numbers [N, channels, height, width].
        key: what the draws are a pure function of.
        intensity: s.

    >>> brightened(torch.full((1, 1, 1, 2), 100.0), random.key(0), 0.05)
    tensor([[[[108.4441, 108.4441]]]])

    Source: Schwarzer et al. 2021, Appendix C.
    """
    noise = random.normal(key, (len(images), 1, 1, 1)).clamp(-2, 2)
    return images * (1 + intensity * noise).to(images.dtype)
