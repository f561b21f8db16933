"""An ant that learns to go where it is told: what drives it through a maze afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from numpy.typing import NDArray

from neoteny.checks import require_at_least_one, require_state_of
from neoteny.envs.mazes import RADIUS
from neoteny.errors import SettingError

__all__ = ["GoalAnt"]

mujoco: Any = import_module("mujoco")  # most of it is compiled, and type checkers cannot see into it

_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)


class GoalAnt(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """Gymnasium's ant on open ground, whose goal lies somewhere around it; a goal that is reached is drawn anew.

    It observes the ant's 27 numbers without contact forces, and the way to the goal, x and y in m. The reward of a step
    is how fast the ant comes nearer to the goal, in m/s, and the ant's own reward for being upright (1) and cost of its
    torques (0.5 a^2). An episode ends when the ant falls, or is cut off.

    Args:
        reach: goals are drawn within this distance, in m, uniformly in the circle.
        max_episode_steps: where an episode is cut off.

    Raises:
        SettingError: a reach or a length that is not positive, a step before the reset, an action that is not finite.

    >>> ant = GoalAnt()
    >>> observation, info = ant.reset(seed=0)
    >>> observation.shape, bool(np.hypot(*observation[27:]) <= 2.0)
    ((29,), True)
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, reach: float = 2.0, max_episode_steps: int = 1_000):
        if not reach > RADIUS:
            raise SettingError(f"reach = {reach!r}: goals must lie farther away than {RADIUS} m, which count as there.")
        require_at_least_one(max_episode_steps=max_episode_steps)
        self.reach, self.length = float(reach), int(max_episode_steps)
        self._ant = AntEnv(include_cfrc_ext_in_observation=False, exclude_current_positions_from_observation=False)
        self._goal = np.zeros(2)
        self._elapsed, self._was_reset = 0, False
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (29,), np.float64)
        self.action_space = self._ant.action_space

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self._ant.model

    @property
    def data(self) -> Any:
        """MuJoCo's simulation."""
        return self._ant.data

    @property
    def dt(self) -> float:
        """Seconds of a step."""
        return self._ant.dt

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Begin an episode; without a seed the generators go on."""
        super().reset(seed=seed)
        seen, _ = self._ant.reset(seed=seed)
        self._elapsed, self._was_reset = 0, True
        self._draw_goal(seen[:2])
        return self._as_seen(seen), {}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step."""
        if not self._was_reset:
            raise SettingError("step before reset: call reset() first.")
        if not np.isfinite(action).all():
            raise SettingError(f"the action {action} is not finite: check the policy that chose it.")
        before = np.hypot(*(self._goal - self._ant.data.qpos[:2]))
        seen, _, terminated, _, parts = self._ant.step(action)
        self._elapsed += 1
        after = np.hypot(*(self._goal - seen[:2]))
        reward = (before - after) / self._ant.dt + parts["reward_survive"] + parts["reward_ctrl"]
        reached = bool(after <= RADIUS)
        if reached:
            self._draw_goal(seen[:2])
        cut = self._elapsed >= self.length
        return self._as_seen(seen), float(reward), bool(terminated), cut, {"success": reached}

    def _draw_goal(self, place: NDArray[np.float64]) -> None:
        least = (RADIUS / self.reach) ** 2  # a goal is never reached already
        distance = self.reach * np.sqrt(self.np_random.uniform(least, 1.0))
        angle = self.np_random.uniform(-np.pi, np.pi)
        self._goal = place + distance * np.array([np.cos(angle), np.sin(angle)])

    def _as_seen(self, seen: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([seen[2:], self._goal - seen[:2]])

    def saved_state(self) -> dict[str, Any]:
        """Everything that later steps depend on, in plain values and arrays.

        Raises:
            SettingError: the environment was not reset.
        """
        if not self._was_reset:
            raise SettingError("saved_state before reset: call reset() first.")
        model, data = self._ant.model, self._ant.data
        physics = np.empty(mujoco.mj_stateSize(model, _STATE))
        mujoco.mj_getState(model, data, physics, _STATE)
        generators = [env.np_random.bit_generator.state for env in (self, self._ant)]
        return {
            "name": "goal-ant", "physics": physics, "goal": self._goal.copy(), "elapsed": self._elapsed,
            "generators": generators,
        }  # fmt: skip

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `saved_state()`.

        Raises:
            CheckpointError: the state is of another environment.
        """
        require_state_of(state, "goal-ant")
        self.reset(seed=0)
        mujoco.mj_setState(self._ant.model, self._ant.data, np.asarray(state["physics"], dtype=np.float64), _STATE)
        for env, saved in zip((self, self._ant), state["generators"], strict=True):
            env.np_random.bit_generator.state = saved
        self._goal, self._elapsed = np.array(state["goal"]), int(state["elapsed"])

    def close(self) -> None:
        """Free its resources."""
        self._ant.close()
