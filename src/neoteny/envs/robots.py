"""What Gymnasium's MuJoCo robots observe and are paid, of many simulations at once.

Each class says for one robot what its environment of Gymnasium says in `step` and `reset_model`, with the same
operations in the same order on arrays [n, ...], so that every number equals the environment's own to the bit. Sizes,
initial positions and settings are the environment's.
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

__all__ = ["ROBOTS", "Ant", "HalfCheetah", "Hopper", "Humanoid", "Pay", "Robot", "Walker2d"]

mujoco: Any = import_module("mujoco")  # most of it is compiled, and type checkers know nothing of that

Array = NDArray[Any]


class Pay(NamedTuple):
    """What a step earned, and the parts of it, each [n]: reward = forward + survive - (control + contact)."""

    reward: Array
    healthy: Array
    forward: Array
    survive: Array
    control: Array
    contact: Array | None = None


class Robot(ABC):
    """The observation, reward and end of an episode of one robot.

    Args:
        env: an environment of Gymnasium, unwrapped.
        settings: the keyword arguments that it was made with.
        count: simulations, n.
        threads: threads that MuJoCo steps them on.
    """

    clipped = False
    """Whether velocities are observed within [-10, 10] only."""
    normal_velocities = False
    """Whether initial velocities are drawn from a normal distribution, not a uniform one."""
    skipped = 1
    """Leading coordinates of the position, where on the plane the robot is, that it does not observe."""

    def __init__(self, env: MujocoEnv, settings: Mapping[str, Any], count: int, threads: int):
        defaults = {
            name: parameter.default for name, parameter in inspect.signature(type(env).__init__).parameters.items()
        }
        self.settings = defaults | dict(settings)
        self.dt, self.frame_skip = env.dt, env.frame_skip
        self.forward_weight = self.settings["forward_reward_weight"]
        self.control_weight = self.settings["ctrl_cost_weight"]
        self.healthy_reward = self.settings.get("healthy_reward", 0.0)
        self.mortal = bool(self.settings.get("terminate_when_unhealthy", False))
        self.initial = env.init_qpos, env.init_qvel
        if not self.settings["exclude_current_positions_from_observation"]:
            self.skipped = 0
        # whether contact forces count, in the observation or the reward
        self.feels = bool(
            self.settings.get("include_cfrc_ext_in_observation") or self.settings.get("contact_cost_weight")
        )
        self.batch = Batch(env.model, count, threads, persistent=self.feels)
        self.qpos, self.qvel, self.ctrl = (self.batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self.contacts = np.zeros((count, *env.data.cfrc_ext.shape))
        self._data = mujoco.MjData(env.model) if self.feels else None

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """An initial state: positions and velocities."""
        (qpos, qvel), scale = self.initial, self.settings["reset_noise_scale"]
        qpos = qpos + rng.uniform(low=-scale, high=scale, size=qpos.size)
        if self.normal_velocities:
            return qpos, qvel + scale * rng.standard_normal(qvel.size)
        return qpos, qvel + rng.uniform(low=-scale, high=scale, size=qvel.size)

    def feel(self) -> None:
        """Compute the contact forces of the last step, which `Batch` leaves out."""
        if self._data is None:
            return
        for row in range(len(self.contacts)):
            self.batch.get_data(row, self._data)
            mujoco.mj_rnePostConstraint(self.batch.model, self._data)
            self.contacts[row] = self._data.cfrc_ext

    def observe(self) -> Array:
        """What the robots observe, [n, observation]."""
        velocity = np.clip(self.qvel, -10, 10) if self.clipped else self.qvel
        return np.concatenate((self.qpos[:, self.skipped :], velocity, *self.senses()), axis=1)

    def senses(self) -> tuple[Array, ...]:
        """What is observed beside position and velocity."""
        return ()

    def place(self) -> Array:
        """Where the robots are, a copy, [n] or [n, 2]: what they are paid for moving."""
        return self.qpos[:, 0].copy()

    def pay(self, velocity: Array, actions: Array) -> Pay:
        """The reward of a step, from the velocity of the place in m/s and the actions."""
        healthy = self.healthy()
        forward = self.forward_weight * (velocity if velocity.ndim == 1 else velocity[:, 0])
        survive = healthy * self.healthy_reward
        control = self.control_weight * self.effort(actions)
        if not self.feels:
            return Pay(forward + survive - control, healthy, forward, survive, control)
        contact = self.contact_cost()
        return Pay(forward + survive - (control + contact), healthy, forward, survive, control, contact)

    def effort(self, actions: Array) -> Array:
        """What the cost of control is proportional to, [n]."""
        return np.add.reduce(np.square(actions), axis=1)

    def contact_cost(self) -> Array:
        """The cost of contact, [n]; most robots have none."""
        return np.zeros(len(self.qpos))

    @abstractmethod
    def healthy(self) -> Array:
        """Which robots are still up, [n]."""

    def told(self, velocity: Array, pay: Pay) -> dict[str, Array]:
        """What Gymnasium's `info` tells after a step of velocities and rewards."""
        rewards = {"reward_forward": pay.forward, "reward_ctrl": -pay.control, "reward_survive": pay.survive}
        return {"x_velocity": velocity} | rewards

    def whereabouts(self) -> dict[str, Array]:
        """What `info` tells after a step and after a reset."""
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

    def pay(self, velocity: Array, actions: Array) -> Pay:
        """Velocity less the cost of control."""
        healthy = self.healthy()
        forward, control = self.forward_weight * velocity, self.control_weight * self.effort(actions)
        return Pay(forward - control, healthy, forward, np.zeros(len(healthy)), control)

    def told(self, velocity: Array, pay: Pay) -> dict[str, Array]:
        """Nothing of survival."""
        told = super().told(velocity, pay)
        del told["reward_survive"]
        return told

    def whereabouts(self) -> dict[str, Array]:
        """Only how far it came."""
        return {"x_position": self.qpos[:, 0].copy()}


