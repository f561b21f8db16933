"""The systems of a benchmark as their paper set them, and overrides that are checked before they are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from neoteny import registry
from neoteny.errors import SettingError, UnknownNameError
from neoteny.methods.shared.combining import refuse_impossible

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from neoteny.benchmarks.base import Benchmark, System
    from neoteny.methods.base import Method

T = TypeVar("T", bound="DataclassInstance")
Overrides = Mapping[str, Any]


def preset(cls: type[Benchmark], method: str, scale: str) -> tuple[Benchmark, tuple[Method, ...]]:
    """The benchmark and the acting methods as the paper set them for a system, `a+b` being both systems at once.

    Raises:
        UnknownNameError: there is no such system, method or scale.
        SettingError: two systems that contradict each other, or have a method in common, or methods that exclude each
            other.
    """
    parts = [_system(cls, part).at(scale) for part in method.split("+")]
    overrides: dict[str, Any] = {}
    acting: dict[str, Method] = {m.name: m for m in cls.PROTOCOL}
    for part in parts:
        for key, value in part.overrides.items():
            if overrides.setdefault(key, value) != value:
                raise SettingError(
                    f"System {method!r} would have {key} = {overrides[key]!r} and {value!r}: these cannot be combined."
                )
        for m in part.methods:
            if m in cls.PROTOCOL:
                continue
            if m.name in acting:
                whose = f"{cls.ID} has it in every system" if acting[m.name] in cls.PROTOCOL else "name each once"
                raise SettingError(f"System {method!r} has method {m.name!r} twice: {whose}.")
            acting[m.name] = m
    refuse_impossible(list(acting.values()))
    return cls.preset(scale, **overrides), tuple(acting.values())


def _system(cls: type[Benchmark], name: str) -> System:
    """A system of the benchmark; any other method counts as one, with its own defaults."""
    if name in cls.SYSTEMS:
        return cls.SYSTEMS[name]
    if name not in registry.METHODS:
        raise UnknownNameError(name, {*cls.SYSTEMS, *registry.METHODS}, "method")
    plain = next(iter(cls.SYSTEMS.values()))
    entry = registry.METHODS[name]
    return replace(plain, summary=entry.summary, methods=(entry.load()(),), overrides={})


def method_name(name: str) -> str:
    """The registered name of a method, also where it was written with underscores."""
    return registry.method(name if name in registry.METHODS else name.replace("_", "-")).name


def override(record: T, values: Overrides, owner: str) -> T:
    """The record with some fields replaced; it checks the values itself.

    Args:
        record: a dataclass of settings, such as a benchmark or a method.
        values: new values by field; `step-size` is `step_size`.
        owner: what the record is called in messages.

    Raises:
        UnknownNameError: it has no such field.
        SettingError: a value of the wrong kind, or outside its range.
    """
    names = [f.name for f in fields(record)]
    changes = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in names:
            raise UnknownNameError(key, names, f"setting of {owner}")
        changes[name] = _coerce(f"{owner}: {name}", value, getattr(record, name))
    return replace(record, **changes) if changes else record


def _coerce(what: str, value: Any, usual: Any) -> Any:
    """The value in the type of the usual one: 1 for 1.0, 1e6 for 1000000 and a list for a tuple are meant well."""
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


def axes_of(
    grid: Mapping[str, Sequence[Any]], problem: Benchmark, active: Mapping[str, Method]
) -> dict[str, list[Any]]:
    """The values that a grid tries, by the full names of the settings.

    Raises:
        UnknownNameError: there is no such setting or method.
        SettingError: a setting that cannot differ within a stack, or a value that its owner refuses.
    """
    axes: dict[str, list[Any]] = {}
    for key, values in grid.items():
        *owner, setting = str(key).split(".", 1)
        name = setting.replace("-", "_")
        if owner:
            method = method_name(owner[0])
            if method not in active:
                raise SettingError(
                    f"grid: {key} varies method {method!r}, which this system does not have; leave it out."
                )
            record, title, varies = active[method], method, type(active[method]).varies
            full = f"{method}.{name}"
        else:
            record, title, varies, full = problem, problem.ID, type(problem).VARIES, name
        if name not in varies:
            if name not in (f.name for f in fields(record)):
                raise UnknownNameError(setting, varies, f"setting of {title}")
            raise SettingError(
                f"grid: {key} cannot differ between the runs of one stack (of {title} these can: "
                f"{', '.join(varies) or 'none'}); start one run for each value."
            )
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise SettingError(f"grid: {key} = {values!r} is not a list of values; give one or more.")
        if full in axes:
            raise SettingError(f"grid: {full} is given twice; give all its values at once.")
        axes[full] = [getattr(override(record, {name: value}, title), name) for value in values]
    return axes
