"""DQN with ReDo and head resets: what is reset and when, its target, and that it learns again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from examples.running import assert_same, load

pytest.importorskip("gymnasium", reason="needs Gymnasium")


def test_it_learns_what_it_learned_before_its_head_was_reset():
    example, seen = load("redo_dqn"), {}

    def watch(update, q, target):
        if update % 100 == 0:
            assert_same(dict(q.state_dict()), dict(target.state_dict()))
        if update in (1999, 2000, 2001):
            seen[update] = [p.detach().clone() for p in (q[4].weight, q[4].bias, q[2].weight)]

    # ReDo once less than every 2,000 updates, so that at the head's reset nothing else happens
    _, plasticity, returns = example.main(example.Args(total_timesteps=7000, redo=300), watch)
    before, reset, after = (seen[update] for update in (1999, 2000, 2001))
    bound = 64**-0.5  # torch draws a linear layer's weights and biases from +-1/sqrt(inputs)
    assert before[0].abs().max() > bound >= reset[0].abs().max()
    assert reset[1].abs().max() <= bound
    # Adam's first step after it is one of the step size, whatever the gradient: its moments and its count were 0
    largest = (after[0] - reset[0]).abs().max().item()
    assert largest == pytest.approx(1e-3, rel=0.01)
    assert 0 < (reset[2] - before[2]).abs().max() < 0.01  # what lies before the head only went on
    assert plasticity.updates == 3250
    replaced = [layer["units_replaced"] for layer in plasticity.counters()["redo"].values()]
    assert all(1 <= count <= 10 * 64 for count in replaced)

    lengths = np.asarray(returns)
    ends = lengths.cumsum()
    reset_at = 500 + 2 * 2000
    learned = lengths[ends <= reset_at][-10:].mean()
    lost = lengths[(reset_at + 100 < ends) & (ends < reset_at + 500)].mean()
    assert learned > 80 and lost < 40 and lengths[-10:].mean() > 100


def test_methods_that_never_act_change_nothing():
    example = load("redo_dqn")
    plain, nothing, returns = example.main(example.Args(total_timesteps=1200, redo=0, head_reset=0))
    still, plasticity, other = example.main(example.Args(total_timesteps=1200, redo=10**6, head_reset=10**6))
    assert nothing is None and plasticity.updates == 350
    assert_same(dict(plain.state_dict()), dict(still.state_dict()))
    assert returns == other


def test_a_time_out_is_no_end():
    replay = load("redo_dqn").Replay(3, 2, seed=0)
    for i, end in enumerate((False, True, False)):
        replay.add(np.full(2, i), i, 10 * i, np.full(2, i + 1), end)
    x, a, r, y, ends = replay.sample(200)
    assert set(a.tolist()) == {0, 1, 2}
    assert torch.equal(ends, a == 1) and torch.equal(r, 10.0 * a)
    assert torch.equal(x, a[:, None].expand(-1, 2).float()) and torch.equal(y, x + 1)
