"""Agents of a run in action: a checkpoint's agent as a function, an episode of it, a film of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from neoteny.errors import RunFolderError, SettingError
from neoteny.lab.folder import RunFolder
from neoteny.rl.filming import Camera, check, film, kind
from neoteny.rl.normalise import ObservationNorm
from neoteny.rl.policy import Policy
from neoteny.rl.settings import PPOSettings

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Episode", "Film", "LoadedPolicy", "load_policy", "record"]

SMOOTH = 30  # pictures a second that are enough


class LoadedPolicy:
    """An agent of a run as a function of what it observes; `load_policy` makes it.

    Attributes:
        problem: the settings that it was trained with.
        agent: its number in the run.
        seed: its seed.
        step: steps that it had learned from.
        friction: of the ground that it was on; None where that does not change.
    """

    def __init__(
        self,
        problem: Any,
        tensors: dict[str, Tensor],
        *,
        agent: int,
        seed: int,
        step: int,
        friction: float | None = None,
        norm: ObservationNorm | None = None,
        sampling: np.random.Generator | None = None,
    ):
        self.problem, self.agent, self.seed, self.step, self.friction = problem, agent, seed, step, friction
        with torch.random.fork_rng(devices=()):  # only the structure is wanted, and nobody's random numbers
            network: Any = problem.build_network()
        self._policy = Policy(network.actor)
        self._policy.use({name[6:]: value for name, value in tensors.items() if name.startswith("actor.")})
        self._spread = tensors["log_std"].exp().cpu().numpy()[0]
        self._norm, self._sampling = norm, sampling

    def __call__(self, observation: ArrayLike) -> NDArray[np.float32]:
        """The action for an observation [observations], or the actions for several [n, observations].

        It is the mean of the policy, or drawn from it where the agent was loaded with `sampled=True`.

        Raises:
            SettingError: another number of values than the agent observes.
        """
        given = np.asarray(observation, dtype=np.float64)
        if given.ndim not in (1, 2) or given.shape[-1] != self.problem.observations:
            raise SettingError(
                f"an observation of shape {given.shape} was given to an agent of {self.problem.ID}, which observes "
                f"{self.problem.observations} values: make its environment as the benchmark does."
            )
        rows = given.reshape(1, -1, given.shape[-1])
        if self._norm is not None:
            rows = self._norm(rows, learn=False)
        with torch.inference_mode():
            action = self._policy(rows.astype(np.float32))[0]
        if self._sampling is not None:
            action = action + self._spread * self._sampling.standard_normal(action.shape).astype(np.float32)
        if self.problem.clip_actions:
            action = np.clip(action, -1.0, 1.0)
        return action.reshape(*given.shape[:-1], -1)


def load_policy(run_dir: str | Path, agent: int = 0, *, sampled: bool = False, seed: int = 0) -> LoadedPolicy:
    """Load an agent from the checkpoint of a run, finished or not.

    Args:
        run_dir: the run folder, with config.yaml and checkpoint.pt.
        agent: which of its agents, from 0.
        sampled: draw actions as in training, instead of taking the mean.
        seed: of these draws.

    Raises:
        RunFolderError: there is no run folder, or it has no checkpoint.
        CheckpointError: the checkpoint is damaged.
        SettingError: the run is of no agents, or has none of this number, or that one did not stay finite.

    >>> policy = load_policy("runs/slippery-ant-v1/cbp", agent=2)  # doctest: +SKIP
    >>> action = policy(observation)  # doctest: +SKIP
    """
    folder = RunFolder(run_dir)
    config = folder.config()
    problem: Any = config.problem
    if not issubclass(type(problem), PPOSettings):
        raise SettingError(
            f"{folder.path} is a run of {config.benchmark}, in which nobody acts: name the folder of a run of agents, "
            "such as those of slippery-ant."
        )
    if isinstance(agent, bool) or not isinstance(agent, int | np.integer) or not 0 <= agent < config.runs:
        raise SettingError(
            f"agent = {agent!r}: {folder.path} has {config.runs}, give a number from 0 to {config.runs - 1}."
        )
    if not folder.checkpoint.exists():
        raise RunFolderError(
            f"{folder.path} has no checkpoint.pt: an archived copy has none, and a run that has just begun writes its "
            f"first one after a while. Name the folder that `neoteny run` made, or run it again."
        )
    state = folder.state(config)["agents"]
    own = slice(agent, agent + 1)
    tensors = {name: value[own] for name, value in state["learner"]["carry"]["tensors"].items()}
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise SettingError(
            f"agent {agent} of {folder.path} is no longer finite: it ended, and cannot act; take another."
        )
    norm = None
    if moments := state["actors"]["observation_norm"]:
        norm = ObservationNorm(1, problem.observations)
        norm.moments.load_state_dict({**moments, "mean": moments["mean"][own], "variance": moments["variance"][own]})
    ground = state["actors"]["environments"]["sliding"][agent * problem.environments]
    return LoadedPolicy(
        problem,
        tensors,
        agent=agent,
        seed=config.seeds[agent],
        step=int(state["iteration"]) * problem.batch,
        friction=None if problem.friction() is None else float(ground[0]),
        norm=norm,
        sampling=np.random.default_rng(seed) if sampled else None,
    )


class Episode:
    """An episode of an agent, played as it is iterated over: once before its first step, and once after each.

    Args:
        policy: who acts: from `load_policy`, or any function of an observation.
        problem: the benchmark whose robot it is, such as `neoteny.benchmarks.locomotion.AntLocomotion()`; a loaded
            policy knows.
        seed: of the initial state.
        friction: of the ground; None for that which the agent was on.
        steps: after which it is cut off.

    Raises:
        SettingError: a negative friction, no steps, or a function without a problem.

    >>> episode = Episode(load_policy("runs/slippery-ant-v1/cbp"))  # doctest: +SKIP
    >>> heights = [data.qpos[2] for data in episode]  # doctest: +SKIP
    >>> episode.total, episode.length, episode.fell  # doctest: +SKIP
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
        import gymnasium

        from neoteny.envs import ConstantFriction, Slippery
        from neoteny.envs.slippery import base_settings

        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise SettingError(f"steps = {steps!r} is not a whole number >= 1; give one.")
        problem = problem or getattr(policy, "problem", None)
        if problem is None:
            raise SettingError(
                "A policy of one's own does not say which robot is meant: give problem, such as "
                "neoteny.benchmarks.locomotion.AntLocomotion()."
            )
        friction = getattr(policy, "friction", None) if friction is None else friction
        settings = base_settings(problem.ROBOT, **problem.options)
        self._env: Any = gymnasium.make(problem.ROBOT, max_episode_steps=steps, disable_env_checker=True, **settings)
        if friction is not None:
            self._env = Slippery(self._env, ConstantFriction(friction))
        self._policy, self._seed, self._steps = policy, seed, steps
        self.friction, self.total, self.length, self.fell = friction, 0.0, 0, False

    @property
    def model(self) -> Any:
        """MuJoCo's model of the robot."""
        return self._env.unwrapped.model

    @property
    def rate(self) -> float:
        """Steps a second of the robot's time."""
        return 1 / self._env.unwrapped.dt

    def __iter__(self) -> Iterator[Any]:
        self.total, self.length, self.fell = 0.0, 0, False
        observation, _ = self._env.reset(seed=self._seed)
        yield self._env.unwrapped.data
        over = False
        while not over:
            observation, reward, self.fell, cut, _ = self._env.step(self._policy(observation))
            self.total += float(reward)
            self.length += 1
            over = self.fell or cut
            yield self._env.unwrapped.data

    def close(self) -> None:
        """Let go of the environment."""
        self._env.close()


