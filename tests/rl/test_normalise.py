"""Running normalisation against the moments of everything seen, and against Gymnasium's wrappers."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import NormalizeReward
from hypothesis import given
from hypothesis import strategies as st

from neoteny.rl.normalise import LIMIT, ObservationNorm, RewardNorm, RunningMoments


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), seed=st.integers(0, 10**6))
def test_moments_are_those_of_all_that_was_seen(sizes, seed):
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(100.0, 3.0, (2, size, 4)) for size in sizes]
    moments = RunningMoments((2, 4))
    for piece in pieces:
        moments.update(piece)
    seen = np.concatenate(pieces, axis=1)
    np.testing.assert_allclose(moments.mean, seen.mean(1), rtol=1e-10)
    np.testing.assert_allclose(moments.variance, seen.var(1), rtol=1e-8, atol=1e-8)
    assert moments.count == sum(sizes)


def test_observations():
    rng = np.random.default_rng(0)
    norm, seen = ObservationNorm(2, 3), []
    for _ in range(20):
        seen.append(rng.normal([1.0, -50.0, 0.0], [2.0, 0.1, 1.0], (2, 5, 3)))
        found = norm(seen[-1])
    everything = np.concatenate(seen, axis=1)
    mean, deviation = everything.mean(1, keepdims=True), np.sqrt(everything.var(1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(found, (seen[-1] - mean) / deviation, rtol=1e-8, atol=1e-10)
    far = np.full((2, 5, 3), 1e6)
    np.testing.assert_array_equal(norm(far, learn=False), LIMIT)
    np.testing.assert_allclose(norm.moments.mean, everything.mean(1), rtol=1e-10)  # only looked at


class Paying(gymnasium.Env):
    """Pays what it is told to."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, rewards):
        self.rewards, self.t = rewards, 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), self.rewards[self.t - 1], False, False, {}


def test_rewards_are_gymnasium_s():
    """Within an episode: Gymnasium gives what came before the first reward a weight of 1e-4, here it has none."""
    rewards = np.random.default_rng(1).normal(2.0, 30.0, 500)
    wrapped = NormalizeReward(Paying(rewards), gamma=0.9, epsilon=1e-8)
    wrapped.reset()
    theirs = [wrapped.step(np.zeros(1))[1] for _ in rewards]
    norm = RewardNorm(1, 1, 0.9)
    mine = [norm(np.array([[r]]), np.array([[False]]))[0, 0] for r in rewards]
    np.testing.assert_allclose(mine[20:], theirs[20:], rtol=1e-4)


def test_a_return_begins_anew_with_an_episode():
    rewards = np.random.default_rng(2).normal(1.0, 1.0, 40)
    ended = np.arange(40) % 7 == 6
    norm, returns, running = RewardNorm(1, 1, 0.9), [], 0.0
    for t, reward in enumerate(rewards):
        running = 0.9 * running * (t % 7 != 0) + reward
        returns.append(running)
        expected = reward / np.sqrt(np.var(returns) + 1e-8)
        found = norm(np.array([[reward]]), np.array([[ended[t]]]))[0, 0]
        assert found == pytest.approx(np.clip(expected, -LIMIT, LIMIT), rel=1e-9)
    assert abs(norm(np.array([[1e9]]), np.array([[False]]))[0, 0]) <= LIMIT


def test_environments_and_agents_keep_returns_of_their_own():
    norm = RewardNorm(2, 2, 0.5)
    norm(np.array([[1.0, 2.0], [10.0, 20.0]]), np.array([[True, False], [False, False]]))
    norm(np.ones((2, 2)), np.zeros((2, 2), bool))
    np.testing.assert_allclose(norm.state_dict()["returns"], [[1.0, 2.0], [6.0, 11.0]])
    np.testing.assert_allclose(norm.moments.mean, [np.mean([1, 2, 1, 2]), np.mean([10, 20, 6, 11])])


@pytest.mark.parametrize("kind", ["moments", "rewards"])
def test_they_go_on_where_they_were(kind):
    def make():
        return RunningMoments((2,)) if kind == "moments" else RewardNorm(2, 3, 0.9)

    def feed(norm, values):
        if kind == "moments":
            norm.update(values)
        else:
            norm(values, values > 1)

    values = np.random.default_rng(0).standard_normal((6, 2, 3))
    one, other = make(), make()
    for value in values[:3]:
        feed(one, value)
    state = one.state_dict()
    feed(one, values[3])
    other.load_state_dict(state)
    feed(other, values[3])
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])
