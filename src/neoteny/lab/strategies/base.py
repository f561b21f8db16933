"""What a strategy is: one way of advancing R independent runs; all give equal results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_unflatten

from neoteny.lab.clocks import Due
from neoteny.lab.graph import Graph
from neoteny.lab.in_place import Advance
from neoteny.lab.objective import Batch
from neoteny.lab.step import Carry, TrainingStep
from neoteny.methods.base import Method
from neoteny.units.noise import at_once

LAYERS_COMPILED = 8
"""Steps with resets are compiled only for networks with at most this many unit layers. Such steps are rare. For the 17
unit layers of a ResNet-18 compiling takes more than ten minutes of a core, and an uncompiled step only 1.5 times as
long."""


Names = tuple[str, ...] | TreeSpec
"""The names of a batch's tensors, or the batch's structure."""


class Strategy(ABC):
    """R runs of one training step.

    Args:
        step: the step of one run.
        carries: the carry of each run, on the device.
        hyper: settings that differ between runs, `[R]` each.
        keys: random key of each run, int32 `[R, 2]`.
        unroll: steps in one compiled graph.
        compile: whether graphs are compiled at all.
    """

    name: ClassVar[str] = ""
    steps_dim: ClassVar[int] = 0
    """The dimension of steps in what `run` is given."""

    def __init__(
        self,
        step: TrainingStep,
        carries: Sequence[Carry],
        hyper: dict[str, Tensor],
        keys: Tensor,
        unroll: int,
        compile: bool,
    ):
        self.step = step
        self.hyper = hyper
        self.keys = keys
        self.unroll = unroll
        self.levels = tuple(dict.fromkeys((unroll, max(unroll // 4, 1), 1)))
        self.compile = compile
        self.runs = len(carries)
        self.dropped: set[int] = set()
        self._graphs: dict[tuple[Any, ...], Graph | Advance] = {}
        self._noises: dict[int, Graph] = {}
        self.load(stack(carries))

    @classmethod
    def unroll_for(cls, module: nn.Module, example: Tensor) -> int:
        """Steps in one graph: several if a step is so short that calling it would take much of the time."""
        work = example.shape[0] * sum(parameter.numel() for parameter in module.parameters())
        convolutional = any(parameter.dim() > 2 for parameter in module.parameters())
        return 1 if convolutional or work > 10**6 else 4

    def use(self, module: nn.Module, example: Tensor) -> None:  # noqa: B027 - optional
        """Look at one of the networks, once; for strategies that need more than its tensors."""

    @abstractmethod
    def load(self, carry: Carry) -> None:
        """Take over a carry with a leading dimension of runs."""

    @abstractmethod
    def carry(self) -> Carry:
        """The carry of all runs, with a leading dimension of runs."""

    @abstractmethod
    def advance(self, batches: Batch, due: Due) -> None:
        """Train on batches, a pytree of tensors `[R, S, B, ...]`."""

    def learn(self, batch: Batch, due: Due | None) -> None:
        """One step on a batch, a pytree of tensors `[R, B, ...]`; `due` is `[R, columns]` for each method."""
        rows = [None] * len(self.step.methods) if due is None else due
        self.advance(
            tree_map(lambda leaf: leaf.unsqueeze(1), batch), [None if row is None else row[:, None] for row in rows]
        )

    @property
    def _averages(self) -> bool:
        """Whether a method has the networks evaluated with other tensors than those that learn."""
        return any(type(method).evaluated is not Method.evaluated for method in self.step.methods)

    def act(self, name: str, function: Callable[..., Any], *inputs: Tensor, evaluated: bool = False) -> Any:
        """The function with the tensors that act, or are evaluated, for calls between steps; `name` identifies it."""
        with torch.no_grad():
            return (self.evaluated if evaluated else self.acted)(function, *inputs)

    def each(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(tensors, *arguments)` for every run; arguments and results are pytrees of tensors `[R, ...]`."""
        return torch.func.vmap(function)(self.carry()["tensors"], *arguments)

    def acted(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The same, with the tensors that act while learning."""
        if self.step.objective.evaluated is None:
            return self.each(function, *arguments)

        def own(carry: Carry, *given: Any) -> Any:
            return function(self.step.acted(carry), *given)

        return torch.func.vmap(own)(self.carry(), *arguments)

    def evaluated(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The same, with the tensors that the networks are to be evaluated with."""
        if not self._averages:
            return self.acted(function, *arguments)

        def own(carry: Carry, hyper: dict[str, Tensor], *given: Any) -> Any:
            return function(self.step.evaluated(carry, hyper), *given)

        return torch.func.vmap(own)(self.carry(), self.hyper, *arguments)

    def take_sums(self) -> dict[str, Tensor]:
        """Sums of loss and accuracy since they were last taken, float64 `[R]`, on the device; sets them back to 0."""
        carry = self.carry()
        sums = {name: value.clone() for name, value in carry["sums"].items()}
        self.load({**carry, "sums": {name: torch.zeros_like(value) for name, value in sums.items()}})
        return sums

    def at_task(self) -> None:
        """Let every method act on a task boundary."""
        with torch.no_grad():
            carry = torch.func.vmap(self.step.at_task)(self.carry(), self.hyper, self.keys)
            # contiguous: a graph is compiled for the strides of its first call, and vmap may give expanded tensors
            self.load(tree_map(torch.Tensor.contiguous, carry))

    def begin(self, batch: Batch) -> None:
        """Let the interaction of every run begin with a batch, a pytree of tensors `[R, ...]`."""
        with torch.no_grad():
            carry = torch.func.vmap(self.step.begin)(self.carry(), self.hyper, batch)
            self.load(tree_map(torch.Tensor.contiguous, carry))

    def interaction(self) -> dict[str, Tensor]:
        """The state of the interaction, `[R, ...]`."""
        return self.carry()["interaction"]

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on first calls of compiled graphs."""
        return sum(graph.seconds for graph in (*self._graphs.values(), *self._noises.values()))

    def run(self, carry: Carry, hyper: dict[str, Tensor], key: Tensor, batches: Batch, due: Due) -> Carry:
        """Advance a carry over all steps of the batches; the second to last dimension of `due` is that of steps."""
        names, leaves = taken_apart(batches)
        dim, first = self.steps_dim, leaves[0]
        rows = [None if r is None or not r.any() else torch.as_tensor(r, device=first.device) for r in due]
        now, structure = tree_flatten(carry)
        fixed = tree_leaves((hyper, key))

        def piece(tensor: Tensor, start: int, length: int) -> Tensor:
            # contiguous: a graph is compiled for the strides of its first call
            return tensor.narrow(dim, start, length).contiguous()

        for start, length, active in plan(due, first.shape[dim], self.levels):
            acting = [piece(row, start, length) for row, on in zip(rows, active, strict=True) if on and row is not None]
            noise = self._noise(length, key, tree_unflatten(now, structure)["count"]) if any(self.step.draws) else []
            batch = [piece(leaf, start, length) for leaf in leaves]
            # a graph checks nothing: batches of another size or type need one of their own
            known = (length, active, *[(leaf.shape, leaf.dtype) for leaf in batch])
            if known not in self._graphs:
                given = tree_unflatten(now, structure), (hyper, key, put_together(names, batch)[0], acting, noise)
                few = not any(active) or len(self.step.network.layers) <= LAYERS_COMPILED
                function = self.mapped(unrolled(self.step, length, active))
                self._graphs[known] = self.graph(function, *given, self.compile and few)
            now = list(self._graphs[known]([*now, *fixed, *batch, *acting, *noise]))
        return tree_unflatten(now, structure)

    def _noise(self, length: int, key: Tensor, count: Tensor) -> list[Tensor]:
        if at_once(key):
            return self.step.noise(key, count, length)
        if length not in self._noises:
            function = self.mapped(lambda key, count: self.step.noise(key, count, length))
            self._noises[length] = Graph(function, tree_flatten((key, count))[1], self.compile)
        return list(self._noises[length]([key, count]))

    def graph(
        self, function: Callable[..., Carry], carry: Carry, arguments: Sequence[Any], compile: bool
    ) -> Graph | Advance:
        """A function of a carry and more that gives the new carry, as a call with the flat list of all tensors."""
        return Graph(function, tree_flatten((carry, *arguments))[1], compile)

    def mapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function of one run in the form that this strategy needs."""
        return function


def unrolled(step: TrainingStep, length: int, active: tuple[bool, ...]) -> Callable[..., Carry]:
    """`length` steps one after the other.

    It takes batches `[length, B, ...]`, due `[length, columns]` for each active method and noise `[length, draws]` for
    each method that draws.
    """

    def chunk(
        carry: Carry,
        hyper: dict[str, Tensor],
        key: Tensor,
        batches: Batch,
        due: list[Tensor],
        noise: list[Tensor],
    ) -> Carry:
        structure = tree_flatten(carry)[1]  # the order of the tensors stays, from call to call
        for k in range(length):
            rows, drawn = iter(due), iter(noise)
            carry = step(
                carry,
                hyper,
                key,
                tree_map(lambda leaf, k=k: leaf[k], batches),
                [next(rows)[k] if is_due else None for is_due in active],
                [next(drawn)[k] if draws else None for draws in step.draws],
            )
        return tree_unflatten(structure.flatten_up_to(carry), structure)

    return chunk


def stack(carries: Sequence[Carry]) -> Carry:
    """Carries of single runs as one with a leading dimension of runs."""
    return tree_map(lambda *leaves: torch.stack(leaves), *carries)


def plan(due: Due, steps: int, levels: Sequence[int]) -> list[tuple[int, int, tuple[bool, ...]]]:
    """`(start, length, active)` of the calls that make up `steps` steps.

    A step in which something is due is a call of its own, for the methods that are due. The steps between are divided
    into graphs of the lengths in `levels`, longest first, which contain no resets.

    >>> plan([np.array([[0], [0], [0], [1], [0]])], 5, (2, 1))
    [(0, 2, (False,)), (2, 1, (False,)), (3, 1, (True,)), (4, 1, (False,))]
    """
    flags = np.zeros((steps, len(due)), dtype=bool)
    for number, rows in enumerate(due):
        if rows is not None:
            flags[:, number] = rows.any(axis=tuple(axis for axis in range(rows.ndim) if axis != rows.ndim - 2))
    idle = (False,) * len(due)
    calls, position = [], 0
    for stop in [*np.flatnonzero(flags.any(axis=1)).tolist(), steps]:
        for length in levels:
            while position + length <= stop:
                calls.append((position, length, idle))
                position += length
        if stop < steps:
            calls.append((stop, 1, tuple(flags[stop].tolist())))
            position = stop + 1
    return calls


def taken_apart(batch: Batch) -> tuple[Names, list[Tensor]]:
    """The names of a batch's tensors (or its structure), and the tensors."""
    leaves = list(batch.values()) if type(batch) is dict else []
    for leaf in leaves:
        if type(leaf) is not Tensor:
            break
    else:
        if leaves:  # the usual batch: ten times faster than `tree_flatten`
            return tuple(batch), leaves
    leaves, spec = tree_flatten(batch)
    return spec, leaves


def put_together(names: Names, tensors: Sequence[Tensor]) -> tuple[Batch, Sequence[Tensor]]:
    """The batch, and the tensors that are not part of it."""
    if isinstance(names, TreeSpec):
        count = names.num_leaves
        return tree_unflatten(list(tensors[:count]), names), tensors[count:]
    return dict(zip(names, tensors, strict=False)), tensors[len(names) :]
