"""Mazes: D4RL's rewards and ends, states that go on as they would have, the way through, what is refused."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pytest

from neoteny.envs import OneByOne
from neoteny.errors import CheckpointError, SettingError, UnknownNameError
from neoteny.lab import checkpoint

pytest.importorskip("gymnasium_robotics")
from gymnasium_robotics.envs.maze import maps

from neoteny.envs import GoalAnt, Maze, Waypoints, push
from neoteny.envs.mazes import LENGTHS, MAPS


def driven(maze, steps, seed=0):
    """Observations, rewards, ends and cuts of an episode of a point that is driven to the goal."""
    way, seen = Waypoints(maze), maze.reset(seed=seed)[0]
    made = []
    for _ in range(steps):
        goal = maze.goal[None]
        seen, *rest, _ = maze.step(push(seen[None], way.next(seen[None, :2], goal))[0])
        made.append((seen, *rest))
        if any(rest[1:]):
            break
    return made


def test_the_maps_are_the_packages():
    for name, theirs in {"umaze": maps.U_MAZE, "medium": maps.MEDIUM_MAZE, "large": maps.LARGE_MAZE}.items():
        assert [[int(cell == "#") for cell in row] for row in MAPS[name]] == theirs


@pytest.mark.parametrize(("name", "goals"), [("umaze", "fixed"), ("medium", "random"), ("large", "fixed")])
def test_a_driven_point_reaches_the_goal_where_the_episode_ends_with_reward_1(name, goals):
    maze = Maze("point", name, goals)
    for seed in range(3):
        made = driven(maze, 800, seed)
        seen, reward, ended, cut = made[-1]
        assert (reward, ended, cut) == (1.0, True, False) and np.hypot(*(seen[:2] - maze.goal)) <= 0.45
        assert not any(reward for _, reward, *_ in made[:-1])
        assert seen.shape == ((6,) if goals == "random" else (4,))
        if goals == "random":
            np.testing.assert_array_equal(seen[4:], maze.goal)


def test_an_episode_is_cut_off_after_d4rls_number_of_steps():
    maze = Maze("point", "umaze")
    maze.reset(seed=0)
    cuts = [maze.step(np.zeros(2))[3] for _ in range(LENGTHS["point"]["umaze"])]
    assert cuts == [False] * 299 + [True]
    assert Maze("ant", "umaze").length == 700 and Maze("point", max_episode_steps=7).length == 7


def test_the_ant_observes_its_place_and_27_numbers_and_leaves_no_file_behind():
    before = set(Path(gettempdir()).glob("ant_maze*.xml"))
    maze = Maze("ant", "umaze", "random")
    assert set(Path(gettempdir()).glob("ant_maze*.xml")) == before
    seen, _ = maze.reset(seed=3)
    data = maze.robot_env.data
    np.testing.assert_array_equal(seen, np.concatenate([data.qpos, data.qvel, maze.goal]))
    assert maze.step(np.zeros(8))[0].shape == (31,)


MAKERS = {
    "point": lambda: Maze("point", "umaze", "random", max_episode_steps=60),
    "ant": lambda: Maze("ant", "umaze", "random", max_episode_steps=60),
    "goal-ant": lambda: GoalAnt(max_episode_steps=60),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_restored_state_goes_on_as_it_would_have(name, tmp_path):
    environments = OneByOne(MAKERS[name], 2)
    environments.reset(seed=[5, 8])
    lots = np.random.default_rng(0).uniform(-1, 1, (110, 2, *environments.single_action_space.shape)).astype(np.float32)
    for lot in lots[:30]:
        environments.step_arrays(lot)
    checkpoint.save(tmp_path / "checkpoint.pt", environments.state(), {})
    expected = [environments.step_arrays(lot) for lot in lots[30:]]
    assert sum(step.truncations.sum() for step in expected) >= 2
    again = OneByOne(MAKERS[name], 2)
    again.reset(seed=[1, 1])
    again.load_state(checkpoint.load(tmp_path / "checkpoint.pt", {}))
    for lot, step in zip(lots[30:], expected, strict=True):
        for mine, theirs in zip(again.step_arrays(lot), step, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_the_way_is_a_shortest_one():
    maze = Maze("point", "large")
    way, free = Waypoints(maze), maze.free_cells()
    goal = (7, 9)
    distance, edge = {goal: 0}, deque([goal])
    while edge:  # by plain breadth first, from the goal
        i, j = edge.popleft()
        for cell in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if cell in free and cell not in distance:
                distance[cell] = distance[i, j] + 1
                edge.append(cell)
    places = np.array([maze.centre(cell) for cell in free])
    target = np.tile(maze.centre(goal) + 0.2, (len(free), 1))
    following = way.next(places, target)
    for cell, place, there in zip(free, places, following, strict=True):
        if cell == goal:
            np.testing.assert_array_equal(there, target[0])
        else:
            assert np.hypot(*(place - there)) == pytest.approx(maze.cell_size)
            row, column = maze.cells_at(there[None])
            assert distance[int(row[0]), int(column[0])] == distance[cell] - 1


def test_a_goal_of_the_ant_is_rewarded_by_the_way_it_comes_nearer():
    ant = GoalAnt()
    seen, _ = ant.reset(seed=0)
    after, reward, ended, cut, info = ant.step(np.full(8, 0.5))
    nearer = np.hypot(*seen[27:]) - np.hypot(*after[27:])
    assert reward == pytest.approx(nearer / 0.05 + 1.0 - 0.5 * 8 * 0.25)
    assert not (ended or cut or info["success"])
    ant._goal = ant._ant.data.qpos[:2] + 0.1
    assert ant.step(np.zeros(8))[4]["success"] and np.hypot(*ant._as_seen(ant._ant._get_obs())[27:]) > 0.45


def test_what_is_refused():
    with pytest.raises(UnknownNameError, match="robot in a maze.* 'cat'"):
        Maze("cat")
    with pytest.raises(UnknownNameError, match="maze .*'meduim'.*medium"):
        Maze("point", "meduim")
    with pytest.raises(UnknownNameError, match="kind of goals"):
        Maze("point", goals="some")
    with pytest.raises(SettingError, match="max_episode_steps = 0"):
        Maze("point", max_episode_steps=0)
    with pytest.raises(SettingError, match="reach = 0.2"):
        GoalAnt(reach=0.2)
    maze = Maze("point")
    with pytest.raises(SettingError, match="step before reset"):
        maze.step(np.zeros(2))
    with pytest.raises(SettingError, match="saved_state before reset"):
        maze.saved_state()
    maze.reset(seed=0)
    with pytest.raises(SettingError, match="is not finite"):
        maze.step(np.array([np.nan, 0.0]))
    with pytest.raises(CheckpointError, match="the state is of point-umaze, this is point-medium"):
        Maze("point", "medium").restore_state(maze.saved_state())
    with pytest.raises(CheckpointError, match="the state is of point-umaze, this is goal-ant"):
        GoalAnt().restore_state(maze.saved_state())
