"""Full reset: draw the whole network anew. It is what every other method is compared with.

Nikishin, Schwarzer, D'Oro, Bacon & Courville, "The primacy bias in deep reinforcement learning", ICML 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.base import Contract, Stage, Step
from neoteny.methods.shared.boundary import BoundaryReset, reset_parameters, reset_statistics

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FullReset(BoundaryReset):
    """Draw every parameter anew from its initialiser, at every change of task or every `period` updates.

    Running statistics of all norms return to mean 0 and variance 1, their count of batches to 0, and the optimizer's
    state of every weight starts anew; a step size that all weights share and that adapts stays as it is.

    Args:
        period: updates between two resets; None: at a change of task.

    Raises:
        SettingError: a period below 1.

    >>> FullReset(period=10_000)
    FullReset(period=10000)
    """

    name: ClassVar[str] = "full-reset"
    stage: ClassVar[Stage] = "reset"
    resets_units: ClassVar[bool] = True
    memory: ClassVar[tuple[float, float]] = (0.0, 4.0)
    avoid: ClassVar[str] = (
        "Where anything that was learnt should be kept: it forgets everything. It shows what a fresh network learns; "
        "it is no cure."
    )

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(period=5), cls()], [cls(period=10**6)]

    def reset(self, step: Step, when: Tensor | None) -> None:
        """Reset where `when` is true; None: for certain."""
        import torch

        reset_parameters(step, step.parameters(), when, zero=False, momentum=True)
        reset_statistics(step, when)
        everything = torch.tensor(True) if when is None else when
        for _, layer in step.layers():
            if layer.name in step.since:
                since = step.since[layer.name]
                step.since[layer.name] = torch.where(everything.to(since.device), torch.zeros_like(since), since)
