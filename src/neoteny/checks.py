"""Checks of settings and keywords. Their errors name the value, the cause and the cure.

Methods, benchmarks and optimizers are dataclasses that call these in `__post_init__`. A message names the record by its
`ID` if it has one (benchmarks), otherwise by its class.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from neoteny.errors import CheckpointError, SettingError, UnknownNameError

P = ParamSpec("P")
T = TypeVar("T")

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = _SHORT.maxlong = 60

__all__ = [
    "expanded",
    "is_finite",
    "is_number",
    "is_zero",
    "known_keywords",
    "refuse",
    "require",
    "require_at_least_one",
    "require_choice",
    "require_count",
    "require_fraction",
    "require_nonnegative",
    "require_positive",
    "require_probability",
    "require_state_of",
    "said_choice",
    "shown",
    "title",
]


def require(record: object, name: str, condition: bool, range_: str) -> None:
    """Refuse the setting `name` of a record unless the condition holds; `range_` says what it should be.

    Raises:
        SettingError: the condition does not hold.
    """
    if not condition:
        said = f"{name} = {shown(getattr(record, name))} is not {range_}"
        raise SettingError(f"{title(record)}: {said}; give a value that is {range_}.")


def refuse(owner: str, name: str, value: object, said: str, usual: object = None) -> NoReturn:
    """Say that a setting should be something else; `usual` is an example."""
    example = "" if usual is None else f", such as {usual!r}"
    raise SettingError(f"{owner}: {name} = {shown(value)} is not {said}; give {said}{example}.")


def shown(value: object) -> str:
    """A value for a message, however large or broken it is.

    >>> shown(0.5), shown(10**9), shown([1] * 1000)
    ('0.5', '1000000000', '[1, 1, 1, 1, 1, 1, ...]')
    """
    try:
        return _SHORT.repr(value)
    except Exception:  # a whole number of thousands of digits, or a class that cannot show itself
        return f"a {type(value).__name__}"


def require_choice(record: object, name: str, choices: Sequence[str]) -> None:
    """The setting is one of `choices`."""
    value = getattr(record, name)
    if value not in choices:
        raise SettingError(f"{title(record)}: {said_choice(name, value, choices)}")


def said_choice(name: str, value: object, choices: Sequence[Any]) -> str:
    """That a value is none of the choices, and which is near."""
    near = (
        difflib.get_close_matches(value, [one for one in choices if isinstance(one, str)], n=1)
        if isinstance(value, str)
        else []
    )
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{name} = {shown(value)} is unknown; {hint}give one of {list(choices)}."


def require_fraction(record: object, *names: str) -> None:
    """Each setting lies in [0, 1]."""
    for name in names:
        value = getattr(record, name)
        require(record, name, is_number(value) and 0 <= value <= 1, "a number in [0, 1]")


def require_probability(record: object, *names: str) -> None:
    """Each setting lies in [0, 1)."""
    for name in names:
        value = getattr(record, name)
        require(record, name, is_number(value) and 0 <= value < 1, "a probability in [0, 1)")


def require_nonnegative(record: object, *names: str) -> None:
    """Each setting is a finite number >= 0."""
    for name in names:
        value = getattr(record, name)
        require(record, name, is_finite(value) and value >= 0, "a finite number >= 0")


def require_positive(record: object, *names: str) -> None:
    """Each setting is a finite number > 0."""
    for name in names:
        value = getattr(record, name)
        require(record, name, is_finite(value) and value > 0, "a finite number > 0")


def require_count(record: object, *names: str, least: int = 0) -> None:
    """Each setting is a whole number >= `least`."""
    for name in names:
        value = getattr(record, name)
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        require(record, name, whole, f"a whole number >= {least}")


def require_at_least_one(none: bool = False, **numbers: object) -> None:
    """Each number, an argument of this name, is a whole one of at least 1; with `none` it may be None.

    Raises:
        SettingError: it is something else.

    >>> require_at_least_one(none=True, frames=3, pixels=None)
    """
    for name, value in numbers.items():
        if not (none and value is None) and (not isinstance(value, Integral) or value < 1):
            raise SettingError(f"{name} = {value!r}: it must be a whole number of at least 1.")


def require_state_of(state: Mapping[str, Any], name: str) -> None:
    """A saved state is of the environment of this name, if it says of which it is: those of earlier versions do not.

    Raises:
        CheckpointError: it is of another one.

    >>> require_state_of({"name": "breakout"}, "breakout")
    """
    if state.get("name", name) != name:
        raise CheckpointError(f"the state is of {state['name']}, this is {name}: make what it was saved in.")


def is_number(value: object) -> bool:
    """Whether a setting is a number, and neither a truth value nor NaN.

    >>> is_number(0.5), is_number(float("inf")), is_number(True), is_number("1")
    (True, True, False, False)
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def is_finite(value: object) -> bool:
    """Whether a setting is a finite number."""
    return is_number(value) and -math.inf < value < math.inf  # type: ignore[operator] - also of huge whole numbers


def is_zero(value: object) -> bool:
    """Whether a setting is the number 0, and not a tensor: then its term is left out."""
    return isinstance(value, (int, float)) and value == 0


def expanded(path: str | Path) -> Path:
    """A path in which `~` is the home directory.

    Raises:
        SettingError: it names none, or is a URL.
    """
    if re.match(r"[A-Za-z][\w+.-]+:/", str(path)):  # a Path makes one slash of two
        raise SettingError(f"{path} is a URL, not a folder: give one of this machine, and the URL to --mirror.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SettingError(f"{path} names no folder ({error}): write it out from the root.") from error


def title(record: object) -> str:
    """What a record is called in messages."""
    return getattr(record, "ID", None) or type(record).__name__


def known_keywords(*records: type) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator: an unknown keyword argument is an error that suggests similar names.

    Args:
        records: dataclasses whose fields are keywords, too.

    Raises:
        UnknownNameError: by the function, for an unknown keyword.

    >>> @known_keywords()
    ... def run(benchmark, *, method="backprop"):
    ...     return method
    >>> run("x", methood="cbp")
    Traceback (most recent call last):
    ...
    neoteny.errors.UnknownNameError: There is no argument of run called 'methood'. Did you mean 'method'? ...
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        parameters = inspect.signature(function).parameters.values()
        known = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        known |= {field.name for record in records for field in dataclasses.fields(record)}

        @functools.wraps(function)
        def checked(*arguments: P.args, **keywords: P.kwargs) -> T:
            for name in keywords:
                if name not in known:
                    raise UnknownNameError(name, known, f"argument of {function.__name__}")
            return function(*arguments, **keywords)

        return checked

    return decorate
