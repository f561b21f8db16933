"""Observations, rewards and ends of episodes of Gymnasium's MuJoCo robots, for many simulations at once.

Each class does for one robot what Gymnasium's environment does in `step` and `reset_model`: the same operations in the
same order, on arrays [n, ...], so that every number equals the environment's to the bit. Sizes, initial positions and
settings are read from the environment.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from mujoco.batch import Batch
from numpy.typing import NDArray

__all__ = ["ROBOTS", "Ant", "HalfCheetah", "Hopper", "Humanoid", "Rewards", "Robot", "Walker2d"]

mujoco: Any = import_module("mujoco")  # most of it is compiled, and type checkers cannot see into it

Array = NDArray[Any]


class Rewards(NamedTuple):
    """The reward of a step and its parts, each [n]: reward = forward + survive - (control + contact)."""

    reward: Array
    healthy: Array
    forward: Array
    survive: Array
    control: Array
    contact: Array | None = None


class Robot(ABC):
    """The observation, reward and end of an episode of one robot.

    Args:
        env: Gymnasium's environment, unwrapped.
        settings: the keyword arguments that it was made with.
        count: number of simulations, n.
        threads: number of threads on which MuJoCo steps them.
    """

    clipped = False
    """Whether observed velocities are clipped to [-10, 10]."""
    normal_velocities = False
    """Whether initial velocities are drawn from a normal distribution; otherwise from a uniform one."""
    unobserved = 1
    """How many leading coordinates of the position (where on the plane the robot is) are not observed."""

    def __init__(self, env: MujocoEnv, settings: Mapping[str, Any], count: int, threads: int):
        defaults = {
            name: parameter.default for name, parameter in inspect.signature(type(env).__init__).parameters.items()
        }
        self.settings = defaults | dict(settings)
        self.dt, self.frame_skip = env.dt, env.frame_skip
        self.forward_weight = self.settings["forward_reward_weight"]
        self.control_weight = self.settings["ctrl_cost_weight"]
        self.healthy_reward = self.settings.get("healthy_reward", 0.0)
        self.terminates = bool(self.settings.get("terminate_when_unhealthy", False))
        self.initial = env.init_qpos, env.init_qvel
        if not self.settings["exclude_current_positions_from_observation"]:
            self.unobserved = 0
        # whether the observation or the reward depends on contact forces
        self.needs_contacts = bool(
            self.settings.get("include_cfrc_ext_in_observation") or self.settings.get("contact_cost_weight")
        )
        self.batch = Batch(env.model, count, threads, persistent=self.needs_contacts)
        self.qpos, self.qvel, self.ctrl = (self.batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self.contacts = np.zeros((count, *env.data.cfrc_ext.shape))
        self._data = mujoco.MjData(env.model) if self.needs_contacts else None

    def initial_state(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """A random initial state: positions and velocities."""
        (qpos, qvel), scale = self.initial, self.settings["reset_noise_scale"]
        qpos = qpos + rng.uniform(low=-scale, high=scale, size=qpos.size)
        if self.normal_velocities:
            return qpos, qvel + scale * rng.standard_normal(qvel.size)
        return qpos, qvel + rng.uniform(low=-scale, high=scale, size=qvel.size)

    def update_contacts(self) -> None:
        """Compute the contact forces of the last step; `Batch` does not."""
        if self._data is None:
            return
        for row in range(len(self.contacts)):
            self.batch.get_data(row, self._data)
            mujoco.mj_rnePostConstraint(self.batch.model, self._data)
            self.contacts[row] = self._data.cfrc_ext

    def observe(self) -> Array:
        """Observations, [n, observation]."""
        velocity = np.clip(self.qvel, -10, 10) if self.clipped else self.qvel
        return np.concatenate((self.qpos[:, self.unobserved :], velocity, *self.extra_observations()), axis=1)

    def extra_observations(self) -> tuple[Array, ...]:
        """What is observed besides position and velocity."""
        return ()

    def position(self) -> Array:
        """A copy of the positions whose change is rewarded, [n] or [n, 2]."""
        return self.qpos[:, 0].copy()

    def rewards(self, velocity: Array, actions: Array) -> Rewards:
        """The rewards of a step, from the velocity of `position` in m/s and the actions."""
        healthy = self.healthy()
        forward = self.forward_weight * (velocity if velocity.ndim == 1 else velocity[:, 0])
        survive = healthy * self.healthy_reward
        control = self.control_weight * self.effort(actions)
        if not self.needs_contacts:
            return Rewards(forward + survive - control, healthy, forward, survive, control)
        contact = self.contact_cost()
        return Rewards(forward + survive - (control + contact), healthy, forward, survive, control, contact)

    def effort(self, actions: Array) -> Array:
        """The sum of squares to which the control cost is proportional, [n]."""
        return np.add.reduce(np.square(actions), axis=1)

    def contact_cost(self) -> Array:
        """The contact cost, [n]; 0 for most robots."""
        return np.zeros(len(self.qpos))

    @abstractmethod
    def healthy(self) -> Array:
        """Which robots have not fallen, [n]."""

    def step_info(self, velocity: Array, parts: Rewards) -> dict[str, Array]:
        """Velocities and rewards, as Gymnasium's `info` has them after a step."""
        rewards = {"reward_forward": parts.forward, "reward_ctrl": -parts.control, "reward_survive": parts.survive}
        return {"x_velocity": velocity} | rewards

    def position_info(self) -> dict[str, Array]:
        """Positions, as `info` has them after a step and after a reset."""
        return {
            "x_position": self.qpos[:, 0].copy(),
            "z_distance_from_origin": self.qpos[:, 1] - self.initial[0][1],
        }


