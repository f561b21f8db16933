"""Many normal numbers by keys: those of `random.normal`, by a compiled kernel on a CPU.

Noise on every weight at every step would otherwise take most of the time of a small network's step. Where there is no
compiler, on other devices, and inside transforms and graphs, torch computes the same formulas; both agree up to
rounding.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from neoteny import compiling
from neoteny.units import random
from neoteny.units.random import eager

__all__ = ["at_once", "drawer", "normals", "perturb"]

SOURCE = random.KERNELS


def at_once(keys: Tensor) -> bool:
    """Whether `normals` calls the kernel."""
    return keys.device.type == "cpu" and eager() and compiling.optional(SOURCE) is not None


def drawer() -> ctypes.c_void_p:
    """The address of the kernel's function, for other kernels to call."""
    return ctypes.cast(compiling.kernel(SOURCE).neoteny_normal, ctypes.c_void_p)


def normals(keys: Tensor, count: int, folded: Sequence[int] = (), at: Tensor | None = None, steps: int = 1) -> Tensor:
    """Standard normal numbers of several steps, float32, `[..., steps, count]`.

    They are those of `random.normal` with the key of each step: the given one, into which the step's number is folded,
    then the numbers of `folded`, one after the other.

    Args:
        keys: int32 `[..., 2]`.
        count: numbers of a step.
        folded: what is folded into every key.
        at: the number of the first step, int32 `[...]`; None: no number of a step is folded in.
        steps: how many; with `at` only.

    >>> key = random.key(3)
    >>> alone = random.normal(random.fold_in(random.fold_in(key, 8), 5), (4,))
    >>> torch.allclose(normals(key, 4, (5,), torch.tensor(7), 2)[1], alone, atol=1e-6)
    True
    """
    if not at_once(keys):
        own = keys.unsqueeze(-2)
        if at is not None:
            own = random.fold_in(own, at.unsqueeze(-1) + torch.arange(steps, dtype=torch.int32, device=keys.device))
        for number in folded:
            own = random.fold_in(own, number)
        drawn = torch.func.vmap(lambda key: random.normal(key, (count,)))(own.flatten(0, -2))
        return drawn.view(*own.shape[:-1], count)
    keys = keys.contiguous()
    first = None if at is None else at.to(torch.int32).contiguous()
    out = torch.empty(*keys.shape[:-1], steps, count)
    compiling.kernel(SOURCE).neoteny_normal(
        ctypes.c_void_p(keys.data_ptr()),
        None if first is None else ctypes.c_void_p(first.data_ptr()),
        ctypes.c_int64(keys.numel() // 2),
        ctypes.c_int64(steps),
        _words(folded),
        ctypes.c_int64(len(folded)),
        ctypes.c_int64(count),
        ctypes.c_void_p(out.data_ptr()),
    )
    return out


def perturb(key: Tensor, folded: Sequence[int], tensors: Sequence[Tensor], sigma: float) -> None:
    """Add sigma times standard normal numbers to tensors, in place: those of `normals`, one after the other.

    Args:
        key: int32 `[2]`, for which `at_once` holds.
        folded: what is folded into it.
        tensors: float32, contiguous, on a CPU.
        sigma: the factor.

    >>> tensors = [torch.zeros(2, 3), torch.zeros(5)]
    >>> if at_once(random.key(3)):
    ...     perturb(random.key(3), (5,), tensors, 0.5)
    ...     drawn = normals(random.key(3), 11, (5,))[0]
    ...     assert torch.equal(torch.cat([tensor.flatten() for tensor in tensors]), 0.5 * drawn)
    """
    count = len(tensors)
    compiling.kernel(SOURCE).neoteny_perturb(
        ctypes.c_void_p(key.contiguous().data_ptr()),
        _words(folded),
        ctypes.c_int64(len(folded)),
        (ctypes.c_int64 * count)(*map(Tensor.data_ptr, tensors)),
        (ctypes.c_int64 * count)(*map(Tensor.numel, tensors)),
        ctypes.c_int64(count),
        ctypes.c_float(sigma),
    )


def _words(numbers: Sequence[int]) -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * len(numbers))(*(number & 0xFFFFFFFF for number in numbers))
