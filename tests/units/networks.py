"""Small networks of every kind that units are looked for in."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Functional(nn.Module):
    """Activations and pooling as functions, containers in containers."""

    def __init__(self):
        super().__init__()
        self.body = nn.ModuleDict({"conv": nn.Conv2d(2, 4, 3, padding=1), "deep": nn.ModuleList([nn.Linear(16, 6)])})
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.body["conv"](x)), 2)
        return self.out(torch.tanh(self.body["deep"][0](x.flatten(1))))


class CReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(5, 4), nn.Linear(8, 3), nn.Linear(6, 2)

    def forward(self, x):
        for layer in (self.first, self.second):
            x = layer(x)
            x = torch.cat([torch.relu(x), torch.relu(-x)], -1)
        return self.out(x)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y += self.shortcut(x)
        return self.relu(y)


def resnet(width=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        Block(width, width),
        Block(width, 2 * width, 2),
        Block(2 * width, 2 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 3),
    )


class ActorCritic(nn.Module):
    """Two heads on one trunk, a dict of arguments, a tuple of outputs."""

    def __init__(self):
        super().__init__()
        self.trunk, self.actor, self.critic = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 1)

    def forward(self, state, *, goal):
        h = torch.tanh(self.trunk(torch.cat([state, goal], -1)))
        return self.actor(h), self.critic(h)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(4, 7), nn.Linear(4, 7), nn.Linear(7, 4)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class PaddedShortcut(nn.Module):
    """A residual stream that grows by zero channels: its first units have more producers than its last."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(3, 2), nn.Linear(2, 5), nn.Linear(5, 2)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.out(torch.relu(self.second(x)) + F.pad(x, (0, 3)))


def conv_net():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(6 * 3 * 3, 5), nn.ReLU(), nn.Linear(5, 2),
    )  # fmt: skip


def batch_norm_net():
    return nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(18), nn.Linear(18, 4),
        nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2),
    )  # fmt: skip


def channels_last():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), _Permuted(), nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 1)
    )


class _Permuted(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3), nn.Tanh(), nn.Linear(3, 2)), (5,)),
    "wide": (lambda: nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 1)), (3,)),
    "conv": (conv_net, (3, 18, 18)),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(2, 5, 3), nn.ReLU(), nn.Conv1d(5, 3, 3), nn.Flatten(), nn.Linear(12, 1)),
               (2, 8)),
    "batch norm": (batch_norm_net, (2, 8)),
    "channels last": (channels_last, (1, 4, 4)),
    "functional": (Functional, (2, 4, 4)),
    "crelu": (CReLU, (5,)),
    "resnet": (resnet, (3, 8, 8)),
    "gated": (Gated, (4,)),
    "sequence": (lambda: nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 3)), (5, 3)),
    "padded shortcut": (PaddedShortcut, (3,)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3)), (2, 5, 5)),
}  # fmt: skip
