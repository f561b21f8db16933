"""Starts a stack of runs, resumes one, and gives the result."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoteny.checks import expanded, known_keywords
from neoteny.errors import (
    CheckpointError,
    DataError,
    NeotenyError,
    RunFolderError,
    SettingError,
    Stopped,
    UnknownNameError,
)
from neoteny.kinds import with_kinds
from neoteny.lab import checkpoint
from neoteny.lab.config import Problem, RunConfig
from neoteny.lab.execution import Execution, Progress, threads
from neoteny.lab.folder import RunFolder
from neoteny.lab.mirror import below, fetched
from neoteny.lab.overriding import Overrides
from neoteny.lab.recorder import by_run
from neoteny.lab.resolving import DEFAULT_RUNS, System
from neoteny.lab.resolving import resolve as resolve_config
from neoteny.lab.stopping import interrupts
from neoteny.notebook import table
from neoteny.progress import hearing, live, stage

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import polars as pl
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from neoteny.optim import Optimizer

__all__ = ["ResumeWarning", "RunStack", "folder_of", "resume", "run", "start"]


class ResumeWarning(UserWarning):
    """A run goes on in a way that changes how its numbers are rounded."""


@dataclass(frozen=True)
class RunStack:
    """A stack of runs in a folder: `neoteny.RunStack.load(folder)`.

    `stack["loss"]` is an array [runs, steps], and `stack.steps("loss")` says at which steps; `stack["dormant_units",
    "layer1"]` is a measure of one layer. NaN stands where a run had ended. `stack.to_frame()` and `stack.to_pandas()`
    have everything as rows.

    Attributes:
        folder: where.
        config: what was run.
    """

    folder: Path
    config: RunConfig

    @classmethod
    def load(cls, folder: str | Path) -> RunStack:
        """The stack of runs in a folder, finished or not.

        Raises:
            RunFolderError: there is no run in the folder. `neoteny.report.load` reads all runs below one.
        """
        found = RunFolder(expanded(folder))
        return cls(found.path, found.config())

    @property
    def seeds(self) -> tuple[int, ...]:
        """One a run."""
        return self.config.seeds

    def __getitem__(self, metric: str | tuple[str, str]) -> NDArray[np.float64]:
        return by_run(self._rows(metric), self.config.runs)[1]

    def steps(self, metric: str | tuple[str, str]) -> NDArray[np.int64]:
        """At which steps a metric was recorded: examples that each run had seen, or steps of an agent, [steps]."""
        return by_run(self._rows(metric), self.config.runs)[0]

    def _rows(self, metric: str | tuple[str, str]) -> pl.DataFrame:
        """The rows of a metric of the whole network, or of (metric, layer)."""
        name, layer = (metric, "") if isinstance(metric, str) else metric
        mine = self.metrics.filter(metric=name)
        if mine.is_empty():
            raise UnknownNameError(name, self.metrics["metric"].unique(), f"metric in {self.folder}")
        layers = mine["layer"].unique().to_list()
        if layer not in layers:
            raise UnknownNameError(layer, layers, f'layer of {name} (write stack["{name}", "{max(layers)}"])')
        return mine.filter(layer=layer)

    def _repr_html_(self) -> str:
        """The folder and the configuration, as a table for notebooks."""
        rows = [
            ("folder", self.folder),
            ("status", RunFolder(self.folder).status),
            ("benchmark", self.config.benchmark),
        ]
        rows += [(name, getattr(self.config, name)) for name in ("scale", "method", "runs", "seed")]
        return table(self.config.label, ("", ""), rows)

    @cached_property
    def metrics(self) -> pl.DataFrame:
        """What was recorded: run, step, task, metric, layer, value."""
        return RunFolder(self.folder).metrics()

    # neoteny.report lies above neoteny.lab, so it is imported only when needed.

    def to_frame(self) -> pl.DataFrame:
        """One row a number: benchmark, scale, system, seed, a grid's settings, step, task, metric, layer, value."""
        return self._report().to_frame()

    def to_pandas(self) -> pandas.DataFrame:
        """The same for pandas.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return self._report().to_pandas()

    def _report(self) -> Any:
        return import_module("neoteny.report").load(self.folder)

    def plot(self, metric: str | None = None, **options: Any) -> Figure:
        """Learning curves with intervals; options as for `neoteny.report.plot`."""
        return import_module("neoteny.report").plot(self.metrics, self.config.to_dict(), metric, **options)

    def final_weights(self) -> dict[str, Tensor]:
        """The trained parameters by name, [R, ...].

        Raises:
            RunFolderError: the runs have not finished.
        """
        state = RunFolder(self.folder).state(self.config)
        if "weights" not in state:
            raise RunFolderError(f"{self.folder} has not finished: resume it with `neoteny resume {self.folder}`.")
        return state["weights"]


@known_keywords(Execution)
@with_kinds("benchmark", "method", "optimizer")
def run(
    benchmark: Problem | RunConfig,
    *,
    method: System = "backprop",
    optimizer: str | Optimizer | Mapping[str, Any] | None = None,
    runs: int = DEFAULT_RUNS,
    scale: str | None = None,
    seed: int = 0,
    settings: Overrides | None = None,
    methods: Mapping[str, Overrides] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    out: str | Path = "runs",
    resume: bool = False,
    progress: bool | Callable[[Progress], None] = True,
    **execution: Any,
) -> RunStack:
    """Run one system on one benchmark, in this process, into the folder `out/<benchmark>/<label>`.

    Args:
        benchmark: its name; or your own class, or an instance of it; or a `RunConfig`, which replaces the arguments
            from `method` to `grid`.
        method: a system of the benchmark, any registered method, or several joined by `+`; or an instance of a method,
            or a list of names and instances.
        optimizer: a name, an instance, or a mapping with a `name` and options; it replaces the system's.
        runs: how many, each with its own seed.
        scale: as for `neoteny.lab.resolve`.
        seed: seed of the first run.
        settings: settings of the benchmark that replace the preset's.
        methods: settings of methods that replace the preset's.
        grid: values to try, by setting.
        out: the directory of run folders.
        resume: continue an unfinished run of the same configuration, and leave a finished one as it is.
        progress: whether to show the progress; or a function that is called with it.
        execution: how to train: `device`, `strategy`, `compile`, `data_dir`, `threads`,
            `checkpoint_every`, `track`, `mirror`; see `neoteny.lab.execution.Execution`.

    Raises:
        UnknownNameError, SettingError: as `neoteny.lab.resolve`; also for an argument that does not exist.
        RunFolderError: there is a run in the folder already.
        DataError: the benchmark's data is missing or damaged.
        Stopped: Ctrl-C was pressed; the folder can be resumed. (A second Ctrl-C does not wait for a checkpoint.)

    >>> import tempfile
    >>> from neoteny import lab
    >>> result = lab.run("slowly-changing-regression", method="cbp", runs=2, scale="tiny", out=tempfile.mkdtemp(),
    ...                  compile=False, progress=False)
    >>> result.metrics.columns
    ['run', 'step', 'task', 'metric', 'layer', 'value']
    """
    if isinstance(benchmark, RunConfig):
        config = benchmark
    else:
        config = resolve_config(
            benchmark,
            method=method,
            optimizer=optimizer,
            runs=runs,
            scale=scale,
            seed=seed,
            settings=settings,
            methods=methods,
            grid=grid,
        )
    folder, how = folder_of(config, out), Execution(**execution)
    how = replace(how, mirror=below(how.mirror, folder, expanded(out)))
    with _listener(progress, config) as notify, interrupts() as stopped:
        return start(config, folder, how, resume=resume, notify=notify, stopped=stopped)


@known_keywords(Execution)
@with_kinds()
def resume(run_dir: str | Path, *, progress: bool | Callable[[Progress], None] = True, **execution: Any) -> RunStack:
    """Resume the run in a folder from its last checkpoint, as it was started. A finished run stays as it is.

    Args:
        run_dir: the run folder.
        progress: as for `run`.
        execution: what should differ from the start: `data_dir`, if the data has moved, or `device`, which is warned
            of. What else decides the numbers must be as at the start.

    Raises:
        RunFolderError: there is no run folder, or it is damaged.
        CheckpointError: the checkpoint is damaged, or belongs to another configuration.
        SettingError: the numbers would not be those of an uninterrupted run, as with another `compile`.
        DataError: the data is missing, or is not the data that the run was started with.
    """
    folder = RunFolder(expanded(run_dir))
    config = folder.config()
    known = {name: value for name, value in folder.execution().items() if name in Execution.__dataclass_fields__}
    with _listener(progress, config) as notify, interrupts() as stopped:
        return start(
            config, folder.path, Execution(**{**known, **execution}), resume=True, notify=notify, stopped=stopped
        )


def folder_of(config: RunConfig, out: str | Path) -> Path:
    """The folder of a stack of runs below the directory `out`, in which `~` is the home directory."""
    return expanded(out) / config.benchmark / config.label


def start(
    config: RunConfig,
    path: Path,
    execution: Execution,
    *,
    resume: bool = False,
    notify: Callable[[Progress], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> RunStack:
    """Train a stack of runs to the end, in this process and this folder; the core of `run` and `resume`.

    Args:
        config: what to run.
        path: the run folder.
        execution: how.
        resume: as for `run`.
        notify: is called with the progress.
        stopped: is asked from time to time whether to stop.

    Raises:
        Stopped: it was stopped; the message says how it goes on. Otherwise as `run`.
    """
    fetched(execution.mirror, path)
    folder = RunFolder(path)
    status, state, known = folder.status, None, {}
    result = RunStack(path, config)
    if status != "absent" and resume:
        _require_same(folder, config)
        if status == "unfinished":
            folder.lock()
            if folder.status == "finished":  # by another process, before the lock was taken
                folder.unlock()
                status = "finished"
        if status == "finished":
            folder.tidy()
            return result
    elif status != "absent":
        folder.create(config)  # raises the error that says what to do
    try:
        if status == "unfinished":
            known = folder.execution()
            if folder.checkpoint.exists():
                state = folder.state(config)
                known["strategy"] = state["strategy"]
            # what was left open may mean something else here
            meant = {name: known[name] for name in ("device", "strategy", "compile") if name in known}
            execution = replace(
                execution, **{n: v for n, v in meant.items() if getattr(execution, n) in ("auto", None)}
            )
        with _stages(config, notify) as notify, _enough_memory(config):
            with stage("loading torch"):
                train = config.resolved.entry.load_trainer()
            with threads(execution.threads):
                training = train(config, execution, notify, stopped)  # first: a failed start leaves no folder
                if status == "absent":
                    folder.create(config, training.decided())
                else:
                    _require_as_started(path, known, training.decided())
                training.go(folder, state)
    except KeyboardInterrupt as error:
        begun = folder.status != "absent"
        raise Stopped(f"`neoteny resume {path}` goes on" if begun else "nothing was begun") from error
    finally:
        folder.unlock()
    return result


def _require_as_started(path: Path, known: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to go on in another way than the run was started in, where that would change its numbers."""
    for name, now in here.items():
        before = known.get(name, now)
        if before in (now, "auto"):
            continue
        said = f"{path} was started with {name} = {before!r}, and here it is {now!r}"
        if name not in Execution.__dataclass_fields__ and name != "data":  # the version of a package
            said = f"{path} was started with {name} {before}, and here is {name} {now}"
            cure = "install the former version to get the numbers of an uninterrupted run"
            warnings.warn(f"{said}: its numbers may differ from here on; {cure}.", ResumeWarning, stacklevel=3)
        elif name == "device":
            warnings.warn(f"{said}: its numbers from here on are rounded in another way.", ResumeWarning, stacklevel=3)
        elif name == "data":
            raise DataError(
                f"{said}: this is other data. Name the folder of the same data by --data-dir, or its file by --data."
            )
        else:
            cure = "Is there no C++ compiler here? " if name == "compile" and before else ""
            raise SettingError(
                f"{said}: its numbers would not be those of an uninterrupted run. {cure}Leave the option out or give "
                "the value of the start, or run it again into another --out."
            )


