"""Linear layers in every arrangement: one after the other, shared, tied, frozen, gated, with several heads."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from architectures.architecture import Architecture


def vectors(batch, length):
    return torch.randn(batch, length)


def pairs(batch, length):
    return torch.randn(batch, length), torch.randn(batch, length)


def mlp(width, length):
    return nn.Sequential(
        nn.Linear(length, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
    )  # fmt: skip


class CReLU(nn.Module):
    def __init__(self, width, length):
        super().__init__()
        self.first, self.second, self.out = (
            nn.Linear(length, width),
            nn.Linear(2 * width, width),
            nn.Linear(2 * width, 2),
        )

    def forward(self, x):
        for layer in (self.first, self.second):
            x = layer(x)
            x = torch.cat([torch.relu(x), torch.relu(-x)], -1)
        return self.out(x)


class MultiHead(nn.Module):
    """One trunk, several tasks, each with a hidden layer of its own or none."""

    def __init__(self, width, length):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(length, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.heads = nn.ModuleDict({
            "plain": nn.Linear(width, 3),
            "deep": nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)),
            "value": nn.Linear(width, 1),
        })  # fmt: skip

    def forward(self, x):
        x = self.trunk(x)
        return {name: head(x) for name, head in self.heads.items()}


class ActorCritic(nn.Module):
    """Actor and critic on a shared trunk; the logarithm of the deviation is a bare parameter."""

    def __init__(self, width, length):
        super().__init__()
        self.trunk = nn.Linear(length, width)
        self.policy, self.mean = nn.Linear(width, width), nn.Linear(width, 2)
        self.critic, self.value = nn.Linear(width, width), nn.Linear(width, 1)
        self.log_std = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        x = torch.tanh(self.trunk(x))
        mean = self.mean(torch.tanh(self.policy(x)))
        return mean, self.log_std.exp().expand_as(mean), self.value(torch.tanh(self.critic(x)))


class TiedAutoencoder(nn.Module):
    """The decoder's last weight is the encoder's first, transposed."""

    def __init__(self, width, length):
        super().__init__()
        self.encoder, self.code = nn.Linear(length, width), nn.Linear(width, width // 2)
        self.expand, self.bias = nn.Linear(width // 2, width), nn.Parameter(torch.zeros(length))

    def forward(self, x):
        x = torch.relu(self.code(torch.relu(self.encoder(x))))
        return F.linear(torch.relu(self.expand(x)), self.encoder.weight.t(), self.bias)


class Siamese(nn.Module):
    """Both inputs go through the same modules."""

    def __init__(self, width, length):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(length, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh())
        self.out = nn.Linear(width, 1)

    def forward(self, a, b):
        return self.out((self.encoder(a) - self.encoder(b)).abs())


class BareParameters(nn.Module):
    """A class token, an embedding of positions and a weight that belong to no module of their own."""

    def __init__(self, width, length):
        super().__init__()
        self.embed = nn.Linear(2, width)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, length + 1, width))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.mix, self.out = nn.Parameter(torch.randn(width, width) / width**0.5), nn.Linear(width, 2)

    def forward(self, x):
        x = self.embed(x)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        x = self.down(torch.relu(self.up(x)))
        return self.out(torch.relu(x.mean(1) @ self.mix))


class FrozenBackbone(nn.Module):
    """Only what stands on the backbone trains."""

    def __init__(self, width, length):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(length, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.backbone.requires_grad_(False)
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(self.backbone(x))))


class MixtureOfExperts(nn.Module):
    """Every expert sees every example; the router says how much each counts."""

    def __init__(self, width, length):
        super().__init__()
        self.embed, self.router = nn.Linear(length, width), nn.Linear(width, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(3)
        )
        self.out = nn.Linear(width, 2)

    def forward(self, x):
        x = torch.relu(self.embed(x))
        share = torch.softmax(self.router(x), -1)
        x = sum(share[:, [i]] * expert(x) for i, expert in enumerate(self.experts))
        return self.out(torch.relu(x))


PERCEPTRONS = {
    "MLP": Architecture(
        mlp, vectors, (6, 5), (256, 64), 64, {"0": 6, "2": 6},
    ),
    "CReLU": Architecture(
        CReLU, vectors, (4, 5), (256, 64), 64, {"first": 4, "second": 4},
    ),
    "multi-head": Architecture(
        MultiHead, vectors, (6, 5), (256, 64), 64, {"trunk.0": 6, "trunk.2": 6, "heads.deep.0": 6},
    ),
    "actor-critic": Architecture(
        ActorCritic, vectors, (6, 5), (256, 64), 64, {"trunk": 6, "policy": 6, "critic": 6},
    ),
    "tied autoencoder": Architecture(
        TiedAutoencoder, vectors, (8, 5), (256, 64), 64, {"code": 4},
        left_out={"encoder": "weights are used outside"},
    ),
    "siamese": Architecture(
        Siamese, pairs, (6, 5), (256, 64), 64, {"encoder.0": 6, "encoder.2": 6},
    ),
    "bare parameters": Architecture(
        BareParameters, lambda batch, length: torch.randn(batch, length, 2), (6, 5), (64, 16), 64,
        {"embed": 6, "up": 12},
        left_out={"down": "'out' reads several"}, bare=("token", "position"),
    ),
    "frozen backbone": Architecture(
        FrozenBackbone, vectors, (6, 5), (256, 64), 64, {"hidden": 6},
        left_out={"backbone.0": "frozen", "backbone.2": "frozen"},
    ),
    "mixture of experts": Architecture(
        MixtureOfExperts, vectors, (4, 5), (128, 64), 64,
        {"embed": 4, **{f"experts.{i}.0": 8 for i in range(3)}, "experts.0.2+experts.1.2+experts.2.2": 4},
        left_out={"router": "several"},
    ),
}  # fmt: skip
