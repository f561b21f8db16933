"""Resets of whole layers, at a change of task or every so many updates: the base of fire, head-reset and full-reset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neoteny.checks import require_count
from neoteny.methods.base import Method, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network

_STATISTICS = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0}
"""What a norm's buffers begin with, by torch's names."""


@dataclass(frozen=True, kw_only=True)
class BoundaryReset(Method, ABC):
    """The base of resets at every change of task or every `period` updates; subclasses say in `reset` what is reset.

    Args:
        period: updates between two resets; None: at a change of task.

    Raises:
        SettingError: a period below 1.
    """

    period: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.period is not None:
            require_count(self, "period", least=1)

    @abstractmethod
    def reset(self, step: Step, when: Tensor | None) -> None:
        """Reset where `when`, bool `[]`, is true; None means always."""

    def schedule(self, network: Network, seed: int) -> Periodic | None:
        """One column: 1 at every `period`-th update."""
        from neoteny.methods.shared.schedule import Periodic

        return None if self.period is None else Periodic(self.period)

    @property
    def needs_tasks(self) -> bool:
        """Unless there is a period."""
        return self.period is None

    @property
    def starts_anew(self) -> bool:
        """It does."""
        return True

    @property
    def acts_always(self) -> bool:
        """Only where it is due."""
        return False

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Reset where `due` says so."""
        if due is not None:
            self.reset(step, due[0] > 0)
        return state

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """Reset, unless there is a period."""
        if self.period is None:
            self.reset(step, None)
        return state


def reset_statistics(step: Step, when: Tensor | None = None) -> None:
    """Running statistics of all norms begin anew: mean 0, variance 1, no batch seen; where `when`, None means all."""
    import torch

    surely = torch.tensor(True) if when is None else when
    for name, old in step.tensors.items():
        fill = _STATISTICS.get(name.rpartition(".")[2])
        if fill is not None and name not in step.network.initialisers:
            step.tensors[name] = torch.where(surely.to(old.device), torch.full_like(old, fill), old)


def reset_parameters(step: Step, names: list[str], when: Tensor | None, zero: bool, momentum: bool) -> None:
    """Draw parameters from their initialisers, or set them to 0 (gains of norms: to their initial value).

    Args:
        step: the step.
        names: the parameters; those that are not being trained stay as they are.
        when: a bool `[]`, whether to do it after all; None means yes.
        zero: set them to 0 instead of drawing them.
        momentum: let the optimizer's state of them start anew.
    """
    import torch

    from neoteny.units.random import fold_in

    for number, name in enumerate(names):
        if name in step.network.initialisers and name in step.tensors:
            if zero and name not in step.network.norms:
                new = torch.zeros_like(step.tensors[name])
            else:
                new = step.drawn(name, fold_in(step.key, number))
            step.make_parameter_new(name, new, when, momentum)
