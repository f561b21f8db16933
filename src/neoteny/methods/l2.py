"""L2 regularisation, coupled or decoupled.

Krogh & Hertz, "A simple weight decay can improve generalization", NeurIPS 1991; Loshchilov & Hutter, "Decoupled weight
decay regularization", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero, require_nonnegative
from neoteny.methods.base import Contract, Method, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class L2(Method):
    """Pull every parameter θ towards zero.

    Coupled (as `weight_decay` of SGD and Adam, and as the authors of the Nature paper use it), before the step:

        g ← g + λ θ        the gradient of λ/2 |θ|²

    Decoupled, after a step with the step size α:

        θ ← θ - α λ θ

    (AdamW multiplies by 1 - α λ before adding its update, which differs by α λ times the update.)

    Args:
        strength: λ.
        decoupled: leave the gradient alone, and with it the optimizer's moments.
        norms: also decay the gains and shifts of norms, which are left out otherwise.

    Raises:
        SettingError: a strength that is not a finite number >= 0.

    >>> L2(strength=1e-3)
    L2(strength=0.001, decoupled=False, norms=False)
    """

    name: ClassVar[str] = "l2"
    needs_examples: ClassVar[bool] = False
    varies: ClassVar[tuple[str, ...]] = ("strength",)
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-5, 1e-4, 1e-3, 1e-2)}
    memory: ClassVar[tuple[float, float]] = (0.0, 2.0)
    avoid: ClassVar[str] = (
        "Where the optimizer has a weight decay already: weights would be pulled twice. With Adam prefer `decoupled`; "
        "otherwise Adam scales the pull down for weights with large gradients."
    )

    strength: float = 1e-4
    decoupled: bool = False
    norms: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        active = [cls(strength=0.01, norms=True), cls(strength=0.01, decoupled=True)]
        return active, [cls(strength=0), cls(strength=0, decoupled=True)]

    def inert(self) -> str | None:
        """Without strength there is no pull."""
        return "strength = 0, so no weight is pulled" if self.strength == 0 else None

    @property
    def coupled_decay(self) -> float | None:
        """λ, unless decoupled."""
        return 0.0 if self.decoupled else self.strength

    @property
    def acts_always(self) -> bool:
        """Only the decoupled kind acts after the step."""
        return self.decoupled

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add λ θ to each gradient."""
        if not self.decoupled and not is_zero(self.strength):
            step.add_to_grads(step.trained(self.norms), step.tensors, self.strength)
        return state

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Shrink each parameter that has a gradient."""
        if self.decoupled and not is_zero(self.strength):
            step.decay(step.trained(self.norms), self.strength)
        return state
