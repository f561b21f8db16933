"""One run after the other through a whole segment of steps: its parameters stay in cache.

For networks of which one fits into the cache and a stack does not, and for convolutions on a CPU, where stacking does
not help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from neoteny.lab.graph import Graph
from neoteny.lab.in_place import Advance
from neoteny.lab.objective import Batch
from neoteny.lab.step import Carry
from neoteny.lab.strategies.base import Due, Strategy, stack


class Loop(Strategy):
    """Each run is advanced by itself, through the same compiled graphs."""

    name: ClassVar[str] = "loop"

    def load(self, carry: Carry) -> None:
        """Take over a carry of all runs."""
        self._carries = [
            tree_map(lambda leaf, run=run: leaf[run].clone().contiguous(), carry) for run in range(self.runs)
        ]

    def carry(self) -> Carry:
        """The carry of all runs."""
        return stack(self._carries)

    def graph(
        self, function: Callable[..., Carry], carry: Carry, arguments: Sequence[Any], compile: bool
    ) -> Graph | Advance:
        """The function; compiled on a CPU, it writes the new carry into the old one, which is this strategy's alone."""
        if not compile or carry["count"].device.type != "cpu":
            return super().graph(function, carry, arguments, compile)
        return Advance(function, carry, arguments)

    def interaction(self) -> dict[str, Tensor]:
        """The state of the interaction."""
        return stack([carry["interaction"] for carry in self._carries])

    def each(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """One run after the other."""

        def own(run: int) -> Any:
            return function(self._carries[run]["tensors"], *tree_map(lambda leaf: leaf[run], arguments))

        return stack([own(run) for run in range(self.runs)])

    @torch.no_grad()
    def advance(self, batches: Batch, due: Due) -> None:
        """Train on batches, a pytree of tensors `[R, S, B, ...]`."""
        for run in range(self.runs):
            if run not in self.dropped:
                own = tree_map(lambda leaf, run=run: leaf[run], batches)
                self._advance_one(run, own, [None if rows is None else rows[run] for rows in due])

    def _advance_one(self, run: int, batches: Batch, due: Due) -> None:
        hyper = {name: value[run] for name, value in self.hyper.items()}
        self._carries[run] = self.run(self._carries[run], hyper, self.keys[run], batches, due)

    def take_sums(self) -> dict[str, Tensor]:
        """The sums; they are set back to 0 where they are."""
        names = self._carries[0]["sums"]
        sums = {name: torch.stack([carry["sums"][name] for carry in self._carries]) for name in names}
        for carry in self._carries:
            for value in carry["sums"].values():
                value.zero_()
        return sums
