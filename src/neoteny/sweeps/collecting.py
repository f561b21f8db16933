"""One tidy table of all that the sweep has finished.

One row a run and quantity:

    benchmark, scale, metric    what the run was on, and what it was judged by
    row, kind                   the row of the leaderboard
    phase                       tuning, reporting, or left out (then `settings` is the reason)
    point, settings             the point of the grid: its number, and its settings as `name=value, ...`
    chosen                      whether these settings were chosen
    seed                        of the run
    quantity, value             see `neoteny.sweeps.reading.Numbers`
    made_with                   versions, processor and commit

The bytes depend only on the runs, not on when or in which parts they were made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from neoteny import registry
from neoteny.report.files import write
from neoteny.report.leaderboard.board import COLUMNS, SORT
from neoteny.report.runs.settings import format_number
from neoteny.sweeps.planning import Plan, PlannedStack, left_out
from neoteny.sweeps.reading import Numbers
from neoteny.sweeps.rows import Row
from neoteny.sweeps.searching import Point

__all__ = ["collect", "joined", "whole", "write_table"]

TUNED = ("mean", "first", "last")
"""Quantities that are recorded of the tuning."""


def collect(plan: Plan, rows: Sequence[Row]) -> pl.DataFrame:
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
            found = [*_finished(plan, name, row)] if _begun(plan, name, row) else []
            # a refusal counts until the row has been run after all
            if (name, row.name) in refused and not any(stack.phase == "reporting" for stack, *_ in found):
                frames.append(_refusal(plan, name, row, refused[name, row.name]))
                continue
            places: dict[str, int] = {}  # of points, over all batches
            frames += [_tidy(*one, places) for one in found]
    return pl.concat(frames).sort(SORT, nulls_last=True)


def whole(table: pl.DataFrame, plan: Plan) -> set[tuple[str, str]]:
    """The benchmarks and rows that a table has reported, at the plan's scale and with as many runs or more.

    Args:
        table: from `collect`, perhaps of another machine.
        plan: how the table is made.
    """
    reported = table.filter(pl.col("phase") == "reporting", pl.col("scale") == plan.scale)
    runs = reported.group_by("benchmark", "row").agg(pl.col("seed").n_unique())
    return {(benchmark, row) for benchmark, row, seeds in runs.iter_rows() if seeds >= plan.runs}


def joined(table: pl.DataFrame, known: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """A table, and what another one has that it has not: nothing of the other one is lost but what was run again.

    Args:
        table: from `collect`.
        known: another one of the same scale. Its rows with fewer runs than the plan's, and what could not be run there,
            are kept where the table has nothing reported.
        plan: how the table is made.
    """
    reported = _pairs(table, "reporting")
    pairs = (whole(known, plan) - whole(table, plan)) | (_pairs(known, "reporting") - reported)
    pairs |= _pairs(known, "left out") - _pairs(table, "left out") - reported
    if not pairs:
        return table
    keys = ["benchmark", "row"]
    other = pl.DataFrame(sorted(pairs), schema=keys, orient="row")
    kept = known.join(other, on=keys, how="semi")
    return pl.concat([table.join(other, on=keys, how="anti"), kept]).sort(SORT, nulls_last=True)


def _pairs(table: pl.DataFrame, phase: str) -> set[tuple[str, str]]:
    """The benchmarks and rows of which a table has something in a phase."""
    return set(table.filter(pl.col("phase") == phase).select("benchmark", "row").unique().iter_rows())


def write_table(frame: pl.DataFrame, path: Path) -> Path:
    """Write the table as Parquet, equal tables as equal bytes."""
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(buffer, compression="zstd", row_group_size=2**18)
    return write(path, buffer.getvalue())


def _begun(plan: Plan, benchmark: str, row: Row) -> bool:
    """Whether there may be a folder of the row; the benchmark is imported only then."""
    where = plan.out / plan.scale
    if not any(where.glob(f"*/{benchmark}")):
        return False
    cls = registry.benchmark(benchmark).load()
    return row.on(cls) and any(where.glob(f"*/{benchmark}/{row.system_on(cls)}*"))


def _finished(plan: Plan, benchmark: str, row: Row) -> Iterator[tuple[PlannedStack, Numbers, Point]]:
    """The row's finished stacks with what was chosen."""
    chosen = plan.chosen(benchmark, row)
    if chosen is not None:
        for stack in plan.finished(benchmark, row):
            yield stack, stack.numbers(), chosen


def _tidy(stack: PlannedStack, numbers: Numbers, chosen: Point, places: dict[str, int]) -> pl.DataFrame:
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
            "point": places.setdefault(_said(stack.points[point]), len(places)) if stack.phase == "tuning" else 0,
            "settings": _said(stack.points[point]),
            "chosen": stack.points[point] == chosen,
            "seed": seed,
            "quantity": quantity,
            "value": float(numbers.values[quantity][run]),
            "made_with": made_with,
        }
        for run, (point, seed) in enumerate(zip(numbers.point, numbers.frame.seeds, strict=True))
        for quantity in quantities
    ]
    return pl.DataFrame(rows, schema=COLUMNS)


def _said(point: Point) -> str:
    return ", ".join(f"{key}={format_number(value)}" for key, value in point.items())


def _refusal(plan: Plan, benchmark: str, row: Row, reason: str) -> pl.DataFrame:
    known = {"benchmark": benchmark, "scale": plan.scale, "row": row.name, "kind": row.kind}
    return pl.DataFrame([known | {"phase": "left out", "settings": reason}], schema=COLUMNS)


def _made_with(provenance: Mapping[str, Any]) -> str:
    """Packages, processor and commit of a run."""
    packages = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    commit = str(provenance.get("git_commit") or "unknown")
    later = [str(one.get("git_commit") or "unknown")[:12] for one in provenance.get("resumed", [])]
    return (
        f"{packages}; commit {commit[:12]}{'+' * commit.endswith('+')}{''.join(f', then {one}' for one in later)}; "
        f"{provenance.get('cpu', 'an unknown processor')}"
    )
