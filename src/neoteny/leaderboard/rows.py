"""The rows of the table: references, optimizers, every registered method, and a few named variants of methods.

Every row chooses its step size together with its own settings: from `POINTS` points that spread evenly over their
ranges, and half as many again where the best of them lies at an end (`neoteny.sweeps.widening`). Ranges span the values
that a method declares (`Method.grid`).

The first setting is always the step size. It is chosen from a range around the benchmark's own, or around an
optimizer's default where this is another one than the benchmark's. Its values are so the same for all rows of an
optimizer: a method that does nothing has the scores of plain backpropagation to the bit, which the page says.

Where a benchmark has a system of a row's name, its paper's settings of the method are taken that are not chosen; the
optimizer stays plain backpropagation's (the paper gives Adam on the robot averages of equal length with a method).
Elsewhere a method joins what plain backpropagation has there, such as the weight decay of class-incremental CIFAR-100.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neoteny import registry
from neoteny.checks import is_number
from neoteny.errors import SettingError, UnknownNameError
from neoteny.sweeps.rows import Row
from neoteny.sweeps.rows import find as find_rows
from neoteny.sweeps.searching import Range
from neoteny.sweeps.widening import Bounds, Widening

if TYPE_CHECKING:
    from neoteny.lab.benchmark import Benchmark

__all__ = ["BENCHMARKS", "POINTS", "LeaderboardRow", "benchmarks", "find", "rows", "spread", "step_sizes"]

BENCHMARKS = (
    "slowly-changing-regression",
    "online-permuted-mnist",
    "label-permuted-mnist",
    "trainability",
    "continual-imagenet",
    "incremental-cifar100",
    "slippery-half-cheetah",
    "shuffled-labels",
)
"""In the order of the page; those that have the scale of the table are its benchmarks."""
POINTS = 12
"""The points that every row tries, before its range is widened."""
REACH = 20
"""Step sizes are tried from so small a part of the usual one to so many times it."""

Values = Range | Sequence[Any]


@dataclass(frozen=True)
class LeaderboardRow(Row):
    """One way of learning, whose settings are chosen.

    Attributes:
        axes: values of its own settings to choose from; None for those that the method declares.
    """

    axes: Mapping[str, Values] | None = field(default=None, hash=False)

    def system_on(self, benchmark: type[Benchmark]) -> str:
        """Its system, with the methods of plain backpropagation where the benchmark has some and no system for the row.

        >>> from neoteny.benchmarks.incremental_cifar100 import IncrementalCIFAR100
        >>> [row.system_on(IncrementalCIFAR100) for row in find(["redo", "cbp", "l2"])]
        ['l2', 'cbp', 'backprop+redo']
        """
        base = {method.name for method in benchmark.SYSTEMS["backprop"].methods}
        alone = not base or self.system in benchmark.SYSTEMS or self.system in base
        return self.system if alone else f"backprop+{self.system}"

    def settings_on(self, benchmark: type[Benchmark]) -> dict[str, Any]:
        """The optimizer is plain backpropagation's, also where the paper gave a method another one.

        >>> from neoteny.benchmarks.slippery_ant import SlipperyHalfCheetah
        >>> [row.settings_on(SlipperyHalfCheetah) for row in find(["tuned-adam", "cbp"])]
        [{'optimizer': 'adam', 'optimizer.betas': (0.99, 0.99)}, {'optimizer.betas': (0.9, 0.999)}]
        """
        system, usual = (
            benchmark.SYSTEMS.get(self.system, benchmark.SYSTEMS["backprop"]),
            benchmark.preset("paper").optimizer,
        )
        paper = (name.removeprefix("optimizer.") for name in system.overrides if name.startswith("optimizer."))
        return {**{f"optimizer.{name}": getattr(usual, name) for name in paper}, **self.settings}

    def search(self, benchmark: str, scale: str) -> Widening:
        """As many points as every other row's."""
        space = self.space(benchmark, scale)
        return Widening(space, POINTS, self.bounds(space))

    def space(self, benchmark: str, scale: str) -> dict[str, Values]:
        """What is chosen: the step size, then its own settings, by their full names.

        >>> LeaderboardRow("l2", "l2").space("trainability", "table")["l2.strength"]
        Range(low=1e-05, high=0.01, log=True, whole=False, near_one=False)
        """
        own = self.axes
        if own is None:
            method = registry.METHODS[self.system].load()
            own = {f"{self.system}.{name}": spread(values) for name, values in method.grid.items()}
        return {"step_size": step_sizes(benchmark, scale, self.settings.get("optimizer", "")), **own}

    def bounds(self, space: Mapping[str, Values]) -> dict[str, Bounds]:
        """How far the range of each setting could be made longer before the method refuses a value."""
        found = {}
        for full, values in space.items():
            owner, _, name = full.rpartition(".")
            if isinstance(values, Range) and owner in registry.METHODS:
                given = dict(self.methods.get(owner, {}))
                low, high = (_allowed(owner, name, values, end, given) for end in (-0.5, 1.5))
                found[full] = (low, high)
        return found


