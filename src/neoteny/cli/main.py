"""`neoteny COMMAND ...`: finds the command, and prints errors as `error: what; cause; cure` with exit status 2."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from neoteny import __version__
from neoteny.errors import NeotenyError, UnknownNameError

__all__ = ["main"]

COMMANDS = {
    "list": "the benchmarks, their systems and scales, and the methods",
    "run": "run systems on a benchmark: neoteny run BENCHMARK --method backprop,cbp",
    "resume": "go on with a run that was interrupted: neoteny resume RUN_DIR",
    "report": "figures, tables and one HTML page of all runs below a folder: neoteny report RUNS_DIR",
    "results": "tables and paired comparisons, as text, LaTeX or CSV: neoteny results RUNS_DIR --against backprop",
    "figure": "draw figures of papers, or list what they need: neoteny figure NAME [RUNS_DIR]",
    "claims": "which claims of the papers hold in these runs: neoteny claims [RUNS_DIR]",
    "sweep": "rows with grids or search spaces, tuned and reported: neoteny sweep FILE.yaml",
    "leaderboard": "every method on several benchmarks, tuned and reported: neoteny leaderboard [--method a,b]",
    "watch": "film an agent, or a network that learns: neoteny watch RUN_DIR",
    "archive": "slim copies of finished run folders, to commit: neoteny archive RUN_DIR... --to DIR",
    "diagnose": "check up on a network of your own: neoteny diagnose MODULE:FACTORY --inputs F.npz",
    "recommend": "which method helps on your own stream: neoteny recommend MODULE:BUILD --stream F.npz",
    "data": "where the data sets are; fetch, check and decode them: neoteny data cifar100",
    "collect": "a data set of transitions in a maze: neoteny collect point-maze --maze medium",
    "demo": "see plasticity being lost, and kept, in a few minutes",
}
"""Each is the module of that name in this package, whose `main` takes the remaining arguments."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Exit status: 0, 2 for errors that the caller can correct, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="namereplace")  # a pipe of Windows has no minus sign and no Greek letters
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(usage())
        elif arguments[0] == "--version":
            print(f"neoteny {__version__}")
        else:
            from neoteny.cli.own import modules_here

            command = _command(arguments[0])
            with modules_here():
                command(arguments[1:])
    except NeotenyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"neoteny: stopped{'; ' * bool(str(error))}{error}.", file=sys.stderr, flush=True)
        if argv is None:  # this is the whole program: taking torch down takes seconds
            os._exit(130)
        return 130
    except (MemoryError, RecursionError) as error:
        print(f"error: there is too little memory for this ({error}): ask for something smaller.", file=sys.stderr)
        return 2
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # so rich ends where the reader has closed the pipe
            return 0
        raise
    except BrokenPipeError:
        # the reader (`| head`) has closed the pipe; what Python flushes at its exit goes to /dev/null
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be read or written, a name that is too long
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}: name another place, or put this one right.", file=sys.stderr)
        return 2
    return 0


def usage() -> str:
    """What `neoteny --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: neoteny COMMAND ...\n\nNetworks that go on learning.\n\ncommands:\n"
        f"{commands}\n\n`neoteny COMMAND --help` says more, `neoteny run BENCHMARK --help` every setting."
    )


def _command(name: str) -> Callable[[Sequence[str]], None]:
    if name not in COMMANDS:
        raise UnknownNameError(name, COMMANDS, "command")
    return import_module(f"neoteny.cli.{name}").main
