"""One stack of runs in motion: the loop from the first example to the last, its bins, measurements and checkpoints.

Training goes in segments. Where they are cut follows from the configuration alone: at the ends of tasks and bins, at
measurements, and between these so often that a segment's examples take little memory. What happens by the clock -
messages, checkpoints, a stop - happens between segments and changes no number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from neoteny.errors import CheckpointError
from neoteny.lab import checkpoint
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution, Progress
from neoteny.lab.folder import RunFolder, provenance
from neoteny.lab.learner import Learner
from neoteny.lab.measuring import measure
from neoteny.lab.recorder import Recorder
from neoteny.optim import SGD, Adam, Optimizer

__all__ = ["Training"]

_SEGMENT_BYTES = 2**24  # of examples: what a core's cache and a laptop's memory do not notice
_SEGMENT_BYTES_ELSEWHERE = 2**28  # on a GPU, where every segment costs calls
_SEGMENT_STEPS = 4096


class Training:
    """A stack of runs, from the configuration to the finished folder.

    Building one reads the data and makes the networks, and touches no folder; `go` trains.

    Arguments:
        config: what to train.
        execution: how.
        notify: is told of the progress now and then.
        stopped: is asked between segments whether to stop.
    """

    def __init__(
        self,
        config: RunConfig,
        execution: Execution,
        notify: Callable[[Progress], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ):
        self.config, self.execution = config, execution
        self._notify, self._stopped = notify or (lambda _: None), stopped
        self._problem = problem = config.problem
        self._timeline = problem.timeline()
        device = execution.resolved_device()
        self._stream = problem.build_stream(config.seeds, execution.data_dir).to(device)
        example = self._stream.probe(problem.batch_size)[0]
        self._learner = Learner(
            problem.build_network,
            example,
            loss=problem.LOSS,
            optimizer=build_optimizer(problem.optimizer_settings()),
            methods=config.interventions,
            seeds=config.seeds,
            varied={key if "." in key else f"optimizer.{key}": list(values) for key, values in config.varied.items()},
            strategy=execution.strategy,
            compile=execution.compile,
            device=device,
            chain=problem.CHAIN,
            precision=getattr(problem, "precision", "float32"),
            rated=bool(self._timeline.rates),
            classes=problem.classes_seen(0),
        )
        most = _SEGMENT_BYTES if device.type == "cpu" else _SEGMENT_BYTES_ELSEWHERE
        self._segment = segment_length(4 * example.numel() * config.runs, most)
        self._position = 0
        self._alive = np.ones(config.runs, dtype=bool)
        self._sums: dict[str, torch.Tensor] = {}
        self._seconds, self._began = 0.0, time.monotonic()
        self._progress = Progress(
            config.label,
            0,
            problem.steps * problem.batch_size,
            config.runs,
            "accuracy" if problem.LOSS == "cross_entropy" else "loss",
        )

    def go(self, folder: RunFolder, state: Mapping[str, Any] | None = None) -> None:
        """Train to the end, from the beginning or from a checkpoint's state, and finish the folder.

        Raises:
            KeyboardInterrupt: it was stopped; a checkpoint has been written.
        """
        self._folder, self._recorder = folder, Recorder(folder.path, self.config.runs)
        if state is not None:
            self._load_state_dict(state)
        else:
            self._recorder.load_state_dict({"parts": 0})  # of a run that was killed before its first checkpoint
        self._write_provenance()
        if state is None or "weights" not in state:  # else all that is left is to put the metrics together
            self._train()
            self._save(weights=self._learner.weights())
        self._write_provenance(finished=datetime.now(UTC).isoformat(timespec="seconds"))
        self._recorder.finish()  # last: this makes the folder a finished one

    def _train(self) -> None:
        """Go through the timeline from where it stands to its end."""
        line = self._timeline
        saved = told = time.monotonic()
        cost = 0.0
        self._tell()
        while True:
            self._judge()
            if self._position == line.steps or not self._alive.any():
                break
            if self._position and line.among(self._position, line.tasks):
                self._learner.new_task(self._problem.classes_seen(line.task(self._position)))
            if self._position in line.rates:
                self._learner.scale_step_size(line.rates[self._position])
            self._train_segment()
            now = time.monotonic()
            if now - told >= 0.1:
                told = now
                self._tell()
            stop = self._stopped()
            if stop or now - saved >= max(self.execution.checkpoint_every, 20 * cost):
                self._save()
                saved = time.monotonic()
                cost = saved - now
            if stop:
                raise KeyboardInterrupt
        self._tell()

    def _train_segment(self) -> None:
        start = self._position
        stop = self._timeline.next_stop(start, self._segment)
        for metric, value in self._learner.advance(*self._stream.next(stop - start)).items():
            self._sums[metric] = self._sums[metric] + value if metric in self._sums else value
        self._position = stop
        if self._timeline.among(stop, self._timeline.bins):
            self._end_bin(self._timeline.bin_size(stop))

    def _end_bin(self, steps: int) -> None:
        """Record the means of a bin; the one place where losses are read from the device."""
        means = {metric: value.double().cpu().numpy() / steps for metric, value in self._sums.items()}
        self._sums = {}
        self._end_runs(~np.all([np.isfinite(values) for values in means.values()], axis=0))
        for metric, values in means.items():
            self._record(metric, values)
        if self._alive.any():
            value = float(means[self._progress.metric][self._alive].mean())
            self._progress = replace(self._progress, value=value)

    def _judge(self) -> None:
        """What is due between two segments: validation, the best weights at the end of a task, a test, measures."""
        line, position = self._timeline, self._position
        if line.among(position, line.validations):
            self._learner.keep_best(self._test("validation"))
            if line.among(position, line.tasks):
                self._learner.restore_best()
        if line.among(position, line.tests):
            self._test("test")
        if line.among(position, line.looks):
            self._measure()

    def _test(self, split: str) -> torch.Tensor:
        """Record the accuracy on examples of the task just learned that were kept back, [R] on the device."""
        blocks = self._stream.held_out(split, self._timeline.task(self._position - 1))
        accuracy = self._learner.accuracy(blocks)
        self._record(f"{split}_accuracy", accuracy.cpu().numpy())
        return accuracy

    def _measure(self) -> None:
        """Look at the units and weights, on the fixed probe."""
        names = type(self._problem).MEASURES
        found, broken = measure(names, self._learner, self._stream.probe(self._problem.probe_size))
        self._end_runs(broken)
        for (name, layer), values in found.items():
            self._record(name, values, layer)
        for layer, values in self._learner.replaced().items():
            self._record("units_replaced", values, layer)

    def _end_runs(self, broken: np.ndarray) -> None:
        """End runs that turned non-finite; the others go on."""
        ending = broken & self._alive
        self._record("non_finite", np.ones(len(ending)), only=ending)
        self._alive &= ~ending
        for run in np.flatnonzero(ending):
            self._learner.drop(int(run))

    def _record(self, metric: str, values: Any, layer: str = "", only: np.ndarray | None = None) -> None:
        self._recorder.add(
            metric,
            values,
            step=self._position * self._problem.batch_size,
            task=self._timeline.task(max(self._position - 1, 0)),
            layer=layer,
            only=self._alive if only is None else only,
        )

    def _tell(self) -> None:
        examples = self._position * self._problem.batch_size
        self._progress = replace(self._progress, examples=examples, runs=int(self._alive.sum()))
        self._notify(self._progress)

    def _save(self, **more: Any) -> None:
        state = {
            "position": self._position,
            "alive": self._alive,
            "sums": self._sums,
            "value": self._progress.value,
            "seconds": self._elapsed(),
            "strategy": self._learner.describe()["strategy"],
            "learner": self._learner.state_dict(),
            "stream": self._stream.state_dict(),
            "recorder": self._recorder.state_dict(),
            **more,
        }
        checkpoint.save(self._folder.checkpoint, state, self.config.to_dict())

    def _load_state_dict(self, state: Mapping[str, Any]) -> None:
        try:
            self._learner.load_state_dict(state["learner"])
            self._stream.load_state_dict(state["stream"])
            self._recorder.load_state_dict(state["recorder"])
            self._position, self._alive = int(state["position"]), np.array(state["alive"], dtype=bool)
            self._sums = {name: value.to(self._learner.device) for name, value in state["sums"].items()}
            self._seconds = float(state["seconds"])
            self._progress = replace(self._progress, value=float(state["value"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self._folder.checkpoint} lacks something ({type(error).__name__}: {error}): delete it to start this "
                "run again from the beginning, or restore an intact copy."
            ) from error

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._began

    def _write_provenance(self, **more: Any) -> None:
        """The first start's provenance, with what has become known since."""
        known = self._folder.read_provenance() or provenance()
        self._folder.write_provenance(
            {
                **known,
                "execution": asdict(self.execution),
                "training": self._learner.describe(),
                **({"data": data} if (data := self._stream.describe()) else {}),
                "seconds": round(self._elapsed(), 3),
                **more,
            }
        )


def build_optimizer(settings: Mapping[str, Any]) -> Optimizer:
    """The laboratory's optimizer of a benchmark's `optimizer_settings`.

    >>> build_optimizer({"name": "sgd", "step_size": 0.01, "momentum": 0.9})
    SGD(step_size=0.01, momentum=0.9)
    """
    if settings["name"] == "sgd":
        return SGD(step_size=settings["step_size"], momentum=settings["momentum"])
    # adamw differs from adam in its weight decay alone, and that is the method `l2` here
    return Adam(step_size=settings["step_size"], betas=tuple(settings["betas"]), eps=settings["epsilon"])


def segment_length(bytes_a_step: int, most: int = _SEGMENT_BYTES) -> int:
    """Steps in a segment: a power of two, so that compiled graphs of several steps fill it.

    >>> segment_length(30 * 784 * 4), segment_length(80), segment_length(10**9)
    (128, 4096, 1)
    """
    return 2 ** int(math.log2(min(max(most // max(bytes_a_step, 1), 1), _SEGMENT_STEPS)))
