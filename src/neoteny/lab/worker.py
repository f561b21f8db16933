"""The program that trains one stack of runs for `neoteny.lab.compare`; see `neoteny.lab.executor`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from neoteny.lab.stopping import Stopping

__all__ = ["main"]


def main() -> int:
    """Read a job from standard input, run it, and report on standard output."""
    # Other output must not mix with the messages: standard output becomes standard error.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started this with it ignored
    job = json.loads(sys.stdin.readline())
    stopping = Stopping()

    def watch() -> None:
        sys.stdin.read()  # until the process that started this one closes it or ends
        stopping.ask()

    threading.Thread(target=watch, daemon=True).start()

    def say(**message: object) -> None:
        with suppress(BrokenPipeError):  # whoever started this is gone
            print(json.dumps(message), file=messages, flush=True)

    from neoteny.errors import NeotenyError

    try:
        from neoteny.lab.config import RunConfig
        from neoteny.lab.execution import Execution
        from neoteny.lab.running import start

        sys.argv = job["command"]
        start(
            RunConfig.from_dict(job["config"]),
            Path(job["path"]),
            Execution(**job["execution"]),
            resume=job["resume"],
            notify=lambda progress: say(progress=asdict(progress)),
            stopped=stopping,
        )
    except KeyboardInterrupt:
        say(error="stopped")
        return 130
    except NeotenyError as error:
        say(error=str(error))
        return 2
    except BaseException:
        say(error=traceback.format_exc())
        return 1
    say(done=True)
    return 0


if __name__ == "__main__":
    # Not a normal exit: the interpreter would wait for the thread that reads the input.
    status = main()
    sys.stderr.flush()
    os._exit(status)
