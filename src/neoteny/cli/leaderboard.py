"""`neoteny leaderboard`: every method on the benchmarks of the table, one row a method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from neoteny.cli.own import console_for
from neoteny.cli.placing import Placing
from neoteny.cli.reading import read_options
from neoteny.errors import NeotenyError, SettingError, Stopped

if TYPE_CHECKING:
    from polars import DataFrame

    from neoteny.report.leaderboard.board import Board
    from neoteny.report.leaderboard.costs import Cost
    from neoteny.sweeps.estimating import Estimates
    from neoteny.sweeps.planning import Plan

__all__ = ["main"]

TABLE, PAGE, FIGURE, COSTS = "leaderboard.parquet", "leaderboard.md", "leaderboard.png", "overhead.parquet"
PROFILES, RUN_COSTS = "leaderboard-profiles.png", "leaderboard-costs.json"


@dataclass(frozen=True)
class LeaderboardOptions(Placing):
    """Run every method on the benchmarks of the table, choosing hyper-parameters on seeds of their own.

    Run any part of it, and stop it whenever you like. What is finished is not run again; each call adds to the table.
    """

    method: str = ""
    """rows, with commas between; all by default (--dry-run lists them)"""
    benchmark: str = ""
    """benchmarks, with commas between; by default all of the table that have the scale"""
    scale: str = "table"
    """scale of the benchmarks; fast has small pictures and takes minutes a row"""
    runs: int = 10
    """reported runs of each row"""
    tuning_runs: int = 3
    """runs at each point that a row tries, with seeds of their own"""
    out: Path = Path("runs/leaderboard")
    """where run folders go"""
    to: Path | None = None
    """write the page, its figure and its table here, such as docs/evidence; rows that the table there has are kept, and
    not run again"""
    anew: tyro.conf.FlagCreatePairsOff[bool] = False
    """run those asked for again all the same; a table there of another scale is replaced"""
    draw: Path | None = None
    """run nothing: write page and figure again from this table, beside it or to --to"""
    device: str = "cpu"
    """cpu, cuda, cuda:1, mps or auto"""
    strategy: Literal["auto", "stack", "loop"] = "stack"
    """how the runs of a stack are computed"""
    compile: bool = True
    """compile chunks of steps; short runs finish sooner without"""
    threads: int = 1
    """CPU threads for each stack"""
    data_dir: Path | None = None
    """folder of data sets; otherwise NEOTENY_DATA, or they are downloaded once"""
    budget: float | None = None
    """core-hours; a stack that would exceed them is not begun"""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """list the stacks and their state, and stop"""
    plan: tyro.conf.FlagCreatePairsOff[bool] = False
    """say what is left in core-hours, and stop; a row of which nothing is known is tried out for some seconds"""


def main(arguments: Sequence[str]) -> None:
    """Run what is missing, then write the table and, if asked, the page."""
    options = read_options(LeaderboardOptions, arguments, "neoteny leaderboard")
    instead = {"--draw": options.draw is not None, "--dry-run": options.dry_run, "--plan": options.plan}
    if sum(instead.values()) > 1:
        given = " and ".join(name for name, asked in instead.items() if asked)
        raise SettingError(f"{given}: each of them runs nothing and says something else; give one of them.")
    if options.draw is not None:
        _redraw(options.draw, options.to or options.draw.parent)
        return
    from neoteny.lab.execution import Execution
    from neoteny.leaderboard import rows
    from neoteny.sweeps.budget import require_budget
    from neoteny.sweeps.planning import Plan

    execution = Execution(
        strategy=options.strategy,
        device=options.device,
        compile=options.compile,
        threads=options.threads,
        data_dir=options.data_dir and str(options.data_dir),
        mirror=options.mirror,
    )
    require_budget(options.budget)
    plan = Plan(out=options.out, scale=options.scale, runs=options.runs, tuning_runs=options.tuning_runs)
    benchmarks = rows.benchmarks(_names(options.benchmark), options.scale)
    chosen = rows.find(_names(options.method))
    if options.dry_run:
        _list(plan, benchmarks, chosen)
        return
    from neoteny.data.cache import locked
    from neoteny.report.leaderboard.board import Board
    from neoteny.report.leaderboard.costs import read_run_costs
    from neoteny.sweeps.collecting import collect, joined, whole, write_table
    from neoteny.sweeps.estimating import Estimates
    from neoteny.sweeps.rows import pairs_of
    from neoteny.sweeps.running import run

    known = None if options.to is None else _known(options.to / TABLE, options.scale, options.anew or options.plan)
    at_hand = set() if known is None or options.anew else whole(known, plan) & pairs_of(benchmarks, chosen).keys()
    if at_hand:
        print(f"{options.to} has {len(at_hand)} of these rows, which are not run again (--anew: they are).")
    costs_known = [] if options.to is None else read_run_costs(options.to / RUN_COSTS)
    estimates = partial(Estimates, plan, benchmarks, chosen, execution, at_hand=at_hand, known=costs_known)
    if options.plan:
        costs = _plan(estimates())
        if options.to is not None:
            _add_costs(costs, options.to)
            if (options.to / TABLE).exists():
                _redraw(options.to / TABLE, options.to)
        return
    place, limits = options.place(), {"retries": options.retries, "budget": options.budget}
    try:
        failures = run(plan, benchmarks, chosen, place, execution, at_hand=at_hand, **limits)
    except KeyboardInterrupt as error:
        raise Stopped("the same command goes on from here") from error
    frame = collect(plan, rows.rows())
    print(write_table(frame, plan.out / plan.scale / TABLE))
    if options.to is not None:
        with locked(options.to / TABLE):
            known = _known(options.to / TABLE, options.scale, options.anew)  # others may have added rows meanwhile
            frame = frame if known is None else joined(frame, known, plan)
            write_table(frame, options.to / TABLE)
            _add_costs(estimates().done(), options.to)
            _write(Board(frame), options.to)
    if failures:
        listed = "\n".join(f"{row} on {benchmark}: {reason.strip()}" for (benchmark, row), reason in failures.items())
        raise NeotenyError(f"{len(failures)} rows could not be run; the others are finished.\n{listed}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _known(table: Path, scale: str, other: bool) -> DataFrame | None:
    """A table of the scale that was written before, if there is one.

    Raises:
        SettingError: there is one of another scale, and `other` is not allowed.
    """
    from neoteny.report.leaderboard.reading import read

    if not table.exists():
        return None
    frame = read(table).frame
    others = sorted(set(frame["scale"].unique()) - {scale})
    if others and not other:
        raise SettingError(
            f"{table} is of the scale {', '.join(others)}, and {scale} is asked for: give --scale {others[0]}, another "
            "--to, or --anew to replace it."
        )
    return None if others else frame


def _redraw(table: Path, to: Path) -> None:
    """The page of a table that was written before."""
    from neoteny.report.leaderboard.reading import read

    _write(read(table), to)


def _write(board: Board, to: Path) -> None:
    """The page and its figure."""
    from neoteny.report.figures.style import render
    from neoteny.report.files import write
    from neoteny.report.leaderboard.costs import Costs, read_costs, read_run_costs
    from neoteny.report.leaderboard.figure import forest
    from neoteny.report.leaderboard.page import markdown
    from neoteny.report.leaderboard.profile import profiles

    if not board.benchmarks:
        raise SettingError("Nothing has been reported yet, so there is no page: run `neoteny leaderboard`.")
    remarks = (to / PAGE).with_suffix(".remarks.md")
    said = remarks.read_text(encoding="utf-8") if remarks.exists() else ""
    drawn = profiles(board)
    costs = Costs(read_costs(to / COSTS), read_run_costs(to / RUN_COSTS))
    text = markdown(board, costs, FIGURE, said, "" if drawn is None else PROFILES)
    print(write(to / FIGURE, render(forest(board), "png")))
    if drawn is not None:
        print(write(to / PROFILES, render(drawn, "png")))
    print(write(to / PAGE, text.encode()))


def _add_costs(costs: Iterable[Cost], to: Path) -> None:
    """Put them into the file beside the table, where they replace older ones of the same rows."""
    from neoteny.report.leaderboard.costs import read_run_costs, write_run_costs

    known = {(cost.benchmark, cost.row): cost for cost in [*read_run_costs(to / RUN_COSTS), *costs]}
    print(write_run_costs(known.values(), to / RUN_COSTS))


def _plan(estimates: Estimates) -> list[Cost]:
    """Say what is left, row by row as it becomes known, then benchmark by benchmark."""
    costs = []
    for cost in estimates.left():
        costs.append(cost)
        if cost.runs:
            took = f"{cost.seconds:.3g} s a run ({cost.known}), {cost.begin:.0f} s before each stack"
            print(
                f"{cost.benchmark} {cost.row}: at most {cost.runs} runs, {cost.hours:.2g} core-hours; {took}",
                flush=True,
            )
    for name in dict.fromkeys(cost.benchmark for cost in costs):
        mine = [cost for cost in costs if cost.benchmark == name]
        rows = sum(cost.runs > 0 for cost in mine)
        print(f"{name}: {rows} of {len(mine)} rows left, {sum(cost.hours for cost in mine):.3g} core-hours")
    print(f"All: {sum(cost.hours for cost in costs):.3g} core-hours")
    return costs


def _said(values: Any) -> str:
    """A range, or the values of a list."""
    if isinstance(values, Sequence):
        return ", ".join(f"{value:g}" for value in values)
    return f"{values.low:g} to {values.high:g}"


def _list(plan: Plan, benchmarks: Sequence[str], chosen: Sequence[Any]) -> None:
    from rich import box
    from rich.table import Table

    from neoteny import registry

    console = console_for(200)
    for name in benchmarks:
        table = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for place, heading in enumerate(("row", "tuning", "chosen", "reported")):
            table.add_column(heading, no_wrap=place in (0, 3))
        for row in chosen:
            if not row.on(registry.benchmark(name).load()):
                continue
            tuning, settings = plan.tuning(name, row), plan.chosen(name, row)
            reporting, space = plan.reporting(name, row), row.space(name, plan.scale)
            grid = "; ".join(f"{key.rpartition('.')[2]} {_said(values)}" for key, values in space.items())
            shown = ", ".join(f"{key.rpartition('.')[2]} {value:g}" for key, value in (settings or {}).items())
            table.add_row(
                row.name,
                "-" if tuning is None else f"{grid}{'' if tuning.due else ' (done)'}",
                shown or "-",
                f"{plan.runs} runs" if reporting is not None and reporting.finished else "-",
            )
        console.print(table)
