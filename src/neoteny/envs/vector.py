"""Many robots at once: Gymnasium's vector interface on `mujoco.batch`, which steps simulations on C++ threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from mujoco.batch import SimulationError
from numpy.typing import NDArray

from neoteny.checks import require_at_least_one
from neoteny.envs.friction import FrictionSchedule, checked_friction
from neoteny.envs.robots import ROBOTS, Rewards
from neoteny.envs.slippery import UNSTABLE, base_settings
from neoteny.errors import CheckpointError, SettingError, UnknownNameError

__all__ = ["MujocoVectorEnv", "Steps", "friction_in"]
from neoteny.seeds import checked_seed

Array = NDArray[Any]

_NO_STAGE = import_module("mujoco").mjtStage.mjSTAGE_NONE.value


class Steps(NamedTuple):
    """One step of n environments.

    Attributes:
        observations: [n, observation]; where an episode has ended, the first of the next one.
        rewards: [n].
        terminations: [n], whether the robot fell.
        truncations: [n], whether the episode was cut off at its greatest length.
        final_observations: [n, observation], the states that the step itself led to; the same array as `observations`
            where no episode has ended.
        friction: [n], in force during the step; NaN where the geoms of a model have different ones.
        unstable: [n], whether the simulation became unstable; the episode then ends, with reward and observation 0.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    final_observations: NDArray[np.float64]
    friction: NDArray[np.float64]
    unstable: NDArray[np.bool_]


def _seed_list(seed: int | Sequence[int | None], count: int) -> Sequence[int | None]:
    return range(seed, seed + count) if isinstance(seed, int | np.integer) else seed


