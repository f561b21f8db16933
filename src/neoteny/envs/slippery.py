"""A wrapper that changes the friction of Gymnasium's MuJoCo environments over time."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator, register, registry
from gymnasium.utils import RecordConstructorArgs

from neoteny.envs.friction import FrictionSchedule, LogUniformFriction, checked_friction
from neoteny.envs.robots import ROBOTS
from neoteny.errors import SettingError, UnknownNameError

__all__ = ["UNSTABLE", "Slippery", "base_settings", "make", "register_all"]
from neoteny.seeds import checked_seed

mujoco: Any = import_module("mujoco")  # most of it is compiled, and type checkers know nothing of that

UNSTABLE = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)
"""MuJoCo's warnings that a simulation became unstable and was put back to its default state: bad positions, velocities
or accelerations."""

# Without a handler MuJoCo writes every warning into a file MUJOCO_LOG.TXT in the working directory; making HalfCheetah
# already does.
if mujoco.get_mju_user_warning() is None:
    mujoco.set_mju_user_warning(logging.getLogger("neoteny.envs").info)

_OBSERVATIONS = {
    "full": {},
    "paper": {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0},
}


def base_settings(base: str, observation: str | None = None, **settings: Any) -> dict[str, Any]:
    """Keyword arguments for `gymnasium.make`; the name of an observation is replaced by its settings.

    Raises:
        UnknownNameError: no such observation.
        SettingError: an observation was named for another robot than the ant.

    >>> base_settings("Ant-v5", observation="paper")
    {'include_cfrc_ext_in_observation': False, 'contact_cost_weight': 0.0}
    """
    if observation is None:
        return settings
    if base != "Ant-v5":
        raise SettingError(f"observation = {observation!r}: only the ant has a choice of observations, not {base}.")
    if observation not in _OBSERVATIONS:
        raise UnknownNameError(observation, _OBSERVATIONS, "observation of the ant")
    return _OBSERVATIONS[observation] | settings


class Slippery(gymnasium.Wrapper, RecordConstructorArgs):
    """An environment of MuJoCo whose friction follows a schedule.

    The sliding friction of *all* geoms is set, because MuJoCo takes the larger value of two geoms in contact. Only the
    model in memory changes. A new friction comes into force at the first `reset` after it is due.
    `reset(options={"friction": f})` sets one by hand; it holds until the schedule's next change. `reset(seed=...)` also
    sets the count of steps to 0. `info["friction"]` is the value in force.

    A simulation that becomes unstable ends its episode: observation and reward are then 0, and `info["unstable"]` is
    True.

    Args:
        env: a MuJoCo environment of Gymnasium.
        schedule: of the friction; by default a log-uniform draw from [0.02, 2] every 2,000,000 steps.
        seed: of the schedule's draws. The seed of `reset` is for initial states alone.

    Raises:
        SettingError: an environment without a model of MuJoCo, a negative friction or seed; a NaN in an action.

    >>> env = gymnasium.make("neoteny/SlipperyHopper-v0", schedule=LogUniformFriction(every=100_000), seed=0)
    >>> _, info = env.reset(seed=1)
    >>> round(info["friction"], 3)
    0.376
    >>> env.reset(options={"friction": 0.1})[1]["friction"]
    0.1

    Source: Dohare et al., Nature 632, 2024, Methods, "Slippery Ant".
    """

    def __init__(self, env: gymnasium.Env, schedule: FrictionSchedule | None = None, seed: int = 0):
        RecordConstructorArgs.__init__(self, schedule=schedule, seed=seed)
        super().__init__(env)
        if not hasattr(getattr(env.unwrapped, "model", None), "geom_friction"):
            raise SettingError(
                f"{env.unwrapped} has no MuJoCo model, so there is no friction to set: take one of {', '.join(ROBOTS)}."
            )
        self.schedule = LogUniformFriction() if schedule is None else schedule
        if not isinstance(self.schedule, FrictionSchedule):
            raise SettingError(f"schedule = {schedule!r} is no friction schedule; ConstantFriction(1.0) is one.")
        self.friction_seed = checked_seed(seed)
        self._steps, self._change, self._friction = 0, None, None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode, with a new friction where a change is due."""
        if seed is not None:
            self._steps, self._change = 0, None
        change = self.schedule.change_at(self._steps)
        if options and "friction" in options:
            self._set(checked_friction(options["friction"], 'options["friction"]'))
        elif change != self._change:
            due = self.schedule.friction(change, self.friction_seed)
            self._set(checked_friction(due, f"change {change} of the schedule"))
        self._change = change
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info | {"friction": self._friction}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step of the environment."""
        if not np.isfinite(action).all():
            raise SettingError(f"the action {action} is not finite: check the policy that chose it.")
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        warnings = self.env.unwrapped.data.warning  # type: ignore[attr-defined]
        unstable = any(warning.number for warning in warnings[UNSTABLE]) or not np.isfinite(observation).all()
        if unstable:
            observation, reward, terminated = np.zeros_like(observation), 0.0, True
        return observation, reward, terminated, truncated, info | {"friction": self._friction, "unstable": unstable}

    def _set(self, friction: float) -> None:
        self._friction = friction
        self.env.unwrapped.model.geom_friction[:, 0] = friction  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickling makes Gymnasium's environment anew, with the friction of the model file.
        self.__dict__.update(state)
        if self._friction is not None:
            self._set(self._friction)


def make(
    base: str,
    schedule: FrictionSchedule | None = None,
    seed: int = 0,
    observation: str | None = None,
    **settings: Any,
) -> Slippery:
    """What `gymnasium.make("neoteny/SlipperyAnt-v0", ...)` calls.

    Args:
        base: one of `ROBOTS`.
        schedule: see `Slippery`.
        seed: see `Slippery`.
        observation: of the ant: "full" (the default) are Gymnasium's 105 values; "paper" are the 27 without contact
            forces, and no contact cost, as in the runs of the Nature paper. (Those used Ant-v3, which also gave the
            reward for being healthy, 1, in the step in which the ant falls; Ant-v5 does not.)
        settings: keyword arguments of Gymnasium's environment.
    """
    spec = gymnasium.spec(base)
    assert spec.entry_point is not None
    creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
    env: Any = creator(**base_settings(base, observation, **settings))
    return Slippery(env, schedule, seed)


def register_all() -> None:
    """Register `neoteny/SlipperyAnt-v0` and the others with Gymnasium."""
    for base in ROBOTS:
        name = f"neoteny/Slippery{base.partition('-')[0]}-v0"
        if name not in registry:
            register(
                id=name,
                entry_point=f"{__name__}:make",
                max_episode_steps=gymnasium.spec(base).max_episode_steps,
                kwargs={"base": base},
            )
