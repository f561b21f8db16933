"""What rules share that give each weight a step size of its own and adapt it (IDBD, Autostep and their kin).

They follow either gradient (see `neoteny.optim.signals`). What they need of an example is p = -dL/dw for the loss L,
and the diagonal q of its curvature: how much a step of size alpha along p takes away of p itself is alpha q.

- With a prediction's error: p = delta g and q = g^2, of half the squared error exactly.
- With a loss of several outputs, q = sum_f (df/dw)^2 over the loss's factors f, the diagonal of the Gauss-Newton matrix
  (`curvature="gauss-newton"`). It costs a backward pass for each output.
- Or q = p^2, the diagonal of the empirical Fisher matrix, which costs nothing (`curvature="fisher"`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require_choice, require_positive
from neoteny.optim.base import Optimizer
from neoteny.optim.signals import DELTA
from neoteny.units.newborn import newborn_value

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FACTORS", "EitherGradient", "OwnStepSizes", "falling"]

Tensors = dict[str, "Tensor"]
FACTORS = "factors"
"""The values `[F]` beside a loss whose squared gradients add up to its curvature."""


@dataclass(frozen=True, kw_only=True)
class OwnStepSizes(Optimizer):
    """Base of rules with a step size for each weight.

    Args:
        step_size: alpha_0, with which each weight begins.
        newborn_step: the step size of a weight that is made new: alpha_0, or the median of its parameter's others.
    """

    newborn_step: Literal["initial", "median"] = "initial"
    adapted: ClassVar[str] = "alpha"
    """The state that holds the step sizes; or `beta`, their logarithms."""

    def __post_init__(self) -> None:
        """Check the settings."""
        require_positive(self, "step_size")
        require_choice(self, "newborn_step", ("initial", "median"))

    def newborn_state(
        self, parameter: str, state: str, old: Tensor, weight: Tensor, new: Callable[[], Tensor]
    ) -> Tensor | float:
        """Step sizes begin as `newborn_step` says, everything else as `newborn` does."""
        if state != self.adapted:
            return super().newborn_state(parameter, state, old, weight, new)
        return newborn_value(
            self.newborn_step, old, weight, new, lambda: self.init({parameter: weight})[parameter][state]
        )

    def step_sizes(self, state: Tensors) -> Tensor | None:
        """The step size of each weight."""
        return state["beta"].exp() if self.adapted == "beta" else state[self.adapted]


@dataclass(frozen=True, kw_only=True)
class EitherGradient(OwnStepSizes):
    """Base of rules that follow a loss or a prediction, by p and q.

    Args:
        step_size: alpha_0.
        newborn_step: see `OwnStepSizes`.
        curvature: q of losses: `fisher` or `gauss-newton`, see above.
    """

    curvature: Literal["fisher", "gauss-newton"] = "fisher"
    follows: ClassVar[Literal["loss", "prediction", "either"]] = "either"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_choice(self, "curvature", ("fisher", "gauss-newton"))

    def needs(self) -> tuple[str, ...]:
        """The factors of the loss, if the curvature is computed from them."""
        return (*self.reads, *((FACTORS,) if self.curvature == "gauss-newton" else ()))

    def pushes(self, grads: Tensors, signals: Mapping[str, Any] | None) -> tuple[Tensors, Tensors]:
        """The p and q of an example, by parameter."""
        if signals is not None and DELTA in signals:
            delta = signals[DELTA]
            return {name: delta * g for name, g in grads.items()}, {name: g.square() for name, g in grads.items()}
        pushes = {name: -gradient for name, gradient in grads.items()}
        if signals is not None and FACTORS in signals:
            return pushes, {name: factors.square().sum(0) for name, factors in signals[FACTORS].items()}
        return pushes, {name: gradient.square() for name, gradient in grads.items()}


def falling(h: Tensor, alpha: Tensor, curvature: Tensor, push: Tensor) -> Tensor:
    """The decaying sum of recent updates: h <- h [1 - alpha q]_+ + alpha p, an estimate of dw / d log alpha."""
    return h * (1 - alpha * curvature).clamp(min=0) + alpha * push
