"""Full reset: the whole network starts anew, the yardstick of every other method.

Nikishin, Schwarzer, D'Oro, Bacon & Courville, "The primacy bias in deep reinforcement learning", ICML 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.base import Method, Step, Tensors, require_count

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.schedule import Periodic
    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class FullReset(Method):
    """Draw every parameter anew from its initialiser, at every change of task or every `period` updates.

    Running statistics of norms return to mean 0 and variance 1, and the optimizer's state starts anew.

    Args:
        period: updates between two resets; None: at a change of task.

    Raises:
        SettingError: a period below 1.

    >>> FullReset(period=10_000)
    FullReset(period=10000)
    """

    name: ClassVar[str] = "full-reset"
    resets_units: ClassVar[bool] = True

    period: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.period is not None:
            require_count(self, "period", least=1)

    def schedule(self, network: Network, seed: int) -> Periodic | None:
        """One column: 1 at every `period`-th update."""
        from neoteny.methods.schedule import Periodic

        return None if self.period is None else Periodic(self.period)

    @property
    def acts_always(self) -> bool:
        """Only where it is due."""
        return False

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Reset where `due` says so."""
        if due is not None:
            self._reset(step, due[0] > 0)
        return state

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """Reset, unless it has a period of its own."""
        if self.period is None:
            self._reset(step, None)
        return state

    def _reset(self, step: Step, when: Tensor | None) -> None:
        import torch

        from neoteny.methods.head_reset import reset_parameters

        reset_parameters(step, step.parameters(), when, zero=False, momentum=True)
        everything = torch.tensor(True) if when is None else when
        for layer in step.network.layers:
            for slices in layer.norms:  # of the running statistics; gains and shifts are parameters
                if slices.name in step.tensors and slices.name not in step.network.initialisers:
                    old = step.tensors[slices.name]
                    every_unit = everything.to(old.device).expand(layer.size)
                    step.tensors[slices.name] = torch.where(slices.select(every_unit, old), slices.fill, old)
            if layer.name in step.since:
                since = step.since[layer.name]
                step.since[layer.name] = torch.where(everything.to(since.device), torch.zeros_like(since), since)
