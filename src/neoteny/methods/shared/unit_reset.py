"""Resets of units: how units are made new and counted, and how much gradient they get."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require_count, require_nonnegative
from neoteny.methods.base import Method, Stage, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network, UnitLayer


@dataclass(frozen=True, kw_only=True)
class UnitReset(Method, ABC):
    """The base of resets of units; subclasses choose the units."""

    stage: ClassVar[Stage] = "reset"
    needs_units: ClassVar[bool] = True
    resets_units: ClassVar[bool] = True

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """For each layer `replaced`, int32 `[]`: units replaced so far."""
        import torch

        return {
            f"{layer.name}/replaced": torch.zeros((), dtype=torch.int32, device=tensors[layer.incoming[0].name].device)
            for layer in network.layers
        }

    def make_new(self, step: Step, state: Tensors, chosen: Mapping[str, Tensor]) -> Tensors:
        """Make the chosen units new, masks `[units]` by layer, and count them; layers without a mask stay as they are.

        Returns the new state.
        """
        import torch

        from neoteny.units.random import fold_in

        state = dict(state)
        for number, layer in step.layers():
            if layer.name in chosen and not step.surely_none(chosen[layer.name]):
                step.make_new(layer, chosen[layer.name], fold_in(step.key, number))
                replaced = f"{layer.name}/replaced"
                state[replaced] = state[replaced] + chosen[layer.name].sum(dtype=torch.int32)
        return state


@dataclass(frozen=True, kw_only=True)
class InactiveReset(UnitReset, ABC):
    """The base of resets of inactive units every `period` updates.

    With the activity a of its units, unit i of a layer scores s_i = a_i / (mean of a + 1e-9) and is reset where
    s_i ≤ τ.

    Args:
        tau: τ.
        period: updates between two resets.

    Raises:
        SettingError: τ below 0, a period below 1.
    """

    varies: ClassVar[tuple[str, ...]] = ("tau",)

    tau: float
    period: int = 1000

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "tau")
        require_count(self, "period", least=1)

    @classmethod
    @abstractmethod
    def activity(cls, step: Step) -> Tensors:
        """How active the units are, `[units]`, by layer; without layers for which that is unknown."""

    def schedule(self, network: Network, seed: int) -> Periodic:
        """One column: 1 at every `period`-th update."""
        from neoteny.methods.shared.schedule import Periodic

        return Periodic(self.period)

    @property
    def acts_always(self) -> bool:
        """Only where it is due."""
        return False

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Where it is due, score all units and reset the inactive ones."""
        if due is None:
            return state
        activity = self.activity(step)
        scores = {name: own / (own.mean() + 1e-9) for name, own in activity.items()}
        return self.make_new(step, state, {name: (score <= self.tau) & (due[0] > 0) for name, score in scores.items()})


def mean_gradients(step: Step) -> Tensors:
    """Mean |gradient| over the weights that feed each unit, `[units]`, by layer; without layers that got none.

    Where several tensors feed a layer, those without a gradient count as if it were 0.
    """
    import torch

    grads = {}
    for layer in step.network.layers:
        for slices in layer.incoming:
            weight = step.tensors[slices.name]
            grads[slices.name] = step.grads.get(slices.name, torch.zeros_like(weight))
    seen = copy.copy(step)
    seen.tensors = grads  # so that gradients are summed as weights are, over shards too
    return {
        layer.name: total / _fed_by(step, layer)
        for layer, total in zip(step.network.layers, seen.magnitudes("incoming").values(), strict=True)
        if any(slices.name in step.grads for slices in layer.incoming)
    }


def _fed_by(step: Step, layer: UnitLayer) -> int:
    """How many weights feed each unit."""
    shapes = [(slices, step.shape(slices.name)) for slices in layer.incoming]
    return sum(math.prod(shape) * s.block // (shape[s.dim] * s.groups) for s, shape in shapes)
