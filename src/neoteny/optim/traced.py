"""What rules share that keep a trace of the prediction's gradients for each weight (see `neoteny.optim.signals`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import is_number, require, require_positive
from neoteny.optim.base import Optimizer
from neoteny.optim.signals import SIGNALS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SquaredTraces", "Traced"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Traced(Optimizer):
    """Base of rules with traces: z <- gamma lambda z + g.

    Args:
        step_size: alpha.
    """

    follows: ClassVar[Literal["loss", "prediction", "either"]] = "prediction"
    reads: ClassVar[tuple[str, ...]] = SIGNALS

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The trace of each parameter."""
        return {name: {"trace": value * 0} for name, value in tensors.items()}


@dataclass(frozen=True, kw_only=True)
class SquaredTraces(Traced):
    """Base of rules that divide by the root of an average of squares, v / (1 - b^t), with t since a weight was new.

    Args:
        step_size: alpha.
        beta: b in (0, 1).
        eps: what is added, so that nothing is divided by 0.
    """

    beta: float = 0.999
    eps: float = 1e-8
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require(self, "beta", is_number(self.beta) and 0 < self.beta < 1, "a number in (0, 1)")
        require_positive(self, "eps")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """Trace and mean square of each parameter, and `step`, the updates so far, int32 `[]`."""
        import torch

        return {
            name: {
                **state,
                "exp_avg_sq": state["trace"],
                "step": torch.zeros((), dtype=torch.int32, device=state["trace"].device),
            }
            for name, state in super().init(tensors).items()
        }
