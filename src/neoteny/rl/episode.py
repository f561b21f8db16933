"""An episode of an agent, step by step, and who draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.envs.camera import Camera
from neoteny.errors import MissingPackageError, SettingError

__all__ = ["Episode", "Screen"]

SIDE = 480  # of a picture, in pixels
RATE = 15.0  # steps a second of an environment that does not say how many there are


class Episode:
    """An episode of an agent. Iterating plays it; what can be drawn is given before the first step and after each.

    Of robots that is MuJoCo's simulation, of games the game.

    Args:
        policy: from `load_policy`, or any function from an observation to an action.
        problem: the benchmark of the agent, such as `neoteny.benchmarks.ant.AntLocomotion()`; not needed for a
            loaded policy.
        seed: of the initial state.
        friction: of the ground, for robots that walk; None for the policy's own.
        steps: greatest length of the episode.

    Raises:
        SettingError: the friction is negative, or given where nothing slips; `steps` is below 1, `problem` is missing,
            or its environment cannot be drawn.

    >>> episode = Episode(load_policy("runs/slippery-ant-v1/cbp"))  # doctest: +SKIP
    >>> heights = [data.qpos[2] for data in episode]  # doctest: +SKIP
    >>> episode.total, episode.length, episode.over  # doctest: +SKIP
    """

    def __init__(
        self,
        policy: Callable[[NDArray[np.float64]], NDArray[np.float32]],
        *,
        problem: Any = None,
        seed: int = 0,
        friction: float | None = None,
        steps: int = 1_000,
    ):
        from neoteny.envs.robots import ROBOTS

        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise SettingError(f"steps = {steps!r} is not a whole number >= 1; give one.")
        problem = problem or getattr(policy, "problem", None)
        if problem is None:
            raise SettingError(
                "A function does not say in which environment it acts: give problem, such as "
                "neoteny.benchmarks.ant.AntLocomotion()."
            )
        friction = getattr(policy, "friction", None) if friction is None else friction
        walks = problem.ROBOT in ROBOTS
        self._env: Any = _robot(problem, friction, steps) if walks else _environment(problem, seed, friction)
        self._discrete = type(self._env.action_space).__name__ == "Discrete"
        self._policy, self._seed, self._steps = policy, seed, steps
        self.friction, self.total, self.length, self.over = friction, 0.0, 0, False

    @property
    def model(self) -> Any:
        """MuJoCo's model of the robot."""
        return self._env.unwrapped.model

    @property
    def rate(self) -> float:
        """Steps a second, of the robot's time or as people play."""
        dt = getattr(self._env.unwrapped, "dt", None)
        return 1 / dt if dt else float(self._env.unwrapped.metadata.get("render_fps", RATE))

    def screen(self, size: tuple[int, int] | None = None, camera: Callable[[Any, int, int], Any] | None = None) -> Any:
        """Who draws what iterating gives, a function from it to a picture [height, width, 3], with a method `close`.

        Args:
            size: width and height in pixels.
            camera: draws simulations, called with the model, the width and the height; `Camera` by default.
        """
        if hasattr(self._env.unwrapped, "data"):
            return (camera or Camera)(self.model, *(size or (SIDE, SIDE)))
        return Screen(size)

    def __iter__(self) -> Iterator[Any]:
        self.total, self.length, self.over = 0.0, 0, False
        shown = getattr(self._env.unwrapped, "data", self._env)
        observation, _ = self._env.reset(seed=self._seed)
        yield shown
        while not self.over and self.length < self._steps:
            action: Any = self._policy(observation)
            action = int(np.asarray(action).item()) if self._discrete else action
            observation, reward, self.over, cut, _ = self._env.step(action)
            self.total += float(reward)
            self.length += 1
            yield shown
            if cut:
                break

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


class Screen:
    """Pictures of a game as it draws itself, in larger or smaller pixels.

    Args:
        size: width and height in pixels; None for the largest multiple of the game's own that fits into 480 by 480.

    Raises:
        MissingPackageError: at the first picture, if the game needs a package to draw itself.

    >>> class Game:
    ...     def render(self):
    ...         return np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    >>> Screen((4, 3))(Game())[..., 0].tolist()
    [[0, 0, 3, 3], [0, 0, 3, 3], [6, 6, 9, 9]]
    """

    def __init__(self, size: tuple[int, int] | None = None):
        self._size = size

    def __call__(self, game: Any) -> NDArray[np.uint8]:
        """What a game shows, [height, width, 3]."""
        from gymnasium.error import DependencyNotInstalled

        try:
            picture = game.render()
        except DependencyNotInstalled as error:
            raise MissingPackageError(f"{game} cannot be drawn ({error}).") from error
        sides = picture.shape[:2]
        larger = max(SIDE // max(sides), 1)
        height, width = (larger * sides[0], larger * sides[1]) if self._size is None else self._size[::-1]
        rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), sides, strict=True))
        return picture[rows[:, None], columns]

    def close(self) -> None:
        """Nothing is held."""


def _robot(problem: Any, friction: float | None, steps: int) -> Any:
    """A robot of Gymnasium's, on the ground of the benchmark or another."""
    import gymnasium

    from neoteny.envs import ConstantFriction, Slippery
    from neoteny.envs.slippery import base_settings

    settings = base_settings(problem.ROBOT, **problem.options)
    env: Any = gymnasium.make(problem.ROBOT, max_episode_steps=steps, disable_env_checker=True, **settings)
    return env if friction is None else Slippery(env, ConstantFriction(friction))


def _environment(problem: Any, seed: int, friction: float | None) -> Any:
    """The environment in which the benchmark evaluates an agent, or else trains it."""
    if friction is not None:
        raise SettingError(f"friction = {friction!r}: nothing slips in {problem.ID}; leave it out.")
    if hasattr(problem, "build_evaluation"):
        made = replace(problem, evaluation_episodes=1).build_evaluation([seed])
    else:
        made = problem.build_environments([seed])
    env: Any = made.envs[0]
    if not hasattr(env, "data") and "rgb_array" not in env.metadata.get("render_modes", ()):
        raise SettingError(
            f"an episode of {problem.ID} cannot be shown: its environment draws no pictures. Call the policy with "
            "observations of an environment of your own that does."
        )
    return env
