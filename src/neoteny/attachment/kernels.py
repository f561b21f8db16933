"""The compiled kernels of a step on a CPU, and the tensors that they take.

On a small network a step's methods cost hundreds of calls of a microsecond or two, each of which does the work of
nanoseconds; the kernels do it in a few calls. They are compiled when they are first needed, which takes two seconds,
and kept in torch's cache folder. Where they do not serve (no compiler, another device or type, parameters in part),
tensors do the same. The two differ by rounding, so processes that train together, and must not differ, do without.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neoteny import compiling
from neoteny.units.random import eager
from neoteny.units.slices import Slices

__all__ = ["fields", "kernels", "positions", "serves", "worthwhile"]

SOURCE = Path(__file__).with_name("kernels.cpp")
_KINDS = {"l": ctypes.c_int64, "f": ctypes.c_float, "d": ctypes.c_double}
_SIGNATURES = {
    "neoteny_sum": "lll",
    "neoteny_judge": "lllff",
    "neoteny_listen": "lllllllf",
    "neoteny_correct": "llllll",
}
_RESULTS = {"neoteny_listen": ctypes.c_int64}
_PLAIN = (Tensor, nn.Parameter)
_SERIAL = 2**20  # entries on which one thread is about as fast as several with torch's calls


def kernels() -> ctypes.CDLL | None:
    """The compiled kernels; None without a compiler, and where operations do not run at once."""
    return _loaded() if eager() else None


@functools.cache
def _loaded() -> ctypes.CDLL | None:
    library = compiling.optional(SOURCE)
    for name, kinds in _SIGNATURES.items() if library is not None else ():
        function = getattr(library, name)
        function.argtypes, function.restype = [_KINDS[kind] for kind in kinds], _RESULTS.get(name)
    return library


def serves(tensor: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether a kernel can take a tensor's memory as it lies: on a CPU, of the type it reads, without gaps."""
    return (
        tensor.dtype is dtype
        and type(tensor) in _PLAIN
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
    )


def worthwhile(entries: int) -> bool:
    """Whether a kernel, which has one thread, is no slower than torch is with those that it has."""
    return entries <= _SERIAL or torch.get_num_threads() == 1


def fields(whole: str, floats: str = "", doubles: str = "") -> list[tuple[str, Any]]:
    """The fields of a structure in order, for `ctypes`: addresses and whole numbers, then those of other types.

    >>> fields("address size", "factor")[1:]
    [('size', <class 'ctypes.c_long'>), ('factor', <class 'ctypes.c_float'>)]
    """
    kinds = {"l": whole, "f": floats, "d": doubles}
    return [(name, _KINDS[kind]) for kind, names in kinds.items() for name in names.split()]


def positions(slices: Slices) -> Tensor | None:
    """The positions of units in their order, `[units * k]`; None where they are the first ones in order."""
    return None if slices.contiguous else slices.positions().flatten().contiguous()
