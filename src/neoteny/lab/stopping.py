"""How a run is stopped: where nothing would be lost, and within a second.

Training asks between its segments whether to stop, and then writes a checkpoint first. Where it does not ask in time,
because it is reading data, compiling or in a long segment, it is interrupted; it goes on from the last checkpoint then.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Stopping", "interrupts"]

PATIENCE = 0.7
"""Seconds until it is interrupted."""


class Stopping:
    """Whether to stop; training calls it, whoever wants it to stop calls `ask`.

    Args:
        patience: seconds until training is interrupted where it does not come to the end of a segment.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._asked, self._timer = threading.Event(), threading.Timer(patience, _interrupt)
        self._timer.daemon = True

    def ask(self) -> None:
        """Stop soon, where it is best, or else in the midst of it.

        Raises:
            KeyboardInterrupt: it was asked before, so at once.
        """
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
        self._timer.start()

    def __call__(self) -> bool:
        """Whether to stop now, where a checkpoint can be written."""
        asked = self._asked.is_set()
        if asked:
            self._timer.cancel()
        return asked

    def over(self) -> None:
        """Nothing is left to be stopped."""
        self._timer.cancel()


def _interrupt() -> None:
    """Raise KeyboardInterrupt in the main thread, also where it waits for a compiler."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def interrupts() -> Iterator[Stopping]:
    """A context in which Ctrl-C and SIGTERM ask to stop; in a thread that is not the main one, neither does."""
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def ask(number: int, frame: Any) -> None:
        stopping.ask()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        stopping.over()
        for number, handler in before.items():
            signal.signal(number, handler)
