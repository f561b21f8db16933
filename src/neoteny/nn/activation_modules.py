"""Activations that torch does not have: CReLU, SinCos, SmoothLeakyReLU and IntervalDropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CReLU", "Concatenated", "IntervalDropout", "SinCos", "SmoothLeakyReLU"]


class Concatenated(nn.Module):
    """Two functions of x, concatenated along the channels: what reads them has twice as many inputs.

    Args:
        dim: that dimension, counted from the end: -1 behind a linear layer, -3 behind a convolution of images.
    """

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """Where the channels are."""
        return f"dim={self.dim}"


class CReLU(Concatenated):
    """Concatenated rectifiers, relu(x) and relu(-x).

    Shapes: inputs [..., channels, ...], outputs [..., 2 channels, ...].

    >>> CReLU()(torch.tensor([[1.0, -2.0]]))
    tensor([[1., 0., 0., 2.]])

    Source: Shang et al., ICML 2016, Definition 2.1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Both."""
        return torch.cat([torch.relu(x), torch.relu(-x)], self.dim)


class SinCos(Concatenated):
    """Deep Fourier features, sin(x) and cos(x).

    Shapes: inputs [..., channels, ...], outputs [..., 2 channels, ...].

    >>> SinCos()(torch.zeros(1, 2))
    tensor([[0., 0., 1., 1.]])

    Source: Lewandowski, Schuurmans and Machado, ICLR 2025.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Both."""
        return torch.cat([torch.sin(x), torch.cos(x)], self.dim)


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


class IntervalDropout(nn.Module):
    """In training max(x, 0) with probability p, else min(x, 0), drawn for each number; in evaluation the mean.

    Args:
        p: the share of positive numbers that is kept, and of negative ones that is dropped; 1 makes it a ReLU.

    >>> IntervalDropout(0.75).eval()(torch.tensor([-4.0, 4.0]))
    tensor([-1.,  3.])

    Source: Park et al., ICML 2025, Algorithm 2.
    """

    def __init__(self, p: float = 0.9):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, lots: Tensor | None = None) -> Tensor:
        """The activations, of the shape of x.

        Args:
            x: pre-activations.
            lots: uniform numbers in (0, 1] of the shape of x that decide; by default from torch's generator.
        """
        positive = torch.relu(x)
        if self.p == 1:
            return positive
        negative = x - positive
        if not self.training:
            return self.p * positive + (1 - self.p) * negative
        if lots is None:
            lots = 1 - torch.rand(x.shape, device=x.device)
        return torch.where(lots <= self.p, positive, negative)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
