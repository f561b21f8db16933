"""Which units of which producers an index of a tensor reads: followed along autograd's graph.

From the tensor back to the outputs of producers each operation says which indices of its inputs it hands on
(`graph_rules.py`). What several tensors share, such as a residual stream, is followed once. Where an operation has no
rule, its gradients are asked (`reading.py`). An operand that is the same along the index, made of the very producers
that the other operand reads index by index, is a statistic: a norm written by hand.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from neoteny.errors import NetworkError
from neoteny.units.graph_rules import ACTIVATIONS, NORMS, RULES
from neoteny.units.links import Asked, Link
from neoteny.units.reading import Codes, Leaf, read_edge

__all__ = ["Graph", "Unanswered", "came_from", "distinct", "title_of"]

_TITLE = re.compile(r"Backward\d*$")
_BINARY = ("Add", "Sub", "Mul", "Div")
_MOST = 2**15  # indices of which gradients can be asked
_MANY = 2**22  # pairs that are written down where gradients might say in short that there is no order in them
_DEPTH = 100_000  # operations one behind the other; following them costs no C stack


class Unanswered(Exception):
    """The rules alone cannot tell what a tensor reads."""


class Graph:
    """The graph of one forward pass, back to the outputs of producers.

    Args:
        leaves: outputs of producers, tensors that need gradients and have none.
        asks: whether gradients are asked where an operation has no rule; else `Unanswered` is raised, and also where
            there would be millions of pairs.

    Attributes:
        varies: whether an answer may depend on the values, so that others may show more.
        statistics: producers whose units reach an index through a statistic over several units.

    >>> import torch
    >>> x = torch.ones(3, 2, requires_grad=True)
    >>> graph = Graph([Leaf("x", x, 1)])
    >>> graph.read(torch.cat([x[:, 1:], x.relu()], 1), (1,))  # reads units 1, 0, 1
    {'x': array([1, 2, 5])}
    >>> graph.read(x / x.norm(dim=1, keepdim=True), (1,)), graph.statistics
    ({'x': array([0, 3])}, {'x'})
    """

    def __init__(self, leaves: Iterable[Leaf], asks: bool = True):
        self._asks = asks
        self._leaves = {id(leaf.tensor): leaf for leaf in leaves}
        self._units = {leaf.producer: leaf.units for leaf in self._leaves.values()}
        self._known: dict[Any, Codes] = {}
        self._below: dict[Any, bool] = {}
        self.varies = False
        self.statistics: set[str] = set()

    def read(self, value: Tensor, dims: tuple[int, ...]) -> Codes:
        """The pairs (index along `dims`, unit) that the value reads; with no dims, it is taken as a whole."""
        if not value.requires_grad:
            return {}
        node = value.grad_fn
        if node is None:
            leaf = self._leaves.get(id(value))
            return {} if leaf is None else {leaf.producer: _own(leaf, tuple(value.shape), dims, ())}
        with _deep():
            return self._asked(Asked(node, value.output_nr, dims, ()))

    def _asked(self, asked: Asked) -> Codes:
        if asked not in self._known:  # the key keeps the node alive, so that no other takes its identity
            self._known[asked] = self._answer(asked) if self.reaches(asked.node) else {}
        return self._known[asked]

    def _answer(self, asked: Asked) -> Codes:
        variable = getattr(asked.node, "variable", None)
        if variable is not None:
            leaf = self._leaves[id(variable)]
            if not self._asks and leaf.dim not in asked.dims and math.prod(asked.sizes) * leaf.units > _MANY:
                raise Unanswered
            return {leaf.producer: _own(leaf, tuple(variable.shape), asked.dims, asked.within)}
        links = self._links(asked)
        if links is None:
            self.varies = True
            if not self._asks:
                raise Unanswered
            if (count := math.prod(asked.sizes)) > _MOST:
                raise NetworkError(
                    f"The operation {title_of(asked.node)} takes apart an index of {count:,} entries, which cannot be "
                    "followed; name the unit layers by hand with neoteny.units.declare."
                )
            return read_edge(asked.node, asked.number, asked.dims, self._leaves_below(asked.node))
        title = title_of(asked.node)
        if title in NORMS and asked.dims:
            links = [link for link in links if link.edge == 0]
        answers = [self._through(asked, link) for link in links]
        if title in NORMS and len(asked.dims) and not title.endswith("BatchNorm"):
            self.statistics.update(answers[0] if answers else ())
        if title in _BINARY and len(links) == 2:
            answers = self._without_statistics(asked, links, answers)
        return _union(answers)

    def _through(self, asked: Asked, link: Link) -> Codes:
        node, number = asked.node.next_functions[link.edge]
        codes = self._asked(Asked(node, number, link.dims, link.within))
        return {name: _carried(pairs, link, self._units[name]) for name, pairs in codes.items()}

    def _links(self, asked: Asked) -> list[Link] | None:
        rule = RULES.get(title_of(asked.node))
        links = None if rule is None else rule(asked)
        if links is not None:
            if title_of(asked.node) == "Mul" and any(k.source is not None and (k.source < 0).any() for k in links):
                self.varies = True  # a mask of the values, as in x * (x > 0)
            reached = {k for k in asked.edges() if self.reaches(asked.node.next_functions[k][0])}
            if reached - {link.edge for link in links} and title_of(asked.node) in ("Convolution", "Index", "Gather"):
                return None  # such as a kernel that the network computes
            links = [link for link in links if link.edge in reached]
        return links

    def _without_statistics(self, asked: Asked, links: list[Link], answers: list[Codes]) -> list[Codes]:
        """Of two operands that read the same producers, leave out of the one that is a statistic what it shares."""
        flat = [len(link.dims) < len(asked.dims) or self._spread(asked, link) for link in links]
        if flat[0] == flat[1]:
            return answers
        whole, statistic = answers if flat[1] else answers[::-1]
        self.statistics.update(whole.keys() & statistic.keys())
        return [whole, {name: codes for name, codes in statistic.items() if name not in whole}]

    def _spread(self, asked: Asked, link: Link) -> bool:
        """Whether an operand was expanded along the index."""
        node, number = asked.node.next_functions[link.edge]
        if title_of(node) != "Expand":
            return False
        inner = RULES["Expand"](Asked(node, number, link.dims, link.within))
        return bool(inner) and len(inner[0].dims) < len(link.dims)

    def reaches(self, node: Any) -> bool:
        """Whether a producer's output lies behind an operation."""
        below, ahead = self._below, [node]
        while ahead:
            at = ahead[-1]
            if at in below:
                ahead.pop()
                continue
            variable = getattr(at, "variable", None)
            if variable is not None:
                below[at] = id(variable) in self._leaves
                continue
            behind = [n for n, _ in at.next_functions if n is not None]
            open_ = [n for n in behind if n not in below]
            if open_:
                ahead.extend(open_)
            else:
                below[at] = any(below[n] for n in behind)
        return below[node]

    def _leaves_below(self, node: Any) -> list[Leaf]:
        found = self.variables([node])
        return [leaf for key, leaf in self._leaves.items() if key in found]

    @staticmethod
    def variables(nodes: Iterable[Any]) -> set[int]:
        """The identities of the tensors without a history on which operations depend."""
        seen, found, ahead = set(), set(), list(nodes)
        while ahead:
            node = ahead.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if (variable := getattr(node, "variable", None)) is not None:
                found.add(id(variable))
            ahead.extend(n for n, _ in node.next_functions)
        return found

    def active(self, value: Tensor) -> bool:
        """Whether an activation lies between a tensor and the producers whose sum it is."""
        seen, ahead = set(), [value.grad_fn]
        while ahead:
            node = ahead.pop()
            if node is None or node in seen or not self.reaches(node):
                continue
            seen.add(node)
            if title_of(node) in ACTIVATIONS:
                return True
            ahead.extend(n for n, _ in node.next_functions)
        return False


