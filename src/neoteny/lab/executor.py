"""Runs several stacks side by side, each in a process of its own on this machine.

A worker is started as a program (`python -m neoteny.lab.worker`), not forked: that works from a notebook or a script
without a main guard, and shares no threads or accelerator state. It reads its job from standard input and reports its
progress on standard output, one JSON object per line. When its input is closed, also because this process was killed,
it writes a checkpoint and stops. Jobs wait until a core is free.
"""

from __future__ import annotations

import io
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neoteny.checks import known_keywords
from neoteny.errors import NeotenyError, RunFolderError, SettingError, Stopped
from neoteny.kinds import with_kinds
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution, Progress
from neoteny.lab.folder import RunFolder
from neoteny.lab.running import RunStack, folder_of
from neoteny.progress import live

__all__ = ["CompareError", "compare"]

_QUICK = 0.7  # seconds until it is said that the workers are not ready
_PATIENCE = 60.0  # seconds that they have for their last checkpoints


class CompareError(NeotenyError):
    """Some of the stacks failed; the others are finished.

    Attributes:
        runs: the finished ones.
        failures: what went wrong, by label.
    """

    def __init__(self, runs: Sequence[RunStack], failures: Mapping[str, str]):
        self.runs, self.failures = list(runs), dict(failures)
        listed = "\n".join(f"{label}: {text}" for label, text in failures.items())
        super().__init__(
            f"{len(failures)} of {len(failures) + len(runs)} stacks failed; the others are finished.\n{listed}"
        )

    def __reduce__(self):
        return type(self), (self.runs, self.failures)


@dataclass
class _Worker:
    """A running process and its last message."""

    label: str
    process: subprocess.Popen[str]
    log: Any
    outcome: dict[str, Any] = field(default_factory=dict)
    reader: threading.Thread | None = None

    def end(self) -> str:
        """Wait for the process to end, close its files, and return what it wrote to standard error."""
        self.process.wait()
        if self.process.stdin:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        if self.reader:
            self.reader.join()
        self.log.seek(0)
        with self.log:
            return self.log.read()


