"""Robots on ground whose friction changes: a wrapper around Gymnasium's MuJoCo environments."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator, register, registry
from gymnasium.utils import RecordConstructorArgs

from neoteny.envs.friction import FrictionSchedule, LogUniformFriction, checked_friction, checked_seed
from neoteny.errors import SettingError, UnknownNameError

__all__ = ["BASES", "UNSTABLE", "Slippery", "base_settings", "make", "register_all"]

mujoco: Any = import_module("mujoco")  # most of it is compiled, and type checkers know nothing of that

BASES = ("Ant-v5", "Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Humanoid-v5")
"""The environments of Gymnasium that there is slippery ground for."""

UNSTABLE = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)
"""MuJoCo's warnings that a simulation blew up and was put back to its default state: of positions, velocities and
accelerations."""

# Without a handler MuJoCo writes every warning to a MUJOCO_LOG.TXT in the working directory, at making HalfCheetah
# already, and in any thread.
if mujoco.get_mju_user_warning() is None:
    mujoco.set_mju_user_warning(logging.getLogger("neoteny.envs").info)

_OBSERVATIONS = {
    "full": {},
    "paper": {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0},
}


def base_settings(base: str, observation: str | None = None, **settings: Any) -> dict[str, Any]:
    """The keyword arguments of an environment of Gymnasium, with the name of an observation spelt out.

    Raises:
        SettingError: no such observation, or an observation chosen for another robot than the ant.

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

    The sliding friction of *all* geoms is set, as MuJoCo takes the larger of the two that touch, and only in the model
    in memory. A new friction comes into force at the first `reset` after it is due. `reset(options={"friction": f})`
    sets one by hand, which holds until the schedule's next change. `reset(seed=...)` begins anew, the count of steps
    included. `info["friction"]` tells what is in force.

    A simulation that blows up ends its episode: observation and reward are zeros then, and `info["unstable"]` is True.

    Args:
        env: an environment of Gymnasium on MuJoCo.
        schedule: the friction, by default log-uniform in [0.02, 2] and new every 2,000,000 steps.
        seed: what the schedule draws from. The seed of `reset` only draws initial states.

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
                f"{env.unwrapped} has no model of MuJoCo, so there is no friction to set: "
                f"take one of {', '.join(BASES)}."
            )
        self.schedule = LogUniformFriction() if schedule is None else schedule
        if not isinstance(self.schedule, FrictionSchedule):
            raise SettingError(f"schedule = {schedule!r} is no schedule of friction: ConstantFriction(1.0) is one.")
        self.friction_seed = checked_seed(seed)
        self._steps, self._change, self._friction = 0, None, None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, on new ground where a change is due."""
        if seed is not None:
            self._steps, self._change = 0, None
        change = self.schedule.change_at(self._steps)
        if options and "friction" in options:
            self._set(checked_friction(options["friction"], 'options["friction"]'))
        elif change != self._change:
            self._set(self.schedule.friction(change, self.friction_seed))
        self._change = change
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info | {"friction": self._friction}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step of the environment."""
        if not np.isfinite(action).all():
            raise SettingError(f"the action {action} is not finite: look at what chose it.")
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
        # Gymnasium's environments are made anew where they are unpickled, with the friction of the file.
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
        base: one of `BASES`.
        schedule: see `Slippery`.
        seed: see `Slippery`.
        observation: of the ant: "full", Gymnasium's 105 values (the default), or "paper", the 27 without contact forces
            and no cost of contact, as in the runs of the Nature paper. (Those ran Ant-v3, which also paid the reward
            of being healthy, 1, for the step in which the ant falls; Ant-v5 does not.)
        settings: keyword arguments of the environment of Gymnasium.
    """
    spec = gymnasium.spec(base)
    assert spec.entry_point is not None
    creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
    env: Any = creator(**base_settings(base, observation, **settings))
    return Slippery(env, schedule, seed)


def register_all() -> None:
    """Make `neoteny/SlipperyAnt-v0` and its like known to Gymnasium."""
    for base in BASES:
        name = f"neoteny/Slippery{base.partition('-')[0]}-v0"
        if name not in registry:
            register(
                id=name,
                entry_point=f"{__name__}:make",
                max_episode_steps=gymnasium.spec(base).max_episode_steps,
                kwargs={"base": base},
            )
