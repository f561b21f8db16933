"""A network before and after it lost its plasticity, in a second."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import nn
from torch.nn import functional

INPUTS = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))


def mlp(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))


@cache
def worn() -> nn.Sequential:
    """Trained by large steps on 20 random linear targets, one after the other; copy it before changing it."""
    return _trained(step_size=3e-2, tasks=20, scale=3.0)


@cache
def well() -> nn.Sequential:
    """Trained by usual steps on one target."""
    return _trained(step_size=1e-3, tasks=1, scale=1.0, steps=500)


def _trained(step_size: float, tasks: int, scale: float, steps: int = 40) -> nn.Sequential:
    net = copy.deepcopy(mlp())
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(net.parameters(), step_size, foreach=False)
    for _ in range(tasks):
        target = INPUTS @ torch.randn(10, 3, generator=generator) * scale
        for _ in range(steps):
            rows = torch.randint(0, 256, (32,), generator=generator)
            optimizer.zero_grad()
            functional.mse_loss(net(INPUTS[rows]), target[rows]).backward()
            optimizer.step()
    net.zero_grad()
    return net
