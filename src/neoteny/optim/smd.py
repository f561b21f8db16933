"""Stochastic meta-descent, SMD: step sizes that follow the curvature's products with vectors (Schraudolph 1999)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import is_number, require, require_nonnegative
from neoteny.optim.base import Counts
from neoteny.optim.own_steps import FACTORS, OwnStepSizes
from neoteny.optim.signals import DELTA

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SMD"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class SMD(OwnStepSizes):
    """p <- p exp(mu v (-G)); w <- w - p G; v <- lambda v + p (-G - lambda H v).

    H is the Gauss-Newton matrix of the loss, of which only the product with v is computed, from the gradients of the
    loss's factors: exact for the losses of linear networks, where it is the Hessian. Where IDBD keeps the diagonal of
    H, SMD keeps all of it, for a backward pass for each output. With a prediction's error, G = -delta g and H v =
    g (g . v).

    Args:
        step_size: p_0.
        mu: the meta step size.
        lamda: lambda in [0, 1], the memory of v.
        newborn_step: `initial` or `median`.

    >>> import torch
    >>> rule, tensors = SMD(step_size=0.1, mu=0.1), {"w": torch.zeros(1)}
    >>> state, delta = rule.init(tensors), {"delta": torch.tensor(1.0)}
    >>> for _ in range(2):
    ...     rule.update(tensors, {"w": torch.ones(1)}, state, {}, delta)
    >>> rule.step_sizes(state["w"])
    tensor([0.1010])

    Source: Schraudolph, "Local gain adaptation in stochastic gradient descent", ICANN 1999, eqs. 3 to 5; the
    Gauss-Newton product: Schraudolph, Neural Computation 14, 2002.
    """

    step_size: float = 0.01
    mu: float = 0.01
    lamda: float = 0.99
    name: ClassVar[str] = "smd"
    follows: ClassVar[Literal["loss", "prediction", "either"]] = "either"
    reads: ClassVar[tuple[str, ...]] = (FACTORS,)
    varies: ClassVar[tuple[str, ...]] = ("step_size", "mu")

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "mu")
        require(self, "lamda", is_number(self.lamda) and 0 <= self.lamda <= 1, "a number in [0, 1]")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """p_0, and v = 0."""
        return {name: {"alpha": value * 0 + self.step_size, "v": value * 0} for name, value in tensors.items()}

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Any] | None = None,
    ) -> None:
        """One update."""
        import torch

        assert signals is not None
        if DELTA in signals:
            pushes = {name: signals[DELTA] * g for name, g in grads.items()}
            factors = {name: g.unsqueeze(0) for name, g in grads.items()}
        else:
            pushes, factors = {name: -g for name, g in grads.items()}, signals[FACTORS]
        along = torch.stack([(factors[name] * optim[name]["v"]).flatten(1).sum(1) for name in grads]).sum(0)  # J v
        for name, push in pushes.items():
            v, rows = optim[name]["v"], factors[name]
            curved = (along.view(-1, *[1] * push.dim()) * rows).sum(0)  # J^T J v
            alpha = optim[name]["alpha"] * (self.mu * v * push).exp()
            tensors[name] = tensors[name] + alpha * push
            optim[name] = {"alpha": alpha, "v": self.lamda * v + alpha * (push - self.lamda * curved)}
