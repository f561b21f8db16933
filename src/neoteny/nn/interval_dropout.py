"""Dropout as an activation: which share of the units is dropped depends on the sign of what they are about to give."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["IntervalDropout"]


class IntervalDropout(nn.Module):
    """In training max(x, 0) with probability p and min(x, 0) otherwise, each number by its own lot; else the mean.

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
            lots: numbers in (0, 1] of the shape of x that decide, by default from torch's generator.
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
