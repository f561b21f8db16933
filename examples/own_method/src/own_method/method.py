"""A method of your own: biases of hidden layers decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import neoteny
from neoteny.checks import require_fraction
from neoteny.methods import Method, Step

if TYPE_CHECKING:
    from torch import Tensor


@neoteny.register(source="an example")
@dataclass(frozen=True, kw_only=True)
class Mine(Method):
    """Let the biases of hidden layers decay: after every step b <- (1 - rate) b.

    Args:
        rate: share of a bias that is taken off in a step.

    Raises:
        SettingError: the rate is not in [0, 1].
    """

    name: ClassVar[str] = "mine"
    varies: ClassVar[tuple[str, ...]] = ("rate",)  # may differ between the runs of a stack
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"rate": (0.001, 0.01, 0.1)}  # what `leaderboard` tries

    rate: float = 0.01

    def __post_init__(self) -> None:
        require_fraction(self, "rate")

    def intervene(self, step: Step, state: dict[str, Tensor], due: Tensor | None) -> dict[str, Tensor]:
        for layer in step.network.layers:
            for part in layer.incoming:
                name = part.name.removesuffix("weight") + "bias"
                if name in step.tensors:
                    step.tensors[name] = step.tensors[name] * (1 - self.rate)
        return state

    def inert(self) -> str | None:
        return "rate = 0 changes nothing" if self.rate == 0 else None
