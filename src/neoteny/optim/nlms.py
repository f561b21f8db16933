"""Normalised least mean squares, NLMS: each step takes the same share of the error away (Nagumo & Noda 1967)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require_nonnegative
from neoteny.optim.base import Counts, Optimizer
from neoteny.optim.signals import DELTA
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NLMS"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class NLMS(Optimizer):
    """w <- w + eta delta x / (eps + sum x^2), with x the gradient of the prediction (see `neoteny.optim.signals`).

    Args:
        step_size: eta, the share of the error that a step takes away; in (0, 2) for convergence.
        eps: keeps steps on small inputs small.

    >>> import torch
    >>> rule, tensors = NLMS(step_size=0.5, eps=0.0), {"w": torch.zeros(2)}
    >>> said = rule.update(tensors, {"w": torch.tensor([1.0, 3.0])}, rule.init(tensors), {}, {"delta": torch.tensor(1.0)})
    >>> tensors["w"] @ torch.tensor([1.0, 3.0])
    tensor(0.5000)

    Source: Nagumo & Noda, "A learning method for system identification", IEEE TAC 12, 1967.
    """  # noqa: E501 - the example's call

    step_size: float = 0.1
    eps: float = 1e-8
    name: ClassVar[str] = "nlms"
    follows: ClassVar[Literal["loss", "prediction", "either"]] = "prediction"
    reads: ClassVar[tuple[str, ...]] = (DELTA,)
    metrics: ClassVar[tuple[str, ...]] = ("effective_step",)

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "eps")

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
        square = sum_over(grads, lambda _, x: x.square())
        step = self.step_size / (self.eps + square).clamp(min=1e-30)  # nothing moves where all inputs are 0
        for name, x in grads.items():
            tensors[name] = tensors[name] + step * signals[DELTA] * x
        return {"effective_step": step * square}
