"""Regenerative regularisation: pull every parameter towards its value before the first step (L2, L1 and Huber).

Kumar, Marklund & Van Roy, "Maintaining plasticity in continual learning via regenerative regularization", arXiv
2308.11958, 2023; CoLLAs 2024 (Eq. 1). The Huber variant takes the loss of Huber, "Robust estimation of a location
parameter", Ann. Math. Stat. 35, 1964.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero, require_nonnegative, require_positive
from neoteny.methods.base import Contract, Method, Step, Tensors
from neoteny.methods.shared import each

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class InitialPull(Method, ABC):
    """The base of pulls towards the initial parameters θ₀; `force` says how strong the pull is at which distance."""

    needs_examples: ClassVar[bool] = False
    varies: ClassVar[tuple[str, ...]] = ("strength",)
    memory: ClassVar[tuple[float, float]] = (1.0, 4.0)

    strength: float = 1e-3
    norms: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength")

    @abstractmethod
    def force(self, away: Tensor) -> Tensor:
        """The derivative of the penalty at θ - θ₀ = `away`, for λ = 1."""

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(strength=0.01)], [cls(strength=0)]

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
        """Add λ times the force to each gradient."""
        if not is_zero(self.strength):
            names = step.trained(self.norms)
            away = each.apply(
                "sub", [step.tensors[name] for name in names], [state[f"{name}/initial"] for name in names]
            )
            step.add_to_grads(names, dict(zip(names, map(self.force, away), strict=True)), self.strength)
        return state


@dataclass(frozen=True, kw_only=True)
class L2Init(InitialPull):
    """Pull every parameter θ towards its value θ₀ before the first step, the more strongly the farther it is.

    Before each step, with the strength λ:

        g ← g + λ (θ - θ₀)    the gradient of λ/2 |θ - θ₀|²

    The paper writes the penalty without the 1/2: its λ is half of this one.

    Args:
        strength: λ; 1e-2 to 1e-5 are usual.
        norms: also pull the gains and shifts of norms, which are left out otherwise.

    Raises:
        SettingError: a strength that is not a finite number >= 0.

    >>> L2Init(strength=1e-3)
    L2Init(strength=0.001, norms=False)
    """

    name: ClassVar[str] = "l2-init"
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-4, 1e-3, 1e-2, 1e-1)}
    avoid: ClassVar[str] = (
        "Where a good solution lies far from the initial weights, as after pre-training: every useful weight is pulled "
        "back all the time."
    )

    def force(self, away: Tensor) -> Tensor:
        """Proportional to the distance."""
        return away


@dataclass(frozen=True, kw_only=True)
class L1Init(InitialPull):
    """Pull every parameter θ towards its initial value θ₀, with the same force at any distance.

    Before each step, with the strength λ:

        g ← g + λ sign(θ - θ₀)    a subgradient of λ |θ - θ₀|₁, 0 at θ = θ₀

    It is the variant of the paper's Eq. 1 with the L1 norm. Weights that the loss does not need go back at a constant
    rate, then stay within one step of θ₀. Weights that the loss needs are not pulled harder when they are far away. So
    few weights leave θ₀, where L2-Init lets all of them move a little.

    Args:
        strength: λ; smaller than L2-Init's, by about the distance that weights move.
        norms: also pull the gains and shifts of norms, which are left out otherwise.

    Raises:
        SettingError: a strength that is not a finite number >= 0.

    >>> L1Init(strength=1e-4)
    L1Init(strength=0.0001, norms=False)
    """

    name: ClassVar[str] = "l1-init"
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-6, 1e-5, 1e-4, 1e-3)}
    avoid: ClassVar[str] = (
        "With Adam and similar optimizers, unless the strength is tuned for them: they scale a force that is equal for "
        "all weights up where gradients are small."
    )

    strength: float = 1e-4

    def force(self, away: Tensor) -> Tensor:
        """The same at any distance."""
        return away.sign()


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
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-3, 1e-2, 1e-1), "delta": (0.01, 0.1)}
    avoid: ClassVar[str] = (
        "Where L2-Init is tuned already: δ is one more setting, and only matters for weights that have moved farther "
        "than δ."
    )

    delta: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_positive(self, "delta")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(strength=0.1, delta=1e-3)], [cls(strength=0)]

    def force(self, away: Tensor) -> Tensor:
        """Proportional to the distance, up to δ."""
        return away.clamp(-self.delta, self.delta)
