"""One tidy table of all that the sweep has finished.

One row a run and quantity:

    benchmark, scale, metric    what the run was on, and what it was judged by
    row, kind                   the row of the leaderboard
    phase                       tuning, reporting, or left out (then `settings` is the reason)
    point, settings             the point of the grid: its number, and its settings as `name=value, ...`
    chosen                      whether these settings were chosen
    seed                        of the run
    quantity, value             see `neoteny.leaderboard.reading.Numbers`
    made_with                   versions, processor and commit

The bytes depend only on the runs, not on when or in which parts they were made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import polars as pl

from neoteny import registry
from neoteny.leaderboard.reading import Numbers, read_numbers
from neoteny.leaderboard.rows import LeaderboardRow
from neoteny.leaderboard.sweep import Phase, Plan, PlannedStack, choice, left_out
from neoteny.report.files import write
from neoteny.report.leaderboard.board import COLUMNS, SORT
from neoteny.report.runs.settings import format_number

__all__ = ["collect", "write_table"]

TUNED = ("mean", "first", "last")
"""Quantities that are recorded of the tuning."""


def collect(plan: Plan, rows: Sequence[LeaderboardRow]) -> pl.DataFrame:
    """The table of what is finished, on any benchmark.

    Args:
        plan: how the table was made.
        rows: of the table, in any order.

    Raises:
        RunFolderError: a folder holds other runs, or cannot be used.
    """
    frames = [pl.DataFrame(schema=COLUMNS)]
    refused = left_out(plan)
    for name in registry.BENCHMARKS:
        for row in rows:
            if (name, row.name) in refused:
                frames.append(_refusal(plan, name, row, refused[name, row.name]))
            elif _begun(plan, name, row):
                frames += [_tidy(stack, numbers, chosen) for stack, numbers, chosen in _finished(plan, name, row)]
    return pl.concat(frames).sort(SORT, nulls_last=True)


def write_table(frame: pl.DataFrame, path: Path) -> Path:
    """Write the table as Parquet, equal tables as equal bytes."""
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(buffer, compression="zstd", row_group_size=2**18)
    return write(path, buffer.getvalue())


def _begun(plan: Plan, benchmark: str, row: LeaderboardRow) -> bool:
    """Whether there may be a folder of the row; its method is imported only then."""
    return any(any((plan.where(phase) / benchmark).glob(f"{row.system}*")) for phase in get_args(Phase)) and row.on(
        registry.benchmark(benchmark).load()
    )


def _finished(
    plan: Plan, benchmark: str, row: LeaderboardRow
) -> Iterator[tuple[PlannedStack, Numbers, Mapping[str, Any]]]:
    """The row's finished stacks with what was chosen."""
    chosen: Mapping[str, Any] | None = {}
    tuning = plan.tuning(benchmark, row)
    if tuning is not None:
        chosen = None
        if tuning.finished:
            numbers = read_numbers(tuning.folder)
            chosen = choice(numbers)
            yield tuning, numbers, chosen
    reporting = plan.reporting(benchmark, row)
    if chosen is not None and reporting is not None and reporting.finished:
        yield reporting, read_numbers(reporting.folder), chosen


def _tidy(stack: PlannedStack, numbers: Numbers, chosen: Mapping[str, Any]) -> pl.DataFrame:
    points = numbers.points if stack.phase == "tuning" else [chosen]
    quantities = TUNED if stack.phase == "tuning" else tuple(numbers.values)
    made_with = _made_with(numbers.frame.provenance)
    rows = [
        {
            "benchmark": stack.benchmark,
            "scale": stack.config.scale,
            "metric": numbers.metric,
            "row": stack.row.name,
            "kind": stack.row.kind,
            "phase": stack.phase,
            "point": int(point),
            "settings": ", ".join(f"{key}={format_number(value)}" for key, value in points[point].items()),
            "chosen": points[point] == chosen,
            "seed": seed,
            "quantity": quantity,
            "value": float(numbers.values[quantity][run]),
            "made_with": made_with,
        }
        for run, (point, seed) in enumerate(zip(numbers.point, numbers.frame.seeds, strict=True))
        for quantity in quantities
    ]
    return pl.DataFrame(rows, schema=COLUMNS)


def _refusal(plan: Plan, benchmark: str, row: LeaderboardRow, reason: str) -> pl.DataFrame:
    known = {"benchmark": benchmark, "scale": plan.scale, "row": row.name, "kind": row.kind}
    return pl.DataFrame([known | {"phase": "left out", "settings": reason}], schema=COLUMNS)


def _made_with(provenance: Mapping[str, Any]) -> str:
    """Packages, processor and commit of a run."""
    packages = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    commit = str(provenance.get("git_commit") or "unknown")
    return (
        f"{packages}; commit {commit[:12]}{'+' * commit.endswith('+')}; {provenance.get('cpu', 'an unknown processor')}"
    )
