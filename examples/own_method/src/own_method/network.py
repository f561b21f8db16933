"""A network of your own: any module of PyTorch; neoteny finds its hidden units."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoWays(nn.Module):
    """Two hidden layers side by side, one of sines and one of rectifiers, read by one output layer."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.waves, self.edges = nn.Linear(inputs, hidden), nn.Linear(inputs, hidden)
        self.out = nn.Linear(2 * hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([self.waves(x).sin(), self.edges(x).relu()], dim=-1))
