"""The errors neoteny raises on purpose.

Every message names the value at fault, the cause and the cure. All derive from `NeotenyError`, so that a caller such as
the command line can tell them from bugs. If a builtin error means the same, the error derives from it as well.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ContractError",
    "DataError",
    "MissingPackageError",
    "NeotenyError",
    "NetworkError",
    "PlasticityWarning",
    "RunFolderError",
    "SettingError",
    "Stopped",
    "UnknownNameError",
]

_FEW = 16  # more names than this are not listed beside similar ones


class NeotenyError(Exception):
    """Something that the caller can correct; the message says how."""


class Stopped(KeyboardInterrupt):
    """A run was stopped, by Ctrl-C or by the system; the message says how it goes on."""


class SettingError(NeotenyError, ValueError):
    """A setting outside its range or of the wrong kind, such as a replacement rate of 2."""


class UnknownNameError(NeotenyError, LookupError):
    """An unknown name, with the known names that are similar.

    Args:
        name: what was asked for.
        known: every name that would have been accepted.
        kind: what the name should stand for, for the message.

    >>> print(UnknownNameError("cpb", ["cbp", "l2", "redo"], kind="method"))
    There is no method called 'cpb'. Did you mean 'cbp'? Known: cbp, l2, redo.
    """

    def __init__(self, name: object, known: Iterable[str] = (), kind: str = "name"):
        self.name, self.known, self.kind = name, sorted(known), kind
        begun = [other for other in self.known if str(name) and other.startswith(str(name))]
        self.near = (difflib.get_close_matches(str(name), self.known, n=3, cutoff=0.5) or begun)[:3]
        message = f"There is no {kind} called {name!r}."
        if self.near:
            message += f" Did you mean {' or '.join(map(repr, self.near))}?"
        if self.known and (not self.near or len(self.known) <= _FEW):
            message += f" Known: {', '.join(self.known)}."
        super().__init__(message)

    def __reduce__(self):
        # Pickle rebuilds an exception from `args`, here the finished message. Without this, an error that comes back
        # from a worker process would have a message about the message.
        return type(self), (self.name, self.known, self.kind)


class NetworkError(NeotenyError, ValueError):
    """A network that a method cannot work on, such as one without hidden units."""


class MissingPackageError(NeotenyError, ImportError):
    """An optional package is missing, such as MuJoCo."""


class DataError(NeotenyError):
    """A data file that is missing, truncated, or does not match its checksum."""


class RunFolderError(NeotenyError):
    """A run folder that is missing or incomplete, or already holds another run."""


class CheckpointError(NeotenyError):
    """A checkpoint that cannot be read, or belongs to other methods, another network or another benchmark."""


class ContractError(NeotenyError, AssertionError):
    """A method that breaks its contract: the message lists every check that failed.

    Args:
        report: what `neoteny.testing.check_method` found.
    """

    def __init__(self, report: object):
        super().__init__(report)
        self.report = report


class PlasticityWarning(UserWarning):
    """An attached method can never act, does not see what it needs, or its state was not restored."""
