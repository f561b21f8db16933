"""Data sets of mazes, made by driving many robots side by side from target to target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from neoteny.checks import is_finite
from neoteny.envs.mazes import RADIUS, Maze
from neoteny.envs.waypoints import Drive, Waypoints
from neoteny.errors import SettingError
from neoteny.seeds import DATA, checked_seed, generator

__all__ = ["collect", "drive_ant"]

Array = NDArray[Any]
MOST_ROBOTS = 250
GREATEST_SPEED = 5.0
"""The package's environment cuts the velocity of the point to this before each step, in m/s."""


def collect(
    maze: Maze,
    drive: Drive,
    transitions: int,
    *,
    noise: float = 0.5,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> dict[str, Array]:
    """Drive robots through a maze and keep every transition.

    Episodes start in a free cell that is drawn. A robot is driven to targets, the middles of cells that are drawn, one
    after the other, by way of the cells between; where goals are random, to its episode's goal. Rewards and ends are
    the maze's: an episode ends at the goal, or after the maze's usual number of steps.

    Args:
        maze: where.
        drive: gives the actions towards places; such as `neoteny.envs.push` for point masses.
        transitions: n.
        noise: standard deviation of the normal numbers that are added to each action, which is then cut to [-1, 1].
        seed: of starts, targets and noise.
        progress: called with the number of transitions since the last call.

    Returns:
        Arrays as `neoteny.data.save_transitions` takes them, one robot after the other; what a robot was doing at the
        end is cut off.

    Raises:
        SettingError: a number of transitions, noise or seed that is none.

    >>> from neoteny.envs import Maze, push
    >>> made = collect(Maze("point"), push, 500)
    >>> made["observations"].shape, bool(made["timeouts"][-1])
    ((500, 4), True)
    """
    if transitions < 1:
        raise SettingError(f"transitions = {transitions!r}: it must be a whole number of at least 1.")
    if not is_finite(noise) or noise < 0:
        raise SettingError(f"noise = {noise!r}: it must be a finite number of at least 0; 0.5 is usual for the point.")
    # a robot goes through several episodes, so that their ends are as frequent as in a single one's life
    count = max(1, min(MOST_ROBOTS, transitions // (4 * maze.length)))
    steps = -(-transitions // count)
    rng = generator(checked_seed(seed), DATA)
    robots = _Robots(maze, count, rng)
    size, width = maze.observation_space.shape[0], maze.action_space.shape[0]  # type: ignore[index]
    made: dict[str, Array] = {
        "observations": np.empty((count, steps, size), np.float32),
        "actions": np.empty((count, steps, width), np.float32),
        "rewards": np.empty((count, steps), np.float32),
        "next_observations": np.empty((count, steps, size), np.float32),
        "terminals": np.zeros((count, steps), bool),
        "timeouts": np.zeros((count, steps), bool),
    }
    for k in range(steps):
        seen = robots.observe()
        actions = drive(seen, robots.waypoints(seen)) + noise * rng.standard_normal((count, width))
        actions = np.clip(actions, -1.0, 1.0).astype(np.float32)
        made["observations"][:, k], made["actions"][:, k] = seen, actions
        following, reached, unstable, cut = robots.step(actions)
        made["next_observations"][:, k], made["rewards"][:, k] = following, reached
        over = reached | unstable  # nothing follows a simulation that did not hold
        made["terminals"][:, k], made["timeouts"][:, k] = over, cut & ~over
        if progress is not None:
            progress(count)
    made["timeouts"][:, -1] |= ~made["terminals"][:, -1]
    made = {name: values.reshape(-1, *values.shape[2:])[:transitions] for name, values in made.items()}
    made["timeouts"][-1] |= not made["terminals"][-1]
    return made


class _Robots:
    """Many robots, each alone in a maze of its own; their physics are those of the maze's environment."""

    def __init__(self, maze: Maze, count: int, rng: np.random.Generator):
        robot = maze.robot_env
        self._maze, self._rng, self._way, self._skip = maze, rng, Waypoints(maze), robot.frame_skip
        self._middles = np.array([maze.centre(cell) for cell in maze.free_cells()])
        self._initial = robot.init_qpos.copy(), robot.init_qvel.copy()
        self._batch = Batch(robot.model, count, 1)
        self._qpos, self._qvel, self._ctrl = (self._batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        maze.reset(seed=0)
        self._goals = np.tile(maze.goal, (count, 1))
        self._targets, self._elapsed = self._goals.copy(), np.zeros(count, np.int64)
        self._begin(np.arange(count))

    def observe(self) -> Array:
        """[n, observations]"""
        parts = [self._qpos, self._qvel] + [self._goals] * self._maze.random_goals
        return np.concatenate(parts, axis=1)

    def waypoints(self, seen: Array) -> Array:
        """Where each robot should go now, [n, 2]; a target that was reached is drawn anew."""
        places = seen[:, :2]
        if not self._maze.random_goals:
            there = np.flatnonzero(_near(places, self._targets))
            self._targets[there] = self._drawn(len(there))
        return self._way.next(places, self._targets)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        """What it led to; whether the goal was reached, the simulation did not hold, the time is up; the next begin."""
        if self._maze.robot == "point":
            np.clip(self._qvel, -GREATEST_SPEED, GREATEST_SPEED, out=self._qvel)
        self._ctrl[...] = actions
        unstable = np.zeros(len(actions), bool)
        try:
            self._batch.step(nstep=self._skip)
        except SimulationError as error:
            unstable[list(error.ids)] = True
        self._elapsed += 1
        seen = self.observe()
        unstable |= ~np.isfinite(seen).all(axis=1)
        seen[unstable] = 0.0
        reached = _near(seen[:, :2], self._goals) & ~unstable
        cut = self._elapsed >= self._maze.length
        over = np.flatnonzero(reached | unstable | cut)
        if len(over):
            self._begin(over)
        return seen, reached, unstable, cut

    def _begin(self, rows: Array) -> None:
        """New episodes, which do not begin at the goal."""
        self._elapsed[rows] = 0
        if self._maze.random_goals:
            self._goals[rows] = self._shaken(self._drawn(len(rows)))
        starts = self._shaken(self._drawn(len(rows)))
        while len(close := np.flatnonzero(_near(starts, self._goals[rows]))):
            starts[close] = self._shaken(self._drawn(len(close)))
        self._targets[rows] = self._goals[rows] if self._maze.random_goals else self._drawn(len(rows))
        self._batch.reset(rows.astype(np.int32))
        self._qpos[rows], self._qvel[rows] = self._initial
        self._qpos[rows, :2] = starts

    def _drawn(self, count: int) -> Array:
        return self._middles[self._rng.integers(len(self._middles), size=count)]

    def _shaken(self, places: Array) -> Array:
        """Somewhere in the middle half of the cell, as in the package's environment."""
        return places + self._maze.cell_size * self._rng.uniform(-0.25, 0.25, places.shape)


def _near(places: Array, others: Array) -> Array:
    return np.hypot(*(places - others).T) <= RADIUS


def drive_ant(policy: Callable[[Array], Array], reach: float = 2.0) -> Drive:
    """A goal-reaching policy as what `collect` takes: it is told in which direction to go.

    Args:
        policy: gives the actions for rows of the ant's 27 numbers and the way to the goal, x and y in m, as
            `neoteny.envs.GoalAnt` observes them; such as `neoteny.rl.load_policy` of a run on it.
        reach: the goal is put at most so far away, in m, where the policy has learned to go.

    >>> rest = lambda rows: 0.1 * rows[:, 27:]
    >>> drive_ant(rest)(np.zeros((1, 29)), np.array([[8.0, 0.0]])).tolist()
    [[0.2, 0.0]]
    """

    def drive(observations: Array, targets: Array) -> Array:
        way = targets - observations[:, :2]
        way *= np.minimum(1.0, reach / np.maximum(np.hypot(*way.T), 1e-9))[:, None]
        return np.asarray(policy(np.concatenate([observations[:, 2:29], way], axis=1)))

    return drive
