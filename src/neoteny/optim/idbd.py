"""IDBD, incremental delta-bar-delta: a step size for each weight, by stochastic gradient descent (Sutton 1992).

A step size grows where a weight's updates agree with its recent ones, and falls where they do not. The logarithm of the
step size is what descends, so it changes by ratios and stays positive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import require, require_nonnegative
from neoteny.optim.base import Counts
from neoteny.optim.own_steps import EitherGradient, OwnStepSizes, falling
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["IDBD", "LogStepSizes", "logarithm"]

Tensors = dict[str, "Tensor"]
LEAST, MOST_AT_ONCE = -10.0, 2.0


@dataclass(frozen=True, kw_only=True)
class LogStepSizes(OwnStepSizes):
    """Base of IDBD and TIDBD: beta = log alpha, which descends with the step size theta.

    Args:
        step_size: alpha_0.
        theta: the step size of beta.
        cautious: whether beta >= -10 and changes by at most 2 in a step.
        newborn_step: `initial` or `median`.
    """

    step_size: float = 0.01
    theta: float = 0.01
    cautious: bool = True
    varies: ClassVar[tuple[str, ...]] = ("step_size", "theta")
    adapted: ClassVar[str] = "beta"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "theta")
        large = not self.cautious or self.step_size >= math.exp(LEAST)
        require(self, "step_size", large, "at least exp(-10), as cautious=True asks for; or set cautious=False")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The logarithm of alpha_0, and h = 0."""
        return {name: {"beta": logarithm(value, self.step_size), "h": value * 0} for name, value in tensors.items()}

    def changed(self, beta: Tensor, change: Tensor) -> Tensor:
        """Logarithms of step sizes after a change."""
        if not self.cautious:
            return beta + change
        return (beta + change.clamp(-MOST_AT_ONCE, MOST_AT_ONCE)).clamp(min=LEAST)


@dataclass(frozen=True, kw_only=True)
class IDBD(LogStepSizes, EitherGradient):
    """beta <- beta + theta p h; alpha = exp(beta); w <- w + alpha p; h <- h [1 - alpha q]_+ + alpha p.

    For a linear prediction with inputs x and error delta, p = delta x and q = x^2: the paper's rule. For networks x is
    the gradient of the prediction; for losses p = -dL/dw and q its curvature, see `neoteny.optim.own_steps`. With
    cross-entropy, linear logits and `curvature="gauss-newton"`, q = x^2 p_k (1 - p_k) for class k.

    Args:
        step_size: alpha_0.
        theta: the step size of beta; the paper has 0.001 to 0.02 in its problem, where too large a one diverges.
        cautious: whether beta >= -10 and changes by at most 2 in a step, as the paper advises.
        curvature: `fisher` or `gauss-newton`, for losses.
        newborn_step: `initial` or `median`.

    Metrics: `effective_step`, sum alpha q: the share of the error that an update takes away.

    >>> import torch
    >>> rule, tensors = IDBD(step_size=0.1, theta=0.1), {"w": torch.zeros(1)}
    >>> state, delta = rule.init(tensors), {"delta": torch.tensor(1.0)}
    >>> for _ in range(2):
    ...     said = rule.update(tensors, {"w": torch.ones(1)}, state, {}, delta)
    >>> rule.step_sizes(state["w"]), tensors["w"]  # 0.1 exp(0.1 * 0.1), and the two steps
    (tensor([0.1010]), tensor([0.2010]))

    Source: Sutton, "Adapting bias by gradient descent: an incremental version of delta-bar-delta", AAAI 1992, Figure 2.
    """

    name: ClassVar[str] = "idbd"
    metrics: ClassVar[tuple[str, ...]] = ("effective_step",)

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
        shares = {}
        for name, p in pushes.items():
            q, h = curvatures[name], optim[name]["h"]
            beta = self.changed(optim[name]["beta"], self.theta * p * h)
            alpha = beta.exp()
            tensors[name] = tensors[name] + alpha * p
            optim[name] = {"beta": beta, "h": falling(h, alpha, q, p)}
            shares[name] = alpha * q
        return {"effective_step": sum_over(shares, lambda _, share: share)}


def logarithm(like: Tensor, step_size: float | Tensor) -> Tensor:
    """The logarithm of alpha_0 for each weight; alpha_0 may be a run's own, a tensor."""
    import torch

    return (torch.zeros_like(like) + step_size).log()