@functools.cache
def step_sizes(benchmark: str, scale: str, optimizer: str = "") -> Range:
    """The range that the rows of an optimizer choose their step size from.

    Args:
        benchmark: a name or an id.
        scale: of the benchmark.
        optimizer: its name; by default the benchmark's own.

    >>> step_sizes("online-permuted-mnist", "table"), step_sizes("online-permuted-mnist", "table", "adam")
    (Range(low=0.0015, high=0.6, log=True, ...), Range(low=5e-05, high=0.02, log=True, ...))
    """
    own = registry.benchmark(benchmark).load().preset(scale).optimizer
    usual = own if optimizer in ("", own.name) else registry.optimizer(optimizer).load()()
    low, high = (float(f"{usual.step_size * factor:.5g}") for factor in (1 / REACH, REACH))
    return Range(low, high, log=True)


def spread(values: Sequence[Any]) -> Values:
    """What lies between some values: a range; or the values, where they are no numbers or there is only one.

    >>> spread((1e-4, 1e-3, 1e-2))
    Range(low=0.0001, high=0.01, log=True, whole=False, near_one=False)
    >>> spread((0.9, 0.99, 0.999)).near_one, spread((100, 1000)).whole, spread((0.4, 0.6)).log
    (True, True, False)
    >>> spread((0.0, 1e-3, 1e-2))
    (0.0, 0.001, 0.01)
    """
    if len(set(values)) < 2 or not all(is_number(value) for value in values):
        return tuple(values)
    low, high = min(values), max(values)
    whole = all(isinstance(value, int) for value in values)
    if low > 0 and not whole and high < 1 and (1 - low) / (1 - high) >= 3 and high / low < 3:
        return Range(low, high, near_one=True)
    if low > 0:
        return Range(low, high, log=high / low >= 3, whole=whole)
    least = min(value for value in values if value > 0)
    return Range(low, high, whole=whole) if high / least < 10 else tuple(values)  # from 0 there are no magnitudes


def _allowed(system: str, name: str, values: Range, end: float, given: Mapping[str, Any]) -> float:
    """The value furthest beyond an end of a range, up to that at `end`, that a method takes."""
    last = values.low if end < 0 else values.high
    whole = 0.0 if end < 0 else 1.0
    method = registry.METHODS[system].load()
    for part in (1.0, 0.5, 0.25, 0.1):
        value = values.at(whole + part * (end - whole))
        try:
            method(**{**given, name: value})
        except SettingError:
            continue
        return value
    return last


ADAM = {"optimizer": "adam"}
REFERENCES = (
    LeaderboardRow("backprop", "backprop", "reference", axes={}),
    LeaderboardRow("linear", "linear", "reference", axes={}),
)
OPTIMIZERS = (
    LeaderboardRow("momentum", "backprop", "optimizer", settings={"optimizer.momentum": 0.9}, axes={}),
    LeaderboardRow("adam", "backprop", "optimizer", settings=ADAM, axes={}),
    LeaderboardRow(
        "adamw",
        "backprop",
        "optimizer",
        settings={"optimizer": "adamw"},
        axes={"optimizer.weight_decay": Range(1e-4, 1.0, log=True)},
    ),
    LeaderboardRow("tuned-adam", "backprop", "optimizer", settings={**ADAM, "optimizer.betas": (0.99, 0.99)}, axes={}),
    LeaderboardRow("muon", "backprop", "optimizer", settings={"optimizer": "muon"}, axes={}),
)


def _variant(name: str, of: str, axes: Mapping[str, Sequence[Any]] | None = None, **settings: Any) -> LeaderboardRow:
    """A method with some settings changed; `axes` are values of its own settings."""
    full = None if axes is None else {f"{of}.{setting}": spread(values) for setting, values in axes.items()}
    return LeaderboardRow(name, of, registry.METHODS[of].kind, methods={of: settings}, axes=full)


VARIANTS = (
    _variant("weight-decay", "l2", decoupled=True),
    _variant("shrink-and-perturb-at-task", "shrink-and-perturb", {"shrink": (0.4, 0.95)}, when="at_task"),
    _variant("swr-magnitude", "swr", utility="magnitude"),
    _variant("swr-threshold", "swr", {"factor": (0.01, 0.3), "period": (128, 2048)}, selection="threshold"),
    _variant("upgd-local", "upgd", scope="local"),
    _variant("upgd-second-order", "upgd", order=2),
    _variant("upgd-units", "upgd", level="unit"),
    _variant("upgd-non-protecting", "upgd", protecting=False),
)


def rows() -> tuple[LeaderboardRow, ...]:
    """All rows, in the order in which they are run: first those that the others are compared with.

    >>> [row.name for row in rows()][:4]
    ['backprop', 'linear', 'momentum', 'adam']
    """
    methods = [
        LeaderboardRow(entry.name, entry.name, entry.kind, axes={} if entry.kind == "architecture" else None)
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


def benchmarks(names: Sequence[str] = (), scale: str = "table") -> tuple[str, ...]:
    """Ids of the benchmarks of these names, in the table's order; without names, all of them that have the scale.

    Raises:
        UnknownNameError: there is no such benchmark, or none has the scale.

    >>> benchmarks(["slowly-changing-regression"])
    ('slowly-changing-regression-v1',)
    >>> len(benchmarks()), len(benchmarks(scale="fast"))
    (7, 4)
    """
    known = list(map(registry.benchmark, names or BENCHMARKS))
    found = [entry.name for entry in known if names or scale in entry.load().SCALES]
    if not found:
        raise UnknownNameError(scale, {one for entry in known for one in entry.load().SCALES}, "scale of the table")

    def place(name: str) -> int:
        base = name.rpartition("-v")[0]
        return BENCHMARKS.index(base) if base in BENCHMARKS else len(BENCHMARKS)

    return tuple(sorted(dict.fromkeys(found), key=place))
