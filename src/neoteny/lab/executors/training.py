"""The loop over jobs: it starts them, hears how they go, starts those that were lost again, and stops all at Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from neoteny.errors import NeotenyError
from neoteny.lab.execution import Progress
from neoteny.lab.executors.local import Here
from neoteny.lab.executors.protocol import Executor, Job, Outcome, Worker
from neoteny.lab.folder import RunFolder
from neoteny.lab.mirror import fetched

__all__ = ["RETRIES", "train"]

RETRIES = 2
"""How often a job is started again after its worker was lost."""
_QUICK = 0.7  # seconds until it is said that the workers are not ready
_LATE = 30.0  # seconds by which a shared file system may show a finished folder later
_PATIENCE = 60.0  # seconds that they have for their last checkpoints


def train(
    jobs: Iterable[Job],
    executor: Executor,
    *,
    hear: Callable[[Progress], None] = lambda _: None,
    retries: int = RETRIES,
    admit: Callable[[Job], bool] = lambda _: True,
    then: Callable[[Job, Outcome], Iterable[Job]] = lambda *_: (),
) -> dict[str, Outcome]:
    """Train jobs to their ends.

    Args:
        jobs: what to train.
        executor: where; it is closed at the end.
        hear: is called with the progress.
        retries: how often a job whose worker was lost goes on from its last checkpoint.
        admit: is asked for each job right before it is begun; those for which it says no are left out.
        then: is told how each job ended; returns further jobs, which come before those that wait.

    Returns:
        How each job ended, by its label; those that were left out are missing.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; every job has written a checkpoint, or was ended in the midst of it.
    """
    waiting, outcomes = deque(jobs), dict[str, Outcome]()
    running: dict[Worker, Job] = {}
    stopping = False

    def told(progress: Progress) -> None:
        if not stopping:
            hear(progress)

    try:
        while waiting or running:
            if waiting and _room(executor, waiting[0], len(running)):
                job = waiting.popleft()
                if job.attempt or admit(job):
                    where = Here() if _finished(job) else executor  # it is only checked: no process, no queue
                    running[where.start(job, told)] = job
                continue
            ended = [(worker, outcome) for worker in running if (outcome := worker.outcome()) is not None]
            for worker, outcome in ended:
                job = running.pop(worker)
                if outcome.kind in ("lost", "stopped") and job.attempt < retries:  # nobody here asked it to stop
                    hear(job.waiting(f"its worker was lost, attempt {job.attempt + 2}"))
                    waiting.appendleft(job.again())
                    continue
                if job.attempt and outcome.kind == "lost":
                    outcome = replace(outcome, said=f"{outcome.said}\n(the last of {job.attempt + 1} attempts)")
                if outcome.kind == "done":
                    outcome = _brought(job, outcome)
                outcomes[job.label] = outcome
                waiting.extendleft(reversed([*then(job, outcome)]))  # so that what is begun is whole first
            if not ended:
                time.sleep(executor.every)
    finally:
        stopping = True
        _stop(list(running))
        executor.close()
    return outcomes


def _brought(job: Job, outcome: Outcome) -> Outcome:
    """How a job ended that was done where other disks may be; it failed if its run cannot be had here."""
    until = time.monotonic() + _LATE
    try:
        fetched(job.execution.mirror, job.folder)
        while RunFolder(job.folder).status != "finished":
            if time.monotonic() > until:
                cure = "let all machines share its file system, or give --mirror, a store that all reach"
                return Outcome("failed", f"{job.folder} is not here, though its worker has finished it: {cure}.")
            time.sleep(0.1)
    except NeotenyError as error:
        return Outcome("failed", str(error))
    return outcome


def _finished(job: Job) -> bool:
    """Whether the job is to keep a run that has finished."""
    with suppress(NeotenyError):
        return job.resume and RunFolder(job.folder).status == "finished"
    return False


def _room(executor: Executor, job: Job, running: int) -> bool:
    places = executor.places(job.execution)
    return places is None or running < places


def _stop(running: Sequence[Worker]) -> None:
    """Ask every worker to write a checkpoint and end; end those that take too long."""
    left = list(running)
    for worker in left:
        worker.stop()
    try:
        with suppress(KeyboardInterrupt):
            if not _ended(left, _QUICK):
                print("neoteny: stopping; Ctrl-C again ends at once.", file=sys.stderr, flush=True)
                _ended(left, _PATIENCE)
    finally:
        for worker in left:
            worker.kill()


def _ended(left: list[Worker], seconds: float) -> bool:
    """Whether all workers end within so many seconds; those that go on are left in the list."""
    until = time.monotonic() + seconds
    while True:
        left[:] = [worker for worker in left if worker.outcome() is None]
        if not left or time.monotonic() > until:
            return not left
        time.sleep(0.05)
