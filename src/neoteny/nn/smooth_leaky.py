"""A leaky rectifier without a kink."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SmoothLeakyReLU"]


class SmoothLeakyReLU(nn.Module):
    """f(x) = alpha x + (1 - alpha) x sigmoid(c x / p).

    Args:
        alpha: slope far below 0; it is 1 far above.
        c: curvature of the transition.
        p: width of the transition; only c / p counts.

    >>> SmoothLeakyReLU(alpha=0.1)(torch.tensor([-50.0, 0.0, 50.0]))
    tensor([-5.,  0., 50.])

    Source: Lillo and Cheney, ICLR 2026, Eq. 1.
    """

    def __init__(self, alpha: float = 0.1, c: float = 5.0, p: float = 3.0):
        super().__init__()
        self.alpha, self.c, self.p = alpha, c, p

    def forward(self, x: Tensor) -> Tensor:
        """f(x), of the shape of x."""
        return self.alpha * x + (1 - self.alpha) * x * torch.sigmoid(self.c / self.p * x)

    def extra_repr(self) -> str:
        """The settings."""
        return f"alpha={self.alpha}, c={self.c}, p={self.p}"
