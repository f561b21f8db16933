"""Seeds as Gymnasium has them: its own checks find no fault, and wrappers that draw depend on the seed alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import StickyAction

from neoteny.envs import AtariGame, ControlTask, GoalAnt, Maze, MinAtarGame

MAKERS = {
    "control": (lambda: ControlTask("finger-turn_hard"), "dm_control"),
    "minatar": (lambda: MinAtarGame("breakout"), "minatar"),
    "atari": (lambda: AtariGame("breakout"), "ale_py"),
    "maze": (lambda: Maze("point", "umaze", "random"), "gymnasium_robotics"),
    "goal-ant": (GoalAnt, "gymnasium"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_gymnasium_finds_no_fault(name):
    make, package = MAKERS[name]
    pytest.importorskip(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it also remarks that observations are unbounded
        check_env(make(), skip_render_check=True)


@pytest.mark.parametrize("name", MAKERS)
def test_a_wrapper_draws_from_the_seed(name):
    make, package = MAKERS[name]
    pytest.importorskip(package)
    runs = []
    for _ in range(2):
        env = StickyAction(make(), 0.5)
        env.action_space.seed(1)
        env.reset(seed=3)
        runs.append([env.step(env.action_space.sample())[0] for _ in range(30)])
    np.testing.assert_array_equal(*runs)
