"""K2: a diagonal Kalman gain that adapts so that errors are as large as it foresees (Sutton 1992)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.optim.base import Counts
from neoteny.optim.k1 import DiagonalGain
from neoteny.optim.signals import DELTA
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["K2"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class K2(DiagonalGain):
    """beta <- beta + mu x^2 / (1 + sum x^4) (delta^2 - R - sum p x^2); then K1's gain, with no state h.

    R + sum p x^2 is the squared error that the gains foresee.

    Args:
        step_size: p_0 / R.
        mu: the step size of beta.
        noise: R, the variance of the noise in the targets.
        newborn_step: `initial` or `median`.

    Metrics: `effective_step`, sum k x.

    >>> import torch
    >>> rule, tensors = K2(mu=0.1), {"w": torch.zeros(1)}
    >>> state = rule.init(tensors)
    >>> said = rule.update(tensors, {"w": torch.ones(1)}, state, {}, {"delta": torch.tensor(2.0)})
    >>> state["w"]["beta"]  # 0.1 * 1 / 2 * (4 - 1 - 1)
    tensor([0.1000])

    Source: Sutton, "Gain adaptation beats least squares?", Yale Workshop on Adaptive and Learning Systems, 1992.
    """

    name: ClassVar[str] = "k2"

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
        squares = {name: x.square() for name, x in grads.items()}
        foreseen = self.noise + sum_over(squares, lambda name, square: optim[name]["beta"].exp() * square)
        rate = self.mu * (delta.square() - foreseen) / (1 + sum_over(squares, lambda _, square: square.square()))
        betas = {name: optim[name]["beta"] + rate * square for name, square in squares.items()}
        spread = sum_over(betas, lambda name, beta: beta.exp() * squares[name])
        for name, x in grads.items():
            tensors[name] = tensors[name] + betas[name].exp() * x / (self.noise + spread) * delta
            optim[name] = {"beta": betas[name]}
        return {"effective_step": spread / (self.noise + spread)}
