"""An optimizer of your own: all steps have the same size, whatever the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import neoteny
from neoteny.checks import require_fraction
from neoteny.optim import Optimizer

if TYPE_CHECKING:
    from torch import Tensor


@neoteny.register(source="after Bernstein et al., ICML 2018")
@dataclass(frozen=True, kw_only=True)
class Signed(Optimizer):
    """m <- decay m + (1 - decay) g, then theta <- theta - alpha sign(m).

    Args:
        step_size: alpha.
        decay: decay rate of the average m, in [0, 1].
    """

    name: ClassVar[str] = "signed"

    step_size: float = 1e-3
    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction(self, "decay")

    def init(self, tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        return {name: {"momentum_buffer": value * 0} for name, value in tensors.items()}

    def update(
        self,
        tensors: dict[str, Tensor],
        grads: dict[str, Tensor],
        optim: dict[str, dict[str, Tensor]],
        count: Mapping[str, Any],
        signals: Mapping[str, Tensor] | None = None,
    ) -> None:
        for name, gradient in grads.items():
            average = optim[name]["momentum_buffer"] * self.decay + gradient * (1 - self.decay)
            optim[name] = {"momentum_buffer": average}
            tensors[name] = tensors[name] - self.step_size * average.sign()