@dataclass(frozen=True)
class Film:
    """A film that was made, and what is to be seen in it.

    Attributes:
        path: where it lies.
        policy: who acts.
        total: sum of the rewards.
        length: steps.
        fell: whether the episode ended since the robot fell.
        friction: of the ground; None for the model's own.
    """

    path: Path
    policy: LoadedPolicy
    total: float
    length: int
    fell: bool
    friction: float | None


def record(
    run_dir: str | Path,
    out: str | Path | None = None,
    *,
    agent: int = 0,
    seed: int = 0,
    friction: float | None = None,
    size: tuple[int, int] = (480, 480),
    steps: int = 1_000,
    sampled: bool = False,
    camera: Callable[[Any, int, int], Any] | None = None,
    notify: Callable[[int], None] = lambda steps: None,
) -> Film:
    """Film an episode of an agent of a run.

    Args:
        run_dir: the run folder.
        out: the film, .mp4 or .gif; by default BENCHMARK-SYSTEM-agentN in the working directory.
        agent: which, from 0.
        seed: of the initial state, and of the actions where they are drawn.
        friction: of the ground; by default that which the agent was on at its checkpoint.
        size: width and height in pixels.
        steps: after which the episode is cut off.
        sampled: draw actions as in training, instead of taking the mean.
        camera: makes what draws, from the model, the width and the height; by default `neoteny.rl.filming.Camera`.
        notify: is told how many steps were just made.

    Raises:
        RunFolderError, CheckpointError, SettingError: as `load_policy`, and for another ending than .mp4 or .gif.
        MissingPackageError: no OpenGL works here, or the package that writes the film is missing.
    """
    if len(size) != 2 or not all(isinstance(side, int) and 16 <= side <= 4_096 for side in size):
        raise SettingError(f"size = {size!r}: give width and height in pixels, from 16 to 4096, such as 480x480.")
    policy = load_policy(run_dir, agent, sampled=sampled, seed=seed)
    path = Path(out) if out else Path(f"{policy.problem.ID}-{Path(run_dir).resolve().name}-agent{agent}{kind()}")
    check(path)
    episode = Episode(policy, seed=seed, friction=friction, steps=steps)
    draw = (camera or Camera)(episode.model, *size)
    every = max(1, round(episode.rate / SMOOTH))

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for place, data in enumerate(episode):
            if place % every == 0:
                yield draw(data)
            notify(min(place, 1))

    try:
        film(path, pictures(), episode.rate / every)
    finally:
        draw.close()
        episode.close()
    return Film(path, policy, episode.total, episode.length, episode.fell, episode.friction)
