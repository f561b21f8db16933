"""Small streams and networks: one on which only a network whose units are made new can learn, and a plain one."""

from __future__ import annotations

import torch
from torch import nn


def regression(batches=40, batch=16, seed=0):
    """Targets that any network can learn in part: a linear function and noise."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(4, 1, generator=generator)
    inputs = [torch.randn(batch, 4, generator=generator) for _ in range(batches)]
    return [(x, x @ weights + 0.1 * torch.randn(batch, 1, generator=generator)) for x in inputs]


def classes(batches=40, batch=16, seed=0):
    """The same with three classes."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(4, 3, generator=generator)
    inputs = [torch.randn(batch, 4, generator=generator) for _ in range(batches)]
    return [(x, (x @ weights).argmax(1)) for x in inputs]


def mlp(outputs=1):
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, outputs))


def dead(outputs=1):
    """A network whose units are all dead: without resets only its output bias learns."""
    net = mlp(outputs)
    nn.init.constant_(net[0].bias, -30.0)
    return net


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)
