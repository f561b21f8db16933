"""Overshooting-bounded gradient descent, ObGD, and its adaptive form (Elsayed, Vasan & Mahmood 2024).

One example at a time, a step may be so long that the error changes its sign. ObGD estimates the change of the error
that a step makes from above, and shortens the steps for which it exceeds 1 / kappa.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import require_positive
from neoteny.optim.base import Counts
from neoteny.optim.signals import DELTA, kept, trace
from neoteny.optim.sums import sum_over
from neoteny.optim.traced import SquaredTraces, Traced

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AdaptiveObGD", "ObGD"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class ObGD(Traced):
    """z <- gamma lambda z + g; M = alpha kappa max(|delta|, 1) |z|_1; w <- w + alpha / max(M, 1) delta z.

    |.|_1 is the sum over all parameters that the rule trains: those of one network. g is the gradient of a prediction
    and delta its error, see `neoteny.optim.signals`.

    Args:
        step_size: alpha; the paper has 1, where nearly every step is bounded.
        kappa: how much smaller than 1 the bound is; the paper has 2 for values, 3 for policies.

    Metrics: `effective_step`, the share of the error that the step takes away to first order, sum of step times z g;
    `trace_norm` |z|_1; `bounded`, whether M > 1.

    >>> import torch
    >>> rule, tensors = ObGD(kappa=2.0), {"w": torch.tensor([1.0, 1.0])}
    >>> signals = {"delta": torch.tensor(5.0), "trace_decay": torch.tensor(0.9), "ended": torch.tensor(False)}
    >>> said = rule.update(tensors, {"w": torch.tensor([1.0, 3.0])}, rule.init(tensors), {}, signals)
    >>> tensors["w"]  # M = 2 * 5 * 4
    tensor([1.1250, 1.3750])

    Source: Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024,
    Algorithm 3.
    """

    step_size: float = 1.0
    kappa: float = 2.0
    name: ClassVar[str] = "obgd"
    metrics: ClassVar[tuple[str, ...]] = ("effective_step", "trace_norm", "bounded")
    varies: ClassVar[tuple[str, ...]] = ("step_size", "kappa")

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_positive(self, "kappa")

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
        traces = {name: trace(optim[name]["trace"], gradient, signals) for name, gradient in grads.items()}
        directions = self.directions(traces, optim, count, signals)
        delta = signals[DELTA]
        norm = sum_over(directions, lambda _, z: z.abs())
        overshoot = self.step_size * self.kappa * delta.abs().clamp(min=1) * norm
        step = self.step_size / overshoot.clamp(min=1)
        effective = step * sum_over(directions, lambda name, z: z * grads[name])
        for name, direction in directions.items():
            tensors[name] = tensors[name] + (step * delta) * direction
            optim[name] = {**optim[name], "trace": kept(traces[name], signals)}
        return {"effective_step": effective, "trace_norm": norm, "bounded": (overshoot > 1).to(norm.dtype)}

    def directions(
        self, traces: Tensors, optim: dict[str, Tensors], count: Counts, signals: Mapping[str, Any]
    ) -> Tensors:
        """Where the weights go for a positive error: along the traces."""
        return traces


@dataclass(frozen=True, kw_only=True)
class AdaptiveObGD(ObGD, SquaredTraces):
    """ObGD with z / s in place of z: v <- b v + (1 - b) (delta z)^2; s = sqrt(v / (1 - b^t) + eps).

    Args:
        step_size: alpha.
        kappa: as ObGD's.
        beta: b in (0, 1).
        eps: as in the rule.

    The average is corrected by the number of updates since a weight was made new.

    >>> import torch
    >>> rule, tensors = AdaptiveObGD(kappa=2.0), {"w": torch.tensor([1.0, 1.0])}
    >>> signals = {"delta": torch.tensor(5.0), "trace_decay": torch.tensor(0.9), "ended": torch.tensor(False)}
    >>> count = {"w": torch.tensor(1)}
    >>> said = rule.update(tensors, {"w": torch.tensor([1.0, 3.0])}, rule.init(tensors), count, signals)
    >>> tensors["w"]  # both go the same way: z / s = 1 / |delta|
    tensor([1.2500, 1.2500])

    Source: Elsayed, Vasan & Mahmood, arXiv 2410.14606, 2024, appendix.
    """

    name: ClassVar[str] = "adaptive-obgd"

    def directions(
        self, traces: Tensors, optim: dict[str, Tensors], count: Counts, signals: Mapping[str, Any]
    ) -> Tensors:
        """The traces, each divided by the root of its mean square after multiplication with errors."""
        from neoteny.units.counts import average_weight

        found = {}
        for name, z in traces.items():
            v = self.beta * optim[name]["exp_avg_sq"] + (1 - self.beta) * (signals[DELTA] * z).square()
            found[name] = z / (v / average_weight(self.beta, count[name]) + self.eps).sqrt()
            optim[name] = {**optim[name], "exp_avg_sq": v, "step": optim[name]["step"] + 1}
        return found
