"""A job in a process of its own on this machine, which every executor ends in.

The process is a program (`python -m neoteny.lab.worker`), not forked: that works from a notebook or a script without a
main guard, and shares no threads or accelerator state. It reads its job from standard input and reports on standard
output, one JSON object a line. When its input is closed, also because this process was killed, it writes a checkpoint
and stops.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from neoteny.lab.execution import Progress
from neoteny.lab.executors.protocol import Outcome, Worker
from neoteny.lab.stopping import PATIENCE

__all__ = ["Process", "attend"]

UNHURRIED = 20.0
"""Seconds for the end of a segment and a checkpoint where nobody sits before the screen; SLURM kills after 30."""


class Process(Worker):
    """A job in a process.

    Args:
        message: the job, as `Job.message()`.
        hear: is called with the progress.
        environment: variables that are set for it.
    """

    def __init__(
        self,
        message: Mapping[str, Any],
        hear: Callable[[Progress], None],
        environment: Mapping[str, str] | None = None,
    ):
        self._label, self._hear = message["label"], hear
        self._said: dict[str, Any] = {}
        self._heard: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        modules = dict.fromkeys(filter(None, [*sys.path, *message["modules"]]))
        variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(modules),
            "PYTHONIOENCODING": "utf-8",
            "OMP_NUM_THREADS": str(message["execution"]["threads"]),
            **(environment or {}),
        }
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - see _end
        self._process = subprocess.Popen(
            [sys.executable, "-m", "neoteny.lab.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=variables,
            start_new_session=True,  # Ctrl-C reaches only this process, which then stops its workers
        )
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has died already; its log says why
            self._process.stdin.write(json.dumps({"patience": PATIENCE, **message}) + "\n")
            self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as stream:
            for line in stream:
                with suppress(ValueError):  # half a line of a process that was killed while it wrote
                    self._heard.put(json.loads(line))
        self._heard.put(None)

    def outcome(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        while True:
            try:
                message = self._heard.get_nowait()
            except queue.Empty:
                return None
            if message is None:  # its output has ended
                return self._end()
            if "progress" in message:
                self._hear(Progress(**{**message["progress"], "label": self._label}))
            else:
                self._said = message

    def _end(self) -> Outcome:
        """Wait for the process to end, close its files, and say how it ended."""
        status = self._process.wait()
        if self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._reader.join()
        self._log.seek(0)
        with self._log:
            log = self._log.read()
        if "outcome" in self._said:
            return Outcome(self._said["outcome"], self._said["said"])
        return Outcome("lost", f"its process ended with status {status}\n{log[-2000:].strip()}".strip())

    def stop(self) -> None:
        """Ask it to write a checkpoint and to end."""
        if self._process.stdin and not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def wait(self, seconds: float) -> None:
        """Wait for it to end, but not longer than this."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._end()


def attend(
    message: Mapping[str, Any],
    say: Callable[[Progress], None],
    asked: Callable[[], bool],
    *,
    environment: Mapping[str, str] | None = None,
    began: Callable[[Process], None] = lambda _: None,
    every: float = 0.5,
) -> Outcome:
    """Train a job on the machine to which a cluster has given it, and wait for its end.

    Args:
        message: the job, as `Job.message()`.
        say: is called with the last progress that was heard.
        asked: whether the job should stop.
        environment: variables that are set for its process.
        began: is called with the process.
        every: seconds between two looks.
    """
    last: list[Progress] = []
    worker = Process({**message, "patience": UNHURRIED}, last.append, environment)
    began(worker)
    try:
        while (outcome := worker.outcome()) is None:
            if last:
                say(last[-1])
                last.clear()
            if asked():
                worker.stop()
            time.sleep(every)
    except BaseException:
        worker.stop()  # it writes a checkpoint while this process is ended
        raise
    if last:
        say(last[-1])
    return outcome
