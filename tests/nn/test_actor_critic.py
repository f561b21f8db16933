from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from neoteny.errors import SettingError, UnknownNameError
from neoteny.nn.actor_critic import ActorCritic
from neoteny.units import find


def test_outputs_are_the_formula():
    agent = ActorCritic(4, 2, (5, 3), activation="tanh", log_std=-0.5).double()
    x = torch.randn(7, 4, dtype=torch.float64)
    w = {name: value.detach().numpy() for name, value in agent.named_parameters()}

    def mlp(part):
        h = x.numpy()
        for layer in (0, 2):
            h = np.tanh(h @ w[f"{part}.layers.{layer}.weight"].T + w[f"{part}.layers.{layer}.bias"])
        return h @ w[f"{part}.layers.4.weight"].T + w[f"{part}.layers.4.bias"]

    mean, log_std, value = (part.detach().numpy() for part in ActorCritic.split(agent(x)))
    np.testing.assert_allclose(mean, mlp("actor"), atol=1e-12)
    np.testing.assert_array_equal(log_std, np.full((7, 2), -0.5))
    np.testing.assert_allclose(value, mlp("critic")[:, 0], atol=1e-12)


def test_weights_begin_as_lecun_s():
    """Uniform on +-sqrt(3 / fan_in), biases and log std 0: of both networks and all layers."""
    torch.manual_seed(0)
    agent = ActorCritic(27, 8)
    for name, value in agent.named_parameters():
        if name.endswith("weight"):
            bound = math.sqrt(3 / value.shape[1])
            entries = value.detach().flatten().numpy()
            assert np.abs(entries).max() <= bound
            assert stats.kstest(entries, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3
            assert agent.initialisers[name].scale == pytest.approx(bound)
        else:
            assert torch.equal(value, torch.zeros_like(value)), name
    assert set(agent.initialisers) == dict(agent.named_parameters()).keys()
    assert agent.log_std.shape == (8,)
    assert not torch.equal(agent.actor.layers[2].weight, agent.critic.layers[2].weight)


def test_it_draws_itself_anew():
    agent = ActorCritic(3, 2, (4,), log_std=-1.0)
    before = {name: value.detach().clone() for name, value in agent.named_parameters()}
    with torch.no_grad():
        agent.log_std.fill_(2.0)
    agent.reset_parameters()
    assert torch.equal(agent.log_std.detach(), torch.full((2,), -1.0))
    assert not torch.equal(agent.actor.layers[0].weight, before["actor.layers.0.weight"])


def test_both_networks_hidden_units_are_found():
    agent = ActorCritic(27, 8, (16, 12))
    network = find(agent, torch.zeros(5, 27))
    sizes = {layer.name: layer.size for layer in network.layers}
    assert sizes == {"actor.layers.0": 16, "actor.layers.2": 12, "critic.layers.0": 16, "critic.layers.2": 12}
    heads = {name for name in network.head if name.endswith("weight")}
    assert heads == {"actor.layers.4.weight", "critic.layers.4.weight"}


def test_bad_sizes_are_refused():
    with pytest.raises(SettingError, match="actions = 0"):
        ActorCritic(3, 0)
    with pytest.raises(SettingError, match="at least 1"):
        ActorCritic(0, 1)
    with pytest.raises(UnknownNameError, match="activation"):
        ActorCritic(3, 1, activation="rleu")
