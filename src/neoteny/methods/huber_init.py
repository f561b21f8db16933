"""Huber regularisation towards the initial weights.

After Kumar, Marklund & Van Roy, "Maintaining plasticity in continual learning via regenerative regularization", arXiv
2308.11958, 2023, with the loss of Huber, "Robust estimation of a location parameter", Ann. Math. Stat. 35, 1964.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_number, require
from neoteny.methods.base import Contract, Stage
from neoteny.methods.shared.initial_pull import InitialPull

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class HuberInit(InitialPull):
    """Pull every parameter θ towards its initial value θ₀: like L2-Init when near, like L1-Init when far.

    Before each step, with the strength λ and the distance δ at which the force stops growing:

        g ← g + λ max(-δ, min(δ, θ - θ₀))

    the gradient of λ Σ_i ρ(θ_i - θ₀_i) with ρ(d) = d²/2 where |d| <= δ, else δ (|d| - δ/2).

    Args:
        strength: λ.
        delta: δ > 0, in the units of weights. A large one makes it L2-Init; a small one L1-Init of strength λ δ.
        norms: also pull the gains and shifts of norms, which are left out otherwise.

    Raises:
        SettingError: a strength that is not a finite number >= 0, or a δ that is not a finite number > 0.

    >>> HuberInit(strength=1e-3, delta=0.05)
    HuberInit(strength=0.001, norms=False, delta=0.05)
    """

    name: ClassVar[str] = "huber-init"
    varies: ClassVar[tuple[str, ...]] = ("strength", "delta")
    stage: ClassVar[Stage] = "regulariser"
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-3, 1e-2, 1e-1), "delta": (0.01, 0.1)}
    avoid: ClassVar[str] = (
        "Where L2-Init is tuned already: δ is one more setting, and it only matters to weights that went further."
    )

    delta: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        delta = self.delta
        require(self, "delta", is_number(delta) and 0 < delta < float("inf"), "a finite number > 0")

    @classmethod
    def contract(cls) -> Contract:
        """Active and still ones, for `neoteny.testing`."""
        return [cls(strength=0.1, delta=1e-3)], [cls(strength=0)]

    def force(self, away: Tensor) -> Tensor:
        """Grows with the distance up to δ."""
        return away.clamp(-self.delta, self.delta)
