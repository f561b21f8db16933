"""Executors by name, as the command line and `neoteny.lab.compare` take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from neoteny import registry
from neoteny.checks import shown
from neoteny.errors import SettingError, UnknownNameError
from neoteny.lab.executors.protocol import Executor

__all__ = ["EXECUTORS", "executor_of"]

EXECUTORS = {
    "local": "neoteny.lab.executors.local:Local",
    "here": "neoteny.lab.executors.local:Here",
    "ray": "neoteny.lab.executors.ray:Ray",
    "slurm": "neoteny.lab.executors.slurm:Slurm",
}
"""Where each class lies."""


def executor_of(executor: str | Executor, **settings: Any) -> Executor:
    """The executor of a name, `MODULE:CLASS` for a class of your own, or an instance as it is.

    Args:
        executor: which one.
        settings: its settings; those that are None are left out.

    Raises:
        UnknownNameError: there is no such executor, or it has no such setting.
        SettingError: a class that cannot be imported or is no executor, or settings for an instance.

    >>> executor_of("local", jobs=2, gpus=None).jobs
    2
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(executor, Executor):
        if given:
            raise SettingError(
                f"{', '.join(given)} was given beside an executor: give it to {type(executor).__name__}."
            )
        return executor
    cls = _class_of(executor)
    known = {one.name for one in fields(cls)}
    for name in given:
        if name not in known:
            raise UnknownNameError(name, known, f"setting of the executor {executor}")
    return cls(**given)


def _class_of(name: str, known: Mapping[str, str] = EXECUTORS) -> type[Executor]:
    if name not in known and ":" not in name:
        raise UnknownNameError(name, known, "executor")
    target = known.get(name, name)
    try:
        cls = registry.import_target(target)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"executor = {name!r} cannot be imported ({error}): name it as MODULE:CLASS, and call from the folder "
            "with the module, or put it on PYTHONPATH."
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Executor)):
        raise SettingError(
            f"executor = {name!r} is {shown(cls)}: give a subclass of neoteny.lab.executors.Executor, such as local."
        )
    return cls
