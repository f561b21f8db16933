"""Ask gradients which units of which producers an index of a tensor reads: coded cotangents, in bounded memory.

An index mostly reads one unit of a producer, and a unit is mostly read at one index. Then the binary digits of the
index say enough: the gradient for all indices with a digit of 1, and that for all with a 0, are non-zero at the units
that such an index reads, so 2 log2(n) gradients tell what n would. Where this does not decide it, the
same is done with the units' digits, through the gradient's own gradient; where that does not either, every index is
asked by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

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


class _Value(NamedTuple):
    """An output of an operation in the graph, whose index runs along some of its dimensions."""

    edge: GradientEdge
    shape: tuple[int, ...]
    like: Tensor
    dims: tuple[int, ...]

    @property
    def length(self) -> int:
        """How many indices there are."""
        return math.prod(self.shape[d] for d in self.dims)

    def laid(self, masks: Tensor) -> Tensor:
        """Numbers of each index, `[masks, length]`, so that they broadcast against `[masks, *shape]`."""
        ordered = sorted(self.dims)
        masks = masks.unflatten(1, [self.shape[d] for d in self.dims]) if self.dims else masks
        masks = masks.permute(0, *(1 + self.dims.index(d) for d in ordered)) if self.dims else masks
        return masks.reshape(len(masks), *(n if d in self.dims else 1 for d, n in enumerate(self.shape)))


def read_edge(node: Any, number: int, dims: tuple[int, ...], leaves: list[Leaf]) -> Codes:
    """The pairs (index along `dims`, unit) with a non-zero gradient, all positions of the index taken together.

    Args:
        node: an operation in autograd's graph.
        number: which of its outputs.
        dims: the dimensions that the index runs along, in row-major order; none takes the output as a whole.
        leaves: outputs of producers on which it depends.

    >>> x = torch.ones(3, 2, requires_grad=True)
    >>> read_edge(torch.cat([x[:, 1:], x], 1).grad_fn, 0, (1,), [Leaf("x", x, 1)])  # reads units 1, 0, 1
    {'x': array([1, 2, 5])}
    """
    if not leaves:
        return {}
    about = node._input_metadata[number]
    like = torch.empty(0, dtype=about.dtype, device=about.device)
    value = _Value(GradientEdge(node, number), tuple(about.shape), like, dims)
    weights = _weights(value.shape, like)
    wanted = [leaf.tensor for leaf in leaves]
    grads = torch.autograd.grad([value.edge], wanted, [weights], retain_graph=True, allow_unused=True)
    found = [(leaf, grad) for leaf, grad in zip(leaves, grads, strict=True) if grad is not None and (grad != 0).any()]
    left, length = [leaf for leaf, _ in found], value.length
    if length == 1:
        return _merged((leaf.producer, np.flatnonzero(_hits(leaf.dim, grad.unsqueeze(0))[0])) for leaf, grad in found)
    pairs: list[tuple[str, np.ndarray]] = []
    if length > _FEW:
        left = _undecided(left, _by_index_digits(value, left, weights), pairs)
        with suppress(RuntimeError):  # an operation whose gradient has none
            left = _undecided(left, _by_unit_digits(value, left), pairs)
    for start, grads in _gradients(value, left, weights, torch.eye(length)):
        for leaf, grad in zip(left, grads, strict=True):
            j, unit = _hits(leaf.dim, grad).nonzero()
            pairs.append((leaf.producer, (j + start) * leaf.units + unit))
    return _merged(pairs)


def read_singly(value: Tensor, dim: int, leaves: list[Leaf]) -> list[np.ndarray | None]:
    """For each leaf the pairs, if no unit is read at two indices or no index reads two; else None.

    Cheaper than to find out what is read many to many. Leaves of one producer are one tensor along several dimensions:
    where one of these is decided, the others are not asked any further.

    >>> x = torch.ones(3, requires_grad=True)
    >>> read_singly(x * torch.ones(2, 3), 1, [Leaf("x", x, 0)])
    [array([0, 4, 8])]
    """
    asked = _Value(get_gradient_edge(value), tuple(value.shape), value.detach().flatten()[:0], (dim,))
    found = list(_by_index_digits(asked, leaves, _weights(value.shape, value)))
    decided = {leaf.producer for leaf, codes in zip(leaves, found, strict=True) if codes is not None}
    for number, leaf in enumerate(leaves):
        if leaf.producer not in decided:
            with suppress(RuntimeError):  # an operation whose gradient has none
                found[number] = next(_by_unit_digits(asked, [leaf]))
    return found


def _by_index_digits(value: _Value, leaves: list[Leaf], weights: Tensor) -> Iterator[np.ndarray | None]:
    """For each leaf its pairs, if each of its units is read at one index at most."""
    hits: list[list[np.ndarray]] = [[] for _ in leaves]
    for _, grads in _gradients(value, leaves, weights, _digits(value.length)):
        for several, leaf, grad in zip(hits, leaves, grads, strict=True):
            several.append(_hits(leaf.dim, grad))
    for several, leaf in zip(hits, leaves, strict=True):
        unit, j = _decoded(np.concatenate(several))
        yield None if j is None else j * leaf.units + unit


def _by_unit_digits(value: _Value, leaves: list[Leaf]) -> Iterator[np.ndarray | None]:
    """For each leaf its pairs, if each index reads one of its units at most."""
    if not leaves:
        return
    # The gradient g(v) = J^T v is linear in its cotangent v: differentiating it with respect to v gives J's columns.
    cotangent = torch.ones(value.shape).to(value.like).requires_grad_()
    wanted = [leaf.tensor for leaf in leaves]
    grads = torch.autograd.grad([value.edge], wanted, [cotangent], create_graph=True)
    for leaf, grad in zip(leaves, grads, strict=True):
        dims = () if leaf.dim is None else (leaf.dim,)
        whole = Leaf("", cotangent, None)
        if grad.grad_fn is None:
            yield None
            continue
        column = _Value(get_gradient_edge(grad), tuple(grad.shape), grad.detach()[:0], dims)
        weights = _weights(grad.shape, grad)
        found = [_along(value, grads[0]) for _, grads in _gradients(column, [whole], weights, _digits(leaf.units))]
        j, unit = _decoded(np.concatenate(found))
        yield None if unit is None else j * leaf.units + unit


def _along(value: _Value, grads: Tensor) -> np.ndarray:
    """At which indices each of several gradients of the value's shape is non-zero, bool `[gradients, indices]`."""
    hit = (grads != 0).movedim([d + 1 for d in value.dims], list(range(1, len(value.dims) + 1)))
    return hit.reshape(len(hit), value.length, -1).any(2).cpu().numpy()


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


