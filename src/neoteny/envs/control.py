"""The tasks of DeepMind's Control Suite as Gymnasium environments whose state can be saved."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from neoteny.checks import require_at_least_one
from neoteny.envs.control_package import begin_episode, cache_names, load_suite
from neoteny.errors import CheckpointError, SettingError, UnknownNameError

__all__ = ["ControlTask", "control_tasks"]

mujoco: Any = import_module("mujoco")  # most of it is compiled, and type checkers cannot see into it

_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
_RUNGE_KUTTA = int(mujoco.mjtIntegrator.mjINT_RK4)
_CAMERAS = {"quadruped": 2}
"""The camera that papers use, where it is not the first."""


def control_tasks() -> tuple[str, ...]:
    """The names of all tasks.

    Raises:
        MissingPackageError: dm_control is not installed.

    >>> "quadruped-run" in control_tasks()
    True
    """
    return tuple(f"{domain}-{task}" for domain, task in load_suite().ALL_TASKS)


class ControlTask(gymnasium.Env[NDArray[Any], NDArray[np.float32]]):
    """A task of DeepMind's Control Suite, whose rewards lie between 0 and 1.

    States, rewards and lengths of episodes are the suite's. Nearly all tasks last 1,000 steps and have no terminal
    state: their episodes are truncated. A simulation that becomes unstable ends its episode, with reward and
    observation 0, and `info["unstable"]` says so.

    Args:
        task: domain and task, such as "quadruped-run", "finger-turn_hard" or "swimmer-swimmer15".
        action_repeat: steps of the suite that each action is held for; their rewards are added. An episode is that
            many times shorter.
        pixels: side of the pictures that are observed in place of the state; None observes the state.
        frames: how many successive pictures an observation has.
        colour: whether the pictures are red, green and blue, or grey.
        camera: number of the model's camera; by default the one that papers use.
        max_episode_steps: actions after which an episode is cut off, where the suite would not do so earlier.

    Attributes:
        observation_space: of states a box [n], all parts in the suite's order; of pixels bytes
            [frames * (3 or 1), pixels, pixels], the oldest frame first.

    Raises:
        UnknownNameError: there is no such task.
        SettingError: a number below 1; a step before the reset, an action that is not finite.
        MissingPackageError: dm_control is not installed, or for pixels no OpenGL works here.

    >>> task = ControlTask("cheetah-run")
    >>> task.reset(seed=0)[0].shape, task.action_space.shape, task.length
    ((17,), (6,), 1000)

    Source: Tassa et al., "DeepMind Control Suite", arXiv 1801.00690, 2018; Tunyasuvunakool et al., "dm_control:
    software and tasks for continuous control", Software Impacts 6, 2020.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self,
        task: str,
        action_repeat: int = 1,
        *,
        pixels: int | None = None,
        frames: int = 3,
        colour: bool = False,
        camera: int | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ):
        require_at_least_one(action_repeat=action_repeat, frames=frames)
        require_at_least_one(none=True, pixels=pixels, max_episode_steps=max_episode_steps)
        if task not in control_tasks():
            raise UnknownNameError(task, control_tasks(), "task of the Control Suite")
        domain, _, name = task.partition("-")
        made = load_suite().load(domain, name, task_kwargs={"random": 0})
        self.task, self.action_repeat, self.render_mode = task, int(action_repeat), render_mode
        self._task, self._physics = made.task, made.physics
        self._model, self._data = made.physics.model.ptr, made.physics.data.ptr
        self._substeps = made._n_sub_steps
        self._limit = min(made._step_limit, (max_episode_steps or math.inf) * action_repeat)
        cache_names(self._physics)
        self._pristine = _arrays(self._model)
        self.metadata = {**self.metadata, "render_fps": 1 / (made.control_timestep() * action_repeat)}
        self._drawn_by = camera if camera is not None else _CAMERAS.get(domain, 0)
        self._camera, self._shown = None, None
        self._pixels, self._colour = pixels, colour
        self._frames: deque[NDArray[np.uint8]] = deque(maxlen=frames)
        self._elapsed, self._was_reset = 0, False
        spec = made.action_spec()
        self.action_space = gymnasium.spaces.Box(
            np.broadcast_to(spec.minimum, spec.shape).astype(np.float32),
            np.broadcast_to(spec.maximum, spec.shape).astype(np.float32),
            dtype=np.float32,
        )
        if pixels is None:
            size = sum(int(np.prod(part.shape)) for part in made.observation_spec().values())
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
        else:
            shape = (frames * (3 if colour else 1), pixels, pixels)
            self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)

    @property
    def length(self) -> float:
        """Steps after which an episode is cut off; infinite where the task has no limit."""
        limit = self._limit / self.action_repeat
        return limit if np.isinf(limit) else int(np.ceil(limit))

    @property
    def physics(self) -> Any:
        """dm_control's physics of the task."""
        return self._physics

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode; without a seed the generator goes on."""
        super().reset(seed=seed)  # the generator that wrappers draw from
        if seed is not None:
            self._task._random = np.random.RandomState(seed)
        self._begin()
        self._elapsed, self._was_reset = 0, True
        self._frames.clear()
        return self._seen(), {}

    def _begin(self) -> None:
        begin_episode(self._task, self._physics)
        if self._model.nhfield:
            self.close()  # the camera keeps the ground that it was made with

    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One action, held for `action_repeat` steps of the suite."""
        if not self._was_reset:
            raise SettingError("step before reset: call reset() first.")
        action = np.asarray(action, dtype=np.float64)
        if not np.isfinite(action).all():
            raise SettingError(f"{self.task}: the action {action} is not finite: check the policy that chose it.")
        total, terminated, cut = 0.0, False, False
        for _ in range(self.action_repeat):
            self._task.before_step(action, self._physics)
            if self._advance():
                empty = np.zeros(self.observation_space.shape or (), self.observation_space.dtype)
                return empty, 0.0, True, False, {"unstable": True}
            self._task.after_step(self._physics)
            total += float(self._task.get_reward(self._physics))
            self._elapsed += 1
            cut = self._elapsed >= self._limit
            terminated = not cut and self._task.get_termination(self._physics) is not None
            if cut or terminated:
                break
        return self._seen(), total, terminated, cut, {}

    def _advance(self) -> bool:
        """One control step, in dm_control's order; whether MuJoCo warned of it.

        What depends on position and velocity is up to date after it, and the next step begins with that.
        """
        model, data, steps = self._model, self._data, self._substeps
        warned = self._physics._warnings.sum()
        if model.opt.integrator == _RUNGE_KUTTA:
            mujoco.mj_step(model, data, steps)
        else:
            mujoco.mj_step2(model, data)
            if steps > 1:
                mujoco.mj_step(model, data, steps - 1)
        mujoco.mj_step1(model, data)
        return bool(self._physics._warnings.sum() != warned)

    def _seen(self) -> NDArray[Any]:
        if self._pixels is None:
            parts = self._task.get_observation(self._physics).values()
            return np.concatenate([np.ravel(part) for part in parts], dtype=np.float64)
        picture = self._picture(self._pixels)
        if not self._colour:
            # the weights of red, green and blue in the eye's brightness (ITU-R BT.601)
            picture = np.rint(picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
        self._frames.append(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        while len(self._frames) < (self._frames.maxlen or 1):
            self._frames.append(self._frames[-1])
        return np.concatenate(list(self._frames))

    def _picture(self, side: int) -> NDArray[np.uint8]:
        from neoteny.envs.camera import Camera

        if self._camera is None or self._shown != side:
            self.close()
            self._camera, self._shown = Camera(self._model, side, side, self._drawn_by), side
        return self._camera(self._data)

    def render(self) -> NDArray[np.uint8] | None:
        """A picture, [480, 480, 3] or as large as those observed, if made with `render_mode="rgb_array"`."""
        return self._picture(self._pixels or 480) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free OpenGL's memory."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def saved_state(self) -> dict[str, Any]:
        """Everything that later steps depend on, in plain values and arrays.

        Raises:
            SettingError: the task was not reset.
        """
        if not self._was_reset:
            raise SettingError("saved_state before reset: call reset() first.")
        state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        mujoco.mj_getState(self._model, self._data, state, _STATE)
        kind, words, *rest = self._task.random.get_state()
        # Some tasks draw parts of the model, such as the place of a target.
        changed = {
            name: values.copy() for name, values in _arrays(self._model, copied=False).items()
            if not np.array_equal(values, self._pristine[name], equal_nan=True)
        }  # fmt: skip
        return {
            "task": self.task,
            "physics": state,
            "model": changed,
            "elapsed": self._elapsed,
            "frames": list(self._frames),
            "generator": [kind, np.asarray(words), *rest],
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `saved_state()`.

        Raises:
            CheckpointError: the state is of another task, or of a version of MuJoCo whose states differ.
        """
        size = mujoco.mj_stateSize(self._model, _STATE)
        if state.get("task") != self.task or np.shape(state["physics"]) != (size,):
            raise CheckpointError(
                f"the state is of {state.get('task')} with {np.size(state['physics'])} numbers, this is {self.task} "
                f"with {size}: make the task, and install the MuJoCo, that it was saved with."
            )
        self._begin()  # a dog measures itself then, which its rewards depend on
        arrays = _arrays(self._model, copied=False)
        for name, values in self._pristine.items():
            arrays[name][...] = state["model"].get(name, values)
        mujoco.mj_resetData(self._model, self._data)
        mujoco.mj_setState(self._model, self._data, np.asarray(state["physics"], dtype=np.float64), _STATE)
        mujoco.mj_step1(self._model, self._data)
        self._task._random = np.random.RandomState(0)
        self._task.random.set_state(tuple(state["generator"]))
        self._elapsed, self._was_reset = int(state["elapsed"]), True
        self._frames.clear()
        self._frames.extend(copy.deepcopy(list(state["frames"])))


def _arrays(model: Any, copied: bool = True) -> dict[str, NDArray[Any]]:
    """The floating arrays of a model, in which tasks write."""
    found = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {
        name: values.copy() if copied else values
        for name, values in found.items()
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.size
    }
