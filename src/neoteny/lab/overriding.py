"""Replaces settings in records: fields by name, and the optimizer within a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from neoteny import registry
from neoteny.checks import shown
from neoteny.errors import SettingError, UnknownNameError
from neoteny.kinds import kinds
from neoteny.optim.base import Optimizer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Overrides = Mapping[str, Any]

__all__ = ["Overrides", "named_once", "names_of", "override", "setting_name"]


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
    for name, value in named_once(record, values, owner).items():
        if isinstance(optimizer, Optimizer) and (name == "step_size" or name.partition(".")[0] == "optimizer"):
            inner[name.removeprefix("optimizer.")] = value
        elif name in names:
            kind, _ = kinds(type(record)).get(name, (None, None))
            if kind is not None:
                value = kind.convert(value)
                kind.require(owner, name, value, getattr(record, name))
            changes[name] = value
        else:
            raise UnknownNameError(name, names_of(record), f"setting of {owner}")
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


def named_once(record: Any, values: Overrides, owner: str) -> dict[str, Any]:
    """Values by the names of the fields (`setting_name`).

    Raises:
        SettingError: these are no settings, or one is given under two names, as `step-size` beside `step_size`.
    """
    if not isinstance(values, Mapping):
        raise SettingError(f"{owner}: {shown(values)} is not settings; give a mapping of names to values.")
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = setting_name(record, key)
        if name in found:
            raise SettingError(f"{owner}: {name} is given twice, the second time as {key!r}; give it once.")
        found[name] = value
    return found


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
        options = named_once(current, asked, owner)
        asked = options.pop("name", current.name)
        changes = {**options, **changes}
    if isinstance(asked, Optimizer):
        current = asked
    elif not isinstance(asked, str):
        raise SettingError(
            f"{owner}: optimizer = {shown(asked)} is no optimizer; give a name, such as 'adam', a mapping with a name, "
            "or an instance, such as neoteny.optim.Adam()."
        )
    elif asked != current.name:
        cls = registry.optimizer(asked).load()
        current = cls(step_size=current.step_size)
    return override(current, changes, f"{owner}: {current.name}")
