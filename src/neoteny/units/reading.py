"""Which units of which producers an index of a tensor reads: gradients for coded cotangents, in bounded memory.

An index mostly reads one unit of a producer, and a unit is mostly read at one index. Then the binary digits of the
index say enough: the gradient for all indices with a digit of 1, and that for all with a 0, are non-zero at the units
that such an index reads, so 2 log2(n) gradients tell what n would. Where this does not decide it, the
same is done with the units' digits, through the gradient's own gradient; where that does not either, every index is
asked by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CHUNK_BYTES = 64 * 2**20
"""About how many bytes a chunk of cotangents may take, gradients included."""

_FEW = 16  # so many indices are asked one by one at once

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

    Args:
        value: a tensor computed from the leaves.
        dim: the dimension of its indices; None takes it as a whole, with j = 0.
        leaves: outputs of producers.

    >>> x = torch.ones(3, 2, requires_grad=True)
    >>> read_units(torch.cat([x[:, 1:], x], 1), 1, [Leaf("x", x, 1)])  # reads units 1, 0, 1
    {'x': array([1, 2, 5])}
    """
    if not leaves:
        return {}
    if dim is None:
        value, dim = value.reshape(1, -1), 0
    weights = _weights(value)
    grads = torch.autograd.grad(value, [leaf.tensor for leaf in leaves], weights, retain_graph=True, allow_unused=True)
    found = [(leaf, grad) for leaf, grad in zip(leaves, grads, strict=True) if grad is not None and (grad != 0).any()]
    left, length = [leaf for leaf, _ in found], value.shape[dim]
    if length == 1:
        return _merged((leaf.producer, np.flatnonzero(_hits(leaf, grad.unsqueeze(0))[0])) for leaf, grad in found)
    pairs: list[tuple[str, np.ndarray]] = []
    if length > _FEW:
        left = _undecided(left, _by_index_digits(value, dim, left, weights), pairs)
        with suppress(RuntimeError):  # an operation whose gradient has none
            left = _undecided(left, _by_unit_digits(value, dim, left), pairs)
    for start, grads in _gradients(value, left, weights, dim, torch.eye(length)):
        for leaf, grad in zip(left, grads, strict=True):
            j, unit = _hits(leaf, grad).nonzero()
            pairs.append((leaf.producer, (j + start) * leaf.units + unit))
    return _merged(pairs)


def read_singly(value: Tensor, dim: int, leaves: list[Leaf]) -> list[np.ndarray | None]:
    """For each leaf the pairs, if no position is read at two indices or no index reads two; else None.

    Cheaper than `read_units`, which also finds out what is read many to many.

    >>> x = torch.ones(3, requires_grad=True)
    >>> read_singly(x * torch.ones(2, 3), 1, [Leaf("x", x, 0)])
    [array([0, 4, 8])]
    """
    weights, found = _weights(value), []
    for leaf in leaves:
        codes = next(_by_index_digits(value, dim, [leaf], weights))
        if codes is None:
            with suppress(RuntimeError):
                codes = next(_by_unit_digits(value, dim, [leaf]))
        found.append(codes)
    return found


def _by_index_digits(value: Tensor, dim: int, leaves: list[Leaf], weights: Tensor) -> Iterator[np.ndarray | None]:
    """For each leaf its pairs, if each of its units is read at one index at most."""
    hits: list[list[np.ndarray]] = [[] for _ in leaves]
    for _, grads in _gradients(value, leaves, weights, dim, _digits(value.shape[dim])):
        for several, leaf, grad in zip(hits, leaves, grads, strict=True):
            several.append(_hits(leaf, grad))
    for several, leaf in zip(hits, leaves, strict=True):
        unit, j = _decoded(np.concatenate(several))
        yield None if j is None else j * leaf.units + unit


