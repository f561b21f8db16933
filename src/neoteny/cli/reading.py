"""Reads the options of a command, as its dataclass describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import tyro

from neoteny.checks import expanded
from neoteny.kinds import kinds

__all__ = ["read_options"]

T = TypeVar("T")


def read_options(options: type[T], arguments: Sequence[str], command: str, **more: Any) -> T:
    """The options that were given, with `~` in paths as the home directory.

    Args:
        options: a dataclass, a field an option.
        arguments: what was typed after the command.
        command: what was typed before, for the help.
        more: further arguments of `tyro.cli`.

    Raises:
        SettingError: a number that cannot be computed with, or a path that names none.
        SystemExit: the arguments cannot be read, or the help was asked for.
    """
    given: Any = tyro.cli(options, args=list(arguments), prog=command, **more)
    for name, (kind, usual) in kinds(options).items():
        kind.require(command, name, getattr(given, name), usual)
    paths = {one.name: getattr(given, one.name) for one in fields(given)}
    changed: dict[str, Any] = {name: expanded(value) for name, value in paths.items() if isinstance(value, Path)}
    changed |= {
        name: tuple(map(expanded, value))
        for name, value in paths.items()
        if isinstance(value, tuple) and value and isinstance(value[0], Path)
    }
    return replace(given, **changed)
