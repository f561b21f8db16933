"""Fresh networks beside a run: at some tasks, networks that begin anew learn from the very batches that the run gets.

A loss of plasticity is a loss against them. The first tasks of a run cannot tell it: there the run learns from scratch.
At its first step of such a task each run has a new network beside it, drawn from (run seed, task), with the run's
optimizer and its settings, but without the system's methods. What belongs to the problem or makes the network stays:
the benchmark's `PROTOCOL`, and methods that change the network before training. At the task's end the mean loss (and
accuracy) over its examples is recorded of both: `fresh_loss` of the new network, `task_loss` of the run. Where tasks
are tested, so is `fresh_test_accuracy` beside `task_test_accuracy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map

from neoteny import seeds as randomness
from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import Batch
from neoteny.methods.base import Method
from neoteny.streams.timeline import Timeline

__all__ = ["Fresh", "beside", "chosen_tasks", "fresh_seed"]

METRICS = ("loss", "accuracy")
"""Of what a learner sums up, what says how well it did."""
Blocks = Iterable[tuple[Tensor, Tensor]]


def chosen_tasks(count: int, tasks: int) -> tuple[int, ...]:
    """`count` tasks out of all, evenly spread: the first and the last, and those between; one alone is the last.

    >>> chosen_tasks(5, 100), chosen_tasks(1, 100), chosen_tasks(0, 100)
    ((0, 25, 50, 74, 99), (99,), ())
    """
    return tuple(np.linspace(0 if count > 1 else tasks - 1, tasks - 1, count).round().astype(int).tolist())


def fresh_seed(seed: int, task: int) -> int:
    """The seed of the network that begins anew at a task, beside the run of a seed."""
    return int(randomness.generator(seed, randomness.FRESH, task).integers(2**62))


def beside(learning: Mapping[str, Any], protocol: Sequence[Method], strategy: str) -> dict[str, Any]:
    """What a learner is made with whose networks begin anew beside those of another learner.

    Args:
        learning: the arguments of the other one.
        protocol: methods that belong to the problem.
        strategy: which the other one has, so that a resumed run takes the same one.
    """
    problems = {method.name for method in protocol}
    kept = [method for method in learning["methods"] if method.prepares or method.name in problems]
    owners = {"optimizer", *(method.name for method in kept)}
    varied = {name: own for name, own in learning["varied"].items() if name.partition(".")[0] in owners}
    return {**learning, "methods": kept, "varied": varied, "strategy": strategy}


class Fresh:
    """The fresh networks of a stack of runs.

    Args:
        learner: makes them; it begins anew at each of the tasks.
        seeds: the runs' seeds.
        count: at how many tasks.
        timeline: of the run.

    Raises:
        SettingError: the weights of a run depend on more than its steps: step sizes that change, best weights that are
            restored.
    """

    def __init__(self, learner: Learner, seeds: Sequence[int], count: int, timeline: Timeline):
        if timeline.rates or len(timeline.validations):
            raise SettingError(
                f"fresh_tasks = {count} cannot be with step sizes that change within a run, or with best weights that "
                "are restored: a new network would learn in another way than the run. Leave it at 0."
            )
        self._learner, self._seeds, self._timeline = learner, tuple(seeds), timeline
        self._tasks = frozenset(chosen_tasks(count, len(timeline.tasks)))
        self._task = -1  # the one that is being learned
        self._sums: dict[str, Tensor] = {}

    def advance(self, task: int, batches: Batch, sums: Mapping[str, Tensor]) -> None:
        """Learn from what the run has just learned from, if the task is one of those chosen.

        Args:
            task: which the batches belong to.
            batches: a pytree of tensors `[R, S, B, ...]`.
            sums: what the run's learner gave for them.
        """
        if task not in self._tasks:
            return
        if task != self._task:
            self._begin(task)
        own = self._learner.advance(batches)
        for metric in filter(sums.__contains__, METRICS):
            for name, value in ((f"task_{metric}", sums[metric]), (f"fresh_{metric}", own[metric])):
                self._sums[name] = self._sums[name] + value if name in self._sums else value

    def finish(self, task: int, learner: Learner, test: Blocks | None) -> dict[str, NDArray[np.float64]]:
        """What is recorded at the end of a task, `[R]` by metric; nothing if it is none of those chosen.

        NaN is recorded of a new network whose loss is not finite.

        Args:
            task: which has ended.
            learner: the run's.
            test: examples of the task that are kept back, in blocks; None where it is not tested.
        """
        if task != self._task:
            return {}
        steps = int(self._timeline.tasks[task]) - self._timeline.start(task)
        found = {name: value / steps for name, value in self._sums.items()}
        if test is not None:
            blocks = list(test)
            found["task_test_accuracy"] = learner.accuracy(blocks)
            found["fresh_test_accuracy"] = self._learner.accuracy(blocks)
        lost = ~found["fresh_loss"].isfinite()  # its accuracy would be that of always saying class 0
        found |= {
            name: value.masked_fill(lost, torch.nan) for name, value in found.items() if name.startswith("fresh_")
        }
        self._task, self._sums = -1, {}
        return {name: value.double().cpu().numpy() for name, value in found.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of a task depends on; little between the chosen tasks."""
        going = self._task >= 0
        return {
            "task": self._task,
            "sums": tree_map(torch.Tensor.cpu, self._sums),
            "learner": self._learner.state_dict() if going else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        task = int(state["task"])
        if task >= 0:
            self._begin(task)
            self._learner.load_state_dict(state["learner"])
        self._task = task
        self._sums = tree_map(lambda value: value.to(self._learner.device), dict(state["sums"]))

    def _begin(self, task: int) -> None:
        self._learner.begin_anew([fresh_seed(seed, task) for seed in self._seeds])
        self._task, self._sums = task, {}
