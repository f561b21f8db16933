"""Clipping the norm of an update's gradients, as `torch.nn.utils.clip_grad_norm_` does, for each run by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from neoteny.checks import require
from neoteny.methods.base import Method, Step, Tensors

__all__ = ["ClipGradNorm", "clipped"]


@dataclass(frozen=True, kw_only=True)
class ClipGradNorm(Method):
    """g <- g min(1, c / (|g| + 1e-6)), where |g| is the norm of all gradients together (Pascanu et al., ICML 2013).

    It must come before methods that add to the gradients, so that only the loss's gradient is clipped.

    Args:
        max_norm: c > 0.

    >>> ClipGradNorm(max_norm=0.5)
    ClipGradNorm(max_norm=0.5)
    """

    name: ClassVar[str] = "clip-grad-norm"
    max_norm: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self, "max_norm", self.max_norm > 0, "a number > 0")

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Clip the gradients."""
        step.grads.update(clipped(step.grads, self.max_norm))
        return state


def clipped(grads: Tensors, max_norm: float) -> Tensors:
    """Gradients whose norm together is at most `max_norm`, up to the 1e-6."""
    import torch

    squares = torch.stack([gradient.square().sum() for gradient in grads.values()])
    factor = (max_norm / (squares.sum().sqrt() + 1e-6)).clamp(max=1.0)
    return {name: gradient * factor for name, gradient in grads.items()}
