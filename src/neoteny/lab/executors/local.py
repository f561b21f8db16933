"""Jobs on this machine: side by side in processes, or one after the other in this process."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from neoteny.checks import require
from neoteny.errors import NeotenyError, SettingError
from neoteny.lab.execution import Execution, Progress
from neoteny.lab.executors.process import Process
from neoteny.lab.executors.protocol import Executor, Job, Outcome, Worker

__all__ = ["Here", "Local"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(kw_only=True)
class Local(Executor):
    """Each job in a process of its own; the others wait until a core, or their share of a GPU, is free.

    Args:
        jobs: how many run at once; by default as many as the cores allow, or one on an accelerator.
        cores: of each job; by default one for each of its threads.
        gpus: the share of a GPU for each job, at most 1; the jobs are spread over all GPUs.
    """

    name = "local"
    every = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpus is not None:
            require(self, "gpus", self.gpus <= 1, "at most 1, as a stack trains on one GPU")
        self._started: list[tuple[str, Process]] = []  # with its GPU

    def places(self, execution: Execution) -> int:
        """As many as fit on the cores and GPUs."""
        if self.jobs is not None:
            return self.jobs
        on_cores = max(_cores() // (self.cores or execution.threads), 1)
        if self.gpus is not None:
            return min(len(_gpus()) * int(1 / self.gpus), on_cores)
        return on_cores if execution.resolved_device().type == "cpu" else 1

    def start(self, job: Job, hear: Callable[[Progress], None]) -> Process:
        """Start a process."""
        environment = {}
        if self.gpus is not None:
            self._started = [(gpu, worker) for gpu, worker in self._started if not worker.ended]
            busy = [gpu for gpu, _ in self._started]
            environment[_VISIBLE] = min(_gpus(), key=busy.count)
        worker = Process(job.message(), hear, environment)
        if environment:
            self._started.append((environment[_VISIBLE], worker))
        return worker


class Here(Executor):
    """One job after the other, in this process; `start` returns when it has ended."""

    name = "here"

    def places(self, execution: Execution) -> int:
        """One."""
        return 1

    def start(self, job: Job, hear: Callable[[Progress], None]) -> Worker:
        """Train it."""
        from neoteny.lab.running import start
        from neoteny.lab.stopping import interrupts

        def tell(progress: Progress) -> None:
            hear(replace(progress, label=job.label))

        try:
            with interrupts() as stopped:
                start(job.config, job.folder, job.execution, resume=job.resume, notify=tell, stopped=stopped)
        except NeotenyError as error:
            return _Ended(Outcome("failed", str(error)))
        except Exception:  # the others go on, as they do in processes of their own
            return _Ended(Outcome("failed", traceback.format_exc()))
        return _Ended(Outcome("done"))


class _Ended(Worker):
    """A job that has ended."""

    def __init__(self, outcome: Outcome):
        self._outcome = outcome

    def outcome(self) -> Outcome:
        return self._outcome

    def stop(self) -> None:
        """Nothing is left to be stopped."""

    def kill(self) -> None:
        """Nothing is left to be ended."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> list[str]:
    """The GPUs of this machine, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise SettingError("gpus: this machine has no GPU that torch can use; leave --gpus out.")
    named: Any = os.environ.get(_VISIBLE, "").split(",")
    return named if len(named) == count and all(named) else [str(number) for number in range(count)]
