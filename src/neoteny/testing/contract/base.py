"""What a check is, and the table of all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from neoteny.testing.comparing import difference, expect
from neoteny.testing.trial import Trial

__all__ = ["CHECKS", "Check", "check", "same"]

Extent = Literal["once", "models", "pairs"]


@dataclass(frozen=True)
class Check:
    """One promise.

    Attributes:
        name: what reports call it.
        run: raises a `Violation` where the promise is broken.
        over: what it is tried on: `once`, each of the `models`, or `pairs` in which each network and each optimizer
            comes at least once.
        inactive: whether it is about methods of strength zero.
    """

    name: str
    run: Callable[[Trial], None]
    over: Extent
    inactive: bool

    @property
    def meaning(self) -> str:
        """What a violation means for a user."""
        return " ".join((inspect.getdoc(self.run) or "").split())


CHECKS: dict[str, Check] = {}
"""Every check, by name."""


def check(over: Extent, *, inactive: bool = False) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Put a function into the table of checks."""

    def register(function: Callable[[Trial], None]) -> Callable[[Trial], None]:
        name = function.__name__
        CHECKS[name] = Check(name, function, over, inactive)
        return function

    return register


def same(
    a: Mapping[str, Any], b: Mapping[str, Any], expected: str, parts: tuple[str, ...] = ("model", "optimizer")
) -> None:
    """Expect two snapshots to be equal bit for bit."""
    found = difference(a, b, parts)
    expect(found is None, expected, str(found))
