"""Data sets driven through mazes: each transition is the maze's, episodes hang together, the command writes a file."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")
from neoteny.cli.main import main
from neoteny.data import load_transitions
from neoteny.envs import Maze, push
from neoteny.errors import SettingError
from neoteny.rl.collecting import collect, drive_ant


@pytest.mark.parametrize("robot", ["point", "ant"])
def test_every_transition_is_one_that_the_maze_makes(robot):
    maze = Maze(robot, "umaze", "random")
    rng = np.random.default_rng(0)
    drive = push if robot == "point" else (lambda seen, there: rng.uniform(-1, 1, (len(seen), 8)))
    made = collect(maze, drive, 60, seed=4)
    inner = maze.robot_env
    maze.reset(seed=0)
    for k in range(0, 60, 7):
        before, split = made["observations"][k].astype(float), inner.model.nq
        maze._env.goal = before[-2:]
        inner.set_state(before[:split], before[split:-2])
        inner.data.qacc_warmstart[:] = 0.0
        seen, reward, ended, *_ = maze.step(made["actions"][k])
        # what is kept is in single precision; contacts make more of that
        np.testing.assert_allclose(made["next_observations"][k], seen, rtol=1e-3, atol=2e-3 if robot == "ant" else 1e-5)
        assert (made["rewards"][k], made["terminals"][k]) == (reward, ended)


def test_episodes_hang_together_and_reach_goals():
    maze = Maze("point", "umaze")
    made = collect(maze, push, 6_000, noise=0.5, seed=1)
    ends = made["terminals"] | made["timeouts"]
    np.testing.assert_array_equal(made["next_observations"][:-1][~ends[:-1]], made["observations"][1:][~ends[:-1]])
    np.testing.assert_array_equal(made["rewards"], made["terminals"].astype(np.float32))
    near = np.hypot(*(made["next_observations"][:, :2] - maze.goal).T) <= 0.45 + 1e-6
    np.testing.assert_array_equal(made["terminals"], near)
    assert 3 < made["terminals"].sum() < 60 and not (made["terminals"] & made["timeouts"]).any() and ends[-1]
    rows, columns = maze.cells_at(made["observations"][:, :2])
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == set(maze.free_cells())
    lengths = np.diff(np.flatnonzero(ends), prepend=-1)
    assert lengths.max() <= maze.length
    again = collect(maze, push, 6_000, noise=0.5, seed=1)
    other = collect(maze, push, 6_000, noise=0.5, seed=2)
    np.testing.assert_array_equal(made["observations"], again["observations"])
    assert (made["observations"] != other["observations"]).any()


def test_the_command_writes_a_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "point-maze", "--transitions", "2000", "--seed", "3"]) == 0
    assert "point-maze-umaze.npz: 2,000 transitions" in capsys.readouterr().out
    assert load_transitions("point-maze-umaze.npz")["observations"].shape == (2000, 4)
    assert main(["collect", "point-maze", "--out", "x.h5"]) == 2  # at once, not after a million transitions
    assert main(["collect", "ant-maze"]) == 2
    assert main(["collect", "point-maze", "--policy", "."]) == 2
    assert main(["collect", "point-maze", "--agent", "1"]) == 2
    assert "give its run folder by --policy" in capsys.readouterr().err


def test_the_ant_is_told_a_goal_within_its_reach():
    told = []
    drive = drive_ant(lambda rows: told.append(rows) or np.zeros((len(rows), 8)), reach=2.0)
    seen = np.arange(2 * 29, dtype=float).reshape(2, 29)
    drive(seen, seen[:, :2] + np.array([[1.0, 0.0], [30.0, 40.0]]))
    np.testing.assert_array_equal(told[0][:, :27], seen[:, 2:])
    np.testing.assert_allclose(told[0][:, 27:], [[1.0, 0.0], [1.2, 1.6]])


def test_what_is_refused():
    maze = Maze("point")
    with pytest.raises(SettingError, match="transitions = 0"):
        collect(maze, push, 0)
    with pytest.raises(SettingError, match="noise = -1"):
        collect(maze, push, 10, noise=-1)
