"""Clipping the norm of an update's gradients, as most agents do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from neoteny.checks import require
from neoteny.methods.base import Method, Step, Tensors

__all__ = ["GradientNorm"]


@dataclass(frozen=True, kw_only=True)
class GradientNorm(Method):
    """g <- g min(1, c / (|g| + 1e-6)), |g| being the norm of all gradients together (Pascanu et al., ICML 2013).

    It goes in front of methods that add to the gradients: what is clipped is the loss's own gradient.

    Args:
        limit: c > 0.

    >>> GradientNorm(limit=0.5)
    GradientNorm(limit=0.5)
    """

    name: ClassVar[str] = "gradient-norm"
    limit: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self, "limit", self.limit > 0, "a number > 0")

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Shorten the gradients."""
        import torch

        squares = torch.stack([gradient.square().sum() for gradient in step.grads.values()])
        factor = (self.limit / (squares.sum().sqrt() + 1e-6)).clamp(max=1.0)
        step.grads.update({name: gradient * factor for name, gradient in step.grads.items()})
        return state
