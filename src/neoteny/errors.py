"""The errors neoteny raises on purpose.

Every message names the value at fault, the cause and the cure. All derive from `NeotenyError`, so that a caller (the
command line, for one) can tell them from bugs; where a builtin says the same, the error is one of those as well.
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
    "UnknownNameError",
]

_FEW = 16  # more names than this are no help beside the near ones


class NeotenyError(Exception):
    """Anything the caller can put right: the message says how."""


class SettingError(NeotenyError, ValueError):
    """A setting outside its range or of the wrong kind, such as a replacement rate of 2."""


class UnknownNameError(NeotenyError, LookupError):
    """A name that nothing goes by, with the names that come near it.

    Args:
        name: what was asked for.
        known: every name that would have been accepted.
        kind: what it should have been the name of, for the message.

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
        # An exception is rebuilt from `args`, here the finished message: without this the pickle that brings an error
        # back from a worker process would build a message about the message.
        return type(self), (self.name, self.known, self.kind)


class NetworkError(NeotenyError, ValueError):
    """A network that a method cannot work on, such as one without hidden units."""


class MissingPackageError(NeotenyError, ImportError):
    """An optional package is missing, such as MuJoCo."""


class DataError(NeotenyError):
    """A data file that is missing, truncated or not what its checksum says."""


class RunFolderError(NeotenyError):
    """A run folder that is missing, half-written, or stands in the way of a new run."""


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
    """An attached method can never do anything, does not see what it needs, or got no state back."""
