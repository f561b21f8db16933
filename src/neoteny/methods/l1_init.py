"""L1 regularisation towards the initial weights.

Kumar, Marklund & Van Roy, "Maintaining plasticity in continual learning via regenerative regularization", arXiv
2308.11958, 2023; CoLLAs 2024 (the variant of their Eq. 1 with the L1 norm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.base import Contract, Stage
from neoteny.methods.shared.initial_pull import InitialPull

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class L1Init(InitialPull):
    """Pull every parameter θ towards its initial value θ₀ by the same force from any distance.

    Before each step, with the strength λ:

        g ← g + λ sign(θ - θ₀)    a subgradient of λ |θ - θ₀|₁, 0 at θ = θ₀

    Weights that the loss does not hold go back at a steady pace and then stay within a step of θ₀; weights that it
    holds are pulled no more for being far away. So few weights leave θ₀, where L2-Init lets all of them move a little.

    Args:
        strength: λ; smaller than L2-Init's by about the distance that weights go.
        norms: also pull the gains and shifts of norms, which are left out otherwise.

    Raises:
        SettingError: a strength that is not a finite number >= 0.

    >>> L1Init(strength=1e-4)
    L1Init(strength=0.0001, norms=False)
    """

    name: ClassVar[str] = "l1-init"
    stage: ClassVar[Stage] = "regulariser"
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-6, 1e-5, 1e-4, 1e-3)}
    avoid: ClassVar[str] = (
        "With Adam and its kin, unless the strength is tuned for them: a force of one size for all weights is scaled "
        "up where gradients are small."
    )

    strength: float = 1e-4

    @classmethod
    def contract(cls) -> Contract:
        """Active and still ones, for `neoteny.testing`."""
        return [cls(strength=0.01)], [cls(strength=0)]

    def force(self, away: Tensor) -> Tensor:
        """The same from any distance."""
        return away.sign()
