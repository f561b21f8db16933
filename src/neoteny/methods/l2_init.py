"""L2 regularisation towards the initial weights, also known as regenerative regularisation.

Kumar, Marklund & Van Roy, "Maintaining plasticity in continual learning via regenerative regularization", arXiv
2308.11958, 2023; CoLLAs 2024 (Eq. 1).
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
class L2Init(InitialPull):
    """Pull every parameter θ towards its value θ₀ before the first step.

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
    stage: ClassVar[Stage] = "regulariser"
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-4, 1e-3, 1e-2, 1e-1)}
    avoid: ClassVar[str] = (
        "Where a good solution lies far from the initial weights, as after pre-training: every useful weight is pulled "
        "back all the time."
    )

    @classmethod
    def contract(cls) -> Contract:
        """Active and still ones, for `neoteny.testing`."""
        return [cls(strength=0.01)], [cls(strength=0)]

    def force(self, away: Tensor) -> Tensor:
        """Grows with the distance."""
        return away
