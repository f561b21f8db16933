"""Jobs in the queue of SLURM, through submitit.

Run folders must be on a file system that all nodes share; beside them, in `OUT/.jobs`, lie submitit's files and what
each job says. A job that reaches its time limit, or is preempted, writes a checkpoint and goes back into the queue.
Jobs do not need the program that submitted them: the same command with `--resume` finds those that still wait or run.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from neoteny.checks import require
from neoteny.errors import MissingPackageError, SettingError
from neoteny.lab.execution import Progress
from neoteny.lab.executors.process import Process, attend
from neoteny.lab.executors.protocol import Executor, Job, Outcome, Worker
from neoteny.lab.recorder import atomically

__all__ = ["Slurm"]

PATIENCE = 60.0
"""Seconds for a checkpoint before the time is over; submitit asks 90 seconds before."""
_LISTED = 10.0  # seconds between two looks at the queue, for all jobs together
_GRACE = 30.0  # seconds for which a file may come later than its job has left the queue


@dataclass(kw_only=True)
class Slurm(Executor):
    """Each job as a job of SLURM.

    Args:
        jobs: how many are in the queue at once; by default all.
        cores: of each job; by default one for each of its threads.
        gpus: of each job, a whole number.
        options: of submitit, such as `timeout_min`, `mem_gb`, `slurm_partition`, `slurm_account`; and `cluster`, which
            is `slurm`, or `local` or `debug` to try it out without one.

    Raises:
        MissingPackageError: submitit is not installed.
        SettingError: a share of a GPU.
    """

    options: Mapping[str, Any] = field(default_factory=dict)

    name = "slurm"
    every = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = self.gpus is None or float(self.gpus).is_integer()
        require(self, "gpus", whole, "a whole number: SLURM shares no GPU (try the option slurm_gres=shard:1)")
        self._submitit = _imported()
        self._queue_now: set[str] = set()
        self._looked = -math.inf

    def start(self, job: Job, hear: Callable[[Progress], None]) -> Worker:
        """Submit it, or find it where it was submitted before."""
        files = _Files(job)
        known = files.number.read_text(encoding="utf-8") if job.resume and files.number.exists() else ""
        worker = None if job.attempt or not known else self._found(job, files, known, hear)
        if worker is None:
            files.clear()
            queue = self._queue(job, files)
            try:
                submitted = queue.submit(_Stack(job.message(), str(files.base)))
            except (RuntimeError, OSError) as error:  # the queue is full, or its server does not answer
                return _Refused(f"SLURM did not take the job ({error})")
            atomically(files.number, lambda path: path.write_text(str(submitted.job_id), encoding="utf-8"))
            worker = _Submitted(self, job, files, submitted, hear)
        hear(job.waiting("in SLURM's queue"))
        return worker

    def _found(self, job: Job, files: _Files, number: str, hear: Callable[[Progress], None]) -> Worker | None:
        """A job that still waits or runs."""
        if self.options.get("cluster", "slurm") != "slurm":  # of other clusters nothing is left when they are gone
            return None
        there = self._submitit.SlurmJob(files.logs, number)
        return _Submitted(self, job, files, there, hear) if self.holds(number) else None

    def holds(self, number: str) -> bool:
        """Whether SLURM's queue holds a job, waiting or running; if it does not answer, as far as it is known."""
        if time.monotonic() - self._looked > _LISTED:
            asked = subprocess.run(["squeue", "--me", "--noheader", "--format=%i"], capture_output=True, text=True)
            if asked.returncode:
                return True
            self._queue_now, self._looked = set(asked.stdout.split()), time.monotonic()
        return number in self._queue_now

    def _queue(self, job: Job, files: _Files) -> Any:
        """Submitit's executor."""
        options = {name: value for name, value in self.options.items() if name != "cluster"}
        asked: dict[str, Any] = {"name": "neoteny", "cpus_per_task": self.cores or job.execution.threads}
        if self.gpus is not None:
            asked["gpus_per_node"] = int(self.gpus)
        try:
            queue = self._submitit.AutoExecutor(str(files.logs), cluster=self.options.get("cluster", "slurm"))
            queue.update_parameters(**{**asked, **options})
        except (RuntimeError, TypeError, ValueError, NameError, KeyError) as error:
            raise SettingError(
                f"SLURM cannot be used here like that ({error}): submit from a machine that has sbatch, with options "
                "that submitit takes (timeout_min, mem_gb, slurm_partition, ...)."
            ) from error
        return queue


