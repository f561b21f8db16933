"""What an executor is: it starts jobs and gives a worker for each, which is asked how it goes.

A job is one stack of runs with its folder. Whoever has jobs calls `neoteny.lab.executors.train`, which polls the
workers, starts what was lost again, and stops all of them at Ctrl-C.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from neoteny.checks import require_count, require_positive
from neoteny.errors import SettingError
from neoteny.kinds import Settings
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution, Progress

__all__ = ["Executor", "Job", "Outcome", "Worker", "require_retries"]


@dataclass(frozen=True, eq=False)
class Job:
    """One stack of runs that is to be trained.

    Attributes:
        label: what it is called where progress is shown; each job has another.
        config: what is run.
        folder: its run folder.
        execution: how it is trained.
        resume: whether it goes on where the folder holds an unfinished run of this configuration.
        attempt: how often its worker was lost.
        command: the command line for the provenance.
    """

    label: str
    config: RunConfig
    folder: Path
    execution: Execution
    resume: bool = False
    attempt: int = 0
    command: tuple[str, ...] = ()

    def again(self) -> Job:
        """The same job after its worker was lost: it goes on from the last checkpoint."""
        return replace(self, resume=True, attempt=self.attempt + 1)

    def waiting(self, what: str) -> Progress:
        """Its progress before it was begun; `what` says what it waits for."""
        return Progress(self.label, 0, self.config.problem.total, self.config.runs, "", doing=what)

    def message(self) -> dict[str, Any]:
        """The job as plain data, which another process understands; it also says where its modules lie."""
        ours = [path for path in sys.path if path and not path.startswith((sys.prefix, sys.base_prefix))]
        return {
            "label": self.label,
            "config": self.config.to_dict(),
            "folder": str(self.folder.absolute()),
            "execution": asdict(self.execution),
            "resume": self.resume,
            "attempt": self.attempt,
            "command": list(self.command or sys.argv),
            "modules": ours,
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Job:
        """The inverse of `message`, apart from the places of modules."""
        return cls(
            message["label"],
            RunConfig.from_dict(message["config"]),
            Path(message["folder"]),
            Execution(**message["execution"]),
            message["resume"],
            message["attempt"],
            tuple(message["command"]),
        )


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        kind: `done`; `failed`, with an error that another attempt would not change; `stopped`, as it was asked to, at
            a checkpoint; `lost`, with its process or machine, so that it can be started again.
        said: the error, or how its process ended.
    """

    kind: Literal["done", "failed", "stopped", "lost"]
    said: str = ""


class Worker(ABC):
    """A job that was started somewhere."""

    @abstractmethod
    def outcome(self) -> Outcome | None:
        """How it ended; None while it goes on. It is called often: what was heard since the last call is told in it."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to write a checkpoint and to end; if it has not begun, it never does. This returns at once."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once. Afterwards `outcome` is not called any more."""


@dataclass(kw_only=True)
class Executor(Settings, ABC):
    """A place where jobs are trained.

    Args:
        jobs: how many are begun at once; None for as many as there is room for.
        cores: of each job; None for as many as it has threads.
        gpus: of each job; a share (0.25) lets several jobs use one.

    Raises:
        SettingError: a number that cannot be.
    """

    jobs: int | None = None
    cores: int | None = None
    gpus: float | None = None

    name: ClassVar[str] = "own"
    every: ClassVar[float] = 0.2
    """Seconds between two looks at the workers."""

    def __post_init__(self) -> None:
        for name in ("jobs", "cores"):
            if getattr(self, name) is not None:
                require_count(self, name, least=1)
        if self.gpus is not None:
            require_positive(self, "gpus")

    def places(self, execution: Execution) -> int | None:
        """How many jobs are begun at once; None where a queue decides that."""
        return self.jobs

    @abstractmethod
    def start(self, job: Job, hear: Callable[[Progress], None]) -> Worker:
        """Begin a job, or put it into a queue.

        Args:
            job: what to train.
            hear: is called with the progress, in this thread, from `Worker.outcome`.

        Raises:
            NeotenyError: nothing can be started here, as where a package is missing.
        """

    def close(self) -> None:
        """Release what was used; all workers have ended."""


def require_retries(retries: int) -> None:
    """Refuse a number of retries that cannot be.

    Raises:
        SettingError: it is below 0.
    """
    if retries < 0:
        raise SettingError(f"retries = {retries!r}: give a number >= 0.")