def came_from(value: Tensor, wanted: Callable[[Any], Any]) -> Any:
    """What `wanted` says of the first operation behind a tensor that is more than another view of it; None else."""
    node = value.grad_fn
    while node is not None:
        if (found := wanted(node)) is not None:
            return found
        if title_of(node) not in ("View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "Clone", "Squeeze",
                                  "Unsqueeze", "T", "Alias", "ToCopy"):  # fmt: skip
            return None
        node = node.next_functions[0][0]
    return None


def title_of(node: Any) -> str:
    """What an operation is called: `Add` for `AddBackward0`."""
    return _TITLE.sub("", node.name().rpartition("::")[2])


def _own(leaf: Leaf, shape: tuple[int, ...], dims: tuple[int, ...], within: Any) -> np.ndarray:
    """The pairs of a producer's output with its own units."""
    sizes = [shape[d] for d in dims]
    count, units = math.prod(sizes), leaf.units
    index = np.arange(count)
    if leaf.dim is None:
        return index
    if leaf.dim in dims:
        return index * units + np.unravel_index(index, sizes)[dims.index(leaf.dim)]
    low, high = next(((lo, hi) for d, lo, hi in within if d == leaf.dim), (0, units))
    return (index[:, None] * units + np.arange(low, high)).ravel()


def _carried(codes: np.ndarray, link: Link, units: int) -> np.ndarray:
    """An input's pairs as pairs of the output."""
    if link.source is None and link.target is None:
        return codes
    index, unit = np.divmod(codes, units)
    if link.target is not None:
        moved = link.target[index]
        return distinct((moved * units + unit)[moved >= 0])
    assert link.source is not None
    low, high = np.searchsorted(index, link.source), np.searchsorted(index, link.source, side="right")
    times = np.where(link.source < 0, 0, high - low)
    at = np.repeat(low - np.cumsum(times) + times, times) + np.arange(times.sum())
    return np.repeat(np.arange(len(times)), times) * units + unit[at]


def distinct(codes: np.ndarray) -> np.ndarray:
    """Sorted, each once; numpy's own is slow, since it hashes."""
    codes = np.sort(codes, kind="stable")
    return codes[np.concatenate([[True], codes[1:] != codes[:-1]])] if len(codes) else codes


def _union(answers: list[Codes]) -> Codes:
    found: Codes = {}
    for answer in answers:
        for name, codes in answer.items():
            there = found.get(name)
            if there is None or there is codes or np.array_equal(there, codes):
                found[name] = codes
            else:
                found[name] = distinct(np.concatenate([there, codes]))
    return found


@contextmanager
def _deep() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
