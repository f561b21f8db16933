"""How a stack of runs is trained, and how far it is: plain records that are sent between processes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neoteny.checks import expanded, require, require_count, require_nonnegative
from neoteny.errors import SettingError
from neoteny.kinds import Settings
from neoteny.lab.tracking import require_tracker

if TYPE_CHECKING:
    import torch

MOST_THREADS = 1_024  # with many more, the library that starts them ends the whole process

__all__ = ["Execution", "Progress", "threads"]


@dataclass(frozen=True, kw_only=True)
class Execution(Settings):
    """How a stack is trained; it changes the results only by rounding.

    Args:
        device: `cpu`, `cuda`, ..., or `auto` for the accelerator if there is one.
        strategy: how runs are laid out, `auto` or one of `neoteny.lab.strategies`.
        compile: whether steps are compiled; by default all but those of the scale `tiny`, which are over sooner.
        data_dir: where the data sets are; None for the usual places.
        threads: CPU threads for each stack. The number changes the order of sums, so it does not depend on the machine.
        checkpoint_every: seconds between two checkpoints. If writing one takes long, they are written less often, so
            that they take at most a twentieth of the time.
        track: where metrics are also written while it trains: `tensorboard`, `wandb`, `mlflow`, or empty for
            nowhere; see `neoteny.lab.tracking`.
        mirror: URL of a store on which the directory of run folders is kept as well, such as `s3://bucket/runs`; empty
            for none; see `neoteny.lab.mirror`. A run folder's provenance has the URL of its own copy.
    """

    device: str = "auto"
    strategy: str = "auto"
    compile: bool | None = None
    data_dir: str | None = None
    threads: int = 1
    checkpoint_every: float = 30.0
    track: str = ""
    mirror: str = ""

    def __post_init__(self) -> None:
        if self.data_dir is not None:  # so that it is found from other working directories
            object.__setattr__(self, "data_dir", os.path.abspath(expanded(self.data_dir)))
        require_count(self, "threads", least=1)
        require(self, "threads", self.threads <= MOST_THREADS, f"at most {MOST_THREADS:,}")
        require_nonnegative(self, "checkpoint_every")
        require_tracker(self.track)

    def resolved_device(self) -> torch.device:
        """The device meant.

        Raises:
            SettingError: this machine has no such device.
        """
        import torch

        if self.device == "auto":
            found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            # `mps` has no float64, in which losses are summed
            return torch.device("cpu") if found is None or found.type == "mps" else found
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            text = str(error).splitlines()[0]
            raise SettingError(f"device = {self.device!r} cannot be used ({text}): give cpu or auto.") from error
        return device


@dataclass(frozen=True)
class Progress:
    """How far a stack is.

    Attributes:
        label: the name of its folder.
        examples: examples that each run has seen.
        total: examples that each run will see.
        runs: runs that are still being trained.
        metric: `accuracy` or `loss`.
        value: its mean over these runs in the last bin; NaN before the first bin ends.
        unit: what is counted: examples, or steps of an agent.
        doing: what it waits for before it goes on, such as compiling; empty while it trains.
    """

    label: str
    examples: int
    total: int
    runs: int
    metric: str
    value: float = math.nan
    unit: str = "examples"
    doing: str = ""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """A context in which `count` threads compute on the CPU."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
