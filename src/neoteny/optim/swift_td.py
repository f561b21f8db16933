"""SwiftTD: true online TD(lambda) with a step size for each weight, a bound on the rate of learning, and its decay.

The rule holds for predictions that are linear in the weights, so that the gradient g is the feature vector x.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import is_number, require, require_choice, require_nonnegative, require_positive
from neoteny.optim.base import Counts, Optimizer
from neoteny.optim.signals import DELTA, SIGNALS, TRACE_DECAY, kept
from neoteny.optim.true_online_td import dot
from neoteny.units.newborn import Newborn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SwiftTD"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class SwiftTD(Optimizer):
    r"""True online TD(lambda) whose step sizes alpha = e^beta follow the gradient of the squared error.

    With features x, c = gamma lambda, the error delta, and u = dw.x, what the last change dw of the weights did to the
    prediction of x (traces z, p and zb, and h = dw/dbeta):

        z, p, zb <- c z, c p, c zb
        tau = sum alpha x^2;  s = min(1, eta / tau) alpha x;  T = z.x
        z <- z + s (1 - T);  p <- p + h' x;  zb <- zb + s (1 - T - zb x)
        g = h - h' x (z - s) - h s x
        if tau > eta:  h, g, zb <- 0;  beta <- beta + ln(decay) x^2
        dw = (delta + u) z - u s;  w <- w + dw
        beta <- beta + theta / alpha delta p, in [ln eta_min, ln eta];  h', h <- h, g + (delta + u) zb - u s

    This is the paper's order, rewritten for one transition at a time: delta + u is the error against the prediction
    that was made before the last update. h' is the h of one step before.

    Args:
        step_size: alpha of each weight at first; cut off at eta_min and eta, as it is later.
        meta_step_size: theta.
        bound: eta, the largest rate of learning: the share of the error that a step may take away.
        decay: what a step size is multiplied with (to the power x^2) when the bound is exceeded.
        least_step_size: eta_min.
        order: `paper`: as above; beyond the bound the h of all weights is cleared, after the traces have changed.
            `sparse`: as in the public classes for sparse features: only those with x != 0, before they change.

    State: `log_step` beta, `trace` z, `history` p, `slope` zb, `h`, `h_before` h', `change` dw.

    >>> import torch
    >>> rule, tensors = SwiftTD(step_size=0.05), {"w": torch.tensor([1.0, 1.0])}
    >>> signals = {"delta": torch.tensor(2.0), "trace_decay": torch.tensor(0.9), "ended": torch.tensor(False)}
    >>> rule.update(tensors, {"w": torch.tensor([1.0, 0.0])}, rule.init(tensors), {}, signals)
    >>> tensors["w"]
    tensor([1.1000, 1.0000])

    Source: Javed, Sharifnassab & Sutton, "SwiftTD: a fast and robust algorithm for temporal difference learning",
    RLC 2024, Algorithm 1; `order="sparse"` from the authors' code.
    """

    step_size: float = 1e-2
    meta_step_size: float = 1e-3
    bound: float = 0.1
    decay: float = 0.999
    least_step_size: float = 1e-10
    order: Literal["paper", "sparse"] = "paper"
    name: ClassVar[str] = "swift-td"
    follows: ClassVar[Literal["loss", "prediction", "either"]] = "prediction"
    reads: ClassVar[tuple[str, ...]] = SIGNALS
    varies: ClassVar[tuple[str, ...]] = ("step_size", "meta_step_size")
    newborn: ClassVar[Mapping[str, Newborn]] = {"log_step": "initial"}

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_positive(self, "step_size", "bound", "least_step_size")
        require_nonnegative(self, "meta_step_size")
        require(self, "decay", is_number(self.decay) and 0 < self.decay <= 1, "a number in (0, 1]")
        require(self, "least_step_size", self.least_step_size <= self.bound, f"at most the bound, {self.bound}")
        require_choice(self, "order", ("paper", "sparse"))

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The logarithm of each weight's alpha; all else is 0."""
        zeros = ("trace", "history", "slope", "h", "h_before", "change")
        return {
            name: {"log_step": self._within((value * 0 + self.step_size).log()), **{s: value * 0 for s in zeros}}
            for name, value in tensors.items()
        }

    def _within(self, beta: Tensor) -> Tensor:
        return beta.clamp(math.log(self.least_step_size), math.log(self.bound))

    def step_sizes(self, state: Tensors) -> Tensor:
        """The step size of each weight."""
        return state["log_step"].exp()

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Any] | None = None,
    ) -> None:
        """One update."""
        assert signals is not None
        delta, decay = signals[DELTA], signals[TRACE_DECAY]
        traces = {name: decay * optim[name]["trace"] for name in grads}
        steps = {name: optim[name]["log_step"].exp() for name in grads}
        passed = 1 - dot(traces, grads)
        drift = dot({name: optim[name]["change"] for name in grads}, grads)
        rate = dot({name: steps[name] * x for name, x in grads.items()}, grads)
        over, share = rate > self.bound, self.bound / rate.clamp(min=self.bound)
        for name, x in grads.items():
            own = optim[name]
            beta, h, before, slope = own["log_step"], own["h"], own["h_before"], decay * own["slope"]
            injected = share * steps[name] * x
            cleared = over & (x != 0) if self.order == "sparse" else over
            if self.order == "sparse":
                h, before, slope = (value.masked_fill(cleared, 0.0) for value in (h, before, slope))
            z = traces[name] + passed * injected
            history = decay * own["history"] + before * x
            slope = slope + injected * (passed - slope * x)
            following = h - before * x * (z - injected) - h * injected * x
            if self.order == "paper":
                h, following, slope = (value.masked_fill(cleared, 0.0) for value in (h, following, slope))
            beta = beta + over * (math.log(self.decay) * x.square())
            change = (delta + drift) * z - drift * injected
            tensors[name] = tensors[name] + change
            beta = beta + self.meta_step_size * (-beta).exp() * delta * history
            optim[name] = {
                "log_step": self._within(beta),
                "h": following + (delta + drift) * slope - drift * injected,
                "h_before": h,
                "change": change,
                "trace": kept(z, signals),
                "history": kept(history, signals),
                "slope": kept(slope, signals),
            }
