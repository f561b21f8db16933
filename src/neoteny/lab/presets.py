"""The systems of a benchmark as their paper set them, and the values that a grid tries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from neoteny import registry
from neoteny.checks import shown
from neoteny.errors import SettingError, UnknownNameError
from neoteny.lab.overriding import names_of, override, setting_name
from neoteny.methods.base import Method
from neoteny.methods.shared.combining import refuse_impossible

if TYPE_CHECKING:
    from neoteny.lab.benchmark import Benchmark, System

__all__ = ["Asked", "asked", "axes_of", "method_name", "preset"]

Classes = Mapping[str, type[Method]]
NONE: Classes = MappingProxyType({})


@dataclass(frozen=True)
class Asked:
    """A system that was asked for, by name, by instances of methods, or by both.

    Attributes:
        name: of the system; `cbp+l2` is both at once.
        instances: the methods that were given as instances, by their names.
        classes: their classes, by the part of `name` that stands for each.
    """

    name: str
    instances: Mapping[str, Method] = field(default_factory=dict)
    classes: Classes = field(default_factory=dict)


def asked(cls: type[Benchmark], method: str | Method | Sequence[str | Method]) -> Asked:
    """What an argument `method` asks for.

    An instance means this method alone, while a system of the benchmark with the method's name may have more methods
    and settings. If there is such a system, the instance is called by the name of its class.

    Raises:
        SettingError: it is neither a name nor a method, nor a list of these.
    """
    names: list[str] = []
    instances: dict[str, Method] = {}
    classes: dict[str, type[Method]] = {}
    for part in method if isinstance(method, Sequence) and not isinstance(method, str) else [method]:
        if isinstance(part, str):
            names.append(part)
            continue
        if not isinstance(part, Method):
            raise SettingError(
                f"method = {shown(part)} is no method: give a name, such as 'cbp', an instance, such as "
                "neoteny.ContinualBackprop(), or a list of these."
            )
        entry = registry.entry_of(type(part))
        if entry.name in instances:
            raise SettingError(f"Method {entry.name!r} was given twice: name each once.")
        names.append(type(part).__name__ if entry.name in cls.SYSTEMS else entry.name)
        instances[entry.name], classes[names[-1]] = part, type(part)
    if not names:
        raise SettingError("No method was given: name at least one, such as backprop.")
    return Asked("+".join(names), instances, classes)


def preset(
    cls: type[Benchmark], method: str, scale: str, classes: Classes = NONE
) -> tuple[Benchmark, tuple[Method, ...]]:
    """The benchmark and the acting methods as the paper set them for a system, `a+b` being both systems at once.

    Args:
        cls: the benchmark.
        method: the system.
        scale: `paper`, `small` or `tiny`.
        classes: the classes of methods that are not registered, by the part of `method` that stands for each.

    Raises:
        UnknownNameError: there is no such system, method or scale.
        SettingError: two systems contradict each other or have a method in common, or methods exclude each other.
    """
    overrides, acting = system_of(cls, method, scale, classes)
    return cls.preset(scale, **overrides), acting


def system_of(
    cls: type[Benchmark], method: str, scale: str, classes: Classes = NONE
) -> tuple[dict[str, Any], tuple[Method, ...]]:
    """The settings of the benchmark that a system changes, and its methods; see `preset`."""
    parts = [_system(cls, part, classes).at(scale) for part in method.split("+")]
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
    return overrides, tuple(acting.values())


def _system(cls: type[Benchmark], name: str, classes: Classes) -> System:
    """A system of the benchmark; any other method counts as one, with its own defaults."""
    if name in classes:
        return _alone(cls, classes[name], registry.entry_of(classes[name]).summary)
    if name in cls.SYSTEMS:
        return cls.SYSTEMS[name]
    entry = registry.METHODS.get(name) or _by_class(name)
    if entry is None:
        raise UnknownNameError(name, {*cls.SYSTEMS, *registry.METHODS}, "method")
    return _alone(cls, entry.load(), entry.summary)


def _alone(cls: type[Benchmark], method: type[Method], summary: str) -> System:
    """The system that has one method, with its defaults, and nothing else."""
    plain = next(iter(cls.SYSTEMS.values()))
    try:
        return replace(plain, summary=summary, methods=(method(),), overrides={}, scaled={})
    except TypeError as error:
        raise SettingError(
            f"{method.__name__} cannot be made without arguments ({error}): give each of its settings a default."
        ) from error


def _by_class(name: str) -> registry.Entry | None:
    """The registered method whose class has this name."""
    if not re.fullmatch(r"[A-Z]\w*", name):
        return None
    return next((one for one in registry.METHODS.values() if one.target.partition(":")[2] == name), None)


def method_name(name: str) -> str:
    """The registered name of a method, which may be written with underscores."""
    return registry.method(name if name in registry.METHODS else name.replace("_", "-")).name


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
        owner, _, setting = setting_name(problem, key).rpartition(".")
        if owner in ("", "optimizer") and (owner or setting == "step_size"):
            record, title, varies = problem.optimizer, problem.optimizer.name, type(problem.optimizer).varies
            full = setting if setting == "step_size" else f"optimizer.{setting}"
        elif owner:
            method = next((name for name in active if name.replace("-", "_") == owner), None) or method_name(owner)
            if method not in active:
                raise SettingError(
                    f"grid: {key} varies method {method!r}, which this system does not have; leave it out."
                )
            record, title, varies = active[method], method, type(active[method]).varies
            setting = setting_name(record, setting)
            full = f"{method}.{setting}"
        else:
            varies = ("step_size", *getattr(problem, "VARIES", ()))
            record, title, full = problem, problem.ID, setting
        if setting not in varies:
            if setting not in (one.name for one in fields(record)):
                raise UnknownNameError(setting, {*varies, *names_of(record)}, f"setting of {title}")
            raise SettingError(
                f"grid: {key} cannot differ between the runs of one stack (of {title} these can: "
                f"{', '.join(varies) or 'none'}); start one run for each value."
            )
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise SettingError(f"grid: {key} = {shown(values)} is not a list of values; give one or more.")
        if full in axes:
            raise SettingError(f"grid: {full} is given twice; give all its values at once.")
        axes[full] = [getattr(override(record, {setting: value}, title), setting) for value in values]
    return axes
