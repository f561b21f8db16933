"""Steps along traces divided by the root mean square of their own recent values: Adaptive Q(lambda)'s update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.optim.base import Counts
from neoteny.optim.signals import DELTA, kept, trace
from neoteny.optim.sums import sum_over
from neoteny.optim.traced import SquaredTraces

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["VarianceAdjusted"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class VarianceAdjusted(SquaredTraces):
    """w <- w + alpha psi z / sqrt(v / (1 - b^t) + eps); v <- b v + (1 - b) (psi z)^2; psi = delta cut off at +-1.

    z <- gamma lambda z + g is the trace. psi is the derivative of Huber's loss, so that one large error moves the
    weights no more than an error of 1.

    Args:
        step_size: alpha.
        beta: b in (0, 1).
        eps: as in the rule.

    Metrics: `trace_norm` |z|_1; `bounded`, whether delta was cut off.

    The rule is read from the paper's abstract, which names a bounded derivative of the loss and traces adjusted by
    their variance; b, eps and the correction of the average are Adam's.

    >>> import torch
    >>> rule, tensors = VarianceAdjusted(step_size=0.1), {"w": torch.zeros(1)}
    >>> signals = {"delta": torch.tensor(7.0), "trace_decay": torch.tensor(0.9), "ended": torch.tensor(False)}
    >>> said = rule.update(tensors, {"w": torch.tensor([4.0])}, rule.init(tensors), {"w": torch.tensor(1)}, signals)
    >>> tensors["w"]
    tensor([0.1000])

    Source: Gogianu, Lutu & Pascanu, "Adaptive Q(lambda)", arXiv 2605.06764, 2026.
    """

    step_size: float = 1e-4
    name: ClassVar[str] = "variance-adjusted"
    metrics: ClassVar[tuple[str, ...]] = ("trace_norm", "bounded")

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Tensor]:
        """One update."""
        from neoteny.units.counts import average_weight

        assert signals is not None
        delta, traces = signals[DELTA], {}
        psi = delta.clamp(-1.0, 1.0)
        for name, gradient in grads.items():
            z = traces[name] = trace(optim[name]["trace"], gradient, signals)
            v = self.beta * optim[name]["exp_avg_sq"] + (1 - self.beta) * (psi * z).square()
            size = (v / average_weight(self.beta, count[name]) + self.eps).sqrt()
            tensors[name] = tensors[name] + self.step_size * psi * z / size
            optim[name] = {"trace": kept(z, signals), "exp_avg_sq": v, "step": optim[name]["step"] + 1}
        norm = sum_over(traces, lambda _, z: z.abs())
        return {"trace_norm": norm, "bounded": (delta.abs() > 1).to(norm.dtype)}
