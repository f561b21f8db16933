"""What a table of the registry is: entries by name, those of other packages included."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from neoteny.errors import NeotenyError, SettingError

__all__ = ["TRAINERS", "Entry", "Table", "import_target", "registered", "target_of"]

TRAINERS = {"examples": "neoteny.lab.supervised:Supervised", "agents": "neoteny.rl.training:Reinforcement"}
"""The classes that train a benchmark's runs, by the kind of the benchmark: learners from examples, or agents."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_RESERVED = ("optimizer", "benchmark", "running")
registered: dict[str, Any] = {}
"""Classes that were registered while this program runs, by target."""


@dataclass(frozen=True)
class Entry:
    """A class that has a name here.

    Attributes:
        name: what users call it.
        target: where its class lives, as `module:Class`.
        summary: one line on what it does.
        source: the publication it comes from.
        kind: for a method its stage (see `neoteny.methods.shared.order`); for a benchmark a key of `TRAINERS`.
        trainer: for a benchmark the class that trains it, if it is not the usual one of its kind.
    """

    name: str
    target: str
    summary: str
    source: str
    kind: str = ""
    trainer: str = ""

    def load(self) -> Any:
        """Import the module and return the class."""
        return registered[self.target] if self.target in registered else import_target(self.target)

    def load_trainer(self) -> Any:
        """The class that trains a stack of runs of this benchmark; see `neoteny.lab.training.Training`."""
        return import_target(self.trainer or TRAINERS[self.kind or "examples"])


def import_target(target: str) -> Any:
    """What `module:Class` names.

    Raises:
        ImportError: there is no such module.
        AttributeError: it has no such class.
    """
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


class Table(Mapping[str, Entry]):
    """Entries by name: those of this package, those of installed packages, and those that were registered.

    Iterating over names imports nothing; an entry of an installed package is imported when it is looked up.

    Args:
        kind: what it holds, for messages.
        base: the class that all of them derive from, as `module:Class`.
        attribute: the class attribute that holds the name.
        group: the group of entry points.
        entries: the entries of this package.
        sort: the class attribute that holds the kind of an entry, where there are kinds.
    """

    def __init__(self, kind: str, base: str, attribute: str, group: str, *entries: Entry, sort: str = ""):
        self.kind, self.base, self.attribute, self.group, self._sort = kind, base, attribute, group, sort
        self._own = {entry.name: entry for entry in entries}
        self._added: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        if name in self._own:
            return self._own[name]
        if name not in self._added and name in self._installed:
            self._import(name)
        return self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._own, *self._installed, *self._added]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._added or name in self._installed

    def __repr__(self) -> str:
        return f"<{len(self)} entries: {', '.join(self)[:1_000]}>"

    def everywhere(self, name: str) -> bool:
        """Whether every program on this machine finds the name: this package or an installed one has it."""
        return name in self._own or name in self._installed

    def add(self, entry: Entry) -> None:
        """Add an entry; it replaces an earlier entry of the same class.

        Raises:
            SettingError: the name belongs to another class, or is not allowed.
        """
        there = self._own.get(entry.name) or self._added.get(entry.name)
        if there is not None and there.target != entry.target:
            raise SettingError(
                f"{entry.target} cannot be the {self.kind} {entry.name!r}, which is already {there.target}: "
                f"give it another {self.attribute}."
            )
        if not _NAME.fullmatch(entry.name) or entry.name in _RESERVED:
            raise SettingError(
                f"{entry.target} cannot be the {self.kind} {entry.name!r}: a name has small letters, digits and single "
                f"dashes, and is none of {', '.join(_RESERVED)}; give it another {self.attribute}."
            )
        self._added[entry.name] = entry

    def remove(self, name: str) -> None:
        """Forget what was registered under a name."""
        registered.pop(self._added.pop(name).target, None)

    def holds(self, cls: Any) -> bool:
        """Whether a class is one of those that belong here."""
        return self.base in [target_of(base) for base in getattr(cls, "__mro__", ())]

    def describe(self, cls: Any, summary: str = "", source: str = "", trainer: str = "") -> Entry:
        """The entry that a class makes by itself; a class without a name gets one made from its class name."""
        if not getattr(cls, self.attribute, ""):
            setattr(cls, self.attribute, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower())
        said = " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
        summary = summary or said.partition(". ")[0].rstrip(".")
        kind = getattr(cls, self._sort, "") if self._sort else ""
        return Entry(getattr(cls, self.attribute), target_of(cls), summary, source, kind, trainer)

    @cached_property
    def _installed(self) -> Mapping[str, importlib.metadata.EntryPoint]:
        found = importlib.metadata.entry_points(group=self.group)
        return {point.name: point for point in found if point.name not in self._own}

    def _import(self, name: str) -> None:
        point = self._installed[name]
        package = point.dist.name if point.dist else point.module
        cure = f"put the package {package} right, or uninstall it"
        try:
            cls = point.load()
        except Exception as error:  # another package's code may raise anything
            raise NeotenyError(
                f"The {self.kind} {name!r} of {package} cannot be imported ({type(error).__name__}: {error}): {cure}."
            ) from error
        if not self.holds(cls) or getattr(cls, self.attribute, None) != name:
            raise NeotenyError(
                f"{point.value} is no {self.kind} with the {self.attribute} {name!r} of its entry point: {cure}."
            )
        if name not in self._added:  # else importing it has registered it
            self.add(self.describe(cls))


def target_of(cls: type) -> str:
    """Where a class lives, as `module:Class`."""
    return f"{cls.__module__}:{cls.__qualname__}"
