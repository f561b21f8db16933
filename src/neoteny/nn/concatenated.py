"""Activations that give two numbers for one: what reads them has twice as many inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CReLU", "Concatenated", "SinCos"]


class Concatenated(nn.Module):
    """Two functions of x, one behind the other along the dimension of the channels.

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
