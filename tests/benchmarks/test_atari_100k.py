"""Atari-100k: what agents see in training and in evaluations, systems at every scale, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from neoteny.benchmarks.atari_100k import GAMES, Atari100k, Game
from neoteny.errors import SettingError
from neoteny.lab.resolving import resolve
from neoteny.optim import Adam
from neoteny.rl import FrameBuffer
from neoteny.rl.evaluation import evaluate
from neoteny.rl.pixel_settings import BBF, DRQ, SPR, PixelSettings

pytest.importorskip("ale_py")
TINY = Atari100k.preset("tiny")


def test_there_are_26_games_with_the_emulators_actions():
    from neoteny.envs import AtariGame

    assert len(GAMES) == 26 and tuple(GAMES) == get_args(Game)
    for game in ("breakout", "boxing", "ms_pacman"):
        assert AtariGame(game).action_space.n == GAMES[game] == replace(TINY, game=game).actions
    assert replace(TINY, full_actions=True).actions == 18


def test_lives_are_episodes_in_training_alone_and_rewards_are_clipped_there():
    problem = replace(TINY, game="breakout", max_episode_steps=400)
    training, testing = problem.build_environments([0]), problem.build_evaluation([0])
    assert (training.num_envs, testing.num_envs) == (1, 2)
    agents = problem.build_agents([0], optimizer=problem.optimizer, methods=(), compile=False)
    assert isinstance(agents.buffer, FrameBuffer) and agents.buffer.stack == 4

    def ends(environments, steps):
        environments.reset(seed=list(range(environments.num_envs)))
        rng, found = np.random.default_rng(0), 0
        for _ in range(steps):
            found += environments.step_arrays(rng.integers(4, size=environments.num_envs)).terminations[0]
        return found

    assert ends(training, 150) >= 3 and ends(testing, 100) == 0
    states, after = np.zeros((1, 1, 4 * 42 * 42)), np.zeros((1, 1, 4 * 42 * 42))
    agents.buffer.add(states, [[0]], [[-7.0]], after, [[False]], [[False]])
    assert agents.buffer.take(np.array([[0]]), 0.9)["rewards"].item() == -1


def test_evaluations_are_random_to_the_given_share():
    class Counted:
        num_envs, single_action_space = 6, type("Actions", (), {"n": 5})

        def reset(self, seed):
            self.steps, self.taken = 0, []
            return np.zeros((6, 1)), {}

        def step_arrays(self, actions):
            self.steps += 1
            self.taken.append(actions)
            over = np.full(6, self.steps == 500)
            return type("Steps", (), {"rewards": np.ones(6), "terminations": over, "truncations": over, "observations":
                                      np.zeros((6, 1))})  # fmt: skip

    def taken(explore, step=0):
        counted = Counted()
        found = evaluate(lambda rows: np.zeros(rows.shape[:2], int), counted, [3, 4], step, explore)
        assert (found == 500).all()
        return np.array(counted.taken)

    assert not taken(0.0).any()
    assert np.mean(taken(0.5) > 0) == pytest.approx(0.4, abs=0.03)
    np.testing.assert_array_equal(taken(0.5), taken(0.5))
    assert (taken(0.5) != taken(0.5, 1)).any()


@pytest.mark.parametrize("scale", ["paper", "small", "tiny"])
@pytest.mark.parametrize("system", Atari100k.SYSTEMS)
def test_every_system_fits_its_scale(scale, system):
    problem = resolve("atari-100k", method=system, runs=1, scale=scale).problem
    assert not problem.reset_every % problem.segment
    resets = problem.steps // problem.reset_every
    assert resets == {"tiny": 2}.get(scale, 2 if system.endswith(("40k", "tortoise-head-reset")) else 5)
    if scale != "paper":
        parameters = sum(value.numel() for value in problem.build_network().parameters())
        assert parameters < {"small": 200_000, "tiny": 20_000}[scale]
    assert (problem.jumps > 0) == (system in ("spr", "bbf"))
    assert (problem.encoder == "impala") == system.startswith("bbf")


def test_agents_at_the_papers_scale_are_the_published_ones():
    """Fields of the frame of a benchmark hide those of the agent, unless they are given again."""
    own = {"tau": 0.005, "replay_ratio": 2.0, "storage": "frames", "reward_clip": 1.0, "reset_every": 20_000,
           "segment": 500}  # fmt: skip
    for name, theirs in (("backprop", DRQ), ("spr", SPR), ("bbf", BBF)):
        problem = resolve("atari-100k", method=name, runs=1, scale="paper").problem
        assert problem.settings_of(PixelSettings) == PixelSettings(**{**own, **theirs})
        assert problem.max_episode_steps * 4 == 108_000
        assert problem.optimizer == Adam(step_size=1e-4, eps=1.5e-4, weight_decay=0.1 if name == "bbf" else 0.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"game": "montezuma"}, "game"),
        ({"sticky": 1.5}, "sticky"),
        ({"size": 20}, "size"),
        ({"activation": "tanh"}, "activation"),
        ({"evaluation_epsilon": -0.1}, "evaluation_epsilon"),
    ],
)
def test_what_is_refused(settings, said):
    with pytest.raises(SettingError, match=said):
        Atari100k(**settings)
