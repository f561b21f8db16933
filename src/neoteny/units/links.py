"""Links between the indices of an operation's output and those of its inputs.

An index runs along one or several dimensions of a tensor, `dims`, in row-major order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Asked", "Dims", "Link", "Rule", "broadcast", "link_by", "ravelled", "shape_of", "signed", "unravelled"]


Dims = tuple[int, ...]
Within = tuple[tuple[int, int, int], ...]
"""Only positions from `low` up to `high` along a dimension: (dimension, low, high), by dimension."""


@dataclass(frozen=True)
class Link:
    """An input of an operation, and how its indices belong to those of the output.

    Attributes:
        edge: which input.
        dims: the dimensions of the input that its index runs along.
        within: the positions of the input that matter.
        source: for each index of the output the input's index that it reads, or -1; None: the same.
        target: in place of it, for each index of the input the output's index that reads it, or -1.
    """

    edge: int
    dims: Dims
    within: Within = ()
    source: np.ndarray | None = None
    target: np.ndarray | None = None


class Asked(NamedTuple):
    """What is asked of an operation: along which dimensions of which output, and within which positions."""

    node: Any
    number: int
    dims: Dims
    within: Within

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of that output."""
        return shape_of(self.node, self.number)

    def input_shape(self, edge: int) -> tuple[int, ...] | None:
        """The shape of an input; None where it needs no gradient."""
        node, number = self.node.next_functions[edge]
        return None if node is None else shape_of(node, number)

    def edges(self) -> list[int]:
        """The inputs that need gradients."""
        return [k for k, (node, _) in enumerate(self.node.next_functions) if node is not None]

    @property
    def sizes(self) -> list[int]:
        """The sizes of `dims`."""
        return [self.shape[d] for d in self.dims]


Rule = Callable[[Asked], "list[Link] | None"]


def shape_of(node: Any, number: int) -> tuple[int, ...]:
    """The shape of an operation's output."""
    return tuple(int(size) for size in node._input_metadata[number].shape)


def unravelled(sizes: Sequence[int]) -> list[np.ndarray]:
    """For each index along several dimensions its place along each of them."""
    return list(np.unravel_index(np.arange(math.prod(sizes)), sizes)) if sizes else []


def ravelled(places: Sequence[np.ndarray], sizes: Sequence[int], count: int) -> np.ndarray:
    """The index for each of `count` places along several dimensions; -1 where one of them is negative."""
    index, valid = np.zeros(count, np.int64), np.ones(count, bool)
    for place, size in zip(places, sizes, strict=True):
        index, valid = index * size + place, valid & (place >= 0)
    return np.where(valid, index, -1)


def link_by(asked: Asked, edge: int, where: Callable[[int], int | None], sizes: Sequence[int]) -> Link:
    """A link along which dimension d of the output becomes `where(d)` of the input, of the given shape, or is lost."""
    now = [(k, where(d)) for k, d in enumerate(asked.dims)]
    kept = [(k, d) for k, d in now if d is not None]
    within = tuple(sorted((d, lo, hi) for old, lo, hi in asked.within if (d := where(old)) is not None))
    dims, source = tuple(d for _, d in kept), None
    if len(kept) < len(now):
        places = unravelled(asked.sizes)
        source = ravelled([places[k] for k, _ in kept], [sizes[d] for d in dims], math.prod(asked.sizes))
    return Link(edge, dims, within, source)


def broadcast(asked: Asked, edge: int) -> Link:
    """The link to an input that is broadcast to the output's shape."""
    own, shape = asked.input_shape(edge), asked.shape
    assert own is not None
    behind = len(shape) - len(own)

    def where(d: int) -> int | None:
        return None if d < behind or (own[d - behind] == 1 and shape[d] > 1) else d - behind

    return link_by(asked, edge, where, own)


def signed(number: int, length: int) -> int:
    """A dimension or position as torch saves it: negative ones wrap around."""
    number = number - 2**64 if number >= 2**63 else number
    return number + length if number < 0 else number
