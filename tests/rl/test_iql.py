"""Implicit Q-learning and behaviour cloning: losses in NumPy, data sets, and going on in an environment."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from neoteny.envs import make_classic
from neoteny.errors import DataError, SettingError
from neoteny.nn import IQLNetworks, Networks
from neoteny.nn.soft_actor_critic import GaussianActor
from neoteny.optim import Adam
from neoteny.rl import IQL, BehaviourCloning, BehaviourCloningSettings, IQLSettings, OneByOne
from neoteny.rl.iql import ExpectileValue, ImplicitCritics, WeightedCloning

OBS, ACT = 3, 1
SMALL = {"segment": 10, "batch_size": 16, "capacity": 300, "offline_updates": 20}


def data(count=100, **changed):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((count, OBS))
    return {
        "observations": states,
        "actions": np.tanh(states[:, :1] - 0.5 * states[:, 1:2]),
        "rewards": rng.standard_normal(count),
        "next_observations": rng.standard_normal((count, OBS)),
        "terminals": rng.random(count) < 0.1,
        **changed,
    }


def agents_of(kind=IQL, given=None, seeds=(0,), **settings):
    own = (IQLSettings if kind is IQL else BehaviourCloningSettings)(**{**SMALL, **settings})
    build = IQLNetworks if kind is IQL else lambda *sizes: Networks({"actor": GaussianActor(*sizes)})
    return kind(
        OneByOne(lambda: make_classic("Pendulum-v1", max_episode_steps=13), len(seeds)),
        settings=own,
        network=lambda: build(OBS, ACT, [8]),
        optimizer=Adam(step_size=3e-3),
        seeds=seeds,
        data=given if given is not None else data(),
        compile=False,
        precision="float64",
    )


class Forward:
    """Networks and their targets."""

    def __init__(self, own: Networks, target: Networks):
        self.own, self.target = own, target

    def __call__(self, *inputs, network="", slow=None, observed=True):
        return (self.target if slow else self.own)(network, *inputs)


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return Forward(IQLNetworks(OBS, ACT, [4]).double(), IQLNetworks(OBS, ACT, [4]).double())


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    drawn = {
        "states": rng.standard_normal((9, OBS)),
        "actions": rng.uniform(-1, 1, (9, ACT)),
        "rewards": rng.standard_normal(9),
        "next_states": rng.standard_normal((9, OBS)),
        "discounts": rng.choice([0.0, 0.99], 9),
    }
    return {name: torch.from_numpy(value) for name, value in drawn.items()}


def outputs(network: nn.Module, name: str, *inputs) -> np.ndarray:
    with torch.no_grad():
        return network(name, *inputs).numpy()


def test_the_value_is_an_expectile(networks, batch):
    judged = outputs(networks.target, "critic", batch["states"], batch["actions"]).min(1)
    error = judged - outputs(networks.own, "value", batch["states"])[:, 0]
    expected = (np.where(error < 0, 0.3, 0.7) * error**2).mean()
    assert ExpectileValue(expectile=0.7)(networks, batch, None).value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [3.0, 500.0, None])  # the second meets the greatest weight
def test_actions_are_weighed_by_their_advantage(networks, batch, scale):
    mean, log_std = np.split(outputs(networks.own, "actor", batch["states"]), 2, axis=1)
    action = batch["actions"].numpy()
    log_prob = (-(((action - mean) / np.exp(log_std)) ** 2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
    judged = outputs(networks.target, "critic", batch["states"], batch["actions"]).min(1)
    advantage = judged - outputs(networks.own, "value", batch["states"])[:, 0]
    weight = 1.0 if scale is None else np.minimum(np.exp(np.minimum(scale * advantage, 700)), 100)
    found = WeightedCloning(scale=scale)(networks, batch, None).value.item()
    assert found == pytest.approx(-(weight * log_prob).mean(), rel=1e-12)


def test_critics_learn_the_value_of_the_next_state(networks, batch):
    following = outputs(networks.own, "value", batch["next_states"])[:, 0]
    target = batch["rewards"].numpy() + batch["discounts"].numpy() * following
    values = outputs(networks.own, "critic", batch["states"], batch["actions"])
    expected = ((values - target[:, None]) ** 2).mean(0).sum()
    assert ImplicitCritics()(networks, batch, None).value.item() == pytest.approx(expected, rel=1e-12)


def test_it_learns_from_the_data_first_and_then_from_the_environment_as_well(tmp_path):
    whole, second = agents_of(seeds=(0, 1)), agents_of(seeds=(0, 1))
    seen = []
    for segment in range(4):
        made = whole.iterate()
        seen.append((made.step, whole.buffer.added, whole.actors.steps))
        if segment == 2:
            state = copy.deepcopy(whole.state_dict(tmp_path))
    assert seen == [(10, 100, 0), (20, 100, 0), (30, 110, 10), (40, 120, 20)]
    assert made.episodes.step.tolist() == [33, 33]  # counted as those of the agents are
    second.load_state_dict(state, tmp_path)
    second.iterate()
    for name, value in whole.learner.weights().items():
        assert torch.equal(second.learner.weights()[name], value)
    assert np.abs(second.prefer(np.full((2, 4, OBS), 50.0))).max() <= 2.0  # within the range of actions


def test_what_was_done_in_the_data_is_cloned():
    given = data(300)
    agents = agents_of(BehaviourCloning, given, offline_updates=600)
    while agents.step < 600:
        made = agents.iterate()
    actions = agents.prefer(given["observations"][None])[0]
    assert np.abs(actions - given["actions"]).mean() < 0.15
    assert made.losses["log_probability"] > 0.5


def test_what_is_refused():
    with pytest.raises(DataError, match="give a larger buffer"):
        agents_of(given=data(400))
    with pytest.raises(DataError, match="has no 'rewards'|has no 'observations'"):
        agents_of(given={"x": np.zeros(3)})
    with pytest.raises(DataError, match="of another environment"):
        agents_of(given=data(actions=np.zeros((100, 4))))
    environments = OneByOne(lambda: make_classic("Pendulum-v1"), 1)
    with pytest.raises(SettingError, match="no data set to make them on"):
        IQL(environments, settings=IQLSettings(**SMALL), compile=False)
    with pytest.raises(SettingError, match="not a multiple of segment"):
        IQLSettings(**{**SMALL, "offline_updates": 25})
