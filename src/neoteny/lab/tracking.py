"""The metrics of a stack of runs in TensorBoard or Weights & Biases, while it is trained.

Only what is recorded anyway is written there: the mean over the runs, under the names that `neoteny.Monitor` has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
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

TRACKERS = ("tensorboard", "wandb")


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
    try:
        found = find_spec(name)
    except ValueError:  # a module that was put there by hand
        found = True
    if not found:
        raise MissingPackageError(
            f"track = {name!r} needs the package {name}, which is not installed: run `pip install neoteny[tracking]`, "
            "or leave it out."
        )


@contextmanager
def tracked(name: str, folder: Path, config: RunConfig, started: str, step: int) -> Iterator[Tracker]:
    """A context that gives what takes the metrics of a run; closed at its end.

    TensorBoard reads `folder/tensorboard`. A W&B run is of the project neoteny and the group of the benchmark; a run
    that is resumed goes on there as well.

    Args:
        name: of the tracker; empty for none.
        folder: the run folder.
        config: what is run.
        started: when the run was started first.
        step: where it goes on.
    """
    if not name:
        yield Tracker(sink(None))
    elif name == "tensorboard":
        made = import_module("torch.utils.tensorboard").SummaryWriter(
            str(folder / "tensorboard"), purge_step=step or None, flush_secs=5
        )
        try:
            yield Tracker(sink(made))
        finally:
            made.close()
    else:
        wandb: Any = import_module("wandb")
        made = wandb.init(
            project="neoteny",
            group=config.benchmark,
            name=config.label,
            id=sha256(f"{config.to_yaml()}{started}".encode()).hexdigest()[:16],
            resume="allow",
            config=config.to_dict(),
            dir=str(folder),
            settings=wandb.Settings(silent=True, console="off"),
        )
        try:
            yield Tracker(sink(made))
        finally:
            made.finish()


class Tracker:
    """Writes means over the runs to a sink."""

    def __init__(self, write: Sink):
        self._write = write

    def add(self, metric: str, values: NDArray[np.float64], step: int, layer: str) -> None:
        """Write the mean of the values that are finite; nothing where none is."""
        finite = values[np.isfinite(values)]
        mean = float(finite.mean()) if len(finite) else math.nan
        if not math.isnan(mean):
            self._write({"/".join(filter(None, ("neoteny", layer, metric))): mean}, step)
