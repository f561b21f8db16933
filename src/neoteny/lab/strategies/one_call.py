"""One compiled call a step that writes a run's carry in place: for learners that act between steps.

Other strategies are fast where many steps follow one another in one call. A learner that acts on what it has just
learned cannot wait for them, and pays for a call at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from neoteny.lab.in_place import InPlace
from neoteny.lab.objective import Batch, Tensors
from neoteny.lab.step import Carry
from neoteny.lab.strategies.base import LAYERS_COMPILED, Due
from neoteny.lab.strategies.loop import Loop


class OneCall(Loop):
    """One run after the other, each in a call of its own for every step. Its tensors stay where they are in memory."""

    name: ClassVar[str] = "one-call"

    def load(self, carry: Carry) -> None:
        """Take over a carry of all runs; written into the tensors that there are, once there are any."""
        given = [tree_map(lambda leaf, run=run: leaf[run], carry) for run in range(self.runs)]
        if not hasattr(self, "_leaves"):
            self._carries = [tree_map(lambda leaf: leaf.clone().contiguous(), own) for own in given]
            self._leaves = [tree_leaves(own) for own in self._carries]
            self._own_keys, self._idle = list(self.keys), (False,) * len(self.step.methods)
            self._calls: dict[Any, InPlace] = {}
            return
        for own, new in zip(self._carries, given, strict=True):
            tree_map(Tensor.copy_, own, new)

    def take_sums(self) -> dict[str, Tensor]:
        """The sums, which start anew."""
        names = self._carries[0]["sums"]
        sums = {name: torch.stack([carry["sums"][name] for carry in self._carries]) for name in names}
        for carry in self._carries:
            for value in carry["sums"].values():
                value.zero_()
        return sums

    @property
    def compile_seconds(self) -> float:
        """Seconds that compiling has taken."""
        return sum(call.seconds for call in self._calls.values())

    def _advance_one(self, run: int, batches: Batch, due: Due) -> None:
        names, leaves, build = _taken_apart(batches)
        for step in range(leaves[0].shape[0]):
            rows = [None if rows is None else rows[step : step + 1] for rows in due]
            self._learn_one(run, names, [leaf[step : step + 1] for leaf in leaves], build, rows)

    def learn(self, batch: Batch, due: Due | None) -> None:
        """One step on a batch, a pytree of tensors `[R, B, ...]`, with what is due in it, `[R, columns]` a method."""
        names, leaves, build = _taken_apart(batch)
        for run in range(self.runs):
            if run not in self.dropped:
                rows = None if due is None else [None if row is None else row[run : run + 1] for row in due]
                self._learn_one(run, names, self._own(run, leaves), build, rows)

    def act(self, name: str, function: Callable[..., Any], *inputs: Tensor) -> Any:
        """`evaluated(function, *inputs)`, compiled; `name` tells one function from another."""

        def acting(carry: Carry, hyper: Tensors, key: Tensor, *x: Tensor) -> tuple[Carry, Any]:
            return carry, function(self.step.evaluated(carry, hyper), *x)

        found = [self._call(run, name, None, acting, self._own(run, inputs)) for run in range(self.runs)]
        return found[0] if self.runs == 1 else tree_map(lambda *leaves: torch.cat(leaves), *found)

    def _own(self, run: int, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        """A run's part, `[1, ...]`."""
        return leaves if self.runs == 1 else [leaf[run : run + 1] for leaf in leaves]

    def _learn_one(
        self, run: int, names: Any, leaves: Sequence[Tensor], build: Callable[..., Batch], due: Sequence[Any] | None
    ) -> None:
        active, rows = self._idle, []
        if due is not None:
            active = tuple(row is not None and bool(row.any()) for row in due)
            rows = [torch.as_tensor(row) for row, on in zip(due, active, strict=True) if on]

        def learning(carry: Carry, hyper: Tensors, key: Tensor, *given: Tensor) -> tuple[Carry, tuple[()]]:
            own, drawn = iter(given[len(leaves) :]), iter(self.step.noise(key, carry["count"], 1))
            noise = [next(drawn)[0] if draws else None for draws in self.step.draws]
            acting = [next(own) if on else None for on in active]
            return self.step(carry, hyper, key, build(given[: len(leaves)]), acting, noise), ()

        self._call(run, names, active, learning, [*leaves, *rows])

    def _call(
        self,
        run: int,
        name: Any,
        active: tuple[bool, ...] | None,
        function: Callable[..., Any],
        given: Sequence[Tensor],
    ) -> Any:
        """A function of (carry, hyper, key, *given) of this run, compiled when such shapes are first met.

        What is given has a leading dimension of one run, which the function does not see; its result gets one.
        """
        given = [leaf.contiguous() for leaf in (*self._own(run, list(self.hyper.values())), *given)]
        known = name, active, *[(leaf.shape, leaf.dtype) for leaf in given]
        call = self._calls.get(known)
        if call is None:
            names = list(self.hyper)

            def one_run(carry: Carry, key: Tensor, *given: Tensor) -> tuple[Carry, Any]:
                inner = [leaf[0] for leaf in given]
                own = dict(zip(names, inner[: len(names)], strict=True))
                carry, result = function(carry, own, key, *inner[len(names) :])
                return carry, tree_map(lambda leaf: leaf.unsqueeze(0), result)

            few = not any(active or ()) or len(self.step.network.layers) <= LAYERS_COMPILED
            example = [self._own_keys[run], *given]
            call = self._calls[known] = InPlace(one_run, self._carries[run], example, self.compile and few)
        return call([*self._leaves[run], self._own_keys[run], *given])


def _taken_apart(batch: Batch) -> tuple[Any, list[Tensor], Callable[[Sequence[Tensor]], Batch]]:
    """What names a batch's tensors, the tensors, and how to build such a batch of them."""
    if type(batch) is dict and all(isinstance(value, Tensor) for value in batch.values()):
        names = tuple(batch)  # the usual case, in a tenth of the time
        return names, list(batch.values()), lambda leaves: dict(zip(names, leaves, strict=True))
    leaves, spec = tree_flatten(batch)
    return str(spec), leaves, lambda leaves: tree_unflatten(list(leaves), spec)
