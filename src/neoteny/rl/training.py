"""Training a stack of agents, recorded, checkpointed and resumed as any stack of runs is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution, Progress
from neoteny.lab.former_names import METRICS
from neoteny.lab.learner import Learner
from neoteny.lab.training import Training
from neoteny.progress import stage
from neoteny.rl.agents import Agents, Iteration
from neoteny.rl.evaluation import evaluate

__all__ = ["Reinforcement"]


class Reinforcement(Training):
    """A stack of agents that learn to act; a segment is one iteration of them (`Agents.iterate`).

    `step` in the metrics counts the steps of one agent. Of every episode its sum of rewards and its length are recorded
    where it ended (`episode_reward`, `episode_length`; `episode_unstable` where the simulation did not hold), and for
    every bin the mean reward of the episodes that ended in it (`episodic_return`; where none did, the bin before's),
    the losses' means and the friction at its end. Where the problem has evaluations, `evaluation_return` is the mean of
    episodes apart from training (`neoteny.rl.evaluation`), by the actions that agents prefer.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "gymnasium", "mujoco", "ale_py")

    def __init__(
        self,
        config: RunConfig,
        execution: Execution,
        notify: Callable[[Progress], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ):
        problem: Any = config.problem
        super().__init__(config, execution, notify, stopped, "episodic_return", "steps")
        self._problem, self._timeline = problem, problem.timeline()
        with stage("making environments and networks"):
            self._agents: Agents = problem.build_agents(threads=execution.threads, **self._learning())
        self._testing = problem.build_evaluation(config.seeds, execution.threads) if len(self._timeline.tests) else None
        self._probe = self._agents.states
        self._bin = _Bin(config.runs)

    @property
    def learner(self) -> Learner:
        """What is trained."""
        return self._agents.learner

    @property
    def _step(self) -> int:
        return self._agents.step

    def _data(self) -> str:
        return self._agents.data

    @property
    def _task(self) -> int:
        return self._timeline.task(max(self._step - 1, 0))

    @property
    def _over(self) -> bool:
        return self._step >= self._timeline.steps

    def _segment(self) -> None:
        """Act, learn, and record what came of it."""
        before = self._step - self._problem.iteration_steps
        if before >= 0 and self._timeline.task(before) != self._timeline.task(self._step):
            self._agents.new_task()  # iterations are not cut: this is the first on the new ground
        made = self._agents.iterate()
        self._end_runs(~self._agents.alive)
        episodes = made.episodes
        for agent, step, total, length, unstable in zip(
            episodes.agent, episodes.step, episodes.total, episodes.length, episodes.unstable, strict=True
        ):
            self._event("episode_reward", total, agent, step)
            self._event("episode_length", length, agent, step)
            if unstable:
                self._event("episode_unstable", 1.0, agent, step)
        self._bin.add(made)
        if before < 0:
            self._probe = self._agents.states[:, : self._problem.probe_size].clone()
        if self._timeline.among(self._step, self._timeline.bins):
            for metric, values in self._bin.take().items():
                self._record(metric, values)
            self._show(self._bin.returns)

    def _event(self, metric: str, value: float, agent: int, step: int) -> None:
        if self._alive[agent]:
            mine = np.arange(len(self._alive)) == agent
            self._recorder.add(
                metric,
                np.full(len(mine), value),
                step=int(step),
                task=self._timeline.task(int(step) - 1),
                only=mine,
            )

    def _judge(self) -> None:
        """Look at the networks, when it is due."""
        if self._timeline.among(self._step, self._timeline.tests):
            agents: Any = self._agents
            assert self._testing is not None
            explore = self._problem.evaluation_epsilon
            found = evaluate(agents.prefer, self._testing, agents.seeds, self._step, explore)
            self._record("evaluation_return", found.mean(1))
        if self._timeline.among(self._step, self._timeline.looks):
            recent = self._agents.states[:, -self._problem.probe_size :]
            inputs = self._agents.inputs
            self._look((self._problem.MEASURES, inputs(recent)), (self._problem.PROBED, inputs(self._probe)))

    def _state(self) -> dict[str, Any]:
        return {
            "agents": self._agents.state_dict(self._folder.replay),
            "probe": self._probe,
            "bin": self._bin.state_dict(),
        }

    def _load_state(self, state: Mapping[str, Any]) -> None:
        self._agents.load_state_dict(state["agents"], self._folder.replay)
        self._probe = state["probe"].clone()
        self._bin.load_state_dict(state["bin"])

    def _describe(self) -> dict[str, Any]:
        """Which robot the numbers were made with, and where the time went."""
        from importlib.metadata import version

        environment = {
            "id": self._problem.ROBOT,
            **self._problem.options,
            **{name: version(name) for name in ("gymnasium", "mujoco")},
        }
        return {
            "environment": environment,
            "phases": {name: round(value, 3) for name, value in self._agents.seconds.items()},
        }


class _Bin:
    """What has come since the last bin ended.

    Args:
        runs: R.
    """

    def __init__(self, runs: int):
        self.returns = np.full(runs, np.nan)
        """Mean reward of the episodes of the last bin in which any ended, [R]."""
        self._totals, self._episodes = np.zeros(runs), np.zeros(runs)
        self._losses: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}  # iterations in which each of these was learned
        self._friction = np.full(runs, np.nan)

    def add(self, made: Iteration) -> None:
        """Take in an iteration."""
        np.add.at(self._totals, made.episodes.agent, made.episodes.total)
        np.add.at(self._episodes, made.episodes.agent, 1)
        for name, values in made.losses.items():
            self._losses[name] = self._losses.get(name, 0.0) + values
            self._counts[name] = self._counts.get(name, 0) + 1
        self._friction = made.friction

    def take(self) -> dict[str, np.ndarray]:
        """The means, by metric, each [R]; a new bin begins."""
        ended = self._episodes > 0
        self.returns = np.where(ended, self._totals / np.maximum(self._episodes, 1), self.returns)
        found = {"episodic_return": self.returns}
        found |= {name: values / self._counts[name] for name, values in self._losses.items()}
        if np.isfinite(self._friction).all():
            found["friction"] = self._friction
        self._totals[:], self._episodes[:] = 0.0, 0.0
        self._losses, self._counts = {}, {}
        return found

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            "returns": self.returns,
            "totals": self._totals.copy(),
            "episodes": self._episodes.copy(),
            "losses": self._losses,
            "iterations": dict(self._counts),
            "friction": self._friction,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.returns, self._totals = np.array(state["returns"]), np.array(state["totals"])
        self._episodes, self._friction = np.array(state["episodes"]), np.array(state["friction"])
        self._losses = {METRICS.get(str(name), str(name)): np.array(values) for name, values in state["losses"].items()}
        counts = state["iterations"]
        if isinstance(counts, int):  # earlier versions had one for all
            counts = dict.fromkeys(self._losses, counts)
        self._counts = {METRICS.get(str(name), str(name)): int(count) for name, count in counts.items()}
