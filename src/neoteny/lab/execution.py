"""How a stack of runs is trained, and how it says where it stands: plain records that cross between processes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neoteny.errors import SettingError

if TYPE_CHECKING:
    import torch

__all__ = ["Execution", "Progress", "threads"]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a stack is trained; it changes the numbers by no more than rounding.

    Args:
        device: `cpu`, `cuda`, ..., or `auto` for the accelerator where there is one.
        strategy: how runs are laid out, `auto` or one of `neoteny.lab.strategies`.
        compile: whether steps are compiled.
        data_dir: where data sets lie; None for the usual places.
        threads: of the CPU, for each stack. The number enters the order in which sums are taken, so it is not left to
            the machine.
        checkpoint_every: seconds between two checkpoints. Where writing one takes long they come more rarely, so that
            no more than a twentieth of the time goes into them.
    """

    device: str = "auto"
    strategy: str = "auto"
    compile: bool = True
    data_dir: str | None = None
    threads: int = 1
    checkpoint_every: float = 30.0

    def __post_init__(self) -> None:
        if self.data_dir is not None:  # so that it can be found again from elsewhere
            object.__setattr__(self, "data_dir", os.path.abspath(os.path.expanduser(self.data_dir)))
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise SettingError(f"threads = {self.threads!r} is not a whole number >= 1; give one.")
        every = self.checkpoint_every
        if isinstance(every, bool) or not isinstance(every, (int, float)) or not every >= 0:
            raise SettingError(f"checkpoint_every = {every!r} is not a number of seconds >= 0; give one, such as 30.")

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
    """Where a stack stands.

    Attributes:
        label: the name of its folder.
        examples: examples that each run has seen.
        total: examples that each run is to see.
        runs: runs that are still being trained.
        metric: `accuracy` or `loss`.
        value: its mean over these runs in the last bin; NaN before there is one.
        unit: what is counted: examples, or steps of an agent.
    """

    label: str
    examples: int
    total: int
    runs: int
    metric: str
    value: float = math.nan
    unit: str = "examples"


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within it, so many threads compute on the CPU."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
