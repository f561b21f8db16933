"""The advantages against their definition: a sum over all that follows within the episode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoteny.rl.gae import gae


def explicit(rewards, values, following, ended, discount, decay):
    """A_t = sum over k of (gamma lambda)^k delta_(t+k), up to the end of the episode or of the batch."""
    advantages = np.zeros(rewards.shape)
    for column in np.ndindex(rewards.shape[1:]):
        for t in range(len(rewards)):
            for k in range(len(rewards) - t):
                at = (t + k, *column)
                delta = rewards[at] + discount * following[at] - values[at]
                advantages[(t, *column)] += (discount * decay) ** k * delta
                if ended[at]:
                    break
    return advantages


@given(
    steps=st.integers(1, 12),
    discount=st.sampled_from([0.0, 0.9, 0.99, 1.0]),
    decay=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    often=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_advantages_are_sums_over_what_follows(steps, discount, decay, often, seed):
    rng = np.random.default_rng(seed)
    rewards, values, following = rng.standard_normal((3, steps, 2, 3))
    ended = rng.random((steps, 2, 3)) < often
    following[ended & (rng.random(ended.shape) < 0.5)] = 0.0  # of these the rest are time-outs that are looked beyond
    advantages, returns = gae(rewards, values, following, ended, discount, decay)
    np.testing.assert_allclose(
        advantages, explicit(rewards, values, following, ended, discount, decay), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(returns, advantages + values, rtol=1e-12)


def test_with_lambda_1_returns_are_discounted_sums_of_rewards():
    rng = np.random.default_rng(0)
    rewards, values = rng.standard_normal((2, 9))
    ended = np.arange(9) == 5
    following = np.append(values[1:], 2.0)  # the batch ends within an episode, whose next state is worth 2
    following[5] = 0.0
    _, returns = gae(rewards, values, following, ended, 0.9, 1.0)
    first = sum(0.9**k * rewards[k] for k in range(6))
    last = sum(0.9**k * rewards[6 + k] for k in range(3)) + 0.9**3 * 2.0
    assert returns[0] == pytest.approx(first, abs=1e-12) and returns[6] == pytest.approx(last, abs=1e-12)


@pytest.mark.parametrize("beyond", [0.0, 3.0])
def test_nothing_leaks_over_the_end_of_an_episode(beyond):
    """A time-out counts by the value of the state it led to, and never by rewards of the next episode."""
    ended = np.array([False, True, False])
    following = np.array([1.0, beyond, 5.0])
    one, _ = gae(np.array([1.0, 1.0, 0.0]), np.zeros(3), following, ended)
    other, _ = gae(np.array([1.0, 1.0, 1e6]), np.zeros(3), following, ended)
    np.testing.assert_array_equal(one[:2], other[:2])
    assert one[1] == pytest.approx(1 + 0.99 * beyond)


def test_what_is_given_stays_as_it_was():
    given_arrays = [np.ones((4, 2)), np.zeros((4, 2)), np.ones((4, 2))]
    before = [array.copy() for array in given_arrays]
    gae(*given_arrays, np.zeros((4, 2), bool))
    for array, kept in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(array, kept)
