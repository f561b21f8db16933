"""Autostep: IDBD without the tuning of its meta step size (Mahmood, Sutton, Degris & Pilarski 2012).

What IDBD multiplies with theta is divided by a running maximum of its size, so that mu is a ratio whatever the scale of
the problem; and no update takes away more than the whole error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import require, require_nonnegative
from neoteny.optim.base import Counts
from neoteny.optim.own_steps import EitherGradient, OwnStepSizes
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Autostep", "NormalisedStepSizes", "normalised"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class NormalisedStepSizes(OwnStepSizes):
    """Base of Autostep and AutoTIDBD: step sizes alpha that change by a ratio of at most exp(mu).

    Args:
        step_size: alpha_0.
        mu: the meta step size.
        tau: over how many updates the running maximum decays.
        newborn_step: `initial` or `median`.
    """

    step_size: float = 0.1
    mu: float = 0.01
    tau: float = 10_000.0
    varies: ClassVar[tuple[str, ...]] = ("step_size", "mu")

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "mu")
        require(self, "tau", self.tau >= 1, "a number >= 1")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """alpha_0; h and v are 0."""
        return {
            name: {"alpha": value * 0 + self.step_size, "h": value * 0, "v": value * 0}
            for name, value in tensors.items()
        }


@dataclass(frozen=True, kw_only=True)
class Autostep(NormalisedStepSizes, EitherGradient):
    """v <- max(|p h|, v + alpha q (|p h| - v) / tau); alpha <- alpha exp(mu p h / v) / M; w <- w + alpha p.

    Then h <- h (1 - alpha q) + alpha p. M = max(sum alpha q, 1) is over all weights that the rule trains, after their
    step sizes have changed. p and q are those of `neoteny.optim.own_steps`: for a linear prediction delta x and x^2.

    Args:
        step_size: alpha_0.
        mu: the meta step size; the paper has 0.01 in every problem.
        tau: over how many updates the running maximum decays; the paper has 10,000.
        curvature: `fisher` or `gauss-newton`, for losses.
        newborn_step: `initial` or `median`.

    Metrics: `effective_step`, sum alpha q after the bound; `bounded`, whether M > 1.

    >>> import torch
    >>> rule, tensors = Autostep(step_size=0.1, mu=0.01), {"w": torch.zeros(1)}
    >>> state, delta = rule.init(tensors), {"delta": torch.tensor(1.0)}
    >>> for _ in range(2):
    ...     said = rule.update(tensors, {"w": torch.ones(1)}, state, {}, delta)
    >>> state["w"]["alpha"]  # 0.1 exp(0.01), whatever the size of the error
    tensor([0.1010])

    Source: Mahmood, Sutton, Degris & Pilarski, "Tuning-free step-size adaptation", ICASSP 2012, Table 1.
    """

    name: ClassVar[str] = "autostep"
    metrics: ClassVar[tuple[str, ...]] = ("effective_step", "bounded")

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Tensor]:
        """One update."""
        pushes, curvatures = self.pushes(grads, signals)
        alphas = {}
        for name, p in pushes.items():
            state = optim[name]
            rate = state["alpha"] * curvatures[name] / self.tau
            alphas[name], v = normalised(state["alpha"], p * state["h"], state["v"], rate, self.mu)
            optim[name] = {"h": state["h"], "v": v}
        total = sum_over(alphas, lambda name, alpha: alpha * curvatures[name])
        bound = total.clamp(min=1)
        for name, p in pushes.items():
            alpha, h = alphas[name] / bound, optim[name]["h"]
            tensors[name] = tensors[name] + alpha * p
            optim[name] = {**optim[name], "alpha": alpha, "h": h * (1 - alpha * curvatures[name]) + alpha * p}
        return {"effective_step": total / bound, "bounded": (total > 1).to(total.dtype)}


def normalised(alpha: Tensor, product: Tensor, v: Tensor, rate: Tensor, mu: float | Tensor) -> tuple[Tensor, Tensor]:
    """Step sizes changed by a product over its running maximum, and that maximum.

    Args:
        alpha: step sizes.
        product: p h: whether an update agrees with the recent ones.
        v: the running maximum of its size.
        rate: how fast the maximum decays.
        mu: the meta step size.
    """
    size = product.abs()
    v = size.maximum(v + rate * (size - v))
    return alpha * (mu * product / v.masked_fill(v == 0, 1.0)).exp(), v
