"""The program that trains one stack of runs for an executor; see `neoteny.lab.executors.process`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from neoteny.errors import NeotenyError, RunFolderError
from neoteny.lab.stopping import Stopping

if TYPE_CHECKING:
    from neoteny.lab.executors.protocol import Job

__all__ = ["main"]

BUSY = 60.0
"""Seconds until a folder that another process writes to is given up."""


def main() -> int:
    """Read a job from standard input, run it, and report on standard output."""
    # Other output must not mix with the messages: standard output becomes standard error.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started this with it ignored
    message = json.loads(sys.stdin.readline())
    stopping = Stopping(message["patience"])
    signal.signal(signal.SIGTERM, lambda *_: stopping.ask())  # a cluster takes its machine back

    def watch() -> None:
        sys.stdin.read()  # until the process that started this one closes it or ends
        with suppress(KeyboardInterrupt):  # a signal has asked before
            stopping.ask()

    threading.Thread(target=watch, daemon=True).start()

    def say(**said: object) -> None:
        with suppress(BrokenPipeError):  # whoever started this is gone
            print(json.dumps(said), file=messages, flush=True)

    try:
        from neoteny.lab.executors.protocol import Job
        from neoteny.lab.running import start

        job = Job.from_message(message)
        sys.argv = list(job.command)
        if job.attempt:
            _until_free(job)
        start(
            job.config,
            job.folder,
            job.execution,
            resume=job.resume,
            notify=lambda progress: say(progress=asdict(progress)),
            stopped=stopping,
        )
    except KeyboardInterrupt:
        say(outcome="stopped", said="it was stopped from outside")
        return 130
    except NeotenyError as error:
        say(outcome="failed", said=str(error))
        return 2
    except BaseException:
        say(outcome="failed", said=traceback.format_exc())
        return 1
    say(outcome="done", said="")
    return 0


def _until_free(job: Job) -> None:
    """Wait until the worker that was lost, which may be writing a last checkpoint elsewhere, has left the folder."""
    from neoteny.lab.folder import RunFolder

    folder, until = RunFolder(job.folder), time.monotonic() + BUSY
    while folder.status == "unfinished":
        try:
            folder.lock()
        except RunFolderError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            folder.unlock()
            return


if __name__ == "__main__":
    # Not a normal exit: the interpreter would wait for the thread that reads the input.
    status = main()
    sys.stderr.flush()
    os._exit(status)
