"""TIDBD: IDBD for temporal-difference learning with eligibility traces (Kearney et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require_choice
from neoteny.optim.base import Counts
from neoteny.optim.idbd import LogStepSizes
from neoteny.optim.own_steps import OwnStepSizes, falling
from neoteny.optim.signals import DELTA, SIGNALS, kept, trace
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FOLLOWING", "TIDBD", "ErrorTraces"]

Tensors = dict[str, "Tensor"]
FOLLOWING = "following"
"""The value beside a TD prediction: the discounted prediction that the error holds, gamma v(s'), 0 at an end."""


@dataclass(frozen=True, kw_only=True)
class ErrorTraces(OwnStepSizes):
    """Base of TIDBD and AutoTIDBD: they follow the error of a prediction along an eligibility trace of each weight.

    Args:
        step_size: alpha_0.
        newborn_step: see `OwnStepSizes`.
        gradient: of the error, as the step sizes follow it: `semi` or `ordinary`.
    """

    gradient: Literal["semi", "ordinary"] = "semi"
    follows: ClassVar[Literal["loss", "prediction", "either"]] = "prediction"
    reads: ClassVar[tuple[str, ...]] = SIGNALS
    metrics: ClassVar[tuple[str, ...]] = ("effective_step", "trace_norm")

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_choice(self, "gradient", ("semi", "ordinary"))

    def needs(self) -> tuple[str, ...]:
        """The value of the next state, if its gradient is used."""
        return (*self.reads, *((FOLLOWING,) if self.gradient == "ordinary" else ()))

    @staticmethod
    def of_errors(grads: Tensors, signals: Mapping[str, Any]) -> Tensors:
        """-d delta / dw: the prediction's gradients, or x - gamma x' where the next value's gradients are given."""
        following = signals.get(FOLLOWING)
        return grads if following is None else {name: x - following[name] for name, x in grads.items()}


@dataclass(frozen=True, kw_only=True)
class TIDBD(LogStepSizes, ErrorTraces):
    """beta <- beta + theta delta x h; z <- gamma lambda z + x; w <- w + alpha delta z; h <- h [1 - alpha x z]_+ + alpha delta z.

    x is the gradient of the prediction v. Without traces it is IDBD. With `gradient="ordinary"` x - gamma x' stands in
    place of x in the rules of beta and h, where x' is the gradient of v(s'): the phase gives gamma v(s') (0 where the
    episode terminated) as the value `following` beside, which costs a backward pass.

    Args:
        step_size: alpha_0.
        theta: the step size of beta.
        cautious: as IDBD's.
        gradient: of the error, as the step sizes follow it: `semi` or `ordinary`.
        newborn_step: `initial` or `median`.

    Metrics: `effective_step`, sum alpha x z, or with x - gamma x'; `trace_norm`, the sum of |z|.

    >>> import torch
    >>> rule, tensors = TIDBD(step_size=0.1), {"w": torch.zeros(1)}
    >>> signals = {"delta": torch.tensor(1.0), "trace_decay": torch.tensor(0.5), "ended": torch.tensor(False)}
    >>> state = rule.init(tensors)
    >>> for _ in range(2):
    ...     said = rule.update(tensors, {"w": torch.ones(1)}, state, {}, signals)
    >>> state["w"]["trace"], tensors["w"]  # about 0.1 and 0.15
    (tensor([1.5000]), tensor([0.2502]))

    Source: Kearney, Veeriah, Travnik, Sutton & Pilarski, "TIDBD: adapting temporal-difference step-sizes through
    stochastic meta-descent", arXiv 1804.03334, 2018, Algorithms 1 and 2.
    """  # noqa: E501 - the rule on one line

    name: ClassVar[str] = "tidbd"

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The logarithm of alpha_0, h = 0 and the trace 0."""
        return {name: {**state, "trace": state["h"]} for name, state in super().init(tensors).items()}

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
        delta, of_error = signals[DELTA], self.of_errors(grads, signals)
        shares, traces = {}, {}
        for name, x in of_error.items():
            h, z = optim[name]["h"], trace(optim[name]["trace"], grads[name], signals)
            beta = self.changed(optim[name]["beta"], self.theta * delta * x * h)
            alpha = beta.exp()
            tensors[name] = tensors[name] + alpha * delta * z
            optim[name] = {"beta": beta, "h": falling(h, alpha, x * z, delta * z), "trace": kept(z, signals)}
            shares[name], traces[name] = alpha * x * z, z
        return {
            "effective_step": sum_over(shares, lambda _, share: share),
            "trace_norm": sum_over(traces, lambda _, z: z.abs()),
        }
