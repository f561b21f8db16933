"""DQN: losses in NumPy, priorities, target networks, one agent beside several, and going on after a stop."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from neoteny.envs import MinAtarGame, make_classic
from neoteny.errors import SettingError
from neoteny.methods import HareAndTortoise
from neoteny.nn import MLP, Dueling, MinAtarNet
from neoteny.rl import DQN, DQNSettings, OneByOne
from neoteny.rl.dqn import QLearning
from neoteny.rl.priorities import Priorities

SMALL = {"learning_starts": 8, "segment": 20, "batch_size": 6, "capacity": 64, "target_every": 5}


def agents_of(seeds=(0,), methods=(), **settings) -> DQN:
    own = DQNSettings(**{**SMALL, **settings})
    return DQN(
        OneByOne(lambda: make_classic("CartPole-v1"), len(seeds) * own.environments),
        settings=own,
        methods=methods,
        network=lambda: MLP(4, [5], 2),
        seeds=seeds,
        total=100,
        compile=False,
        precision="float64",
    )


class Pair:
    """A network and its target as `Forward`."""

    def __init__(self, own, target):
        self.own, self.target = own, target

    def __call__(self, x, network="", slow=None, observed=True):
        return (self.target if slow else self.own)(x)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("huber", [False, True])
def test_the_loss_and_its_gradient_equal_numpy(double, huber):
    torch.manual_seed(0)
    own, target = MLP(4, [], 3).double(), MLP(4, [], 3).double()
    rng = np.random.default_rng(0)
    plain = {
        "states": rng.standard_normal((6, 4)),
        "next_states": rng.standard_normal((6, 4)),
        "actions": rng.integers(3, size=6),
        "rewards": 2 * rng.standard_normal(6),
        "discounts": rng.choice([0.0, 0.9], 6),
        "weights": rng.random(6),
    }

    def values(module, x):
        return x @ module.layers[0].weight.detach().numpy().T + module.layers[0].bias.detach().numpy()

    following = values(target, plain["next_states"])
    best = (values(own, plain["next_states"]) if double else following).argmax(1)
    error = plain["rewards"] + plain["discounts"] * following[range(6), best]
    error -= values(own, plain["states"])[range(6), plain["actions"]]
    far = huber & (abs(error) > 1)
    expected = (plain["weights"] * np.where(far, abs(error) - 0.5, error**2 / 2)).mean()
    slope = -plain["weights"] * np.where(far, np.sign(error), error) / 6
    gradient = np.zeros((3, 4))
    np.add.at(gradient, plain["actions"], slope[:, None] * plain["states"])
    batch = {name: torch.from_numpy(value) for name, value in plain.items()}
    found = QLearning(double=double, huber=huber)(Pair(own, target), batch, None)
    assert found.value.item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(found.signals["td_errors"], error, rtol=1e-12)
    found.value.backward()
    np.testing.assert_allclose(own.layers[0].weight.grad, gradient, rtol=1e-10, atol=1e-14)


def test_dueling_values_equal_the_formula():
    network = MLP(4, [5], 4)
    x = torch.randn(7, 4)
    v, g = network(x).detach().numpy()[:, :1], network(x).detach().numpy()[:, 1:]
    np.testing.assert_allclose(Dueling(network)(x).detach(), v + g - g.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_draws_are_in_proportion_to_priorities():
    rng, priorities = np.random.default_rng(0), Priorities(6, alpha=0.5)
    priorities.add(np.arange(5))
    errors = np.array([4.0, 0.0, 1.0, 9.0, np.nan])  # the last keeps its first priority, 1
    priorities.update(np.arange(5), errors)
    expected = np.array([2.0, 0.0, 1.0, 3.0, 1.0]) / 7
    counts, drawn = np.zeros(5), [priorities.draw(rng.random(16), 5, beta=0.4) for _ in range(2_000)]
    for places, weights in drawn:
        np.add.at(counts, places, 1)
        seen = expected[places] > 0
        own = (5 * np.where(seen, expected[places], 1.0)) ** -0.4
        np.testing.assert_allclose(weights[seen] / weights[seen][0], own[seen] / own[seen][0], rtol=1e-2)
        assert weights.max() == 1
    np.testing.assert_allclose(counts / counts.sum(), expected, atol=0.003)
    again = Priorities(6, alpha=0.5)
    again.load_state_dict(priorities.state_dict())
    lots = rng.random(8)
    assert np.array_equal(again.draw(lots, 5, 0.4)[0], priorities.draw(lots, 5, 0.4)[0])


def test_the_target_is_copied_every_so_many_updates():
    agents = agents_of(target_every=5)
    agents.iterate()  # 12 updates
    carry = agents.learner.strategy.carry()
    tensors, slow = carry["tensors"]["layers.0.weight"], carry["slow"]["target"]["layers.0.weight"]
    assert not torch.equal(tensors, slow)
    for step in range(3):
        agents._learn(1, agents._generators(9 + step))
    carry = agents.learner.strategy.carry()
    assert torch.equal(carry["tensors"]["layers.0.weight"], carry["slow"]["target"]["layers.0.weight"])


VARIANTS = {"environments": 2, "n_step": 3, "double": True, "priority": 0.6, "replay_ratio": 0.5}


def test_an_agent_alone_equals_itself_beside_others_and_after_a_stop(tmp_path):
    both, alone, stopped = (agents_of(seeds=seeds, **VARIANTS) for seeds in ((4, 5), (5,), (4, 5)))
    stopped.iterate()
    state = stopped.state_dict(tmp_path)
    again = agents_of(seeds=(4, 5), **VARIANTS)
    again.load_state_dict(state, tmp_path)
    again.iterate()
    for _ in range(2):
        both.iterate()
        alone.iterate()
    for name, value in alone.learner.weights().items():
        torch.testing.assert_close(both.learner.weights()[name][1], value[0], rtol=1e-9, atol=1e-12)
        assert torch.equal(both.learner.weights()[name], again.learner.weights()[name])


def test_exploration_fades_and_then_the_best_action_is_taken():
    agents = agents_of(exploration_steps=10, last_epsilon=0.0, learning_starts=0)
    lots = agents._draw(np.random.default_rng(0), 10, 50)
    assert (lots[..., 0] == -1).all()
    outputs = np.array([[[0.0, 1.0]]], np.float32)
    assert agents._chosen(outputs, lots[0][None]).item() == 1
    assert agents._chosen(outputs, np.array([[[0.0, 1.0]]], np.float32)).item() == 0
    assert agents.prefer(np.zeros((1, 3, 4))).shape == (1, 3)


def test_games_are_kept_as_bits_and_the_hare_goes_back_to_its_target():
    agents = DQN(
        OneByOne(lambda: MinAtarGame("breakout"), 1),
        settings=DQNSettings(**{**SMALL, "storage": "bits", "segment": 12, "target_every": 50}),
        network=lambda: Dueling(MinAtarNet(4, 1 + 3, 8)),
        methods=HareAndTortoise(tortoise="target"),
        compile=False,
    )
    agents.iterate()
    assert set(np.unique(agents.buffer.take(np.arange(12)[None], 0.9)["states"])) == {0.0, 1.0}
    agents.learner.new_task()
    for name, value in agents.learner.weights().items():
        assert torch.equal(value, agents.learner.initial_weights[name])  # the target was not moved yet


class Pictures(gymnasium.Env):
    """Bytes that count the steps."""

    observation_space = gymnasium.spaces.Box(0, 255, (2, 3, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.now = 0
        return np.zeros((2, 3, 3), np.uint8), {}

    def step(self, action):
        self.now += 1
        return np.full((2, 3, 3), self.now, np.uint8), 1.0, False, self.now == 9, {}


def test_pixels_are_kept_as_bytes():
    own = DQNSettings(**SMALL)
    agents = DQN(OneByOne(Pictures, 1), settings=own, network=lambda: MLP(18, [4], 2), compile=False)
    agents.iterate()
    assert agents.buffer._kept["states"].dtype == torch.uint8
    drawn = agents.buffer.take(np.arange(20)[None], 0.9)
    assert drawn["states"][0, :, 0].tolist() == [*range(9), *range(9), 0, 1]
    assert drawn["next_states"][0, :, 17].tolist() == [*range(1, 10), *range(1, 10), 1, 2]


def test_a_continuous_space_is_refused():
    with pytest.raises(SettingError, match="agent for continuous actions"):
        DQN(OneByOne(lambda: gymnasium.make("Pendulum-v1"), 1), settings=DQNSettings(**SMALL), compile=False)
