"""What methods cost: eagerly, by the bench of overhead; compiled, by the runs of the table; and what was not run.

The latter two come from a small file beside the table, one record a benchmark and row, as JSON. `neoteny leaderboard`
writes into it what its finished runs took of a core, and with `--plan` what is left.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

import polars as pl

from neoteny.errors import RunFolderError
from neoteny.registry import METHODS
from neoteny.report.files import write
from neoteny.report.leaderboard.board import BASE, Board
from neoteny.report.statistics.cell import markdown_table

__all__ = ["COSTED", "USUAL", "Cost", "Costs", "Known", "not_run", "read_costs", "read_run_costs", "write_run_costs"]

COSTED = ("17-64-64-6, 64", "784-3x100-10, 32")
"""The networks of `bench/overhead.py` on which every method is measured."""
USUAL = {"cbp, 0.0001": "cbp"}
"""Rows of `bench/overhead.py` with a method's default settings, where there are others."""

Known = Literal["recorded", "measured", "compared"]
"""By finished stacks; by a few segments; or by how the row compares with others on other benchmarks."""
MARKS: Mapping[Known, str] = {"recorded": "", "measured": "", "compared": " ~"}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a row costs on a benchmark.

    Attributes:
        benchmark: id.
        row: its name.
        seconds: of a core, for a run.
        begin: likewise, before a stack trains: data are read, graphs compiled.
        known: how.
        memory: bytes that a run keeps between steps: weights, the state of optimizer and methods; None if unknown.
        runs: how many of its runs are left.
        hours: core-hours of these.
    """

    benchmark: str
    row: str
    seconds: float
    begin: float = 0.0
    known: Known = "recorded"
    memory: int | None = None
    runs: int = 0
    hours: float = 0.0


def write_run_costs(costs: Iterable[Cost], path: Path) -> Path:
    """Write them, one a line."""
    lines = ",\n".join(f"  {json.dumps(asdict(cost))}" for cost in costs)
    return write(path, f"[\n{lines}\n]\n".encode())


def read_run_costs(path: Path) -> list[Cost]:
    """What `write_run_costs` wrote; nothing where there is no file.

    Raises:
        RunFolderError: it cannot be used.
    """
    if not path.exists():
        return []
    known = {one.name for one in fields(Cost)}
    try:
        return [
            Cost(**{key: value for key, value in one.items() if key in known})
            for one in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{path} holds no costs of runs ({error}): write it anew by `neoteny leaderboard`."
        ) from error


@dataclass(frozen=True)
class Costs:
    """What rows cost, for the tables of the page.

    Attributes:
        eager: seconds a step of a user's loop relative to backpropagation, by row.
        runs: what runs of the table took.
    """

    eager: Mapping[str, float] = field(default_factory=dict)
    runs: Sequence[Cost] = ()

    def cells(self, row: str, benchmarks: Sequence[str]) -> tuple[str, str, str]:
        """Eager, compiled, and memory, in words.

        >>> costs = [Cost(benchmark="a", row="backprop", seconds=2.0), Cost(benchmark="a", row="l2", seconds=3.0)]
        >>> Costs({"l2": 1.25}, costs).cells("l2", ["a"])
        ('1.25', '1.50', '-')
        """
        eager, compiled = self.eager.get(row), self._relative(row, benchmarks, "seconds")
        kept = self._relative(row, benchmarks, "memory")
        scratch = f" + {METHODS[row].load().memory[1]:g}" if row in METHODS else ""
        return _said(eager), _said(compiled), _said(kept) + scratch * (kept is not None)

    def _relative(self, row: str, benchmarks: Sequence[str], of: Literal["seconds", "memory"]) -> float | None:
        """The geometric mean over benchmarks of what finished runs took relative to backpropagation's."""
        taken = {(one.benchmark, one.row): getattr(one, of) for one in self.runs if one.known == "recorded"}
        found = [(taken.get((name, row)), taken.get((name, BASE))) for name in benchmarks]
        ratios = [mine / base for mine, base in found if mine and base]
        return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def _said(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def read_costs(path: Path) -> dict[str, float]:
    """Seconds a step relative to backpropagation, by row; empty where nothing was measured.

    Args:
        path: the table of `bench/overhead.py`; used are its figures of gradient descent on the networks in `COSTED`,
            of which the mean is geometric.

    Raises:
        RunFolderError: it cannot be used.
    """
    if not path.exists():
        return {}
    try:
        frame = pl.read_parquet(path.read_bytes()).filter(optimizer="SGD").filter(pl.col("network").is_in(COSTED))
        frame = frame.select(pl.col("method").replace(USUAL), pl.col("best").cast(pl.Float64))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunFolderError(f"{path} is no table of costs ({error}): measure them anew, or delete it.") from error
    means = frame.group_by("method").agg(pl.col("best").log().mean().exp())
    return dict(sorted(means.iter_rows()))


def not_run(board: Board, costs: Iterable[Cost]) -> list[str]:
    """The section of the page that says what was not run and what it would take; nothing if all was run."""
    left = [cost for cost in costs if cost.runs and cost.row not in board.rows(cost.benchmark)]
    if not left:
        return []
    names = list(dict.fromkeys(cost.benchmark for cost in left))
    hours = {(cost.benchmark, cost.row): f"{cost.hours:.2g}{MARKS[cost.known]}" for cost in left}
    lines = [("row", *names), ("---", *["---:"] * len(names))]
    lines += [
        (row, *(hours.get((name, row), "") for name in names)) for row in dict.fromkeys(cost.row for cost in left)
    ]
    totals = [sum(cost.hours for cost in left if cost.benchmark == name) for name in names]
    return [
        "## What was not run",
        "Core-hours that these rows would take, points beyond the ends of ranges included, by a few segments of a "
        "stack; ~ by how a row compares with others on other benchmarks. `neoteny leaderboard --plan` says it.",
        markdown_table([*lines, ("**together**", *(f"**{total:.3g}**" for total in totals))]),
    ]