class Hopper(Robot):
    """One leg, in the plane."""

    clipped = True

    def healthy(self) -> Array:
        """Height, angle, and everything else within bounds."""
        least, most = self.settings["healthy_state_range"]
        rest = (self.qpos[:, 2:], self.qvel)
        within = [np.logical_and.reduce((least < values) & (values < most), axis=1) for values in rest]
        return within[0] & within[1] & _between(self.qpos, self.settings)


class Walker2d(Robot):
    """Two legs, in the plane."""

    clipped = True

    def healthy(self) -> Array:
        """Height and angle within bounds."""
        return _between(self.qpos, self.settings)


def _between(qpos: Array, settings: Mapping[str, Any]) -> Array:
    (low, high), (left, right) = settings["healthy_z_range"], settings["healthy_angle_range"]
    height, angle = qpos[:, 1], qpos[:, 2]
    return (low < height) & (height < high) & (left < angle) & (angle < right)


class HalfCheetah(Robot):
    """Two legs and a back, in the plane; it cannot fall."""

    normal_velocities = True

    def healthy(self) -> Array:
        """Always."""
        return np.ones(len(self.qpos), bool)

    def rewards(self, velocity: Array, actions: Array) -> Rewards:
        """Velocity minus the control cost."""
        healthy = self.healthy()
        forward, control = self.forward_weight * velocity, self.control_weight * self.effort(actions)
        return Rewards(forward - control, healthy, forward, np.zeros(len(healthy)), control)

    def step_info(self, velocity: Array, parts: Rewards) -> dict[str, Array]:
        """Without a reward for survival."""
        info = super().step_info(velocity, parts)
        del info["reward_survive"]
        return info

    def position_info(self) -> dict[str, Array]:
        """The x position alone."""
        return {"x_position": self.qpos[:, 0].copy()}