@contextmanager
def _stages(config: RunConfig, notify: Callable[[Progress], None] | None) -> Iterator[Callable[[Progress], None]]:
    """A context that gives `notify`; with it what the run waits for is told, too."""
    last = Progress(config.label, 0, config.problem.total, config.runs, "")

    def tell(progress: Progress) -> None:
        nonlocal last
        last = progress
        if notify is not None:
            notify(progress)

    if notify is None:
        yield tell
        return
    with hearing(lambda doing: notify(replace(last, doing=doing))):
        yield tell


_TOO_LARGE = re.compile(
    r"allocate|out of memory|overflow|too (big|large)|Maximum allowed|exceeds?|too many(?! repeated eigenvalues)",
    re.IGNORECASE,
)


@contextmanager
def _enough_memory(config: RunConfig) -> Iterator[None]:
    """A context in which sizes that no memory holds are an error in words."""
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, NeotenyError) or not (isinstance(error, MemoryError) or _TOO_LARGE.search(str(error))):
            raise
        sizes = {name: value for name, value in config.settings.items() if type(value) is int}
        largest = sorted({"runs": config.runs, **sizes}.items(), key=lambda size: size[1], reverse=True)[:4]
        raise SettingError(
            f"{config.label} does not fit into memory ({str(error).strip().partition(chr(10))[0]}): make "
            f"it smaller; its largest sizes are {', '.join(f'{name} = {value:,}' for name, value in largest)}."
        ) from error


def _require_same(folder: RunFolder, config: RunConfig) -> None:
    different = checkpoint.differences(folder.config().to_dict(), config.to_dict())
    if different:
        name, theirs, ours = different[0]
        raise CheckpointError(
            f"{folder.path} holds a run of another configuration ({name} is {theirs!r} there and {ours!r} here): "
            f"give another --out, or resume that run with `neoteny resume {folder.path}`."
        )


def _listener(progress: bool | Callable[[Progress], None], config: RunConfig) -> Any:
    """A context that gives the function to call with the progress."""
    if callable(progress):
        return nullcontext(progress)
    return live([config.label]) if progress else nullcontext(None)
