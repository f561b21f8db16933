"""What the regularisers have in common that pull parameters towards their values before the first step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero, require_nonnegative
from neoteny.methods.base import Method, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class InitialPull(Method, ABC):
    """The base of pulls towards the initial parameters θ₀; how the force depends on the way there is `force`.

    Args:
        strength: λ.
        norms: also pull the gains and shifts of norms, which are left out otherwise.

    Raises:
        SettingError: a strength that is not a finite number >= 0.
    """

    varies: ClassVar[tuple[str, ...]] = ("strength",)
    memory: ClassVar[tuple[float, float]] = (1.0, 3.0)

    strength: float = 1e-3
    norms: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength")

    @abstractmethod
    def force(self, away: Tensor) -> Tensor:
        """The derivative of the penalty at θ - θ₀ = `away`, for λ = 1."""

    def inert(self) -> str | None:
        """Without strength there is no pull."""
        return "strength = 0, so no weight is pulled" if self.strength == 0 else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<parameter>/initial`: a copy of θ₀."""
        return {
            f"{name}/initial": tensors[name].detach().clone()
            for name in network.initialisers
            if name in tensors and (self.norms or name not in network.norms)
        }

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add λ times the force to each gradient; parameters without one are not being trained and stay as they are."""
        if not is_zero(self.strength):
            for name in step.parameters(self.norms):
                if name in step.grads:
                    away = step.tensors[name] - state[f"{name}/initial"]
                    step.grads[name] = step.grads[name] + self.strength * self.force(away)
        return state
