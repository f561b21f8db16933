"""What a program is busy with before it goes on, such as compiling: said where it happens, shown where runs are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["heard", "hearing", "stage"]

heard: ContextVar[Callable[[str], None] | None] = ContextVar("heard", default=None)
"""Who is told; nobody where no runs are shown."""


@contextmanager
def stage(doing: str) -> Iterator[None]:
    """Say what is done within, and that it is over.

    >>> said = []
    >>> with hearing(said.append), stage("compiling"):
    ...     pass
    >>> said
    ['compiling', '']
    """
    tell = heard.get()
    if tell is None:
        yield
        return
    tell(doing)
    try:
        yield
    finally:
        tell("")


@contextmanager
def hearing(tell: Callable[[str], None]) -> Iterator[None]:
    """A context in which `tell` is called with each stage, and with an empty text when it is over."""
    token = heard.set(tell)
    try:
        yield
    finally:
        heard.reset(token)
