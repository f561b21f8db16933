"""Magnitude and change of weights, and the norm of gradients.

Every function takes one tensor, or several that are taken together (the layers of a network). The first `leading`
dimensions (a stack of runs) stay in the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["distance_from_init", "gradient_norm", "weight_change", "weight_magnitude"]


def weight_magnitude(weights: Tensor | Iterable[Tensor], leading: int = 0) -> Tensor:
    """The mean absolute weight: of a layer, or over all entries of several.

    Args:
        weights: [..., *shape], one or several.
        leading: how many dimensions "..." stands for.

    Returns:
        [...].

    >>> import torch
    >>> weight_magnitude(torch.tensor([[1.0, -3.0]])), weight_magnitude([torch.ones(3), torch.zeros(1)])
    (tensor(2.), tensor(0.7500))

    Source: Dohare et al., Nature 632, 2024, Fig. 2 ("average weight magnitude").
    """
    tensors = _several(weights)
    entries = sum(tensor.shape[leading:].numel() for tensor in tensors)
    return _sum([_rows(tensor, leading).abs().sum(dim=-1) for tensor in tensors]) / entries


def gradient_norm(gradients: Tensor | Iterable[Tensor], leading: int = 0) -> Tensor:
    """The Euclidean norm of the gradient over all its entries.

    Args:
        gradients: [..., *shape], one or several.
        leading: how many dimensions "..." stands for.

    Returns:
        [...].

    >>> import torch
    >>> gradient_norm([torch.tensor([[3.0]]), torch.tensor([-4.0])])
    tensor(5.)
    """
    return _norm(_several(gradients), leading)


def weight_change(weights: Tensor | Iterable[Tensor], before: Tensor | Iterable[Tensor], leading: int = 0) -> Tensor:
    """How far the weights moved since `before`: the Euclidean norm of the difference over all entries.

    Args:
        weights: [..., *shape], one or several.
        before: the same tensors some updates ago: one update, or the updates between two measurements.
        leading: how many dimensions "..." stands for.

    Returns:
        [...].

    >>> import torch
    >>> weight_change(torch.tensor([1.0, 5.0]), before=torch.tensor([1.0, 3.0]))
    tensor(2.)
    """
    now = _several(weights)
    return _norm([a - b for a, b in zip(now, _several(before), strict=True)], leading)


def distance_from_init(
    weights: Tensor | Iterable[Tensor], initial: Tensor | Iterable[Tensor], leading: int = 0
) -> Tensor:
    """How far the weights are from their initial values: the Euclidean norm of the difference over all entries.

    Args:
        weights: [..., *shape], one or several.
        initial: the same tensors before the first update.
        leading: how many dimensions "..." stands for.

    Returns:
        [...].

    >>> import torch
    >>> distance_from_init([torch.ones(3), torch.ones(1)], initial=[torch.zeros(3), torch.zeros(1)])
    tensor(2.)
    """
    return weight_change(weights, initial, leading)


def _several(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    import torch

    return [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)


def _rows(tensor: Tensor, leading: int) -> Tensor:
    """The entries of each run, in single precision at least: sums of many in half precision overflow."""
    import torch

    precise = torch.promote_types(tensor.dtype, torch.float32)
    return tensor.reshape(*tensor.shape[:leading], -1).to(precise)


def _sum(parts: list[Tensor]) -> Tensor:
    import torch

    return torch.stack(parts).sum(dim=0)


def _norm(tensors: list[Tensor], leading: int) -> Tensor:
    # A norm of norms: each is scaled, so that squares of small entries do not vanish.
    import torch

    norms = [torch.linalg.vector_norm(_rows(tensor, leading), dim=-1) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)
