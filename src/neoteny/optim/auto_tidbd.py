"""AutoTIDBD: TIDBD with Autostep's normalisation and bound (Kearney et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.optim.autostep import NormalisedStepSizes, normalised
from neoteny.optim.base import Counts
from neoteny.optim.own_steps import falling
from neoteny.optim.signals import DELTA, kept, trace
from neoteny.optim.sums import sum_over
from neoteny.optim.tidbd import ErrorTraces

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AutoTIDBD"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class AutoTIDBD(NormalisedStepSizes, ErrorTraces):
    """TIDBD whose product delta x h is divided by its running maximum v, with M = max(sum alpha x z, 1).

    z <- gamma lambda z + x; v <- max(|delta x h|, v + alpha x z (|delta x h| - v) / tau);
    alpha <- alpha exp(mu delta x h / v) / M; w <- w + alpha delta z; h <- h [1 - alpha x z]_+ + alpha delta z.

    With `gradient="ordinary"` x - gamma x' stands in place of x, but not in z. Without traces it is Autostep. M is
    computed with the trace that the update uses, since it bounds that update; in the paper's listing the trace still
    lacks the present x.

    Args:
        step_size: alpha_0.
        mu: the meta step size.
        tau: as Autostep's.
        gradient: `semi` or `ordinary`; for `ordinary` the phase gives the value `following` beside, see `TIDBD`.
        newborn_step: `initial` or `median`.

    Metrics: `effective_step`, `trace_norm`, `bounded`.

    >>> import torch
    >>> rule, tensors = AutoTIDBD(step_size=2.0), {"w": torch.zeros(1)}
    >>> signals = {"delta": torch.tensor(1.0), "trace_decay": torch.tensor(0.5), "ended": torch.tensor(False)}
    >>> said = rule.update(tensors, {"w": torch.ones(1)}, rule.init(tensors), {}, signals)
    >>> tensors["w"], said["bounded"]
    (tensor([1.]), tensor(1.))

    Source: Kearney, Veeriah, Travnik, Pilarski & Sutton, "Learning feature relevance through step size adaptation in
    temporal-difference learning", arXiv 1903.03252, 2019.
    """

    name: ClassVar[str] = "auto-tidbd"
    metrics: ClassVar[tuple[str, ...]] = ("effective_step", "trace_norm", "bounded")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """alpha_0; h, v and the trace are 0."""
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
        alphas, traces = {}, {}
        for name, x in of_error.items():
            state = optim[name]
            z = traces[name] = trace(state["trace"], grads[name], signals)
            rate = state["alpha"] * x * z / self.tau
            alphas[name], v = normalised(state["alpha"], delta * x * state["h"], state["v"], rate, self.mu)
            optim[name] = {"h": state["h"], "v": v, "trace": kept(z, signals)}
        total = sum_over(alphas, lambda name, alpha: alpha * of_error[name] * traces[name])
        bound = total.clamp(min=1)
        for name, z in traces.items():
            alpha = alphas[name] / bound
            tensors[name] = tensors[name] + alpha * delta * z
            h = falling(optim[name]["h"], alpha, of_error[name] * z, delta * z)
            optim[name] = {**optim[name], "alpha": alpha, "h": h}
        return {
            "effective_step": total / bound,
            "trace_norm": sum_over(traces, lambda _, z: z.abs()),
            "bounded": (total > 1).to(total.dtype),
        }
