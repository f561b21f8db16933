"""The networks, batches and optimizers of the benchmarks of attached methods."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from models import GPT, resnet18

OPTIMIZERS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, 1e-4),
    "SGD, momentum": lambda parameters: torch.optim.SGD(parameters, 1e-4, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, 1e-4),
    "Adam, fused": lambda parameters: torch.optim.Adam(parameters, 1e-4, fused=True),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, 1e-4),
}
REFERENCE = 32  # examples, as in the laboratory


@dataclass(frozen=True)
class Case:
    """A network with a batch to train on, and reference inputs for methods that compare outputs.

    Attributes:
        every: whether all methods are measured on it, or continual backpropagation alone.
    """

    make: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    reference: Tensor
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    every: bool = True


class ActorCritic(nn.Module):
    """Two networks of the same inputs, their outputs side by side."""

    def __init__(self, observations: int, actions: int, width: int):
        super().__init__()
        self.actor, self.critic = (perceptron(nn.ReLU, observations, width, width, n) for n in (actions, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.actor(x), self.critic(x)], 1)


def perceptron(activation: Callable[[], nn.Module], *widths: int) -> nn.Sequential:
    """A multilayer perceptron."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def conv_net() -> nn.Module:
    """Two convolutions and two linear layers."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def of_tokens(outputs: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy at every place of a text."""
    return F.cross_entropy(outputs.flatten(0, -2), tokens.flatten())


def cases() -> dict[str, Case]:
    """By name, small ones first; their batches come from torch's generator."""

    def numbers(make: Callable[[], nn.Module], batch: int, inputs: int, outputs: int) -> Case:
        x, y = torch.randn(batch, inputs), torch.randn(batch, outputs)
        return Case(make, x, y, torch.randn(REFERENCE, inputs), F.mse_loss)

    def images(make: Callable[[], nn.Module], batch: int, classes: int, *shape: int, every: bool = True) -> Case:
        y = torch.randint(classes, (batch,))
        return Case(make, torch.randn(batch, *shape), y, torch.randn(REFERENCE, *shape), every=every)

    tokens = torch.randint(256, (8, 128))
    return {
        "17-64-64-6, 64": numbers(lambda: perceptron(nn.Tanh, 17, 64, 64, 6), 64, 17, 6),
        "784-3x100-10, 32": images(lambda: perceptron(nn.ReLU, 784, 100, 100, 100, 10), 32, 10, 784),
        "PPO's pair 27-256-256-8, 128": numbers(lambda: ActorCritic(27, 8, 256), 128, 27, 9),
        "ConvNet, 32": images(conv_net, 32, 10, 3, 16, 16),
        "GPT, 8 x 128 tokens": Case(GPT, tokens, torch.randint(256, (8, 128)), tokens, of_tokens, every=False),
        "ResNet-18, 128": images(resnet18, 128, 100, 3, 32, 32, every=False),
    }
