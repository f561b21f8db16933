"""What a `config.yaml` must have, and the classes that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from neoteny import registry
from neoteny.errors import SettingError, UnknownNameError
from neoteny.lab.benchmark import Benchmark
from neoteny.lab.former_names import SCHEMA
from neoteny.lab.overriding import override
from neoteny.lab.presets import Classes
from neoteny.methods.base import Method
from neoteny.optim.base import Optimizer

__all__ = ["by_part", "import_class", "made", "optimizer_of", "own_methods", "require_whole_file", "target_of"]

T = TypeVar("T")


def target_of(owner: Any) -> str:
    """Where to import a class that another program would not find by its name; empty if it would find it."""
    entry = registry.entry_of(type(owner))
    return "" if registry.table_of(type(owner)).everywhere(entry.name) else entry.target


def own_methods(targets: Mapping[str, str]) -> dict[str, type[Method]]:
    """The classes of a file's methods that are not registered, by name."""
    names = {key.removeprefix("methods."): target for key, target in targets.items() if key.startswith("methods.")}
    return {
        name: import_class(target, f"method {name!r}") for name, target in names.items() if name not in registry.METHODS
    }


def by_part(own: Mapping[str, type[Method]], benchmark: type[Benchmark]) -> Classes:
    """Classes by the part of a system's name that stands for each; see `neoteny.lab.presets.asked`."""
    return {(kind.__name__ if name in benchmark.SYSTEMS else name): kind for name, kind in own.items()}


def made(cls: type[T]) -> T:
    """An instance with its defaults."""
    try:
        return cls()
    except TypeError as error:
        raise SettingError(
            f"{cls.__name__} cannot be made without arguments ({error}): give each of its settings a default."
        ) from error


def optimizer_of(content: Mapping[str, Any]) -> Optimizer | dict[str, Any]:
    """The optimizer that a file states: its name and options, or an instance of a class that is not registered."""
    stated = dict(content["optimizer"])
    target = content["classes"].get("optimizer")
    if target is None or stated.get("name") in registry.OPTIMIZERS:
        return stated
    name = stated.pop("name", "")
    return override(made(import_class(target, f"optimizer {name!r}")), stated, name)


def import_class(target: str, what: str) -> Any:
    """A class that a file names."""
    try:
        return registry.import_target(target)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"The {what} is not registered, and its class {target} cannot be imported ({error}): define it at the top "
            "level of an importable module, or register it with @neoteny.register first."
        ) from error


def require_whole_file(content: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Refuse missing and unknown keys, and values of the wrong type."""
    for key in content:
        if key not in keys:
            raise UnknownNameError(key, keys, "key in config.yaml")
    missing = [name for name in keys if name not in content]
    if missing:
        raise SettingError(f"config.yaml has no {', '.join(missing)}: it is incomplete, or not written by neoteny.")
    if content["schema"] != SCHEMA:
        raise SettingError(
            f"config.yaml has schema {content['schema']!r}, this version of neoteny reads up to {SCHEMA}: "
            "use the version that wrote it (see provenance.json)."
        )
    kinds = {"seed": int, "runs": int, "schema": int, "seeds": list, "benchmark": str, "scale": str, "method": str}
    for name in keys:
        kind = kinds.get(name, Mapping)
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            raise SettingError(f"config.yaml: {name} is {content[name]!r}, which has the wrong type: restore the file.")
