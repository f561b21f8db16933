"""Sums over all weights that a rule trains, which bounds on whole networks need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["sum_over"]


def sum_over(tensors: Mapping[str, Tensor], term: Callable[[str, Tensor], Tensor]) -> Tensor:
    """The sum of a term of each entry, over all tensors, `[]`; the term gets a tensor's name and the tensor.

    >>> import torch
    >>> sum_over({"w": torch.tensor([1.0, -2.0]), "b": torch.tensor([3.0])}, lambda _, value: value.abs())
    tensor(6.)
    """
    import torch

    return torch.stack([term(name, value).sum() for name, value in tensors.items()]).sum()
