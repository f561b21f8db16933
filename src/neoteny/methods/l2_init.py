"""L2 regularisation towards the initial weights, also known as regenerative regularisation.

Kumar, Marklund & Van Roy, "Maintaining plasticity in continual learning via regenerative regularization", arXiv
2308.11958, 2023 (Eq. 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.base import Contract, Method, Step, Tensors, is_zero, require_nonnegative

if TYPE_CHECKING:
    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class L2Init(Method):
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
    varies: ClassVar[tuple[str, ...]] = ("strength",)

    strength: float = 1e-3
    norms: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength")

    @classmethod
    def contract(cls) -> Contract:
        """Active and still ones, for `neoteny.testing`."""
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
        """Add λ (θ - θ₀) to each gradient; parameters without one are not being trained and stay as they are."""
        if not is_zero(self.strength):
            for name in step.parameters(self.norms):
                if name in step.grads:
                    away = step.tensors[name] - state[f"{name}/initial"]
                    step.grads[name] = step.grads[name] + self.strength * away
        return state
