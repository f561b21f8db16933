"""K1: the gain of a Kalman filter with a diagonal covariance that adapts by gradient descent (Sutton 1992)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require_nonnegative, require_positive
from neoteny.optim.base import Counts
from neoteny.optim.idbd import logarithm
from neoteny.optim.own_steps import OwnStepSizes
from neoteny.optim.signals import DELTA
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["K1", "DiagonalGain"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class DiagonalGain(OwnStepSizes):
    """Base of K1 and K2: w <- w + k delta with the gains k = p x / (R + sum p x^2), p = exp(beta).

    Args:
        step_size: p_0 / R, with which each weight begins.
        mu: the step size of beta.
        noise: R, the variance of the noise in the targets.
        newborn_step: p of a weight that is made new: `initial` or `median`.
    """

    step_size: float = 1.0
    mu: float = 0.001
    noise: float = 1.0
    follows: ClassVar[Literal["loss", "prediction", "either"]] = "prediction"
    reads: ClassVar[tuple[str, ...]] = (DELTA,)
    varies: ClassVar[tuple[str, ...]] = ("step_size", "mu")
    metrics: ClassVar[tuple[str, ...]] = ("effective_step",)
    adapted: ClassVar[str] = "beta"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "mu")
        require_positive(self, "noise")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The logarithm of p_0."""
        return {name: {"beta": logarithm(value, self.step_size * self.noise)} for name, value in tensors.items()}


@dataclass(frozen=True, kw_only=True)
class K1(DiagonalGain):
    """beta <- beta + mu delta x h; k = p x / (R + sum p x^2); w <- w + k delta; h <- (h + k delta) [1 - k x]_+.

    p = exp(beta) stands for the variance of a weight's error, and x for the gradient of the prediction: the input, for
    a linear one. It needs one number more a weight than IDBD, and follows faster.

    Args:
        step_size: p_0 / R.
        mu: the step size of beta.
        noise: R, the variance of the noise in the targets.
        newborn_step: `initial` or `median`.

    Metrics: `effective_step`, sum k x, the share of the error that an update takes away; always below 1.

    >>> import torch
    >>> rule, tensors = K1(), {"w": torch.zeros(1)}
    >>> said = rule.update(tensors, {"w": torch.ones(1)}, rule.init(tensors), {}, {"delta": torch.tensor(1.0)})
    >>> tensors["w"]
    tensor([0.5000])

    Source: Sutton, "Gain adaptation beats least squares?", Yale Workshop on Adaptive and Learning Systems, 1992.
    """

    name: ClassVar[str] = "k1"

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The logarithm of p_0, and h = 0."""
        return {name: {**state, "h": state["beta"] * 0} for name, state in super().init(tensors).items()}

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Tensor]:
        """One update."""
        assert signals is not None
        delta = signals[DELTA]
        betas = {name: optim[name]["beta"] + self.mu * delta * x * optim[name]["h"] for name, x in grads.items()}
        spread = sum_over(betas, lambda name, beta: beta.exp() * grads[name].square())
        for name, x in grads.items():
            gain = betas[name].exp() * x / (self.noise + spread)
            tensors[name] = tensors[name] + gain * delta
            h = (optim[name]["h"] + gain * delta) * (1 - gain * x).clamp(min=0)
            optim[name] = {"beta": betas[name], "h": h}
        return {"effective_step": spread / (self.noise + spread)}
