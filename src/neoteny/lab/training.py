"""Trains one stack of runs from the beginning to the end, with its records and checkpoints.

Training is divided into segments, which depend on the configuration alone. Messages, checkpoints and stops depend on
the clock; they happen between segments and change no number.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from neoteny.errors import CheckpointError, RunFolderError
from neoteny.lab import checkpoint
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution, Progress
from neoteny.lab.folder import RunFolder, provenance
from neoteny.lab.learner import Learner
from neoteny.lab.measuring import measure
from neoteny.lab.mirror import Mirror
from neoteny.lab.recorder import Recorder, Unrecorded
from neoteny.lab.structure import structure
from neoteny.lab.tracking import tracked
from neoteny.progress import stage

__all__ = ["Training", "core_seconds"]

SPARING = 20  # between two checkpoints there is at least this many times the time that the last one took to write


def core_seconds() -> float:
    """Seconds of the core that this process has taken, with those of the compilers that it started."""
    return sum(os.times()[:4])


class Training(ABC):
    """A stack of runs, from the configuration to the finished folder.

    The constructor reads the data, makes the networks and touches no folder; `go` trains. Subclasses define the
    segments.

    Args:
        config: what to train.
        execution: how.
        notify: is called with the progress from time to time.
        stopped: is asked between segments whether to stop.
        metric: its mean over the runs is shown with the progress.
        unit: what `_step` counts.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch",)
    """Packages that compute numbers: going on with another version of one is warned of."""

    def __init__(
        self,
        config: RunConfig,
        execution: Execution,
        notify: Callable[[Progress], None] | None,
        stopped: Callable[[], bool],
        metric: str,
        unit: str = "examples",
    ):
        compile = config.scale != "tiny" if execution.compile is None else execution.compile
        self.config, self.execution = config, replace(execution, compile=compile)
        self._notify, self._stopped = notify or (lambda _: None), stopped
        self._alive = np.ones(config.runs, dtype=bool)
        self._flush: Callable[[], object] = lambda: None  # writes what a tracker still holds
        self._seconds, self._began = 0.0, time.monotonic()
        self._paced, self._steps_paced = 0.0, 0
        self._progress = Progress(config.label, 0, config.problem.total, config.runs, metric, unit=unit)

    def try_out(self, seconds: float) -> tuple[float, float]:
        """Train for some seconds without a folder, to see what it would take; nothing is recorded or saved.

        Args:
            seconds: of the core, after everything has been compiled; at least one segment is trained.

        Returns:
            Seconds of the core that compiling took, with the segments that compiled; and those that a whole run would
            take, as in the provenance. Measures and tests are a part of the latter only if they were due.
        """
        unrecorded: Any = Unrecorded()
        self._recorder, began = unrecorded, core_seconds()
        while self._advance() and self._paced < (seconds if self._steps_paced else math.inf):
            pass
        return max(core_seconds() - began - self._paced, 0.0), self._core_seconds()

    @property
    def _varied(self) -> dict[str, list[Any]]:
        """Settings of the problem itself that differ between the runs, one value for each run."""
        own = getattr(self.config.problem, "VARIES", ())
        return {key: list(values) for key, values in self.config.varied.items() if key in own}

    def _learning(self) -> dict[str, Any]:
        """The arguments of every learner that come from the configuration and the execution."""
        config, execution = self.config, self.execution
        varied = {
            key if "." in key else f"optimizer.{key}": list(values)
            for key, values in config.varied.items()
            if key not in self._varied
        }
        return {
            "optimizer": config.problem.optimizer,
            "methods": config.interventions,
            "seeds": config.seeds,
            "varied": varied,
            "strategy": execution.strategy,
            "compile": execution.compile,
            "device": execution.resolved_device(),
        }

    @property
    @abstractmethod
    def learner(self) -> Learner:
        """What is trained."""

    @property
    @abstractmethod
    def _step(self) -> int:
        """The present step, as the metrics count it."""

    @property
    @abstractmethod
    def _task(self) -> int:
        """The task of the last step."""

    @property
    @abstractmethod
    def _over(self) -> bool:
        """Whether training has ended."""

    @abstractmethod
    def _segment(self) -> None:
        """Train one segment."""

    @abstractmethod
    def _judge(self) -> None:
        """Do what is due between two segments: tests, measures."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Everything that the next segments depend on."""

    @abstractmethod
    def _load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `_state()`."""

    def _describe(self) -> dict[str, Any]:
        """More entries for the provenance."""
        return {}

    def _data(self) -> str:
        """A fingerprint of the data that is learned from; empty if it is generated."""
        return ""

    def decided(self) -> dict[str, Any]:
        """What decides the numbers beside the configuration, as it turned out here; it is kept in `config.yaml`."""
        how, data = self.learner.describe(), self._data()
        found = {"device": how["device"], "strategy": how["strategy"], "compile": how["compiled"]}
        found |= {"threads": self.execution.threads} | ({"data": data} if data else {})
        return found | {name: version(name) for name in self.packages if name in sys.modules}

    def go(self, folder: RunFolder, state: Mapping[str, Any] | None = None) -> None:
        """Train to the end, from the beginning or from a checkpoint's state, and finish the folder.

        Raises:
            KeyboardInterrupt: it was stopped; a checkpoint has been written.
        """
        self._folder, self._recorder = folder, Recorder(folder.path, self.config.runs)
        self._mirror = Mirror(self.execution.mirror, folder.path) if self.execution.mirror else None
        if state is not None:
            self._restore(state)
        else:
            self._recorder.load_state_dict({"parts": 0})  # drops parts of a run that was killed early
        self._write_provenance(**self._here(folder.read_provenance()))
        if state is None or "weights" not in state:  # else only the metrics have to be joined
            started = str(folder.read_provenance().get("started"))
            with tracked(self.execution.track, folder.path, self.config, started, self._step) as tracker:
                self._recorder.hear, self._flush = tracker.add, tracker.flush
                self._train()
            self._flush = lambda: None  # the tracker is closed
            self._save(weights=self.learner.weights())
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        # last: this makes the folder a finished one
        self._recorder.finish(lambda checksum: self._write_provenance(finished=finished, metrics_sha256=checksum))
        self._folder.drop_replay()
        if self._mirror is not None:
            self._mirror.push()

    def _train(self) -> None:
        """Train from the present step to the end."""
        saved = told = time.monotonic()
        cost = 0.0
        self._tell()
        while self._advance():
            now = time.monotonic()
            if now - told >= 0.1:
                told = now
                self._tell()
            if self._stopped():
                with stage("writing a checkpoint"):
                    self._save()
                raise KeyboardInterrupt
            if now - saved >= max(self.execution.checkpoint_every, SPARING * cost):
                self._save()
                saved = time.monotonic()
                cost = saved - now
        self._tell()

    def _advance(self) -> bool:
        """Do what is due and train a segment; false at the end. Its time is kept where nothing was compiled."""
        strategy, step, begun = self.learner.strategy, self._step, time.process_time()
        compiled = strategy.compile_seconds
        self._judge()
        more = not self._over and bool(self._alive.any())
        if more:
            self._segment()
        if strategy.compile_seconds == compiled:
            self._paced += time.process_time() - begun
            self._steps_paced += self._step - step
        return more

    def _core_seconds(self) -> float:
        """Seconds of the core that a whole run takes at the pace so far, compiling not counted; NaN if unknown."""
        each = self._paced / self._steps_paced if self._steps_paced else math.nan
        return each * self.config.problem.total / self.config.runs

    def _end_runs(self, broken: np.ndarray) -> None:
        """End runs that turned non-finite; the others go on."""
        ending = broken & self._alive
        self._record("non_finite", np.ones(len(ending)), only=ending)
        self._alive &= ~ending
        for run in np.flatnonzero(ending):
            self.learner.drop(int(run))

    def _look(self, *taken: tuple[Sequence[str], Any]) -> None:
        """Measure the units and weights: the measures' names, and each run's inputs [R, E, ...] for them.

        Several networks have inputs by name.
        """
        for names, probe in taken:
            found, broken = measure(names, self.learner, probe)
            self._end_runs(broken)
            for (name, layer), values in found.items():
                self._record(name, values, layer)
        for layer, values in self.learner.replaced().items():
            self._record("units_replaced", values, layer)
        for (name, layer), values in structure(self.learner).items():
            self._record(name, values.cpu().numpy(), layer)

    def _record(self, metric: str, values: Any, layer: str = "", only: np.ndarray | None = None) -> None:
        alive = self._alive if only is None else only
        self._recorder.add(metric, values, step=self._step, task=self._task, layer=layer, only=alive)

    def _show(self, means: np.ndarray) -> None:
        """Show the mean over the runs that go on beside the progress."""
        if self._alive.any():
            self._progress = replace(self._progress, value=float(means[self._alive].mean()))

    def _tell(self) -> None:
        self._progress = replace(self._progress, examples=self._step, runs=int(self._alive.sum()))
        self._notify(self._progress)

    def _save(self, **more: Any) -> None:
        state = {
            "alive": self._alive,
            "value": self._progress.value,
            "seconds": self._elapsed(),
            "pace": (self._paced, self._steps_paced),
            "strategy": self.learner.describe()["strategy"],
            "recorder": self._recorder.state_dict(),
            **self._state(),
            **more,
        }
        self._flush()
        checkpoint.save(self._folder.checkpoint, state, self.config.to_dict())
        self._write_provenance(checkpoint=self._step)
        if self._mirror is not None:
            try:
                self._mirror.push()
            except RunFolderError as error:  # the store may be there again at the next checkpoint
                warnings.warn(str(error), stacklevel=2)

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            self._load_state(state)
            self._recorder.load_state_dict(state["recorder"])
            self._alive = np.array(state["alive"], dtype=bool)
            self._seconds = float(state["seconds"])
            self._paced, self._steps_paced = state.get("pace", (0.0, 0))  # earlier versions had none
            self._progress = replace(self._progress, value=float(state["value"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self._folder.checkpoint} is incomplete ({type(error).__name__}: {error}): delete it to start this "
                "run again from the beginning, or restore an intact copy."
            ) from error

    def _cost(self) -> dict[str, float]:
        """What a run takes of a core, once it is known."""
        seconds = self._core_seconds()
        return {"core_seconds_a_run": round(seconds, 6)} if math.isfinite(seconds) else {}

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._began

    @staticmethod
    def _here(known: Mapping[str, Any]) -> dict[str, Any]:
        """What the provenance says further where a run goes on with another commit, other versions or processor."""
        if not known:
            return {}
        now = {name: value for name, value in provenance().items() if name in ("versions", "cpu", "git_commit")}
        resumed = known.get("resumed", [])
        before = [known, *resumed][-1]
        same = all(before.get(name) == value for name, value in now.items())
        return {} if same else {"resumed": [*resumed, now]}

    def _write_provenance(self, **more: Any) -> None:
        """Write the provenance of the first start, with what was added since."""
        known = self._folder.read_provenance() or provenance()
        self._folder.write_provenance(
            {
                **known,
                "execution": asdict(self.execution),
                "training": self.learner.describe() | self._cost(),
                **self._describe(),
                "seconds": round(self._elapsed(), 3),
                **more,
            }
        )