def _by_unit_digits(value: Tensor, dim: int, leaves: list[Leaf]) -> Iterator[np.ndarray | None]:
    """For each leaf its pairs, if each index reads one of its units at most."""
    if not leaves:
        return
    # The gradient g(v) = J^T v is linear in its cotangent v: differentiating it with respect to v gives J's columns.
    cotangent = torch.ones_like(value).requires_grad_()
    grads = torch.autograd.grad(value, [leaf.tensor for leaf in leaves], cotangent, create_graph=True)
    for leaf, grad in zip(leaves, grads, strict=True):
        grad, along = (grad.reshape(1, -1), 0) if leaf.dim is None else (grad, leaf.dim)
        whole = Leaf("", cotangent, dim)
        columns = _gradients(grad, [whole], _weights(grad), along, _digits(leaf.units))
        j, unit = _decoded(np.concatenate([_hits(whole, column) for _, (column,) in columns]))
        yield None if unit is None else j * leaf.units + unit


def _digits(length: int) -> Tensor:
    """Row 2b marks the numbers below `length` whose binary digit b is 1, row 2b + 1 the others, `[rows, length]`."""
    numbers = torch.arange(length)
    ones = torch.stack([numbers >> b & 1 for b in range(max(1, (length - 1).bit_length()))])
    return torch.stack([ones, 1 - ones], 1).flatten(0, 1)


def _decoded(hits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """What was hit, and by which number each; None in place of the numbers where one was hit by several."""
    ones, zeros = hits[0::2], hits[1::2]
    hit = np.flatnonzero((ones | zeros).any(0))
    if (ones & zeros).any():
        return hit, None
    return hit, (ones[:, hit].astype(np.int64) << np.arange(len(ones))[:, None]).sum(0)


def _undecided(
    leaves: list[Leaf], found: Iterable[np.ndarray | None], pairs: list[tuple[str, np.ndarray]]
) -> list[Leaf]:
    """Put what was found of each leaf into `pairs`; returns the leaves that are not decided."""
    left = []
    for leaf, codes in zip(leaves, list(found), strict=True):
        if codes is None:
            left.append(leaf)
        else:
            pairs.append((leaf.producer, codes))
    return left


def _hits(leaf: Leaf, grads: Tensor) -> np.ndarray:
    """At which units each of several gradients is non-zero, bool `[gradients, units]`."""
    hit = grads != 0
    if leaf.dim is None:
        return hit.flatten(1).any(1, keepdim=True).cpu().numpy()
    hit = hit.movedim(leaf.dim + 1, 1)
    return (hit.flatten(2).any(2) if hit.dim() > 2 else hit).cpu().numpy()


def _merged(found: Iterable[tuple[str, np.ndarray]]) -> Codes:
    parts: dict[str, list[np.ndarray]] = {}
    for producer, codes in found:
        parts.setdefault(producer, []).append(codes)
    return {producer: np.unique(np.concatenate(codes)) for producer, codes in parts.items()}


def _weights(like: Tensor) -> Tensor:
    """Random weights of the positions, so that their contributions do not cancel."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(like)


def _gradients(
    value: Tensor, leaves: list[Leaf], weights: Tensor, dim: int, masks: Tensor
) -> Iterator[tuple[int, list[Tensor]]]:
    """Gradients of `value` for each mask over the indices along `dim`, `[masks, *shape]` of each leaf, in chunks.

    Yields with each chunk the number of its first mask.
    """
    wanted = [leaf.tensor for leaf in leaves]
    entries = 3 * value.numel() + 3 * sum(tensor.numel() for tensor in wanted)
    chunk = max(1, CHUNK_BYTES // (value.element_size() * entries))
    shape = [1] * value.dim()
    shape[dim] = value.shape[dim]
    for start in range(0, len(masks) if wanted else 0, chunk):
        rows = masks[start : start + chunk].to(value)
        cotangents = rows.reshape(len(rows), *shape) * weights
        try:
            grads = torch.autograd.grad(value, wanted, cotangents, retain_graph=True, is_grads_batched=True)
        except RuntimeError:  # an operation that cannot be batched
            singly = [torch.autograd.grad(value, wanted, cotangent, retain_graph=True) for cotangent in cotangents]
            grads = [torch.stack(several) for several in zip(*singly, strict=True)]
        yield start, list(grads)