class _Files:
    """What a job and the program that waits for it tell each other by: files beside the run folders."""

    def __init__(self, job: Job):
        folder = job.folder.absolute()
        self.logs = folder.parents[1] / ".jobs"
        # a label may be as long as a file name can be; a job of another number of runs is not this one
        what = f"{folder.parent.name}/{folder.name}/{job.config.runs}"
        self.base = self.logs / sha256(what.encode()).hexdigest()[:16]
        self.number = self.base.with_suffix(".number")
        self.said, self.stop, self.ended = said_files(self.base)

    def clear(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        for path in (self.number, self.said, self.stop, self.ended):
            path.unlink(missing_ok=True)


def said_files(base: Path) -> tuple[Path, Path, Path]:
    """A job's last progress, that it should stop, and how it ended."""
    return base.with_suffix(".said"), base.with_suffix(".stop"), base.with_suffix(".ended")


class _Stack:
    """What a node does; submitit asks for a checkpoint before the time is over."""

    def __init__(self, message: Mapping[str, Any], base: str):
        self._message, self._base = message, base
        self._process: Process | None = None

    def __call__(self) -> None:
        said, stop, ended = said_files(Path(self._base))

        def say(progress: Progress) -> None:
            text = json.dumps(asdict(progress))
            atomically(said, lambda path: path.write_text(text, encoding="utf-8"))

        outcome = attend(self._message, say, stop.exists, began=lambda process: setattr(self, "_process", process))
        text = json.dumps(asdict(outcome))
        atomically(ended, lambda path: path.write_text(text, encoding="utf-8"))

    def checkpoint(self) -> Any:
        """The same job, which goes on from the checkpoint that is written now."""
        import submitit

        if self._process is not None:
            self._process.stop()
            self._process.wait(PATIENCE)
        later = {**self._message, "resume": True, "attempt": self._message["attempt"] + 1}
        return submitit.helpers.DelayedSubmission(_Stack(later, self._base))


class _Submitted(Worker):
    """A job in SLURM's queue or on one of its nodes."""

    def __init__(self, owner: Slurm, job: Job, files: _Files, submitted: Any, hear: Callable[[Progress], None]):
        self._owner, self._files, self._submitted, self._hear = owner, files, submitted, hear
        self._label, self._heard, self._there = job.label, "", time.monotonic()
        self._in_queue = isinstance(submitted, owner._submitit.SlurmJob)

    def outcome(self) -> Outcome | None:
        """How it ended; None while it waits or goes on."""
        over = self._over()  # first: what was written before its end is there afterwards
        if (said := _read(self._files.said)) and said != self._heard:
            self._heard = said
            self._hear(replace(Progress(**json.loads(said)), label=self._label))
        if (ended := _read(self._files.ended)) and (over or self._in_queue):
            return Outcome(**json.loads(ended))
        if not over:
            return None
        if self._files.stop.exists():
            return Outcome("stopped", "it was cancelled in SLURM's queue")
        return Outcome("lost", f"job {self._submitted.job_id} left the queue without an end\n{self._log()}".strip())

    def _over(self) -> bool:
        """Whether it has ended, in whatever way."""
        if not self._in_queue:
            return self._submitted.done()
        now = time.monotonic()
        if self._owner.holds(self._submitted.job_id):
            self._there = now
        return now - self._there > (0.0 if self._files.stop.exists() else _GRACE)

    def _log(self) -> str:
        return (self._submitted.stderr() or "")[-2000:].strip()

    def stop(self) -> None:
        """Ask it to stop; in the queue it is cancelled."""
        self._files.stop.touch()
        if not self._files.said.exists():
            self.kill()

    def kill(self) -> None:
        """Cancel it."""
        self._submitted.cancel(check=False)


class _Refused(Worker):
    """A job that SLURM did not take; it is tried again like one that was lost."""

    def __init__(self, said: str):
        self._said = said

    def outcome(self) -> Outcome:
        return Outcome("lost", self._said)

    def stop(self) -> None:
        """There is nothing to stop."""

    def kill(self) -> None:
        """There is nothing to end."""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # not there yet, or replaced at this moment on another machine
        return ""


def _imported() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise MissingPackageError(
            f"submitit is not installed ({error}): pip install 'neoteny[cluster]', here and on the nodes."
        ) from error
    return submitit
