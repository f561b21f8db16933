"""Adam (Kingma and Ba 2015, Algorithm 1) and AdamW (Loshchilov and Hutter 2019), counting updates for each entry.

A unit that was made new has moments of 0. With the step count of the old network these would not be corrected, and the
unit's first steps would be (1 - b1) / sqrt(1 - b2) times their size, 3.2 times too large with the usual settings. So
the bias correction uses the number of updates since an entry was made new, which may differ within one parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import is_number, require, require_nonnegative
from neoteny.optim.base import Counts, Optimizer

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """m <- b1 m + (1-b1) g; v <- b2 v + (1-b2) g^2; theta <- theta - alpha m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps).

    Args:
        step_size: alpha.
        betas: b1, b2. The Nature paper's tuned Adam has (0.99, 0.99).
        eps: as in the rule.
        weight_decay: decoupled (AdamW): theta <- (1 - alpha * weight_decay) theta before the update. For the coupled
            kind attach the method `L2`.

    >>> import torch
    >>> adam, tensors = Adam(step_size=0.1), {"w": torch.tensor([1.0])}
    >>> adam.update(tensors, {"w": torch.tensor([3.0])}, adam.init(tensors), {"w": torch.tensor(1)})
    >>> tensors["w"]
    tensor([0.9000])
    """

    step_size: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    name: ClassVar[str] = "adam"
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_betas(self)
        require_nonnegative(self, "eps", "weight_decay")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """Both averages, and `step`, the updates so far, int32 `[]`."""
        import torch

        return {
            name: {
                "exp_avg": value * 0,
                "exp_avg_sq": value * 0,
                "step": torch.zeros((), dtype=torch.int32, device=value.device),
            }
            for name, value in tensors.items()
        }

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Tensor] | None = None,
    ) -> None:
        """One update."""
        from neoteny.units.counts import average_weight

        b1, b2 = self.betas
        for name, gradient in grads.items():
            m = optim[name]["exp_avg"] * b1 + gradient * (1 - b1)
            v = optim[name]["exp_avg_sq"] * b2 + gradient * gradient * (1 - b2)
            optim[name] = {"exp_avg": m, "exp_avg_sq": v, "step": optim[name]["step"] + 1}
            first, second = average_weight(b1, count[name]), average_weight(b2, count[name])
            theta = tensors[name]
            if "weight_decay" in self.varies or self.weight_decay:  # where runs differ in it, it is a tensor
                theta = theta * (1 - self.step_size * self.weight_decay)
            tensors[name] = theta - self.step_size * (m / first) / ((v / second).sqrt() + self.eps)


def require_betas(optimizer: Any) -> None:
    """Check that the setting `betas` is a pair of numbers in [0, 1)."""
    betas = optimizer.betas
    pair = isinstance(betas, tuple) and len(betas) == 2 and all(is_number(beta) and 0 <= beta < 1 for beta in betas)
    require(optimizer, "betas", pair, "a pair of numbers in [0, 1)")
