"""Training on a stream: from the first example to the last, with bins, tests, measurements and changes of task.

Where segments end depends on the configuration alone: at the ends of tasks and bins, at measurements, and in between so
often that a segment's examples take little memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from neoteny.lab.building import REFERENCES
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution, Progress
from neoteny.lab.fresh import Fresh, beside
from neoteny.lab.learner import Learner
from neoteny.lab.recorder import Unrecorded
from neoteny.lab.training import Training
from neoteny.progress import stage

if TYPE_CHECKING:
    from neoteny.lab.benchmark import StreamBenchmark

__all__ = ["Supervised"]

_SEGMENT_BYTES = 2**24  # of examples, on a CPU: little memory
_SEGMENT_BYTES_ELSEWHERE = 2**28  # on a GPU, where each segment costs calls
_SEGMENT_STEPS = 4096


class Supervised(Training):
    """A stack of runs that learn from a benchmark's stream; see `Training`."""

    def __init__(
        self,
        config: RunConfig,
        execution: Execution,
        notify: Callable[[Progress], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ):
        problem = cast("StreamBenchmark", config.problem)
        metric = "accuracy" if problem.LOSS == "cross_entropy" else "loss"
        super().__init__(config, execution, notify, stopped, metric)
        self._problem = problem
        self._timeline = problem.timeline()
        learning = self._learning()
        device = learning["device"]
        learning["methods"] = problem.acting(learning["methods"], tuple(self._varied))
        with stage("reading data"):
            self._stream = problem.build_stream(config.seeds, execution.data_dir, **self._varied).to(device)
        example = self._stream.probe(problem.batch_size)[0]
        if (objective := problem.build_objective()) is not None:
            learning |= {"objective": objective, "optimizer": None}
        else:
            learning["loss"] = problem.LOSS
        learning["chain"], learning["precision"] = problem.CHAIN, getattr(problem, "precision", "float32")
        learning["reference"] = self._stream.probe(REFERENCES)
        self._learner = Learner(
            problem.build_network,
            example,
            **learning,
            rated=bool(self._timeline.rates),
            classes=problem.classes_seen(0),
        )
        self._fresh: Fresh | None = None
        if problem.fresh_tasks:
            protocol = (*type(problem).PROTOCOL, *problem.implied())
            anew = Learner(problem.build_network, example, **beside(learning, protocol, self._learner.strategy.name))
            self._fresh = Fresh(anew, config.seeds, problem.fresh_tasks, self._timeline)
        most = _SEGMENT_BYTES if device.type == "cpu" else _SEGMENT_BYTES_ELSEWHERE
        self._segment_steps = segment_length(4 * example.numel() * config.runs, most)
        self._position = 0
        self._sums: dict[str, torch.Tensor] = {}
        self._bins = np.zeros(config.runs)  # of the present task, until its goal was reached
        self._reached = np.zeros(config.runs, dtype=bool)

    @property
    def learner(self) -> Learner:
        """What is trained."""
        return self._learner

    @property
    def _step(self) -> int:
        return self._position * self._problem.batch_size

    @property
    def _task(self) -> int:
        return self._timeline.task(max(self._position - 1, 0))

    @property
    def _over(self) -> bool:
        return self._position == self._timeline.steps

    def replay(self, moments: int) -> Iterator[tuple[int, float]]:
        """Train without a folder: nothing is recorded or saved.

        Args:
            moments: how often it stops on the way, at equal distances.

        Yields:
            The step, first 0, and the mean over the runs in the last bin.
        """
        self._recorder, self._fresh, longest = Unrecorded(), None, self._segment_steps
        yield 0, self._progress.value
        for end in np.unique(np.linspace(0, self._timeline.steps, moments + 1).round().astype(int))[1:]:
            while self._position < end:
                if not self._alive.any():
                    return
                self._segment_steps = min(longest, int(end) - self._position)
                self._segment()
            yield self._step, self._progress.value

    def _segment(self) -> None:
        """Train up to the next stop of the timeline."""
        line, start = self._timeline, self._position
        if start and line.among(start, line.tasks):
            self._learner.new_task(self._problem.classes_seen(line.task(start)))
        if start in line.rates:
            self._learner.scale_step_size(line.rates[start])
        stop = line.next_stop(start, self._segment_steps)
        batches = dict(zip(self._stream.PARTS, self._stream.next(stop - start), strict=True))
        found = self._learner.advance(batches)
        for metric, value in found.items():
            self._sums[metric] = self._sums[metric] + value if metric in self._sums else value
        if self._fresh is not None:
            self._fresh.advance(line.task(start), batches, found)
        self._position = stop
        if line.among(stop, line.bins):
            self._end_bin(line.bin_size(stop))

    def _end_bin(self, steps: int) -> None:
        """Record the means of a bin; the only place where losses are read from the device."""
        means = {metric: value.double().cpu().numpy() / steps for metric, value in self._sums.items()}
        self._sums = {}
        self._end_runs(~np.all([np.isfinite(values) for values in means.values()], axis=0))
        for metric, values in means.items():
            self._record(metric, values, only=self._alive & ~self._reached)
        self._show(means[self._progress.metric])
        if self._problem.goal is not None:
            self._stop_at(self._problem.goal, means["accuracy"])

    def _stop_at(self, goal: float, accuracy: np.ndarray) -> None:
        """Keep the weights of runs that have just reached the goal; once all have, go to the end of the task."""
        self._bins += ~self._reached
        self._reached |= accuracy >= goal
        # each bin is better than the one before it, until the goal is reached
        self._learner.keep_best(torch.from_numpy(np.where(self._reached, np.inf, self._bins)).to(self._learner.device))
        end = int(self._timeline.tasks[self._timeline.task(self._position - 1)])
        if (self._reached | ~self._alive).all():
            self._position = end
            self._stream.skip_to(end)
        if self._position == end:
            self._record("bins_to_goal", np.where(self._reached, self._bins, np.nan))
            self._learner.restore_best()
            self._bins[:], self._reached[:] = 0, False

    def _judge(self) -> None:
        """Do what is due between two segments: validation, best weights, tests, fresh networks, measures."""
        line, position = self._timeline, self._position
        if line.among(position, line.validations):
            self._learner.keep_best(self._test("validation"))
            if line.among(position, line.tasks):
                self._learner.restore_best()
        if line.among(position, line.tests):
            self._test("test")
        if self._fresh is not None and line.among(position, line.tasks):
            task = line.task(position - 1)
            test = self._stream.held_out("test", task) if len(line.tests) else None
            for metric, values in self._fresh.finish(task, self._learner, test).items():
                self._record(metric, values)
        if line.among(position, line.looks):
            self._look((type(self._problem).MEASURES, self._stream.probe(self._problem.probe_size)))

    def _test(self, split: str) -> torch.Tensor:
        """Record the accuracy on held-out examples of the last task, and return it, [R] on the device."""
        blocks = self._stream.held_out(split, self._timeline.task(self._position - 1))
        accuracy = self._learner.accuracy(blocks)
        self._record(f"{split}_accuracy", accuracy.cpu().numpy())
        return accuracy

    def _state(self) -> dict[str, Any]:
        return {
            "position": self._position,
            "sums": self._sums,
            "goal": {"bins": self._bins, "reached": self._reached},
            "learner": self._learner.state_dict(),
            "stream": self._stream.state_dict(),
            **({} if self._fresh is None else {"fresh": self._fresh.state_dict()}),
        }

    def _load_state(self, state: Mapping[str, Any]) -> None:
        self._learner.load_state_dict(state["learner"])
        self._stream.load_state_dict(state["stream"])
        if self._fresh is not None:
            self._fresh.load_state_dict(state["fresh"])
        self._position = int(state["position"])
        goal = state.get("goal", {})  # earlier versions had none
        self._bins, self._reached = (
            np.array(goal.get(name, now)) for name, now in (("bins", self._bins), ("reached", self._reached))
        )
        self._sums = {name: value.to(self._learner.device) for name, value in state["sums"].items()}

    def _data(self) -> str:
        return self._stream.fingerprint()

    def _describe(self) -> dict[str, Any]:
        return {"data": data} if (data := self._stream.describe()) else {}


def segment_length(bytes_a_step: int, most: int = _SEGMENT_BYTES) -> int:
    """Steps in a segment: a power of two, so that compiled graphs of several steps fill it.

    >>> segment_length(30 * 784 * 4), segment_length(80), segment_length(10**9)
    (128, 4096, 1)
    """
    return 2 ** int(math.log2(min(max(most // max(bytes_a_step, 1), 1), _SEGMENT_STEPS)))
