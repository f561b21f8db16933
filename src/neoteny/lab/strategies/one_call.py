"""One compiled call for each step, which writes a run's carry in place: for learners that act between steps.

The other strategies are fast because one call does many steps. A learner that acts after each step needs a call for
every step, so here the call itself is made cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from neoteny.lab.clocks import Due
from neoteny.lab.in_place import InPlace
from neoteny.lab.objective import Batch, Tensors
from neoteny.lab.step import Carry
from neoteny.lab.strategies.base import LAYERS_COMPILED, Names, put_together, taken_apart
from neoteny.lab.strategies.loop import Loop

Step = Callable[..., tuple[Carry, Any]]
"""A function of (carry, hyper, key, *tensors) of one run that gives the new carry and a result."""


class OneCall(Loop):
    """One run after the other, one call for each step. A run's tensors keep their place in memory."""

    name: ClassVar[str] = "one-call"
    _kernels: list[Callable[..., None]] | None = None

    def load(self, carry: Carry) -> None:
        """Take over a carry of all runs; after the first time it is copied into the existing tensors."""
        runs = [tree_map(lambda leaf, run=run: leaf[run], carry) for run in range(self.runs)]
        if not hasattr(self, "_calls"):
            self._calls: dict[Any, InPlace] = {}
            self._idle, self._draws = (False,) * len(self.step.methods), any(self.step.draws)
            self._carries = [tree_map(lambda leaf: leaf.clone().contiguous(), own) for own in runs]
            if "interaction" in carry:  # what all runs did lies in one tensor
                self._interaction = {name: value.clone() for name, value in carry["interaction"].items()}
                for run, own in enumerate(self._carries):
                    own["interaction"] = {name: value[run] for name, value in self._interaction.items()}
            self._leaves = [[*tree_leaves(own), key] for own, key in zip(self._carries, self.keys, strict=True)]
        else:
            for old, new in zip(self._carries, runs, strict=True):
                tree_map(Tensor.copy_, old, new)

    def use(self, module: nn.Module, example: Tensor) -> None:
        """Take the objective's own kernel, where it has one."""
        kernel = self.step.objective.kernel
        here = self._carries[0]["count"].device.type == "cpu"  # the example is always on the CPU
        suits = kernel is not None and self.compile and not self.hyper and here
        make = kernel(self.step, module) if suits and kernel is not None else None
        self._kernels = None if make is None else [make(own) for own in self._carries]

    def interaction(self) -> dict[str, Tensor]:
        """The state of the interaction, in place."""
        return self._interaction

    @property
    def compile_seconds(self) -> float:
        """Seconds that compiling has taken."""
        return sum(call.seconds for call in self._calls.values())

    def _advance_one(self, run: int, batches: Batch, due: Due) -> None:
        names, leaves = taken_apart(batches)
        for step in range(leaves[0].shape[0]):
            row = [None if rows is None else rows[step : step + 1] for rows in due]
            self._learn_one(run, names, [leaf[step : step + 1] for leaf in leaves], row)

    def learn(self, batch: Batch, due: Due | None) -> None:
        """One step on a batch, a pytree of tensors `[R, B, ...]`; `due` is `[R, columns]` for each method."""
        names, leaves = taken_apart(batch)
        for run in range(self.runs):
            if run not in self.dropped:
                row = None if due is None else [None if rows is None else rows[run : run + 1] for rows in due]
                self._learn_one(run, names, self._part(run, leaves), row)

    def act(self, name: str, function: Callable[..., Any], *inputs: Tensor, evaluated: bool = False) -> Any:
        """The function with the tensors that act, or are evaluated, compiled; `name` identifies it."""
        averaged = evaluated and self._averages

        def acting(carry: Carry, hyper: Tensors, key: Tensor, *own: Tensor) -> tuple[Carry, Any]:
            return carry, function(self.step.evaluated(carry, hyper) if averaged else self.step.acted(carry), *own)

        what = ("act", name, averaged)
        found = [self._call(run, what, lambda: acting, self._part(run, inputs)) for run in range(self.runs)]
        return found[0] if self.runs == 1 else tree_map(lambda *leaves: torch.cat(leaves), *found)

    def _part(self, run: int, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        """One run's part `[1, ...]` of tensors `[R, ...]`."""
        return leaves if self.runs == 1 else [leaf[run : run + 1] for leaf in leaves]

    def _learn_one(self, run: int, names: Names, leaves: Sequence[Tensor], due: Sequence[Any] | None) -> None:
        active = self._idle
        if due is not None:
            active = tuple(rows is not None and bool(rows.any()) for rows in due)
            leaves = [*leaves, *(torch.as_tensor(rows) for rows, on in zip(due, active, strict=True) if on)]
        if self._kernels is not None:
            self._kernels[run](*leaves)
            return
        if self._draws:  # in a call of its own: many draws in the graph of a step would take minutes to compile
            leaves = [*leaves, *self._noise(1, self.keys[run], self._carries[run]["count"])]
        self._call(run, (names, active), lambda: self._learning(names, active), leaves)

    def _call(self, run: int, what: tuple[Any, ...], make: Callable[[], Step], given: Sequence[Tensor]) -> Any:
        """Call the function that `make` returns; it is compiled at the first call with tensors of these shapes."""
        if self.hyper:
            given = [*self._part(run, list(self.hyper.values())), *given]
        given = [leaf.contiguous() for leaf in given]
        known = (*what, *[(leaf.shape, leaf.dtype) for leaf in given])
        call = self._calls.get(known)
        if call is None:
            resets = isinstance(what[-1], tuple) and any(what[-1])
            few = not resets or len(self.step.network.layers) <= LAYERS_COMPILED
            example = [self.keys[run], *given]
            call = InPlace(self._of_one_run(make()), self._carries[run], example, self.compile and few)
            self._calls[known] = call
        return call([*self._leaves[run], *given])

    def _of_one_run(self, function: Step) -> Callable[..., tuple[Carry, Any]]:
        """The function of (carry, key, *tensors `[1, ...]`), settings first; its result is `[1, ...]` too."""
        names = list(self.hyper)

        def call(carry: Carry, key: Tensor, *given: Tensor) -> tuple[Carry, Any]:
            own = [leaf[0] for leaf in given]
            hyper = dict(zip(names, own[: len(names)], strict=True))
            carry, result = function(carry, hyper, key, *own[len(names) :])
            return carry, tree_map(lambda leaf: leaf.unsqueeze(0), result)

        return call

    def _learning(self, names: Names, active: tuple[bool, ...]) -> Step:
        """A step on the tensors of a batch, what is due for methods marked `active`, and noise for those that draw."""

        def learn(carry: Carry, hyper: Tensors, key: Tensor, *given: Tensor) -> tuple[Carry, tuple[()]]:
            batch, rest = put_together(names, given)
            rest = iter(rest)
            due = [next(rest) if on else None for on in active]
            noise = [next(rest) if draws else None for draws in self.step.draws]
            return self.step(carry, hyper, key, batch, due, noise), ()

        return learn
