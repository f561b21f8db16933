"""One operation on many tensors: one call of torch, or one for each where torch takes no lists (transforms, graphs).

A small network's step is so short that a call for each of its parameters takes much of it.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["add", "apply", "cast", "lerp"]

Scalar = Any
"""A number, or a tensor `[]`."""


def add(these: list[Tensor], others: list[Tensor], factor: Scalar = 1) -> list[Tensor]:
    """`this + factor * other` for each pair.

    >>> import torch
    >>> add([torch.ones(2)], [torch.ones(2)], 0.5)
    [tensor([1.5000, 1.5000])]
    """
    import torch

    if _in_one(these, factor):
        return list(torch._foreach_add(these, others, alpha=factor))
    return [this + factor * other for this, other in zip(these, others, strict=True)]


def apply(name: str, these: list[Tensor], others: list[Tensor] | Scalar | None = None) -> list[Tensor]:
    """What torch's function of this name makes of each tensor, of each pair, or of each tensor and a number.

    >>> import torch
    >>> apply("mul", [torch.ones(2)], [torch.tensor([2.0, 3.0])])
    [tensor([2., 3.])]
    """
    import torch

    given = [] if others is None else [others]
    if _in_one(these, others if isinstance(others, torch.Tensor) else 1):
        return list(getattr(torch, f"_foreach_{name}")(these, *given))
    function = getattr(torch, name)
    if isinstance(others, list):
        return [function(this, other) for this, other in zip(these, others, strict=True)]
    return [function(this, *given) for this in these]


def cast(these: list[Tensor], like: list[Tensor]) -> list[Tensor]:
    """Each in the type of the other of its pair; itself where it has that type."""
    return [
        this if this.dtype is other.dtype else this.to(other.dtype) for this, other in zip(these, like, strict=True)
    ]


def lerp(these: list[Tensor], ends: list[Tensor], share: Scalar) -> list[Tensor]:
    """`this + share * (end - this)` for each pair, exactly `this` where both are equal."""
    import torch

    if isinstance(share, torch.Tensor):
        of = {kind: share.to(kind) for kind in {this.dtype for this in these}}
        weights = [of[this.dtype] for this in these]
    else:
        weights = [share] * len(these)
    if _in_one(these):
        return list(torch._foreach_lerp(these, ends, weights if isinstance(share, torch.Tensor) else share))
    return [torch.lerp(this, end, weight) for this, end, weight in zip(these, ends, weights, strict=True)]


def _in_one(tensors: list[Tensor], factor: Scalar = 1) -> bool:
    from neoteny.units.random import eager

    return bool(tensors) and isinstance(factor, (int, float)) and eager()