def _hits(dim: int | None, grads: Tensor) -> np.ndarray:
    """At which units along `dim` each of several gradients is non-zero, bool `[gradients, units]`."""
    hit = grads != 0
    if dim is None:
        return hit.flatten(1).any(1, keepdim=True).cpu().numpy()
    hit = hit.movedim(dim + 1, 1)
    return (hit.flatten(2).any(2) if hit.dim() > 2 else hit).cpu().numpy()


def _merged(found: Iterable[tuple[str, np.ndarray]]) -> Codes:
    parts: dict[str, list[np.ndarray]] = {}
    for producer, codes in found:
        parts.setdefault(producer, []).append(codes)
    return {producer: np.unique(np.concatenate(codes)) for producer, codes in parts.items()}


def _weights(shape: Sequence[int], like: Tensor) -> Tensor:
    """Random weights of the positions, so that their contributions do not cancel."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(like)


def _gradients(value: _Value, leaves: list[Leaf], weights: Tensor, masks: Tensor) -> Iterator[tuple[int, list[Tensor]]]:
    """Gradients of the value for each mask over its indices, `[masks, *shape]` of each leaf, in chunks.

    Yields with each chunk the number of its first mask.
    """
    wanted = [leaf.tensor for leaf in leaves]
    entries = 3 * math.prod(value.shape) + 3 * sum(tensor.numel() for tensor in wanted)
    chunk = max(1, CHUNK_BYTES // (weights.element_size() * entries))
    for start in range(0, len(masks) if wanted else 0, chunk):
        cotangents = value.laid(masks[start : start + chunk].to(weights)) * weights
        try:
            grads = torch.autograd.grad([value.edge], wanted, [cotangents], retain_graph=True, is_grads_batched=True)
        except RuntimeError:  # an operation that cannot be batched
            singly = [torch.autograd.grad([value.edge], wanted, [one], retain_graph=True) for one in cotangents]
            grads = [torch.stack(several) for several in zip(*singly, strict=True)]
        yield start, list(grads)
