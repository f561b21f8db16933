"""Gradient steps along eligibility traces: TD(lambda) and its kin with one fixed step size (Sutton 1988)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.optim.base import Counts
from neoteny.optim.signals import DELTA, kept, trace
from neoteny.optim.traced import Traced

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TraceSGD"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class TraceSGD(Traced):
    """z <- gamma lambda z + g; w <- w + alpha delta z, with g the gradient of the prediction (see `optim.signals`).

    Args:
        step_size: alpha.

    >>> import torch
    >>> rule, tensors = TraceSGD(step_size=0.5), {"w": torch.tensor([1.0])}
    >>> signals = {"delta": torch.tensor(2.0), "trace_decay": torch.tensor(0.9), "ended": torch.tensor(False)}
    >>> rule.update(tensors, {"w": torch.tensor([1.0])}, rule.init(tensors), {}, signals)
    >>> tensors["w"]
    tensor([2.])

    Source: Sutton, "Learning to predict by the methods of temporal differences", Machine Learning 3, 1988, eq. 4; for
    networks Sutton & Barto, 2018, section 12.2.
    """

    name: ClassVar[str] = "trace-sgd"

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
        for name, gradient in grads.items():
            z = trace(optim[name]["trace"], gradient, signals)
            tensors[name] = tensors[name] + self.step_size * signals[DELTA] * z
            optim[name] = {"trace": kept(z, signals)}
