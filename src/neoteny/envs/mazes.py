"""Mazes in which a point mass or an ant looks for a goal, with states that can be saved."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from neoteny.checks import require_at_least_one, require_state_of
from neoteny.errors import MissingPackageError, SettingError, UnknownNameError

__all__ = ["MAPS", "Maze"]

mujoco: Any = import_module("mujoco")  # most of it is compiled, and type checkers cannot see into it

_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
RADIUS = 0.45
"""A goal is reached at this distance from it, in m."""
MAPS: Mapping[str, tuple[str, ...]] = {
    "umaze": ("#####", "#S  #", "### #", "#G  #", "#####"),
    "medium": (
        "########",
        "#S ##  #",
        "#  #   #",
        "##   ###",
        "#  #   #",
        "# #  # #",
        "#   # G#",
        "########",
    ),
    "large": (
        "############",
        "#S   #     #",
        "# ## # # # #",
        "#      #   #",
        "# #### ### #",
        "#  # #     #",
        "## # # # ###",
        "#  #   # G #",
        "############",
    ),
}
"""The walls, and the start S and the goal G of a fixed task. The maps are Gymnasium-Robotics'."""
LENGTHS = {"point": {"umaze": 300, "medium": 600, "large": 800}, "ant": {"umaze": 700, "medium": 1000, "large": 1000}}
"""Steps after which an episode is cut off, as in D4RL."""


@cache
def _environments() -> dict[str, Any]:
    try:
        # it prints and warns of other environments of its own
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return {
                "point": import_module("gymnasium_robotics.envs.maze.point_maze").PointMazeEnv,
                "ant": import_module("gymnasium_robotics.envs.maze.ant_maze_v5").AntMazeEnv,
            }
    except ImportError as error:
        raise MissingPackageError(
            f"neoteny.envs.Maze needs gymnasium-robotics ({error}): install the packages of DeepMind's tasks and of "
            "mazes with `pip install neoteny[suite]`."
        ) from error


