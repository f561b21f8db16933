"""The rows of the table: references, optimizers, every registered method, and a few named variants of methods.

A row has the benchmark's step size, unless its grid varies it: the grids of other optimizers do, and those of other
architectures, which may turn non-finite with the benchmark's step size. Grids are declared with the methods
(`Method.grid`), the weakest value first, and have at most `MOST_POINTS` points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from neoteny import registry
from neoteny.errors import SettingError
from neoteny.sweeps.rows import Row
from neoteny.sweeps.rows import find as find_rows
from neoteny.sweeps.searching import Grid

__all__ = ["BENCHMARKS", "MOST_POINTS", "LeaderboardRow", "benchmarks", "find", "rows"]

BENCHMARKS = ("slowly-changing-regression", "online-permuted-mnist", "trainability", "shuffled-labels")
"""The fast benchmarks, in the order of the page."""
MOST_POINTS = 6
"""The most points of a grid: with five tuning seeds these are as many runs as are reported."""
STEPS_OF_SGD = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
STEP_SIZES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
MUONS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
"""Step sizes of Muon; its Adam for input and output layers has 0.015 of them."""


@dataclass(frozen=True)
class LeaderboardRow(Row):
    """One way of learning, with a small grid.

    Attributes:
        axes: values to choose from, by setting; None for the grid that the method declares.
    """

    axes: Mapping[str, tuple[Any, ...]] | None = field(default=None, hash=False)

    def search(self) -> Grid:
        """All of its grid."""
        return Grid(self.grid)

    @property
    def grid(self) -> dict[str, tuple[Any, ...]]:
        """Values to choose from, by the full name of the setting; empty where there is nothing to choose.

        Raises:
            SettingError: more than `MOST_POINTS` points.

        >>> LeaderboardRow("adam", "backprop", "optimizer", axes={"step_size": (1e-4, 1e-3)}).grid
        {'step_size': (0.0001, 0.001)}
        """
        axes = self.axes
        if axes is None:
            axes = {f"{self.system}.{name}": values for name, values in self._method.grid.items()}
        points = prod(len(values) for values in axes.values())
        if points > MOST_POINTS:
            raise SettingError(
                f"The grid of {self.name} has {points} points: leave values out until {MOST_POINTS} remain."
            )
        return dict(axes)

    @property
    def _method(self) -> Any:
        return registry.METHODS[self.system].load()


REFERENCES = (
    LeaderboardRow("backprop", "backprop", "reference", axes={}),
    LeaderboardRow("linear", "linear", "reference", axes={}),
)
OPTIMIZERS = (
    LeaderboardRow("tuned-sgd", "backprop", "optimizer", axes={"step_size": STEPS_OF_SGD}),
    LeaderboardRow("adam", "adam", "optimizer", axes={"step_size": STEP_SIZES}),
    LeaderboardRow("tuned-adam", "tuned-adam", "optimizer", axes={"step_size": STEP_SIZES}),
    LeaderboardRow("muon", "muon", "optimizer", axes={"step_size": MUONS}),
)


def _variant(name: str, of: str, axes: Mapping[str, tuple[Any, ...]] | None = None, **settings: Any) -> LeaderboardRow:
    """A method with some settings changed; `axes` are axes of its own settings."""
    full = None if axes is None else {f"{of}.{setting}": values for setting, values in axes.items()}
    return LeaderboardRow(name, of, registry.METHODS[of].kind, methods={of: settings}, axes=full)


VARIANTS = (
    _variant("weight-decay", "l2", decoupled=True),
    _variant(
        "shrink-and-perturb-at-task", "shrink-and-perturb", {"shrink": (0.95, 0.9, 0.8, 0.6, 0.4)}, when="at_task"
    ),
    _variant("swr-magnitude", "swr", utility="magnitude"),
    _variant("swr-threshold", "swr", {"factor": (0.01, 0.1, 0.3), "period": (2048, 128)}, selection="threshold"),
    _variant("upgd-local", "upgd", scope="local"),
    _variant("upgd-second-order", "upgd", order=2),
    _variant("upgd-units", "upgd", level="unit"),
    _variant("upgd-non-protecting", "upgd", protecting=False),
)


def rows() -> tuple[LeaderboardRow, ...]:
    """All rows, in the order in which they are run: first those that the others are compared with.

    >>> [row.name for row in rows()][:4]
    ['backprop', 'linear', 'tuned-sgd', 'adam']
    """
    own = {"architecture": {"step_size": STEPS_OF_SGD}}
    methods = [
        LeaderboardRow(entry.name, entry.name, entry.kind, axes=own.get(entry.kind))
        for entry in registry.METHODS.values()
    ]
    found = [*REFERENCES, *OPTIMIZERS]
    for row in methods:
        found += [row, *(variant for variant in VARIANTS if variant.system == row.system)]
    return tuple(found)


def find(names: Sequence[str]) -> tuple[LeaderboardRow, ...]:
    """The rows of these names, in the table's order; without names, all of them.

    Raises:
        UnknownNameError: there is no such row.

    >>> [row.name for row in find(["cbp", "backprop"])]
    ['backprop', 'cbp']
    """
    return find_rows(names, rows())


def benchmarks(names: Sequence[str] = ()) -> tuple[str, ...]:
    """Ids of the benchmarks of these names, in the table's order; without names, all its benchmarks.

    Raises:
        UnknownNameError: there is no such benchmark.

    >>> benchmarks(["slowly-changing-regression"])
    ('slowly-changing-regression-v1',)
    """
    found = [registry.benchmark(name).name for name in names or BENCHMARKS]

    def place(name: str) -> int:
        base = name.rpartition("-v")[0]
        return BENCHMARKS.index(base) if base in BENCHMARKS else len(BENCHMARKS)

    return tuple(sorted(dict.fromkeys(found), key=place))
