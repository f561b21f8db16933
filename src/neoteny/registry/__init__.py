"""All methods, optimizers and benchmarks as data, for the command line, the documentation and the contract tests.

An `Entry` names a class without importing it, so listing is fast. Names of benchmarks have a version, which changes
when results would change; a name without a version means the newest.

You add a class of your own with `@neoteny.register`, or as an entry point of an installed package, in the group
`neoteny.methods`, `neoteny.optimizers` or `neoteny.benchmarks`:

    [project.entry-points."neoteny.methods"]
    mine = "mypackage.mine:Mine"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, overload

from neoteny.errors import SettingError, UnknownNameError
from neoteny.registry.benchmarks import BENCHMARKS
from neoteny.registry.methods import METHODS
from neoteny.registry.optimizers import OPTIMIZERS
from neoteny.registry.table import TRAINERS, Entry, Table, import_target, registered

__all__ = [
    "BENCHMARKS",
    "METHODS",
    "OPTIMIZERS",
    "TRAINERS",
    "Entry",
    "Table",
    "base_and_version",
    "benchmark",
    "entry_of",
    "import_target",
    "method",
    "optimizer",
    "register",
    "resolve",
    "table_of",
    "typed",
]

T = TypeVar("T", bound=type)

_VERSION = re.compile(r"(?P<base>.+)-v(?P<version>\d+)")


def base_and_version(name: str) -> tuple[str, int]:
    """A name without its version, and the version; 0 where it has none.

    >>> base_and_version("trainability-v1"), base_and_version("mine")
    (('trainability', 1), ('mine', 0))
    """
    match = _VERSION.fullmatch(name)
    return (match["base"], int(match["version"])) if match else (name, 0)


def resolve(name: str, table: Mapping[str, Entry], kind: str = "name") -> Entry:
    """The entry of a name; of the newest version if the name has none.

    Args:
        name: a name of the table, or such a name without its `-v<number>`.
        table: `METHODS`, `BENCHMARKS` or one like them.
        kind: what the table holds, for the error message.

    Raises:
        UnknownNameError: the name is unknown; the message suggests similar names.

    >>> resolve("online-permuted-mnist", BENCHMARKS).name
    'online-permuted-mnist-v1'
    """
    if name in table:
        return table[name]
    versions = [other for other in table if base_and_version(other)[0] == name]
    if not versions:
        raise UnknownNameError(name, table, kind)
    return table[max(versions, key=lambda other: base_and_version(other)[1])]


def method(name: str) -> Entry:
    """The method of that name.

    >>> method("cbp").target
    'neoteny.methods.continual_backprop:ContinualBackprop'
    """
    return resolve(name, METHODS, "method")


def benchmark(name: str) -> Entry:
    """The benchmark of that id, or the newest version of that name.

    >>> benchmark("slowly-changing-regression").name
    'slowly-changing-regression-v1'
    """
    return resolve(name, BENCHMARKS, "benchmark")


def optimizer(name: str) -> Entry:
    """The optimizer of that name.

    >>> optimizer("adamw").target
    'neoteny.optim.adamw:AdamW'
    """
    return resolve(name, OPTIMIZERS, "optimizer")


@overload
def register(cls: T, /) -> T: ...
@overload
def register(*, name: str = "", summary: str = "", source: str = "", trainer: str = "") -> Callable[[T], T]: ...
def register(cls: Any = None, /, *, name: str = "", summary: str = "", source: str = "", trainer: str = "") -> Any:
    """Give your own method, optimizer or benchmark a name that the laboratory and the command line know.

    A decorator of the class, above `@dataclass`, with or without arguments. A program knows the name after it has
    imported the module. For `neoteny run`, name the class as an entry point of an installed package.

    Args:
        cls: a subclass of `neoteny.methods.Method`, `neoteny.optim.Optimizer` or `neoteny.lab.benchmark.Benchmark`.
        name: what it is called; by default its `name` (or `ID`), else the class's name as in `my-method`.
        summary: one line on what it does; by default the first sentence of its docstring.
        source: the publication it comes from.
        trainer: for a benchmark the class that trains it, as `module:Class`, if it is not the usual one.

    Raises:
        SettingError: the class is none of these, or the name is taken.

    >>> from dataclasses import dataclass
    >>> from neoteny.methods import Method
    >>> @register(source="nowhere yet")
    ... @dataclass(frozen=True, kw_only=True)
    ... class SleepOverIt(Method):
    ...     "Do nothing, slowly."
    ...     hours: float = 8.0
    >>> method("sleep-over-it").summary, METHODS["sleep-over-it"].load() is SleepOverIt
    ('Do nothing, slowly', True)
    >>> METHODS.remove("sleep-over-it")
    """
    if cls is None:
        return partial(register, name=name, summary=summary, source=source, trainer=trainer)
    table = table_of(cls)
    if name:
        setattr(cls, table.attribute, name)
    entry = table.describe(cls, summary, source, trainer)
    table.add(entry)
    registered[entry.target] = cls
    return cls


def typed(name: str, table: Table) -> str:
    """What a command of another program knows a name by: MODULE:CLASS where only this program has registered it.

    >>> typed("trainability", BENCHMARKS), typed("linear", METHODS)
    ('trainability', 'linear')
    """
    try:
        entry = resolve(name, table)
    except UnknownNameError:  # a system of a benchmark
        return name
    return name if table.everywhere(entry.name) else entry.target


def table_of(cls: Any) -> Table:
    """The table that a class belongs to.

    Raises:
        SettingError: it belongs to none.
    """
    for table in (METHODS, OPTIMIZERS, BENCHMARKS):
        if table.holds(cls):
            return table
    bases = ", ".join(table.base.replace(":", ".") for table in (METHODS, OPTIMIZERS, BENCHMARKS))
    raise SettingError(f"{cls!r} is no method, optimizer or benchmark: derive the class from one of {bases}.")


def entry_of(cls: type) -> Entry:
    """The entry of a class, registered or not.

    Raises:
        SettingError: the class is no method, optimizer or benchmark, or has the name of another one.
    """
    table = table_of(cls)
    entry = table.describe(cls)
    there = table.get(entry.name)
    if there is None:
        return entry
    if there.target != entry.target:
        raise SettingError(
            f"{entry.target} is called {entry.name!r}, like {there.target}: give it another {table.attribute}."
        )
    return there
