"""An agent of a run after training: its policy as a function, a film of an episode."""

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
from neoteny.rl.episode import Episode
from neoteny.rl.filming import check, film, kind
from neoteny.rl.settings import AgentSettings

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Film", "LoadedPolicy", "load_policy", "record"]

FRAME_RATE = 30  # pictures a second, at most about


class LoadedPolicy:
    """The policy of an agent of a run, a function of its observation; `load_policy` makes it.

    Attributes:
        problem: the settings that it was trained with.
        agent: its number in the run.
        seed: its seed.
        step: number of steps that it has learned from; updates on a data set alone count as steps.
        friction: of its ground at the checkpoint; None if the benchmark does not change it.
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
        see: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda rows: rows,
        sampling: np.random.Generator | None = None,
    ):
        self.problem, self.agent, self.seed, self.step, self.friction = problem, agent, seed, step, friction
        with torch.random.fork_rng(devices=()):  # only the structure is needed; random generators stay as they are
            network = problem.build_network()
        self._act = problem.agent_class().acting(network, tensors)
        self._see, self._sampling = see, sampling

    def __call__(self, observation: ArrayLike) -> NDArray[np.float32]:
        """The action for an observation [observations], or the actions for several [n, observations]; images may also
        keep their shape.

        It is the one that the policy prefers, or a sample if the policy was loaded with `sampled=True`.

        Raises:
            SettingError: the observation has the wrong size.
        """
        given = np.asarray(observation, dtype=np.float64)
        shape = getattr(self.problem, "shape", ())  # of images
        if shape and given.shape[-len(shape) :] == shape:
            given = given.reshape(*given.shape[: -len(shape)], -1)
        if given.ndim not in (1, 2) or given.shape[-1] != self.problem.observations:
            raise SettingError(
                f"an observation of shape {given.shape} was given to an agent of {self.problem.ID}, which observes "
                f"{self.problem.observations} values: make the environment with the benchmark's settings."
            )
        rows = self._see(given.reshape(1, -1, given.shape[-1]))
        with torch.inference_mode():
            action = self._act(rows.astype(np.float32), self._sampling)[0]
        if self.problem.clip_actions and not self.problem.agent_class().DISCRETE:
            action = np.clip(action, *self.problem.bounds)
        return action.reshape(*given.shape[:-1], -1)


def load_policy(run_dir: str | Path, agent: int = 0, *, sampled: bool = False, seed: int = 0) -> LoadedPolicy:
    """Load the policy of an agent from the checkpoint of a run, finished or not.

    Args:
        run_dir: the run folder, with config.yaml and checkpoint.pt.
        agent: number of the agent, from 0.
        sampled: whether to sample actions, as in training, instead of taking the preferred ones.
        seed: of these samples.

    Raises:
        RunFolderError: there is no run folder, or it has no checkpoint.
        CheckpointError: the checkpoint is damaged.
        SettingError: the run has no agents or none of this number, or the agent's weights are not finite.

    >>> policy = load_policy("runs/slippery-ant-v1/cbp", agent=2)  # doctest: +SKIP
    >>> action = policy(observation)  # doctest: +SKIP
    """
    from neoteny.envs.vector import friction_in

    folder = RunFolder(run_dir)
    config = folder.config()
    problem: Any = config.problem
    if not issubclass(type(problem), AgentSettings):
        raise SettingError(
            f"{folder.path} is a run of {config.benchmark}, which has no agents: give the folder of a run of agents, "
            "such as one of slippery-ant."
        )
    if isinstance(agent, bool) or not isinstance(agent, int | np.integer) or not 0 <= agent < config.runs:
        raise SettingError(
            f"agent = {agent!r}: {folder.path} has {config.runs}, give a number from 0 to {config.runs - 1}."
        )
    if not folder.checkpoint.exists():
        raise RunFolderError(
            f"{folder.path} has no checkpoint.pt: archived copies have none, and a run that has just started writes "
            f"its first one after a while. Give the folder that `neoteny run` made, or run it again."
        )
    state = folder.state(config)["agents"]
    carry = state["learner"]["carry"]
    own = {name: value[agent] for name, value in problem.agent_class().acting_tensors(problem, carry).items()}
    methods = {method.name: method for method in config.interventions}
    for name, kept in zip(state["learner"]["methods"], carry["methods"], strict=True):
        if name in methods:  # an average that it keeps is what evaluations measure
            own = methods[name].evaluated(own, {key: value[agent] for key, value in kept.items()})
    tensors = {name: value[None] for name, value in own.items()}
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise SettingError(
            f"agent {agent} of {folder.path} is no longer finite: its run has ended, take another agent."
        )
    ground = None
    if problem.friction() is not None:
        ground = float(friction_in(state["actors"]["environments"])[agent * problem.environments])
    return LoadedPolicy(
        problem,
        tensors,
        agent=agent,
        seed=config.seeds[agent],
        step=int(state["actors"]["taken"]) + int(state.get("offline", 0)),
        friction=ground,
        see=problem.agent_class().seeing(problem, state, agent),
        sampling=np.random.default_rng(seed) if sampled else None,
    )


@dataclass(frozen=True)
class Film:
    """A film of an episode.

    Attributes:
        path: of the file.
        policy: that acted.
        total: sum of the rewards.
        length: number of steps.
        over: whether it ended by itself: a robot fell, a game was over, a goal was reached.
        friction: of the ground; None for the model's own.
    """

    path: Path
    policy: LoadedPolicy
    total: float
    length: int
    over: bool
    friction: float | None


def record(
    run_dir: str | Path,
    out: str | Path | None = None,
    *,
    agent: int = 0,
    seed: int = 0,
    friction: float | None = None,
    size: tuple[int, int] | None = None,
    steps: int = 1_000,
    sampled: bool = False,
    camera: Callable[[Any, int, int], Any] | None = None,
    notify: Callable[[int], None] = lambda steps: None,
) -> Film:
    """Film an episode of an agent of a run.

    Args:
        run_dir: the run folder.
        out: the film, .mp4 or .gif; by default BENCHMARK-SYSTEM-agentN in the working directory.
        agent: number of the agent, from 0.
        seed: of the initial state, and of the actions if they are sampled.
        friction: of the ground; by default the agent's at the checkpoint.
        size: width and height in pixels; by default 480 by 480, of games so many of their own pixels as fit into that.
        steps: greatest length of the episode.
        sampled: whether to sample actions, as in training, instead of taking the preferred ones.
        camera: draws simulations: called with the model, the width and the height, gives an object that draws as
            `neoteny.envs.camera.Camera`, the default, does.
        notify: called with the number of steps since the last call.

    Raises:
        RunFolderError, CheckpointError, SettingError: as `load_policy`, and for another suffix than .mp4 or .gif.
        MissingPackageError: no OpenGL works here, or the package that writes the film is missing.
    """
    if size is not None and (len(size) != 2 or not all(isinstance(side, int) and 16 <= side <= 4_096 for side in size)):
        raise SettingError(f"size = {size!r}: give width and height in pixels, from 16 to 4096, such as 480x480.")
    policy = load_policy(run_dir, agent, sampled=sampled, seed=seed)
    path = Path(out) if out else Path(f"{policy.problem.ID}-{Path(run_dir).resolve().name}-agent{agent}{kind()}")
    check(path)
    episode = Episode(policy, seed=seed, friction=friction, steps=steps)
    draw = episode.screen(size, camera)
    every = max(1, round(episode.rate / FRAME_RATE))

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
    return Film(path, policy, episode.total, episode.length, episode.over, episode.friction)