@known_keywords(Execution)
@with_kinds()
def compare(
    configs: Sequence[RunConfig],
    *,
    out: str | Path = "runs",
    resume: bool = False,
    jobs: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    **execution: Any,
) -> list[RunStack]:
    """Run several systems side by side, each into its own folder `out/<benchmark>/<label>`.

    Args:
        configs: what to run, as from `neoteny.lab.resolve_all`.
        out: the directory of run folders.
        resume: go on with unfinished folders of these configurations, and leave finished ones as they are.
        jobs: how many run at once; by default as many as the cores allow, or one on an accelerator.
        progress: whether to show it live; or a function that is called with it.
        execution: as for `neoteny.lab.run`.

    Returns:
        The finished stacks, in the order of the configurations.

    Raises:
        UnknownNameError: an argument that does not exist.
        SettingError: a class that another process could not import.
        RunFolderError: a folder already holds a run; then nothing is started.
        CompareError: some stacks failed; the others are finished, and the message says what happened.
        Stopped: Ctrl-C was pressed; every started folder can be resumed.
    """
    configs = list(configs)
    how = Execution(**execution)
    labels = _distinct(configs, out)
    _require_importable(configs)
    for config in configs:
        if not resume and RunFolder(folder_of(config, out)).status != "absent":
            RunFolder(folder_of(config, out)).create(config)  # raises the error that says what to do
    if jobs is None:
        jobs = max(_cores() // how.threads, 1) if how.resolved_device().type == "cpu" else 1
    if jobs < 1:
        raise SettingError(f"jobs = {jobs!r}: at least one must run.")
    waiting = list(zip(labels, configs, strict=True))
    running: list[_Worker] = []
    messages: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()
    failures: dict[str, str] = {}
    if callable(progress):
        listener: Any = nullcontext(progress)
    else:
        listener = live(labels) if progress else nullcontext(lambda _: None)
    with _told_how_to_go_on(configs, out, resume), ExitStack() as ending, listener as notify:
        ending.callback(lambda: _stop(running))
        while waiting or running:
            while waiting and len(running) < jobs:
                label, config = waiting.pop(0)
                job = {
                    "config": config.to_dict(),
                    "path": str(folder_of(config, out)),
                    "execution": asdict(how),
                    "resume": resume,
                    "command": sys.argv,
                }
                running.append(_start(label, job, messages))
            worker, message = _next(messages)
            if message is None:  # its output has ended
                running.remove(worker)
                _finish(worker, failures)
            elif "progress" in message:
                notify(Progress(**{**message["progress"], "label": worker.label}))
            else:
                worker.outcome = message
    runs = [
        RunStack(folder_of(config, out), config)
        for label, config in zip(labels, configs, strict=True)
        if label not in failures
    ]
    if failures:
        raise CompareError(runs, failures)
    return runs


@contextmanager
def _told_how_to_go_on(configs: Sequence[RunConfig], out: str | Path, resume: bool) -> Iterator[None]:
    """A context in which Ctrl-C says how the stacks go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        how = "the same command goes on" if resume else "the same command with --resume goes on"
        folders = [folder_of(config, out) for config in configs]
        begun = [path for path in folders if RunFolder(path).status == "unfinished"]
        one = f", or `neoteny resume {begun[0]}` with that one alone" if begun else ""
        raise Stopped(how + one) from error


def _next(messages: queue.SimpleQueue) -> Any:
    while True:
        try:
            return messages.get(timeout=1.0)  # a timeout, so that Ctrl-C is noticed on every system
        except queue.Empty:
            continue


def _start(label: str, job: Mapping[str, Any], messages: queue.SimpleQueue) -> _Worker:
    """Start a worker, send it its job, and start a thread that passes on its messages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"}
    environment["OMP_NUM_THREADS"] = str(job["execution"]["threads"])
    log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in _finish
    process = subprocess.Popen(
        [sys.executable, "-m", "neoteny.lab.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        env=environment,
        start_new_session=True,  # Ctrl-C reaches only this process, which then stops its workers
    )
    worker = _Worker(label, process, log)
    assert process.stdin and process.stdout
    with suppress(BrokenPipeError):  # it has died already; its log says why
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    worker.reader = threading.Thread(target=_read, args=(worker, process.stdout, messages), daemon=True)
    worker.reader.start()
    return worker


def _read(worker: _Worker, stream: io.TextIOBase, messages: queue.SimpleQueue) -> None:
    with stream:
        for line in stream:
            messages.put((worker, json.loads(line)))
    messages.put((worker, None))


def _finish(worker: _Worker, failures: dict[str, str]) -> None:
    """Record how a worker ended."""
    log = worker.end()
    if not worker.outcome.get("done"):
        text = (
            worker.outcome.get("error")
            or f"its process ended with status {worker.process.returncode}\n{log[-2000:].strip()}".strip()
        )
        failures[worker.label] = text


def _stop(running: Sequence[_Worker]) -> None:
    """Tell every worker to write a checkpoint and end; kill those that take too long."""
    for worker in running:
        if worker.process.stdin and not worker.process.stdin.closed:
            with suppress(BrokenPipeError):
                worker.process.stdin.close()
    try:
        with suppress(KeyboardInterrupt):
            if not _ended(running, _QUICK):
                print("neoteny: stopping; Ctrl-C again ends at once.", file=sys.stderr, flush=True)
                _ended(running, _PATIENCE)
    finally:
        for worker in running:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.end()


def _ended(running: Sequence[_Worker], seconds: float) -> bool:
    """Whether all processes end within so many seconds."""
    until = time.monotonic() + seconds
    try:
        for worker in running:
            worker.process.wait(max(until - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        return False
    return True


def _require_importable(configs: Sequence[RunConfig]) -> None:
    """Refuse classes that other processes cannot import."""
    for config in configs:
        for name, target in config.classes.items():
            if target.startswith("__main__:") or "<locals>" in target:
                raise SettingError(
                    f"{target} ({name} of {config.label}) exists only in this program, and each stack runs in a "
                    "process of its own: define the class at the top level of a module, or run the systems one after "
                    "the other with neoteny.lab.run."
                )


def _distinct(configs: Sequence[RunConfig], out: str | Path) -> list[str]:
    """A label for each: the name of its folder, with the benchmark if there are several."""
    folders = [folder_of(config, out) for config in configs]
    for path in folders:
        if folders.count(path) > 1:
            raise RunFolderError(f"Two of the runs would go into the same folder {path}: give them different --out.")
    several = len({config.benchmark for config in configs}) > 1
    return [f"{config.benchmark}/{config.label}" if several else config.label for config in configs]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
