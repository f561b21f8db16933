"""`neoteny sweep`: rows with grids or search spaces on any benchmarks, tuned and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from neoteny.cli.options import Strategy
from neoteny.cli.own import console_for, named
from neoteny.cli.placing import Placing
from neoteny.cli.reading import read_options
from neoteny.errors import NeotenyError, Stopped

if TYPE_CHECKING:
    from neoteny.sweeps.file import SweepFile
    from neoteny.sweeps.planning import Plan

__all__ = ["main"]

TABLE, TEXT = "table.parquet", "table.txt"


@dataclass(frozen=True)
class SweepOptions(Placing):
    """Choose each row's settings on seeds of their own, run the chosen ones on others, and make the table.

    Run any part of it, and stop it whenever you like. What is finished is not run again; each call adds to the table.
    """

    file: Annotated[Path, tyro.conf.Positional] = Path("sweep.yaml")
    """a YAML file that says benchmarks, rows, grids and seeds (see docs/clusters.md)"""
    out: Path = Path("runs/sweep")
    """where run folders and the table go"""
    row: str = ""
    """only these rows, with commas between"""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps or auto"""
    strategy: Strategy = "auto"
    """how the runs of a stack are computed"""
    no_compile: tyro.conf.FlagCreatePairsOff[bool] = False
    """do not compile chunks of steps; those of the scale tiny never are"""
    threads: int = 1
    """CPU threads for each stack"""
    data_dir: Path | None = None
    """folder of data sets; otherwise NEOTENY_DATA, or they are downloaded once"""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """list the rows and their state, and stop"""


def main(arguments: Sequence[str]) -> None:
    """Run what is missing, then write and print the table."""
    options = read_options(SweepOptions, arguments, "neoteny sweep")
    from neoteny.lab.execution import Execution
    from neoteny.sweeps.file import read_sweep
    from neoteny.sweeps.planning import Plan

    execution = Execution(
        strategy=options.strategy,
        device=options.device,
        compile=False if options.no_compile else None,
        threads=options.threads,
        data_dir=options.data_dir and str(options.data_dir),
        mirror=options.mirror,
    )
    said = read_sweep(options.file, named)
    plan = Plan(out=options.out, scale=said.scale, runs=said.runs, tuning_runs=said.tuning_runs)
    if options.dry_run:
        _list(plan, said)
        return
    from neoteny.report.files import write
    from neoteny.sweeps.collecting import collect, write_table
    from neoteny.sweeps.rows import find
    from neoteny.sweeps.running import run
    from neoteny.sweeps.showing import as_text

    rows = find([name.strip() for name in options.row.split(",") if name.strip()], said.rows)
    try:
        failures = run(
            plan, said.benchmarks, rows, options.place(), execution, retries=options.retries, budget=said.budget
        )
    except KeyboardInterrupt as error:
        raise Stopped("the same command goes on from here") from error
    frame = collect(plan, said.rows)
    text = as_text(frame)
    print(text)
    print(write_table(frame, plan.out / plan.scale / TABLE))
    print(write(plan.out / plan.scale / TEXT, text.encode()))
    if failures:
        listed = "\n".join(f"{row} on {benchmark}: {reason.strip()}" for (benchmark, row), reason in failures.items())
        raise NeotenyError(f"{len(failures)} rows could not be run; the others are finished.\n{listed}")


def _list(plan: Plan, said: SweepFile) -> None:
    from rich import box
    from rich.table import Table

    from neoteny import registry

    console = console_for(160)
    for name in said.benchmarks:
        table = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("row", "points", "tuned", "chosen", "reported"):
            table.add_column(heading)
        for row in said.rows:
            if not row.on(registry.benchmark(name).load()):
                table.add_row(row.name, "-", "-", "not on this benchmark", "-")
                continue
            tuning, chosen, most = plan.tuning(name, row), plan.chosen(name, row), row.search(name, plan.scale).most
            reporting = plan.reporting(name, row)
            table.add_row(
                row.name,
                str(most or "-"),
                "-" if tuning is None else f"{len(tuning.points)} of {most}",
                ", ".join(f"{key}={value}" for key, value in (chosen or {}).items()) or "-",
                f"{plan.runs} runs" if reporting is not None and reporting.finished else "-",
            )
        console.print(table)