class Ant(Robot):
    """Four legs, in space."""

    normal_velocities = True
    skipped = 2

    def __init__(self, env: MujocoEnv, settings: Mapping[str, Any], count: int, threads: int):
        super().__init__(env, settings, count, threads)
        body = env.model.body(self.settings["main_body"]).id
        # One substep behind the position, as in Gymnasium's environment.
        self._xy = self.batch.bind("xpos")[:, body, :2]

    def _felt(self) -> Array:
        return np.clip(self.contacts, *self.settings["contact_force_range"])

    def senses(self) -> tuple[Array, ...]:
        """Contact forces, unless they are left out."""
        if not self.settings["include_cfrc_ext_in_observation"]:
            return ()
        return (self._felt()[:, 1:].reshape(len(self.contacts), -1),)

    def place(self) -> Array:
        """Of the torso, [n, 2]."""
        return self._xy.copy()

    def contact_cost(self) -> Array:
        """Proportional to the squares of the clipped contact forces."""
        squares = np.square(self._felt()).reshape(len(self.contacts), -1)
        return self.settings["contact_cost_weight"] * np.add.reduce(squares, axis=1)

    def healthy(self) -> Array:
        """Height within bounds. (A state that is not finite has been dealt with before.)"""
        low, high = self.settings["healthy_z_range"]
        height = self.qpos[:, 2]
        return (low <= height) & (height <= high)

    def told(self, velocity: Array, pay: Pay) -> dict[str, Array]:
        """Velocities in both directions, and the cost of contact."""
        contact = np.zeros(len(velocity)) if pay.contact is None else pay.contact
        told = super().told(velocity[:, 0], pay)
        return told | {"y_velocity": velocity[:, 1], "reward_contact": -contact}

    def whereabouts(self) -> dict[str, Array]:
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
        inner = {"cinert": 1, "cvel": 1, "qfrc_actuator": 6}  # without the world, and without the free joint
        self._inner = [
            self.batch.bind(name)[:, first:]
            for name, first in inner.items()
            if self.settings[f"include_{name}_in_observation"]
        ]

    def senses(self) -> tuple[Array, ...]:
        """Inertias, velocities, actuator forces and contact forces of the bodies, unless they are left out."""
        rows = len(self.contacts)
        values = [values.reshape(rows, -1) for values in self._inner]
        if self.settings["include_cfrc_ext_in_observation"]:
            values.append(self.contacts[:, 1:].reshape(rows, -1))
        return tuple(values)

    def place(self) -> Array:
        """Of the centre of mass, [n, 2]."""
        total = self._masses.sum()
        # row by row, as a sum over all rows at once would add in another order
        return np.stack([(np.einsum("b,bj->j", self._masses, centres) / total)[:2] for centres in self._centres])

    def effort(self, actions: Array) -> Array:
        """The squares of the controls in MuJoCo's precision."""
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

    def whereabouts(self) -> dict[str, Array]:
        """As the ant's, and the tendons."""
        return super().whereabouts() | {
            name.replace("ten_", "tendon_"): values.copy() for name, values in self._tendons.items()
        }


ROBOTS: Mapping[str, type[Robot]] = {
    "Ant-v5": Ant,
    "Hopper-v5": Hopper,
    "Walker2d-v5": Walker2d,
    "HalfCheetah-v5": HalfCheetah,
    "Humanoid-v5": Humanoid,
}
"""The robots, by the environment of Gymnasium."""
