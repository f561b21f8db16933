"""The metrics of a stack of runs in TensorBoard, Weights & Biases or MLflow, while it is trained.

Only what is recorded anyway is written there: the mean over the runs, under the names that `neoteny.Monitor` has.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neoteny.checks import shown
from neoteny.errors import MissingPackageError, SettingError
from neoteny.measures.sinks import Sink, sink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from neoteny.lab.config import RunConfig

__all__ = ["TRACKERS", "require_tracker", "tracked"]


def require_tracker(name: str) -> None:
    """Refuse a tracker that does not exist or is not installed; an empty name is none.

    Raises:
        SettingError: there is no such tracker.
        MissingPackageError: its package is not installed.
    """
    if not name:
        return
    if name not in TRACKERS:
        raise SettingError(f"track = {shown(name)} is not {' or '.join(TRACKERS)}; give one of them.")
    # MLflow's lighter package leaves out what its database files need
    own_file = name == "mlflow" and not os.environ.get(MLFLOW_URI)
    missing = [package for package in (name, *("sqlalchemy", "alembic") * own_file) if not _installed(package)]
    if missing:
        raise MissingPackageError(
            f"track = {name!r} needs the package {missing[0]}, which is not installed: run `pip install "
            "neoteny[tracking]`, or leave it out."
        )


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # a module that was put there by hand
        return True


@contextmanager
def tracked(name: str, folder: Path, config: RunConfig, started: str, step: int) -> Iterator[Tracker]:
    """A context that gives what takes the metrics of a run; closed at its end.

    TensorBoard reads `folder/tensorboard`. A W&B run is of the project neoteny and the group of the benchmark; an
    MLflow run is of the experiment `neoteny/<benchmark>`, in the store that MLFLOW_TRACKING_URI names or else in
    `folder/mlflow.db`. A run that is resumed goes on there as well.

    Args:
        name: of the tracker; empty for none.
        folder: the run folder.
        config: what is run.
        started: when the run was started first.
        step: where it goes on.

    Raises:
        SettingError: W&B cannot begin, or MLflow cannot use the store.
    """
    if not name:
        yield Tracker(sink(None))
        return
    key = sha256(f"{config.to_yaml()}{started}".encode()).hexdigest()[:16]
    with TRACKERS[name](folder, config, key, step) as log:
        yield Tracker(sink(log), getattr(log, "flush", None))  # W&B's values are safe in a process of its own


@contextmanager
def _tensorboard(folder: Path, config: RunConfig, key: str, step: int) -> Iterator[Any]:
    writer = import_module("torch.utils.tensorboard").SummaryWriter
    made = writer(str(folder / "tensorboard"), purge_step=step + 1 if step else None, flush_secs=5)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def _wandb(folder: Path, config: RunConfig, key: str, step: int) -> Iterator[Any]:
    wandb: Any = import_module("wandb")
    try:
        made = wandb.init(
            project="neoteny",
            group=config.benchmark,
            name=config.label,
            id=key,
            resume="allow",
            config=config.to_dict(),
            dir=str(folder),
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:  # nobody is logged in, or nobody answers
        raise SettingError(
            f"track = 'wandb' cannot be used ({error}): run `wandb login`, or set WANDB_MODE=offline to keep the "
            "values in the run folder."
        ) from error
    try:
        yield made
    finally:
        made.finish()


@contextmanager
def _mlflow(folder: Path, config: RunConfig, key: str, step: int) -> Iterator[Sink]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody asked for calls to other machines
    mlflow: Any = import_module("mlflow")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # else it tells of each new file
    uri = os.environ.get(MLFLOW_URI) or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    try:
        run = MLflowRun(mlflow.MlflowClient(tracking_uri=uri), config, key)
    except mlflow.MlflowException as error:
        raise SettingError(
            f"{MLFLOW_URI} = {uri!r} cannot be used ({error}): give another store, such as sqlite:///mlflow.db, or "
            "none for a file in the run folder."
        ) from error
    status = "KILLED"
    try:
        yield run
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        run.flush()
        run.end(status)


class MLflowRun:
    """A run in MLflow's store, made new or found again; as a function, it takes values by name and their step.

    Values are written at most once a second, in one transaction, whose cost does not depend on their number. What a
    resumed run computes once more, because it was stopped after its checkpoint, is there already and not repeated.

    Args:
        client: an `MlflowClient`.
        config: what is run.
        key: the same whenever it is resumed.
    """

    def __init__(self, client: Any, config: RunConfig, key: str):
        self._client, self._entities = client, import_module("mlflow.entities")
        name, tag = f"neoteny/{config.benchmark}", "neoteny.key"
        with suppress(import_module("mlflow").MlflowException):  # it is there already
            client.create_experiment(name)
        experiment = client.get_experiment_by_name(name).experiment_id
        found = client.search_runs([experiment], f"tags.`{tag}` = '{key}'", max_results=1)
        self._resumed = bool(found)
        run = found[0] if found else client.create_run(experiment, run_name=config.label, tags={tag: key})
        self.id = run.info.run_id
        if found:
            client.update_run(self.id, status="RUNNING")
        else:
            settings = [self._entities.Param(*one) for one in _flat(config.to_dict())]
            for first in range(0, len(settings), 100):  # more at once are refused
                client.log_batch(self.id, params=settings[first : first + 100])
        self._last: dict[str, int] = {}
        self._waiting: list[Any] = []
        self._written = time.monotonic()

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        """Take values; those of steps that are there already are left out."""
        now = int(time.time() * 1_000)
        self._waiting += [
            self._entities.Metric(name, value, now, step)
            for name, value in values.items()
            if step > self._last_step(name)
        ]
        if time.monotonic() - self._written > 1 or len(self._waiting) >= 1_000:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._client.log_batch(self.id, metrics=self._waiting)
        self._waiting, self._written = [], time.monotonic()

    def end(self, status: str) -> None:
        """The run is not going on: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.id, status)

    def _last_step(self, name: str) -> int:
        if name not in self._last:
            past = self._client.get_metric_history(self.id, name) if self._resumed else ()
            self._last[name] = max((one.step for one in past), default=-1)
        return self._last[name]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The settings with dots in their names, as text."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


MLFLOW_URI = "MLFLOW_TRACKING_URI"
TRACKERS: Mapping[str, Callable[[Path, RunConfig, str, int], AbstractContextManager[Any]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


class Tracker:
    """Writes means over the runs to a sink.

    Attributes:
        flush: writes what waits; what was told before a checkpoint is not told again after a kill.
    """

    def __init__(self, write: Sink, flush: Callable[[], object] | None = None):
        self._write, self.flush = write, flush or (lambda: None)

    def add(self, metric: str, values: NDArray[np.float64], step: int, layer: str) -> None:
        """Write the mean of the values that are finite; nothing where none is."""
        finite = values[np.isfinite(values)]
        mean = float(finite.mean()) if len(finite) else math.nan
        if not math.isnan(mean):
            self._write({"/".join(filter(None, ("neoteny", layer, metric))): mean}, step)
