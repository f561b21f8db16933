"""Which units of which producers an index of a tensor reads: one-hot gradients, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CHUNK_BYTES = 64 * 2**20
"""About how many bytes a chunk of one-hot cotangents may take, gradients included."""

Codes = dict[str, np.ndarray]
"""For each producer the pairs (index j, unit u) as sorted numbers j * units + u."""


class Leaf(NamedTuple):
    """A module's output, replaced by a fresh tensor: its units lie along `dim`, or it is one as a whole (None)."""

    producer: str
    tensor: Tensor
    dim: int | None

    @property
    def units(self) -> int:
        """The number of units."""
        return 1 if self.dim is None else self.tensor.shape[self.dim]


def read_units(value: Tensor, dim: int | None, leaves: list[Leaf]) -> Codes:
    """The pairs (index along `dim`, unit) with a non-zero gradient, all positions of the index taken together.

    One-hot cotangents go over the indices or, through the gradient's own gradient, over the units: whichever are fewer
    (a map flattened into a linear layer has many more indices than units).

    Arguments:
        value: a tensor computed from the leaves.
        dim: the dimension of its indices; None takes it as a whole, with j = 0.
        leaves: outputs of producers.

    >>> x = torch.ones(3, 2, requires_grad=True)
    >>> read_units(torch.cat([x[:, 1:], x], 1), 1, [Leaf("x", x, 1)])  # reads units 1, 0, 1
    {'x': array([1, 2, 5])}
    """
    if dim is None:
        value, dim = value.reshape(1, -1), 0
    weights = _weights(value)
    grads = torch.autograd.grad(value, [leaf.tensor for leaf in leaves], weights, retain_graph=True, allow_unused=True)
    found = [(leaf, grad) for leaf, grad in zip(leaves, grads, strict=True) if grad is not None and (grad != 0).any()]
    if not found:
        return {}
    reached = [leaf for leaf, _ in found]
    length = value.shape[dim]
    if length == 1:
        return _merged(_by_index(0, reached, [grad.unsqueeze(0) for _, grad in found]))
    entries = 3 * value.numel() + 3 * sum(leaf.tensor.numel() for leaf in reached)
    chunk = max(1, CHUNK_BYTES // (value.element_size() * entries))
    if 2 * sum(leaf.units for leaf in reached) < length:
        try:
            return _merged(_by_unit(value, dim, reached, chunk))
        except RuntimeError:  # an operation whose gradient has none
            pass
    tensors = [leaf.tensor for leaf in reached]
    return _merged(
        pair
        for start in range(0, length, chunk)
        for pair in _by_index(start, reached, _one_hot_grads(value, tensors, weights, dim, start, start + chunk))
    )


def _by_index(start: int, leaves: list[Leaf], grads: list[Tensor]) -> Iterable[tuple[str, np.ndarray]]:
    for leaf, grad in zip(leaves, grads, strict=True):
        hit = grad != 0
        hit = hit.flatten(1).any(1, keepdim=True) if leaf.dim is None else _any_but_first_and(leaf.dim + 1, hit)
        j, unit = hit.nonzero().cpu().numpy().T
        yield leaf.producer, (j + start) * leaf.units + unit


def _by_unit(value: Tensor, dim: int, leaves: list[Leaf], chunk: int) -> Iterable[tuple[str, np.ndarray]]:
    # The gradient g(v) = J^T v is linear in its cotangent v: differentiating it with respect to v gives J's columns.
    cotangent = torch.ones_like(value).requires_grad_()
    grads = torch.autograd.grad(value, [leaf.tensor for leaf in leaves], cotangent, create_graph=True)
    for leaf, grad in zip(leaves, grads, strict=True):
        grad, along = (grad.reshape(1, -1), 0) if leaf.dim is None else (grad, leaf.dim)
        for start in range(0, leaf.units, chunk):
            (columns,) = _one_hot_grads(grad, [cotangent], _weights(grad), along, start, start + chunk)
            unit, j = _any_but_first_and(dim + 1, columns != 0).nonzero().cpu().numpy().T
            yield leaf.producer, j * leaf.units + unit + start


def _merged(found: Iterable[tuple[str, np.ndarray]]) -> Codes:
    parts: dict[str, list[np.ndarray]] = {}
    for producer, codes in found:
        parts.setdefault(producer, []).append(codes)
    return {producer: np.unique(np.concatenate(codes)) for producer, codes in parts.items()}


def _weights(like: Tensor) -> Tensor:
    """Random weights of the positions, so that their contributions do not cancel."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(like)


def _one_hot_grads(
    value: Tensor, wanted: list[Tensor], weights: Tensor, dim: int, start: int, stop: int
) -> list[Tensor]:
    """Gradients of `value` at each index of `dim` from start to stop, `[stop - start, *shape]` of each."""
    stop = min(stop, value.shape[dim])
    cotangents = value.new_zeros(stop - start, *value.shape)
    rows = torch.arange(stop - start, device=value.device)
    cotangents.movedim(dim + 1, 1)[rows, rows + start] = weights.movedim(dim, 0)[start:stop]
    try:
        return list(torch.autograd.grad(value, wanted, cotangents, retain_graph=True, is_grads_batched=True))
    except RuntimeError:  # an operation that cannot be batched
        singly = [torch.autograd.grad(value, wanted, cotangent, retain_graph=True) for cotangent in cotangents]
        return [torch.stack(grads) for grads in zip(*singly, strict=True)]


def _any_but_first_and(dim: int, tensor: Tensor) -> Tensor:
    """Whether any entry is True, over all dimensions but the first and `dim`, `[first, dim]`."""
    return tensor.movedim(dim, 1).flatten(2).any(2) if tensor.dim() > 2 else tensor
