"""Settings that make no sense are refused at once, and the message shows the value."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any, Literal

from neoteny.errors import SettingError
from neoteny.testing.comparing import Violation, expect
from neoteny.testing.contract.base import check
from neoteny.testing.trial import Trial


@check("once")
def bad_settings_are_refused(trial: Trial) -> None:
    """A setting that makes no sense is taken, and the mistake shows after hours of training or never.

    A field whose `metadata` names some of the values tried here under `accepts` may take them.
    """
    assert trial.method is not None
    hints = _hints(type(trial.method))
    for field in dataclasses.fields(trial.method):
        for bad in _bad_values(field, hints.get(field.name, type(getattr(trial.method, field.name)))):
            given = {**trial.method.settings(), field.name: bad}
            cure = "check it in __post_init__, say with neoteny.checks.require_fraction"
            expected = f"a SettingError that names {field.name} and shows {bad!r}"
            try:
                type(trial.method)(**given)
            except SettingError as error:
                words = str(error)
                expect(field.name in words and repr(bad) in words, expected, f"the message {words!r}")
            except Exception as error:
                raise Violation(expected, f"{type(error).__name__}: {error}; {cure}") from error
            else:
                raise Violation(expected, f"{field.name}={bad!r} is taken; {cure}")


def _bad_values(field: dataclasses.Field[Any], hint: Any) -> list[Any]:
    options = set(typing.get_args(hint)) or {hint}
    if typing.get_origin(hint) is Literal:
        return ["no such choice"]
    if not options & {int, float}:
        return []
    least = -1 if int in options else -1.0
    accepted = field.metadata.get("accepts", ())
    return [bad for bad in (math.nan, math.inf, least, "0.1") if bad not in accepted]


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except NameError:  # an annotation for type checkers alone: the values' own types must do
        return {}
