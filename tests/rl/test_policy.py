"""A stack of policies computes what each network computes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from neoteny.nn import MLP
from neoteny.rl.policy import Policy


class Unusual(nn.Module):
    """No stack of layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 2, bias=False)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)) * 2)


class Bounded(MLP):
    """More than its layers."""

    def forward(self, x):
        return torch.tanh(super().forward(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(5, [4, 3], 2),
        lambda: MLP(5, [4], 2, activation="swish"),
        lambda: MLP(5, [4], 2, normalisation="layer"),
        lambda: Bounded(5, [4], 2),
        Unusual,
    ],
    ids=["relu", "swish", "layer-norm", "bounded", "unusual"],
)
def test_means_are_those_of_each_actor(make):
    torch.manual_seed(0)
    actors = [make() for _ in range(3)]
    tensors = {
        name: torch.stack([dict(actor.named_parameters())[name].detach() for actor in actors])
        for name, _ in actors[0].named_parameters()
    }
    policy = Policy(copy.deepcopy(actors[0]).to("meta").eval())
    policy.use(tensors)
    states = np.random.default_rng(0).standard_normal((3, 6, 5)).astype(np.float32)
    with torch.no_grad():
        found = policy(states)
        for k, actor in enumerate(actors):
            np.testing.assert_allclose(found[k], actor(torch.from_numpy(states[k])).numpy(), rtol=1e-5, atol=1e-6)
    doubled = {name: 2 * value for name, value in tensors.items()}
    policy.use(doubled)
    own = {name: value[1] for name, value in doubled.items()}
    with torch.no_grad():
        expected = functional_call(actors[1], own, (torch.from_numpy(states[1]),)).numpy()
        np.testing.assert_allclose(policy(states)[1], expected, rtol=1e-5, atol=1e-6)