def _masked(infos: Mapping[str, Array], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Infos as Gymnasium's vector environments give them: with each array a mask of valid rows; the others are 0."""
    masked: dict[str, Any] = {}
    for key, values in infos.items() if mask.any() else ():
        masked[key], masked[f"_{key}"] = values.copy(), mask.copy()
        masked[key][~mask] = 0
    return masked


class MujocoVectorEnv(VectorEnv):
    """Independent robots of one kind, each with its own seed and friction, stepped together.

    Each sub-environment goes through the same states, observations and rewards as the single environment would, to the
    bit and at any number of threads. An episode that ends is followed by the next within the same step (Gymnasium's
    `AutoresetMode.SAME_STEP`): `infos["final_obs"]` and `infos["final_info"]` hold what it ended with.

    Args:
        env_id: "Ant-v5", "Hopper-v5", "Walker2d-v5", "HalfCheetah-v5" or "Humanoid-v5".
        num_envs: how many, n.
        friction: a schedule for all, or one for each; None leaves the friction of the model. Each sub-environment
            counts its own steps, as `Slippery` does.
        friction_seeds: what each one's schedule draws from; s stands for s, s + 1, ..., and None for 0, 1, ...
        threads: C++ threads, the caller's included.
        max_episode_steps: where episodes are cut off, by default where Gymnasium does, after 1,000 steps.
        settings: keyword arguments of Gymnasium's environment; for the ant also `observation="paper"` (see
            `neoteny.envs.slippery.make`). Contact forces, which Ant-v5 and Humanoid-v5 observe by default, cost time.

    Raises:
        UnknownNameError: another environment.
        SettingError: a number of environments, threads, seeds or schedules that does not fit, a setting that the
            environment does not take; in `step` actions of another shape or not finite.

    >>> from neoteny.envs import ConstantFriction
    >>> envs = MujocoVectorEnv("Hopper-v5", 2, friction=[ConstantFriction(1.0), ConstantFriction(0.1)])
    >>> observations, infos = envs.reset(seed=0)
    >>> observations.shape, infos["friction"].tolist()
    ((2, 11), [1.0, 0.1])
    >>> steps = envs.step_arrays(np.zeros((2, 3), np.float32))
    >>> steps.rewards.shape, steps.unstable.tolist()
    ((2,), [False, False])
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        friction: FrictionSchedule | Sequence[FrictionSchedule] | None = None,
        friction_seeds: int | Sequence[int] | None = None,
        threads: int = 1,
        *,
        max_episode_steps: int | None = None,
        **settings: Any,
    ):
        if env_id not in ROBOTS:
            raise UnknownNameError(env_id, ROBOTS, "environment to step many of")
        require_at_least_one(none=True, num_envs=num_envs, threads=threads, max_episode_steps=max_episode_steps)
        settings = base_settings(env_id, **settings)
        try:
            single = gymnasium.make(env_id, **settings)
        except TypeError as error:
            raise SettingError(f"{env_id} does not take these settings, {settings}: {error}") from error
        assert isinstance(single.unwrapped, MujocoEnv)
        self.num_envs, self.spec, self._env_id = int(num_envs), single.spec, env_id
        self.metadata = single.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = single.observation_space, single.action_space
        self.observation_space = batch_space(single.observation_space, num_envs)
        self.action_space = batch_space(single.action_space, num_envs)
        self._actions = (self.num_envs, *(single.action_space.shape or ()))
        limit = single.spec.max_episode_steps if single.spec else None
        self._max_steps = max_episode_steps or limit or np.iinfo(np.int64).max

        self._robot = ROBOTS[env_id](single.unwrapped, settings, self.num_envs, threads)
        self._batch = self._robot.batch
        self._warnings = self._batch.warning[:, UNSTABLE, 1]
        self._sliding = self._batch.expand("geom_friction")[:, :, 0]
        self._model_friction = self._batch.model.geom_friction[:, 0].copy()
        single.close()

        self._schedules = self._schedules_of("friction", friction)
        seeds = range(num_envs) if friction_seeds is None else friction_seeds
        if isinstance(seeds, int | np.integer):
            seeds = range(checked_seed(seeds, "friction_seeds"), int(seeds) + num_envs)
        seeds = self._one_per_env("friction_seeds", seeds)
        self._friction_seeds = [checked_seed(seed, "friction_seeds") for seed in seeds]

        self._was_reset = False
        self._rngs: list[np.random.Generator | None] = [None] * self.num_envs
        self._elapsed, self._steps = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self._changes: list[int | None] = [None] * self.num_envs
        self._friction = np.full(num_envs, np.nan)
        self._position = self._robot.position()

    def _one_per_env(self, name: str, values: Iterable[Any]) -> list[Any]:
        values = list(values)
        if len(values) != self.num_envs:
            raise SettingError(f"{len(values)} {name} for {self.num_envs} environments: give one for each.")
        return values

    def _schedules_of(self, name: str, schedules: Any) -> list[FrictionSchedule | None]:
        if not isinstance(schedules, Iterable):
            schedules = [schedules] * self.num_envs
        for schedule in (schedules := self._one_per_env(name, schedules)):
            if not (schedule is None or isinstance(schedule, FrictionSchedule)):
                raise SettingError(f"{name} = {schedule!r} is no friction schedule; ConstantFriction(1.0) is one.")
        return schedules

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: s seeds the sub-environments with s, s + 1, ...; a list gives each its own; None continues with the
                present generators. A seed also sets the count of steps to the next change of friction to 0.
            options: "friction", one for all or one each, in force until the schedule's next change; "reset_mask", [n]
                bool, the sub-environments to reset (by default all).

        Returns:
            Observations [n, observation] and infos.

        Raises:
            SettingError: another number of seeds, frictions or entries of the mask than of environments.
        """
        options = options or {}
        seeds = self._one_per_env("seeds", [seed] * self.num_envs if seed is None else _seed_list(seed, self.num_envs))
        given: list[float] | None = None
        if "friction" in options:
            values = options["friction"]
            values = self._one_per_env("frictions", [values] * self.num_envs if np.ndim(values) == 0 else values)
            given = [checked_friction(value, 'options["friction"]') for value in values]
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise SettingError(
                f'options["reset_mask"] = {mask}: {self.num_envs} booleans, one an environment, not all False.'
            )
        rows = np.flatnonzero(mask).tolist()
        for row in rows:
            if seeds[row] is not None:
                self._rngs[row], _ = seeding.np_random(checked_seed(seeds[row]))
                self._steps[row], self._changes[row] = 0, None
        self._start_episodes(rows, given)
        self._was_reset = None not in self._rngs
        infos = self._robot.position_info() | {"friction": self._friction}
        return self._robot.observe(), _masked(infos, mask)

    def step(
        self, actions: Array
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One step of every sub-environment, and the reset of those whose episode it ended.

        Args:
            actions: [n, action].

        Returns:
            Observations, rewards, terminations, truncations and infos, as Gymnasium's own vector environments.
        """
        steps, parts, velocity = self._step_physics(actions)
        info = self._robot.position_info() | self._robot.step_info(velocity, parts)
        info |= {"friction": steps.friction, "unstable": steps.unstable}
        done = steps.terminations | steps.truncations
        infos = _masked(info, ~done)
        if done.any():
            final = np.full(self.num_envs, None, dtype=object)
            for row in np.flatnonzero(done):
                final[row] = steps.final_observations[row].copy()
            final_info = _masked(info, done)
            infos |= {"final_obs": final, "_final_obs": done, "final_info": final_info, "_final_info": done.copy()}
            steps = self._autoreset(steps, done)
            begun = self._robot.position_info() | {"friction": self._friction}
            infos |= _masked(begun, np.ones(self.num_envs, bool))
        return steps.observations, steps.rewards, steps.terminations, steps.truncations, infos

    def step_arrays(self, actions: Array) -> Steps:
        """`step` without the dictionary of infos, which is faster.

        Args:
            actions: [n, action]. Costs are computed in their precision, as in Gymnasium's environments.

        Returns:
            The step; its arrays are not written to later.
        """
        steps, _, _ = self._step_physics(actions)
        done = steps.terminations | steps.truncations
        return self._autoreset(steps, done) if done.any() else steps

    def _step_physics(self, actions: Array) -> tuple[Steps, Rewards, Array]:
        """Step the physics; observations and rewards before any reset."""
        robot, actions = self._robot, np.asarray(actions)
        if actions.shape != self._actions:
            raise SettingError(f"actions of shape {actions.shape}: they must be {self._actions}, a row an environment.")
        if not np.isfinite(actions).all():
            rows = np.flatnonzero(~np.isfinite(actions).all(axis=1)).tolist()
            raise SettingError(f"the actions of environments {rows} are not finite: check the policy that chose them.")
        if not self._was_reset:
            raise SettingError("step before reset: call reset() first.")
        robot.ctrl[...] = actions
        failed: Any = ()
        try:
            self._batch.step(nstep=robot.frame_skip)
        except SimulationError as error:
            failed = error.ids
        robot.update_contacts()
        place = robot.position()
        with np.errstate(invalid="ignore", over="ignore"):  # in a simulation that became unstable
            velocity = (place - self._position) / robot.dt
            parts = robot.rewards(velocity, actions)
        self._position = place
        observations, rewards = robot.observe(), parts.reward
        self._steps += 1
        self._elapsed += 1
        terminations = np.zeros(self.num_envs, bool)
        if robot.terminates:
            np.logical_not(parts.healthy, out=terminations)
        unstable = np.zeros(self.num_envs, bool)
        if len(failed) or self._warnings.any() or not np.isfinite(observations).all():
            unstable = self._warnings.any(axis=1) | ~np.isfinite(observations).all(axis=1)
            unstable[list(failed)] = True
            observations[unstable], rewards[unstable], terminations[unstable] = 0.0, 0.0, True
        truncations = self._elapsed >= self._max_steps
        steps = Steps(observations, rewards, terminations, truncations, observations, self._friction, unstable)
        return steps, parts, velocity

    def _autoreset(self, steps: Steps, done: Array) -> Steps:
        """Start the next episodes of those that have ended."""
        rows = np.flatnonzero(done)
        self._start_episodes(rows.tolist(), None)
        observations = steps.final_observations.copy()
        observations[rows] = self._robot.observe()[rows]
        return steps._replace(observations=observations)

    def _start_episodes(self, rows: list[int], friction: Sequence[float] | None) -> None:
        """Put some simulations into initial states, with a new friction where a change is due."""
        robot, batch = self._robot, self._batch
        ids = np.asarray(rows, np.int32)
        batch.reset(ids, stage=_NO_STAGE)
        self._friction = self._friction.copy()  # steps that were returned before keep their array
        for row in rows:
            schedule = self._schedules[row]
            change = 0 if schedule is None else schedule.change_at(int(self._steps[row]))
            if friction is not None:
                self._set_friction(row, friction[row])
            elif change != self._changes[row]:
                due = self._model_friction
                if schedule is not None:
                    drawn = schedule.friction(change, self._friction_seeds[row])
                    due = checked_friction(drawn, f"change {change} of the schedule")
                self._set_friction(row, due)
            self._changes[row] = change
            rng = self._rngs[row]
            if rng is None:
                rng = self._rngs[row] = seeding.np_random(None)[0]
            robot.qpos[row], robot.qvel[row] = robot.initial_state(rng)
        batch.forward(ids)
        robot.contacts[rows] = 0.0  # as in Gymnasium's environments until the first step
        self._elapsed[rows] = 0
        self._position[rows] = robot.position()[rows]

    def _set_friction(self, row: int, friction: float | Array) -> None:
        self._sliding[row] = friction
        info = self._sliding[row]
        self._friction[row] = info[0] if (info == info[0]).all() else np.nan

    def state(self) -> dict[str, Any]:
        """Everything that later steps depend on: arrays, numbers and the states of generators.

        Example:
            >>> envs = MujocoVectorEnv("Hopper-v5", 1)
            >>> _ = envs.reset(seed=0)
            >>> state, action = envs.state(), np.zeros((1, 3))
            >>> first = envs.step_arrays(action)
            >>> envs.load_state(state)
            >>> bool((envs.step_arrays(action).observations == first.observations).all())
            True
        """
        if not self._was_reset:
            raise SettingError("state before reset: call reset() first.")
        return {
            "env_id": self._env_id,
            "physics": self._batch.state.copy(),
            "sliding": self._sliding.copy(),
            "place": self._position.copy(),
            "elapsed": self._elapsed.copy(),
            "steps": self._steps.copy(),
            "changes": list(self._changes),
            "generators": [rng.bit_generator.state for rng in self._rngs if rng is not None],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state()` returned, in an environment made with the same arguments.

        Raises:
            CheckpointError: a state of another environment, or of another number of them.
        """
        shapes = [np.shape(state.get(name, ())) for name in ("physics", "sliding")]
        wanted = [self._batch.state.shape, self._sliding.shape]
        if state.get("env_id") != self._env_id or shapes != wanted:
            raise CheckpointError(
                f"the state is of {state.get('env_id')} with arrays of {shapes}, but this is {self._env_id} with "
                f"{wanted}: make the environment with the arguments it had."
            )
        for row, saved in enumerate(state["generators"]):
            self._rngs[row] = rng = np.random.Generator(np.random.PCG64())
            rng.bit_generator.state = saved
        # the reset also clears MuJoCo's warnings of unstable simulations
        self._batch.reset()
        self._batch.state[...] = state["physics"]
        self._friction = self._friction.copy()
        for row, sliding in enumerate(np.asarray(state["sliding"])):
            self._set_friction(row, sliding)
        self._position = np.array(state["place"], dtype=np.float64)
        self._elapsed, self._steps = (np.array(state[name], dtype=np.int64) for name in ("elapsed", "steps"))
        self._changes, self._was_reset = list(state["changes"]), True


def friction_in(state: Mapping[str, Any]) -> NDArray[np.float64]:
    """The friction of each environment in a state of `MujocoVectorEnv.state`, [n].

    >>> from neoteny.envs import ListedFriction
    >>> envs = MujocoVectorEnv("Hopper-v5", 2, friction=ListedFriction([0.5], every=10))
    >>> _ = envs.reset(seed=0)
    >>> friction_in(envs.state())
    array([0.5, 0.5])
    """
    return np.asarray(state["sliding"])[:, 0]
