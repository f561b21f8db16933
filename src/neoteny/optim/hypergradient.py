"""Hypergradient descent: one step size for all weights that descends itself (Baydin et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require_choice, require_nonnegative
from neoteny.optim.base import Counts, Optimizer
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Hypergradient"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Hypergradient(Optimizer):
    """alpha <- alpha + eta G . G_before; w <- w - alpha G; or alpha <- alpha (1 + eta cos(G, G_before)).

    G . G_before is what the loss of this step would have gained by a longer step before. A step size that would become
    negative becomes 0.

    Args:
        step_size: alpha_0.
        eta: the step size of alpha.
        form: `additive`; or `multiplicative`, by the cosine, where eta has no unit.

    Metrics: `step_size`, alpha.

    >>> import torch
    >>> rule, tensors = Hypergradient(step_size=0.1, eta=0.01), {"w": torch.zeros(1)}
    >>> state = rule.init(tensors)
    >>> for _ in range(2):
    ...     said = rule.update(tensors, {"w": torch.ones(1)}, state, {})
    >>> said["step_size"]
    tensor(0.1100)

    Source: Baydin, Cornish, Martinez Rubio, Schmidt & Wood, "Online learning rate adaptation with hypergradient
    descent", ICLR 2018, Algorithm 4 and section 3 (the multiplicative rule).
    """

    step_size: float = 0.01
    eta: float = 1e-4
    form: Literal["additive", "multiplicative"] = "additive"
    name: ClassVar[str] = "hypergradient"
    varies: ClassVar[tuple[str, ...]] = ("step_size", "eta")
    metrics: ClassVar[tuple[str, ...]] = ("step_size",)

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "eta")
        require_choice(self, "form", ("additive", "multiplicative"))

    def in_common(self) -> tuple[str, ...]:
        """The step size."""
        return ("alpha",)

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The gradient before, and alpha `[]`, the same for all parameters."""
        return {
            name: {"before": value * 0, "alpha": value.flatten()[0] * 0 + self.step_size}
            for name, value in tensors.items()
        }

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Tensor]:
        """One update."""
        product = sum_over(grads, lambda name, g: g * optim[name]["before"])
        alpha = optim[next(iter(grads))]["alpha"]
        if self.form == "additive":
            alpha = alpha + self.eta * product
        else:
            now = sum_over(grads, lambda _, g: g.square()).sqrt()  # roots first: the product of squares underflows
            before = sum_over(grads, lambda name, _: optim[name]["before"].square()).sqrt()
            cosine = product / (now * before).clamp(min=1e-37)
            alpha = alpha * (1 + self.eta * cosine.clamp(-1, 1))
        alpha = alpha.clamp(min=0)
        for name, gradient in grads.items():
            tensors[name] = tensors[name] - alpha * gradient
            optim[name] = {"before": gradient, "alpha": alpha}
        return {"step_size": alpha}
