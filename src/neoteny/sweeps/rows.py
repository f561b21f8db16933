"""What a row of a sweep is: one way of learning, with settings to choose from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from neoteny import registry
from neoteny.errors import UnknownNameError
from neoteny.sweeps.searching import Grid, Search

if TYPE_CHECKING:
    from neoteny.lab.benchmark import Benchmark

__all__ = ["Pair", "Row", "SweepRow", "find", "pairs_of"]

R = TypeVar("R", bound="Row")
Pair = tuple[str, str]
"""A benchmark and the name of a row."""


@dataclass(frozen=True)
class Row(ABC):
    """One way of learning.

    Attributes:
        name: what it is called in the table.
        system: what the laboratory calls it: a system of the benchmark, registered methods joined by `+`.
        kind: one of the registry's kinds, `reference` or `optimizer`; empty where it does not matter.
        settings: settings of the benchmark that it changes.
        methods: settings of methods that it changes.
    """

    name: str
    system: str
    kind: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    @abstractmethod
    def search(self, benchmark: str, scale: str) -> Search:
        """Which points are tried on a benchmark before the row is reported there."""

    def system_on(self, benchmark: type[Benchmark]) -> str:
        """Its system there."""
        return self.system

    def settings_on(self, benchmark: type[Benchmark]) -> dict[str, Any]:
        """The settings of the benchmark that it changes there."""
        return dict(self.settings)

    def on(self, benchmark: type[Benchmark]) -> bool:
        """Whether the benchmark has this row."""
        parts = self.system.split("+")
        return all(part in benchmark.SYSTEMS or part in registry.METHODS for part in parts)


@dataclass(frozen=True)
class SweepRow(Row):
    """A row whose search is said.

    Attributes:
        tried: which points are tried; by default none, as nothing is chosen.
    """

    tried: Search = field(default_factory=Grid, hash=False)

    def search(self, benchmark: str, scale: str) -> Search:
        """The same points everywhere."""
        return self.tried


def find(names: Sequence[str], among: Iterable[R]) -> tuple[R, ...]:
    """The rows of these names, in their own order; without names, all of them.

    Raises:
        UnknownNameError: there is no such row.

    >>> [row.name for row in find(["cbp", "l2"], [SweepRow(name, name) for name in ("l2", "redo", "cbp")])]
    ['l2', 'cbp']
    """
    known = {row.name: row for row in among}
    for name in names:
        if name not in known:
            raise UnknownNameError(name, known, "row")
    return tuple(row for name, row in known.items() if not names or name in names)


def pairs_of(benchmarks: Sequence[str], rows: Sequence[Row], at_hand: Container[Pair] = frozenset()) -> dict[Pair, Row]:
    """The rows that each benchmark has, without those that are at hand; benchmark by benchmark, in their order."""
    return {
        (name, row.name): row
        for name in benchmarks
        for row in rows
        if (name, row.name) not in at_hand and row.on(registry.benchmark(name).load())
    }
