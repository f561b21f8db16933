"""The gradients of Hare & Tortoise's public code, which are never set to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require
from neoteny.methods.base import Method, Stage, Step, Tensors
from neoteny.methods.shared.clip_grad_norm import clipped

if TYPE_CHECKING:
    from neoteny.units.records import Network

__all__ = ["AccumulatingGradient"]


@dataclass(frozen=True, kw_only=True)
class AccumulatingGradient(Method):
    """a ← clip(a + g), g ← a: each gradient is added to what clipping has left of all those before it.

    The training loop of the public code of Lee et al. (ICML 2024) calls `backward` and clips the norm of all gradients
    in place, but never `zero_grad`. So the optimizer follows a clipped running sum, which is a strong momentum. What
    regularisers add to the loss is part of it.

    Args:
        max_norm: c > 0, what the norm is clipped to.

    >>> AccumulatingGradient(max_norm=0.5)
    AccumulatingGradient(max_norm=0.5)
    """

    name: ClassVar[str] = "accumulating-gradient"
    stage: ClassVar[Stage] = "optimizer"
    max_norm: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self, "max_norm", self.max_norm > 0, "a number > 0")

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<parameter>/sum`: a."""
        return {f"{name}/sum": value * 0 for name, value in tensors.items() if name in network.initialisers}

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add up and clip."""
        total = {name: state[f"{name}/sum"] + gradient for name, gradient in step.grads.items()}
        step.grads.update(clipped(total, self.max_norm))
        return {**state, **{f"{name}/sum": step.grads[name] for name in total}}
