"""PPO in a single file: the diff is what makes it plastic, attaching alone changes nothing, and it learns."""

from __future__ import annotations

import difflib
import importlib.util
import re

import numpy as np
import pytest
import torch

from examples.running import FOLDER, assert_same, load
from neoteny import PlasticityWarning

gymnasium = pytest.importorskip("gymnasium", minversion="1.1", reason="needs Gymnasium")

SHORT = {"total_timesteps": 512, "num_envs": 4, "num_steps": 64, "num_minibatches": 4, "update_epochs": 5}


def without(lines, diff):
    """The lines of a file before a unified diff was applied to it."""
    before, at = [], 0
    for line in diff[2:]:
        if header := re.match(r"@@ -(\d+),\d+ \+(\d+),\d+ @@", line):
            start = int(header[2]) - 1
            before += lines[at:start]
            at = start
            assert len(before) == int(header[1]) - 1
        else:
            kind, text = line[0], line[1:]
            if kind in " +":
                assert lines[at] == text
                at += 1
            if kind in " -":
                before.append(text)
    return before + lines[at:]


@pytest.fixture(scope="module")
def files():
    plastic, diff = ((FOLDER / f"cleanrl_ppo.{kind}").read_text().splitlines(keepends=True) for kind in ("py", "diff"))
    return without(plastic, diff), plastic, diff


def test_the_diff_turns_the_ordinary_file_into_this_one(files):
    ordinary, plastic, diff = files
    assert not any("neoteny" in line or "plastic" in line for line in ordinary)
    assert list(difflib.unified_diff(ordinary, plastic, "a/cleanrl_ppo.py", "b/cleanrl_ppo.py", n=2)) == diff
    assert not any(line.startswith("-") for line in diff[2:])
    assert sum(line.startswith("+") for line in diff[2:]) <= 16


def test_the_ordinary_file_trains_as_this_one_does_without_plastic_and_at_rate_0(files, tmp_path):
    path = tmp_path / "ordinary.py"
    path.write_text("".join(files[0]))
    spec = importlib.util.spec_from_file_location("ordinary", path)
    ordinary, example = importlib.util.module_from_spec(spec), load("cleanrl_ppo")
    spec.loader.exec_module(ordinary)
    agent, optimizer, returns = ordinary.main(ordinary.Args(**SHORT))
    state = optimizer.state_dict()
    unlike, *_ = ordinary.main(ordinary.Args(seed=1, **SHORT))
    assert not all((p == q).all() for p, q in zip(agent.parameters(), unlike.parameters(), strict=True))

    plain = example.main(example.Args(**SHORT))
    with pytest.warns(PlasticityWarning, match="replacement_rate = 0"):
        still = example.main(example.Args(plastic=True, replacement_rate=0.0, **SHORT))
    assert still[1].state_dict().pop("plasticity")["updates"] == 40
    for other in (plain, still):
        assert_same(dict(agent.state_dict()), dict(other[0].state_dict()))
        assert_same(state["state"], other[1].state_dict()["state"])
        assert returns == other[2]


def test_it_learns_while_units_are_replaced(capsys):
    example = load("cleanrl_ppo")
    fewer = {"num_envs": 32, "num_steps": 50, "num_minibatches": 4, "update_epochs": 10, "learning_rate": 3e-3}
    _, optimizer, returns = example.main(
        example.Args(plastic=True, total_timesteps=40_000, replacement_rate=1e-3, maturity_threshold=100, **fewer)
    )
    state = optimizer.state_dict()["plasticity"]
    assert list(state["layers"]) == ["actor_mean.0", "actor_mean.2", "critic.0", "critic.2"]
    made_new = [int(state["methods"]["cbp"]["state"][f"{layer}/replaced"]) for layer in state["layers"]]
    # of 64 units, 100 updates to mature, 1,000 updates in all: at most 0.001 x 64 x 900
    assert all(45 <= count <= 58 for count in made_new)
    assert np.mean(returns[:32]) < -900  # nobody knows how to swing up
    assert np.mean(returns[-32:]) > -600


def test_advantages_against_their_sum():
    random = np.random.default_rng(0)
    rewards, values = random.normal(size=(2, 12, 3))
    following, dones = random.normal(size=3), random.random((12, 3)) < 0.3
    given = (torch.from_numpy(array) for array in (rewards, dones.astype(float), values, following))
    found = load("cleanrl_ppo").estimate_advantages(*given, 0.9, 0.8)
    after = np.vstack([values[1:], following]) * ~dones
    errors = rewards + 0.9 * after - values
    for t, k in np.ndindex(12, 3):
        end = next((u for u in range(t, 12) if dones[u, k]), 11)
        assert found[t, k].item() == pytest.approx(sum(0.72 ** (u - t) * errors[u, k] for u in range(t, end + 1)))


class Still(gymnasium.Env):
    """One state, reward 1, and an end or a time-out at every step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-2, 2, (1,))

    def __init__(self, terminates):
        self.terminates = terminates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(2, np.float32), {}

    def step(self, action):
        assert -2 <= action[0] <= 2
        return np.ones(2, np.float32), 1.0, self.terminates, not self.terminates, {}


@pytest.mark.parametrize("terminates", [True, False])
def test_a_time_out_ends_the_episode_but_not_the_value(terminates):
    """V = 1 where every step is the last; where it only times out V = 1 / (1 - γ)."""
    gymnasium.register("Still-v0", Still, kwargs={"terminates": terminates})
    example = load("cleanrl_ppo")
    try:
        settings = {"total_timesteps": 3000, "gamma": 0.5, "num_minibatches": 2, "num_steps": 50, "num_envs": 4}
        agent, _, returns = example.main(example.Args(env_id="Still-v0", **settings))
    finally:
        del gymnasium.registry["Still-v0"]
    assert returns == [1.0] * 3000
    assert agent.get_value(torch.ones(2)).item() == pytest.approx(1.0 if terminates else 2.0, abs=0.05)
