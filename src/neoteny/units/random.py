"""Random numbers that are a pure function of a key.

A method that draws noise or new weights runs in three places: eagerly on a user's network, under `torch.func.vmap` over
a stack of runs, and inside a compiled graph of many steps. A generator with hidden state behaves differently in each of
them. Here number `i` of a key is a hash of `(i, key)`, so a draw depends on nothing else: run k draws the same numbers
alone and in a stack, and a resumed run needs to remember only its step.

A key is an int32 tensor of two words, `[..., 2]`. Arithmetic wraps modulo 2**32.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack  # pyright: ignore

from neoteny import compiling

KERNELS = Path(__file__).with_name("normal.cpp")
# Whole numbers of at most 24 bits: compiled graphs under vmap may carry scalars in single precision.
_GOLDEN = 0x9E3779
_FIRST = 0xEB352D
_SECOND = 0x6CA68B


def eager() -> bool:
    """Whether operations run at once: outside of transforms of `torch.func`, compiled graphs, traces and modes."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()  # pyright: ignore[reportAttributeAccessIssue]
        or peek_interpreter_stack() is not None  # pyright: ignore[reportPrivateImportUsage]
    )


def _mix(x: Tensor) -> Tensor:
    """A bijective hash of 32-bit words: two rounds of xor-shift and multiplication by an odd number."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * _FIRST
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _SECOND
    return x ^ ((x >> 16) & 0xFFFF)


def _mix_int(x: int) -> int:
    """`_mix` of a word known beforehand."""
    x &= 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * _FIRST) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * _SECOND) & 0xFFFFFFFF
    return x ^ (x >> 16)


def key(seed: int, device: torch.device | str | None = None) -> Tensor:
    """The key of an integer seed.

    >>> key(0).shape
    torch.Size([2])
    """
    words = torch.tensor([(seed & 0xFFFFFFFF), (seed >> 32) & 0xFFFFFFFF], dtype=torch.int64, device=device)
    words = torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
    return torch.stack([_mix(words[0] + _GOLDEN), _mix(_mix(words[1] ^ words[0]) + 1)])


def fold_in(key: Tensor, data: Tensor | int) -> Tensor:
    """A new key from a key and an integer (a step, a layer's number): independent streams from one seed.

    >>> bool((fold_in(key(0), 1) != fold_in(key(0), 2)).all())
    True
    """
    if isinstance(data, int) and key.dim() == 1 and key.device.type == "cpu" and eager():
        return _folded_by_host(key, data)
    # in two parts, so that no two integers of 32 bits share them and each is small enough for a compiled scalar
    word = _mix(data.to(torch.int32) * _GOLDEN + 1) if isinstance(data, Tensor) else _mix_int(data * _GOLDEN + 1)
    low, high = word & 0xFFFFFF, (word >> 8) & 0xFFFFFF
    first = _mix(key[..., 0] ^ low)
    return torch.stack([first, _mix((key[..., 1] + high) ^ first)], -1)


def _folded_by_host(key: Tensor, data: int) -> Tensor:
    """The same in Python's numbers: a tensor of two words costs more than it computes."""
    word = _mix_int(data * _GOLDEN + 1)
    first, second = key.tolist()
    first = _mix_int(first ^ (word & 0xFFFFFF))
    second = _mix_int((second + ((word >> 8) & 0xFFFFFF)) ^ first)
    return torch.tensor([value - 2**32 if value >= 2**31 else value for value in (first, second)], dtype=torch.int32)


def bits(key: Tensor, count: int) -> Tensor:
    """`count` uniform 32-bit words, int32, `[..., count]`."""
    return _words(key, torch.arange(count, dtype=torch.int32, device=key.device))


def _words(key: Tensor, index: Tensor) -> Tensor:
    """The words at these places, int32."""
    return _mix(_mix(index + key[..., :1]) ^ key[..., 1:])


def _places(shape: Sequence[int], rows: Tensor, device: torch.device) -> Tensor:
    """Where the entries of these rows (indices of dimension 0) lie in a tensor of `shape`, int32, `[entries]`."""
    length = math.prod(shape[1:])
    along = torch.arange(length, dtype=torch.int32, device=device)
    return (rows.to(device, torch.int32).unsqueeze(1) * length + along).flatten()


def uniform(key: Tensor, shape: Sequence[int], rows: Tensor | None = None) -> Tensor:
    """Uniform numbers in (0, 1], float32: multiples of 2**-24 plus 2**-25, of which the largest is rounded to 1.

    With `rows` only these indices of dimension 0 are drawn, the same numbers at a part of the cost. Without them `key`
    may also be many keys, `[..., 2]`, for a draw of each, `[..., *shape]`.

    >>> draw = uniform(key(3), (1000, 2))
    >>> 0 < draw.min() and draw.max() < 1
    tensor(True)
    >>> bool((uniform(key(3), (1000, 2), torch.tensor([7])) == draw[7]).all())
    True
    """
    if rows is None and key.device.type == "cpu" and eager() and (kernel := _uniform()) is not None:
        own, out = key.contiguous(), torch.empty((*key.shape[:-1], *shape))
        kernel(own.data_ptr(), own.numel() // 2, math.prod(shape), out.data_ptr())
        return out
    words = bits(key, math.prod(shape)) if rows is None else _words(key, _places(shape, rows, key.device))
    drawn = (((words >> 8) & 0xFFFFFF).float() + 0.5).mul(2.0**-24)
    return drawn.reshape((*key.shape[:-1], *(shape if rows is None else (-1, *shape[1:]))))


@functools.cache
def _uniform() -> Callable[[int, int, int, int], None] | None:
    """The kernel that draws the same numbers in one pass: keys, how many, a count, where to write; None without one."""
    library = compiling.optional(KERNELS)
    if library is None:
        return None
    function = library.neoteny_uniform
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p], None
    return function


def normal(key: Tensor, shape: Sequence[int], rows: Tensor | None = None) -> Tensor:
    """Standard normal numbers, float32, by Box and Muller's transform of pairs of uniform words.

    With `rows` only these indices of dimension 0 are drawn.

    Sine and cosine come from their Taylor series on a quarter turn (error below 4e-8 there), since the two library
    calls would take most of the time of a step that perturbs every weight.

    >>> draw = normal(key(3), (100_000,))
    >>> bool(draw.mean().abs() < 0.02), bool((draw.std() - 1).abs() < 0.02)
    (True, True)
    """
    count = math.prod(shape)
    half = (count + 1) // 2
    if rows is None:
        words = bits(key, 2 * half)
        return torch.cat(_pair(words[:half], words[half:]))[:count].reshape(tuple(shape))
    places = _places(shape, rows, key.device)
    later = places >= half
    places = torch.where(later, places - half, places)
    first, second = _pair(_words(key, places), _words(key, places + half))
    return torch.where(later, second, first).reshape(-1, *shape[1:])


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two normal numbers from two uniform words."""
    radius = ((((a >> 8) & 0xFFFFFF).float() + 0.5) * 2.0**-24).log().mul(-2).sqrt()
    angle = ((b >> 8).float() + 0.5) * (math.pi / 4 * 2.0**-23)  # b >> 8 is signed: [-pi/4, pi/4)
    square = angle * angle
    sine = angle * (1 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square / 362880))))
    cosine = 1 + square * (-1 / 2 + square * (1 / 24 + square * (-1 / 720 + square * (1 / 40320 - square / 3628800))))
    swap = (b & 1).bool()  # bits not used by the angle choose the quarter turn
    first = torch.where(swap, sine, cosine) * (1 - (b & 2)).float()
    second = torch.where(swap, cosine, sine) * (1 - (b & 4).div(2, rounding_mode="floor")).float()
    return radius * first, radius * second