class Ant(Robot):
    """Four legs, in space."""

    normal_velocities = True
    unobserved = 2

    def __init__(self, env: MujocoEnv, settings: Mapping[str, Any], count: int, threads: int):
        super().__init__(env, settings, count, threads)
        body = env.model.body(self.settings["main_body"]).id
        # One substep older than qpos, as in Gymnasium's environment.
        self._torso = self.batch.bind("xpos")[:, body, :2]

    def _clipped_forces(self) -> Array:
        return np.clip(self.contacts, *self.settings["contact_force_range"])

    def extra_observations(self) -> tuple[Array, ...]:
        """Contact forces, if the settings include them."""
        if not self.settings["include_cfrc_ext_in_observation"]:
            return ()
        return (self._clipped_forces()[:, 1:].reshape(len(self.contacts), -1),)

    def position(self) -> Array:
        """The torso's, [n, 2]."""
        return self._torso.copy()

    def contact_cost(self) -> Array:
        """Proportional to the squares of the clipped contact forces."""
        squares = np.square(self._clipped_forces()).reshape(len(self.contacts), -1)
        return self.settings["contact_cost_weight"] * np.add.reduce(squares, axis=1)

    def healthy(self) -> Array:
        """Height within bounds. (States that are not finite have been replaced before.)"""
        low, high = self.settings["healthy_z_range"]
        height = self.qpos[:, 2]
        return (low <= height) & (height <= high)

    def step_info(self, velocity: Array, parts: Rewards) -> dict[str, Array]:
        """Velocities in both directions, and the contact cost."""
        contact = np.zeros(len(velocity)) if parts.contact is None else parts.contact
        info = super().step_info(velocity[:, 0], parts)
        return info | {"y_velocity": velocity[:, 1], "reward_contact": -contact}

    def position_info(self) -> dict[str, Array]:
        """Position, and distance from the origin."""
        xy = self.qpos[:, :2]
        return {
            "x_position": xy[:, 0].copy(),
            "y_position": xy[:, 1].copy(),
            "distance_from_origin": np.linalg.norm(xy, axis=1),
        }


class Humanoid(Ant):
    """Two legs and two arms, in space."""

    normal_velocities = False

    def __init__(self, env: MujocoEnv, settings: Mapping[str, Any], count: int, threads: int):
        Robot.__init__(self, env, settings, count, threads)
        self._masses, self._centres = env.model.body_mass.copy(), self.batch.bind("xipos")
        self._tendons = {name: self.batch.bind(name) for name in ("ten_length", "ten_velocity")}
        inner = {"cinert": 1, "cvel": 1, "qfrc_actuator": 6}  # leaves out the world, and the free joint
        self._body_values = [
            self.batch.bind(name)[:, first:]
            for name, first in inner.items()
            if self.settings[f"include_{name}_in_observation"]
        ]

    def extra_observations(self) -> tuple[Array, ...]:
        """Inertias, velocities, actuator forces and contact forces of the bodies, if the settings include them."""
        rows = len(self.contacts)
        values = [values.reshape(rows, -1) for values in self._body_values]
        if self.settings["include_cfrc_ext_in_observation"]:
            values.append(self.contacts[:, 1:].reshape(rows, -1))
        return tuple(values)

    def position(self) -> Array:
        """The centre of mass, [n, 2]."""
        total = self._masses.sum()
        # row by row: a sum over all rows at once would add in another order
        return np.stack([(np.einsum("b,bj->j", self._masses, centres) / total)[:2] for centres in self._centres])

    def effort(self, actions: Array) -> Array:
        """As the others', from the controls in MuJoCo's precision."""
        return super().effort(np.ascontiguousarray(self.ctrl))

    def contact_cost(self) -> Array:
        """Proportional to the squares of the contact forces, up to a limit."""
        squares = np.square(self.contacts).reshape(len(self.contacts), -1)
        cost = self.settings["contact_cost_weight"] * np.add.reduce(squares, axis=1)
        return np.clip(cost, *self.settings["contact_cost_range"])

    def healthy(self) -> Array:
        """Height within bounds."""
        low, high = self.settings["healthy_z_range"]
        height = self.qpos[:, 2]
        return (low < height) & (height < high)

    def position_info(self) -> dict[str, Array]:
        """As the ant's, with the tendons."""
        return super().position_info() | {
            name.replace("ten_", "tendon_"): values.copy() for name, values in self._tendons.items()
        }


ROBOTS: Mapping[str, type[Robot]] = {
    "Ant-v5": Ant,
    "Hopper-v5": Hopper,
    "Walker2d-v5": Walker2d,
    "HalfCheetah-v5": HalfCheetah,
    "Humanoid-v5": Humanoid,
}
"""The robots, by the id of Gymnasium's environment."""
