"""Reads the options of a command, as its dataclass describes them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import tyro

from neoteny.checks import expanded
from neoteny.errors import SettingError
from neoteny.kinds import kinds

__all__ = ["parsed", "read_options"]

T = TypeVar("T")


def read_options(options: type[T], arguments: Sequence[str], command: str, **more: Any) -> T:
    """The options that were given.

    Args:
        options: a dataclass, a field an option.
        arguments: what was typed after the command.
        command: what was typed before, for the help.
        more: further arguments of `tyro.cli`.

    Raises:
        SettingError: the arguments cannot be read, a number cannot be computed with, or a path names none.
        SystemExit: the help was asked for.
    """
    given: Any = parsed(options, arguments, command, **more)
    for name, (kind, usual) in kinds(options).items():
        kind.require(command, name, getattr(given, name), usual)
    return given


def parsed(options: type[T], arguments: Sequence[str], command: str, **more: Any) -> T:
    """As `tyro.cli`, with `~` in paths as the home directory; what it says of arguments that it cannot read becomes an
    error of one line, as all ours are.

    Raises:
        SettingError: the arguments cannot be read, or a path names none.
        SystemExit: the help was asked for.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            given = tyro.cli(options, args=list(arguments), prog=command, **more)
    except SystemExit as end:
        if not end.code:
            raise
        raise SettingError(f"{_in_a_line(said.getvalue())}; `{command} --help` says what can be given.") from None
    return _with_home(given)


def _with_home(given: Any) -> Any:
    """The options, with `~` in paths as the home directory."""
    paths = {one.name: getattr(given, one.name) for one in fields(given)}
    changed: dict[str, Any] = {name: expanded(value) for name, value in paths.items() if isinstance(value, Path)}
    changed |= {
        name: tuple(map(expanded, value))
        for name, value in paths.items()
        if isinstance(value, tuple) and value and isinstance(value[0], Path)
    }
    return replace(given, **changed) if changed else given


def _in_a_line(box: str) -> str:
    r"""What tyro says in a box, in a line.

    >>> _in_a_line("╭─ Value error ──╮\n│ Error parsing --runs: invalid literal for int() with base 10: 'x' │\n╰──╯")
    "--runs: 'x' is not a whole number"
    >>> _in_a_line("Unrecognized options \n ------ \n Unrecognized options: x \n ------ \n For full helptext, ...")
    'Unrecognized options: x'
    >>> _in_a_line("invalid choice 'pongg' for argument '--game'. Expected one of ('boxing', 'pong').")
    "--game: 'pongg' is none of boxing, pong; did you mean 'pong'?"
    >>> _in_a_line("Missing value for argument '--optimizer.betas'. Expected 2 values.")
    '--optimizer.betas takes 2 values, and got fewer'
    """
    lines = [line.strip().strip("│").strip() for line in box.splitlines()]
    rules = [place for place, line in enumerate(lines) if re.match("╭|──|----", line)]  # the first is below the title
    inside = lines[rules[0] + 1 :] if rules else lines
    first = " ".join(takewhile(lambda line: not re.match("╰|──|----", line), inside))
    text = " ".join((first or box).split()).rstrip(".")
    if found := re.search(r"Error parsing (\S+?):.*(int\(\) with base 10|to float): ('.*?')", text):
        kind = "whole number" if found[2].startswith("int") else "number"
        return f"{found[1]}: {found[3]} is not a {kind}"
    if found := re.fullmatch(r"invalid choice ('.*') for argument '(.+)'\. Expected one of \((.+?),?\)", text):
        known = found[3].replace("'", "").removeprefix("None, ")
        near = get_close_matches(found[1].strip("'"), known.split(", "), n=1)
        return f"{found[2]}: {found[1]} is none of {known}" + "".join(f"; did you mean {name!r}?" for name in near)
    if found := re.fullmatch(r"Missing from .+?: (.+) \(required\)", text):
        return f"missing: {found[1]}"
    if found := re.fullmatch(r"Missing value for argument '(.+)'\. Expected (\d+) values", text):
        return f"{found[1]} has no value" if found[2] == "1" else f"{found[1]} takes {found[2]} values, and got fewer"
    return re.sub(r"^Error parsing \S+: (?=\S+: )", "", text)  # our own words for a setting
