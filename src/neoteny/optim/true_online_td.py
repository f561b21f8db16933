"""True online TD(lambda): traces that do at every step what the forward view would have done (van Seijen et al. 2016).

The rule holds for predictions that are linear in the weights, so that the gradient g is the feature vector x. On a
network it treats the gradients as if they were features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.optim.base import Counts, Optimizer
from neoteny.optim.signals import DELTA, SIGNALS, TRACE_DECAY, kept
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TrueOnlineTD", "dot"]

Tensors = dict[str, "Tensor"]


def dot(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> Tensor:
    """The inner product of two vectors that are spread over several tensors, `[]`."""
    return sum_over(left, lambda name, value: value * right[name])


@dataclass(frozen=True, kw_only=True)
class TrueOnlineTD(Optimizer):
    """z <- c z; z <- z + alpha x (1 - z.x); w <- w + (delta + u) z - u alpha x, with c = gamma lambda and u = dw.x.

    dw is the last change of the weights, so u is what it changed of the prediction of x: the published V_old is v - u.
    (The published trace is z / alpha.) At the end of an episode traces are set to 0, and u has no effect after it.

    Args:
        step_size: alpha.

    >>> import torch
    >>> rule, tensors = TrueOnlineTD(step_size=0.5), {"w": torch.tensor([1.0])}
    >>> signals = {"delta": torch.tensor(2.0), "trace_decay": torch.tensor(0.9), "ended": torch.tensor(False)}
    >>> rule.update(tensors, {"w": torch.tensor([1.0])}, rule.init(tensors), {}, signals)
    >>> tensors["w"]
    tensor([2.])

    Source: van Seijen, Mahmood, Pilarski, Machado & Sutton, "True online temporal-difference learning", JMLR 17, 2016,
    Algorithm 1.
    """

    name: ClassVar[str] = "true-online-td"
    follows: ClassVar[Literal["loss", "prediction", "either"]] = "prediction"
    reads: ClassVar[tuple[str, ...]] = SIGNALS

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The trace and the last change of each parameter."""
        return {name: {"trace": value * 0, "change": value * 0} for name, value in tensors.items()}

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
        old = {name: signals[TRACE_DECAY] * optim[name]["trace"] for name in grads}
        passed = 1 - dot(old, grads)
        drift = dot({name: optim[name]["change"] for name in grads}, grads)
        for name, x in grads.items():
            z = old[name] + self.step_size * passed * x
            change = (signals[DELTA] + drift) * z - drift * self.step_size * x
            tensors[name] = tensors[name] + change
            optim[name] = {"trace": kept(z, signals), "change": change}
