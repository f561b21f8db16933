"""Replaces settings in records: fields by name, and the optimizer within a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from neoteny import registry
from neoteny.errors import SettingError, UnknownNameError
from neoteny.optim.base import Optimizer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Overrides = Mapping[str, Any]

__all__ = ["Overrides", "names_of", "override", "setting_name"]


def override(record: T, values: Overrides, owner: str) -> T:
    """The record with some fields replaced; its class checks the values.

    A record that has an optimizer takes `optimizer` (a name, a mapping with a `name` and options, or an instance),
    `optimizer.betas` for a single option, and `step_size` for that of the optimizer. A new optimizer given by name
    keeps the old step size; its other options have their defaults.

    Args:
        record: a dataclass of settings, such as a benchmark, a method or an optimizer.
        values: new values by field; `step-size` is `step_size`, and so is `learning_rate`.
        owner: what the record is called in messages.

    Raises:
        UnknownNameError: it has no such field.
        SettingError: a value of the wrong kind, or outside its range.

    >>> from neoteny.optim import SGD
    >>> override(SGD(momentum=0.9), {"learning-rate": 1}, "sgd")
    SGD(step_size=1.0, momentum=0.9)
    """
    names, optimizer = [field.name for field in fields(record)], getattr(record, "optimizer", None)
    changes: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for key, value in values.items():
        name = setting_name(record, key)
        if isinstance(optimizer, Optimizer) and (name == "step_size" or name.partition(".")[0] == "optimizer"):
            inner[name.removeprefix("optimizer.")] = value
        elif name in names:
            changes[name] = _coerce(f"{owner}: {name}", value, getattr(record, name))
        else:
            raise UnknownNameError(key, names_of(record), f"setting of {owner}")
    if inner:
        assert isinstance(optimizer, Optimizer)
        changes["optimizer"] = _optimizer(optimizer, inner, owner)
    return replace(record, **changes) if changes else record


def names_of(record: Any) -> list[str]:
    """The names that `override` takes for a record."""
    names = [field.name for field in fields(record)]
    optimizer = getattr(record, "optimizer", None)
    if not isinstance(optimizer, Optimizer):
        return names
    return [*names, *(name if name == "step_size" else f"optimizer.{name}" for name in names_of(optimizer))]


def setting_name(record: Any, key: str) -> str:
    """The name of a field as people may write it: with dashes, or `learning_rate` for the step size."""
    name = str(key).replace("-", "_")
    owner, dot, setting = name.rpartition(".")
    if setting == "learning_rate" and setting not in (field.name for field in fields(record)):
        setting = "step_size"
    return setting if setting == "step_size" and owner == "optimizer" else f"{owner}{dot}{setting}"


def _optimizer(current: Optimizer, changes: dict[str, Any], owner: str) -> Optimizer:
    """The optimizer with another class, other options, or both."""
    asked = changes.pop("optimizer", current.name)
    if isinstance(asked, Mapping):
        options = {setting_name(current, key): value for key, value in asked.items()}
        asked = options.pop("name", current.name)
        changes = {**options, **changes}
    if isinstance(asked, Optimizer):
        current = asked
    elif not isinstance(asked, str):
        raise SettingError(
            f"{owner}: optimizer = {asked!r} is no optimizer; give a name, such as 'adam', a mapping with a name, or "
            "an instance, such as neoteny.optim.Adam()."
        )
    elif asked != current.name:
        cls = registry.optimizer(asked).load()
        current = cls(step_size=current.step_size)
    return override(current, changes, f"{owner}: {current.name}")


def _coerce(what: str, value: Any, usual: Any) -> Any:
    """The value in the type of the usual one: accepts 1 for 1.0, 1e6 for 1000000, and a list for a tuple."""
    if isinstance(usual, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(usual, bool):
        if not isinstance(value, bool):
            raise SettingError(f"{what} = {value!r} is not true or false; give one of these.")
    elif isinstance(usual, (int, float)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SettingError(f"{what} = {value!r} is not a number; give one, such as {usual!r}.")
        if isinstance(usual, float):
            return float(value)
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif isinstance(usual, str) and not isinstance(value, str):
        raise SettingError(f"{what} = {value!r} is not a name; give one, such as {usual!r}.")
    return value