class Maze(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """A maze of Gymnasium-Robotics as D4RL has them: the reward is 1 at the goal, where the episode ends, and else 0.

    Observed are position and velocity in one array: 4 numbers of the point (x, y and their velocities in m/s), 29 of
    the ant (x and y, then Gymnasium's 27 without contact forces), and where goals vary the goal's x and y as well.

    It differs from the package's environment in what D4RL has otherwise: an episode ends at the goal
    (`continuing_task=False`), the observation is flat, contact forces are left out, goals are fixed, and episodes are
    as long as D4RL's. It differs from D4RL in this: the goal's radius is 0.45 m, where D4RL has 0.5 m; the point's
    episodes end at the goal, where those of D4RL's maze2d go on; physics are today's MuJoCo and Ant-v5.

    Args:
        robot: "point" or "ant".
        maze: one of `MAPS`.
        goals: "fixed": from S to G, where the start is drawn from the middle half of its cell and the goal lies in the
            middle; "random": both in free cells, drawn for every episode, and the goal is observed.
        max_episode_steps: by default D4RL's.

    Raises:
        UnknownNameError: another robot, maze or kind of goals.
        SettingError: a step before the reset, an action that is not finite, a length below 1.
        MissingPackageError: gymnasium-robotics is not installed.

    >>> maze = Maze("point", "umaze")
    >>> maze.reset(seed=0)[0].shape, maze.goal.tolist(), maze.length
    ((4,), [-1.0, -1.0], 300)

    Source: Fu et al., "D4RL: datasets for deep data-driven reinforcement learning", arXiv 2004.07219, 2020.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self,
        robot: str = "point",
        maze: str = "umaze",
        goals: Literal["fixed", "random"] = "fixed",
        max_episode_steps: int | None = None,
    ):
        if robot not in LENGTHS:
            raise UnknownNameError(robot, LENGTHS, "robot in a maze")
        if maze not in MAPS:
            raise UnknownNameError(maze, MAPS, "maze")
        if goals not in ("fixed", "random"):
            raise UnknownNameError(goals, ("fixed", "random"), "kind of goals")
        require_at_least_one(none=True, max_episode_steps=max_episode_steps)
        self.robot, self.name, self.random_goals = robot, maze, goals == "random"
        self.length = max_episode_steps or LENGTHS[robot][maze]
        walls = [[int(cell == "#") for cell in row] for row in MAPS[maze]]
        options = {"include_cfrc_ext_in_observation": False} if robot == "ant" else {}
        self._env = _environments()[robot](maze_map=walls, continuing_task=False, **options)
        Path(self._env.tmp_xml_file_path).unlink(missing_ok=True)  # the package leaves it behind
        self._robot = self._env.ant_env if robot == "ant" else self._env.point_env
        self._model, self._data = self._robot.model, self._robot.data
        self._elapsed, self._was_reset = 0, False
        size = (29 if robot == "ant" else 4) + 2 * self.random_goals
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.action_space = self._env.action_space

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self._model

    @property
    def data(self) -> Any:
        """MuJoCo's simulation."""
        return self._data

    @property
    def dt(self) -> float:
        """Seconds of a step."""
        return self._robot.dt

    @property
    def goal(self) -> NDArray[np.float64]:
        """Where it is, in m, [2]."""
        return self._env.goal

    @property
    def cell_size(self) -> float:
        """Side of a cell in m."""
        return self._env.maze.maze_size_scaling

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(MAPS[self.name]), len(MAPS[self.name][0])

    @property
    def robot_env(self) -> Any:
        """Gymnasium's environment of the robot."""
        return self._robot

    def free_cells(self) -> list[tuple[int, int]]:
        """Row and column of every cell without a wall."""
        return [(i, j) for i, row in enumerate(MAPS[self.name]) for j, cell in enumerate(row) if cell != "#"]

    def centre(self, cell: tuple[int, int]) -> NDArray[np.float64]:
        """The middle of a cell, in m, [2]."""
        return self._env.maze.cell_rowcol_to_xy(cell)

    def cells_at(self, places: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the cells of places in m, [n, 2]; of a place outside the nearest cell."""
        rows, columns = self.shape
        across = places[:, 0] / self.cell_size + columns / 2
        down = rows / 2 - places[:, 1] / self.cell_size
        return np.clip(down.astype(np.int64), 0, rows - 1), np.clip(across.astype(np.int64), 0, columns - 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Begin an episode; without a seed the generator goes on.

        Args:
            seed: of the generator.
            options: "reset_cell" and "goal_cell", row and column, in place of those that are usual.
        """
        super().reset(seed=seed)  # the generator that wrappers draw from
        options = dict(options or {})
        if not self.random_goals:
            options = {"reset_cell": self._marked("S"), "goal_cell": self._marked("G")} | options
        seen, _ = self._env.reset(seed=seed, options=options or None)
        if not self.random_goals:
            self._env.goal = self.centre(options["goal_cell"])
            self._env.update_target_site_pos()
        self._elapsed, self._was_reset = 0, True
        return self._flat(seen), {"success": False}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step."""
        if not self._was_reset:
            raise SettingError("step before reset: call reset() first.")
        if not np.isfinite(action).all():
            raise SettingError(f"{self.robot} in {self.name}: the action {action} is not finite: check the policy.")
        seen, reward, terminated, _, _ = self._env.step(action)
        self._elapsed += 1
        return self._flat(seen), float(reward), terminated, self._elapsed >= self.length, {"success": terminated}

    def _marked(self, mark: str) -> tuple[int, int]:
        return next((i, row.index(mark)) for i, row in enumerate(MAPS[self.name]) if mark in row)

    def _flat(self, seen: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        parts = [seen["observation"]]
        if self.robot == "ant":  # the point's observation has its place already
            parts.insert(0, seen["achieved_goal"])
        return np.concatenate(parts + [self.goal] * self.random_goals)

    def saved_state(self) -> dict[str, Any]:
        """Everything that later steps depend on, in plain values and arrays.

        Raises:
            SettingError: the maze was not reset.
        """
        if not self._was_reset:
            raise SettingError("saved_state before reset: call reset() first.")
        physics = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        mujoco.mj_getState(self._model, self._data, physics, _STATE)
        generators = [env.np_random.bit_generator.state for env in (self._env, self._robot)]
        name = f"{self.robot}-{self.name}"
        return {
            "name": name, "physics": physics, "goal": self.goal.copy(), "elapsed": self._elapsed,
            "generators": generators,
        }  # fmt: skip

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `saved_state()`.

        Raises:
            CheckpointError: the state is of another maze.
        """
        require_state_of(state, f"{self.robot}-{self.name}")
        self.reset(seed=0)
        mujoco.mj_setState(self._model, self._data, np.asarray(state["physics"], dtype=np.float64), _STATE)
        for env, saved in zip((self._env, self._robot), state["generators"], strict=True):
            env.np_random.bit_generator.state = saved
        self._env.goal = np.array(state["goal"])
        self._env.update_target_site_pos()
        self._elapsed = int(state["elapsed"])

    def close(self) -> None:
        """Free its resources."""
        self._env.close()
