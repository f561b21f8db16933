"""Intentional updates: a step is chosen by the share of the error that it shall take away (Sharifnassab et al. 2026).

Where other rules set how far the weights move, this one sets how much the prediction changes. No step size needs to be
tuned to the problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import is_number, require, require_positive
from neoteny.optim.base import Counts
from neoteny.optim.signals import DELTA, TRACE_DECAY, kept, trace
from neoteny.optim.sums import sum_over
from neoteny.optim.traced import SquaredTraces

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Intentional"]

Tensors = dict[str, "Tensor"]


_COMMON = ("sigma", "sigma_weight", "delta_sq", "delta_abs", "delta_weight")
"""What concerns all parameters together."""


@dataclass(frozen=True, kw_only=True)
class Intentional(SquaredTraces):
    """w <- w + eta d z / (s sqrt(sigma Z)), with z a trace and s the root mean square of the gradients.

    v <- b v + (1 - b) g^2, s = sqrt(v / (1 - b^t)) + eps; n = sum g^2 / s; z <- gamma lambda z + g; Z = sum z^2 / s;
    sigma <- sigma + (1 - gamma lambda)(n - sigma), divided by what its weights add up to. Sums are over all weights
    that the rule trains. With lambda = 0 and s = 1 the step is eta / |g|^2: NLMS.

    d is delta, cut off at `clip` times its root mean square; for a policy it is then divided by the mean of |d|.

    Args:
        step_size: eta: the share of the error; the authors have 0.5 for values, 0.05 for policies, 0.25 for Q.
        beta: b in (0, 1).
        eps: as in the rule.
        clip: how many root mean squares an error may have.
        memory: of the averages of errors, in (0, 1). The mean square begins at 1 and is divided by 1 - memory^t, as in
            the authors' code, so the first errors are hardly ever cut off.
        policy: whether errors are divided by their mean size.

    Metrics: `effective_step`, the step times sum z g / s; `trace_norm` |z|_1; `bounded`, whether delta was cut off.

    >>> import torch
    >>> rule, tensors = Intentional(step_size=0.5), {"w": torch.zeros(1)}
    >>> signals = {"delta": torch.tensor(3.0), "trace_decay": torch.tensor(0.0), "ended": torch.tensor(False)}
    >>> count = {"w": torch.tensor(1)}
    >>> said = rule.update(tensors, {"w": torch.tensor([4.0])}, rule.init(tensors), count, signals)
    >>> tensors["w"] * 4.0  # half of the error
    tensor([1.5000])

    Source: Sharifnassab, Elsayed, De Asis, Mahmood & Sutton, "Intentional updates for streaming reinforcement
    learning", arXiv 2604.19033, 2026.
    """

    step_size: float = 0.5
    clip: float = 20.0
    memory: float = 0.9998
    policy: bool = False
    name: ClassVar[str] = "intentional"
    metrics: ClassVar[tuple[str, ...]] = ("effective_step", "trace_norm", "bounded")

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_positive(self, "clip")
        require(self, "memory", is_number(self.memory) and 0 < self.memory < 1, "a number in (0, 1)")

    def in_common(self) -> tuple[str, ...]:
        """The averages of errors, and of the squares of gradients."""
        return _COMMON

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """Trace and mean square of each parameter; with each what concerns all of them, `[]`."""
        found = super().init(tensors)
        for name in tensors:
            zero = tensors[name].flatten()[0] * 0
            found[name] |= {key: zero for key in _COMMON} | {"delta_sq": zero + 1}
        return found

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
        traces, spreads = {}, {}
        for name, g in grads.items():
            v = self.beta * optim[name]["exp_avg_sq"] + (1 - self.beta) * g.square()
            spreads[name] = (v / average_weight(self.beta, count[name])).sqrt() + self.eps
            traces[name] = trace(optim[name]["trace"], g, signals)
            optim[name] = {
                **optim[name],
                "trace": kept(traces[name], signals),
                "exp_avg_sq": v,
                "step": optim[name]["step"] + 1,
            }
        first = next(name for name in grads if "delta_weight" in optim[name])  # once it lay with the first alone
        common, error, cut = self._error(optim[first], signals[DELTA])
        decay = signals[TRACE_DECAY]
        fresh = sum_over(grads, lambda name, g: g.square() / spreads[name])
        common["sigma"] = decay * common["sigma"] + (1 - decay) * fresh
        common["sigma_weight"] = decay * common["sigma_weight"] + (1 - decay)
        for name in grads:  # with each, so that any may be frozen later
            optim[name] = {**optim[name], **{key: common[key] for key in _COMMON}}
        total = sum_over(traces, lambda name, z: z.square() / spreads[name])
        # with gamma lambda = 1 the average never moves; it is then taken for the fresh value
        sigma = common["sigma"] / common["sigma_weight"].clamp(min=1e-30)
        sigma = fresh.where(common["sigma_weight"] == 0, sigma)
        step = self.step_size / (sigma * total).sqrt().clamp(min=1e-8)
        for name, z in traces.items():
            tensors[name] = tensors[name] + step * error * z / spreads[name]
        return {
            "effective_step": step * sum_over(traces, lambda name, z: z * grads[name] / spreads[name]),
            "trace_norm": sum_over(traces, lambda _, z: z.abs()),
            "bounded": cut,
        }

    def _error(self, common: Tensors, delta: Tensor) -> tuple[Tensors, Tensor, Tensor]:
        """The averages of errors after this one, the error that is used, and whether it was cut off."""
        rate = 1 - self.memory
        common = dict(common)
        weight = common["delta_weight"] = self.memory * common["delta_weight"] + rate
        square = common["delta_sq"] = self.memory * common["delta_sq"] + rate * delta.square()
        most = self.clip * (square / weight).sqrt()
        error = delta.clamp(-most, most)
        if self.policy:
            mean = common["delta_abs"] = self.memory * common["delta_abs"] + rate * error.abs()
            error = error / (mean / weight).clamp(min=1e-8)
        return common, error, (delta.abs() > most).to(delta.dtype)
