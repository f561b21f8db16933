"""`neoteny results`: what runs came to, as tables and paired comparisons; `run` and `resume` end with the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from neoteny.cli.own import console_for
from neoteny.cli.reading import read_options

if TYPE_CHECKING:
    from neoteny.lab import RunStack
    from neoteny.report import FinalTable

__all__ = ["main", "show"]


@dataclass(frozen=True)
class ResultsOptions:
    """Tables of runs: how each system did at first and at last, and how far from another one, seed by seed."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER...]")] = (Path("runs"),)
    """run folders, or folders above them"""
    against: str | None = None
    """the system that the others are compared with: paired differences on the same seeds, with p-values"""
    metric: str | None = None
    """what the table is about; by default the accuracy, the return of agents, or else the loss"""
    window: int | None = None
    """examples (steps of an agent) at the beginning and at the end; by default a tenth of the stream"""
    format: Literal["text", "markdown", "latex", "csv", "all-numbers"] = "text"
    """text; Markdown; LaTeX for the package booktabs; CSV of the table; or CSV of every recorded number"""
    out: Path | None = None
    """write it here; otherwise it is printed"""


def main(arguments: Sequence[str]) -> None:
    """Print the tables, or write them and print where they are."""
    options = read_options(ResultsOptions, arguments, "neoteny results")
    from neoteny.report import final_table, load
    from neoteny.report.files import write

    runs = load(*options.folders)
    for problem in runs.problems:
        print(f"left out: {problem}", file=sys.stderr)
    if options.format == "all-numbers":
        text = runs.to_frame().write_csv()
    else:
        tables = [final_table(group, options.metric, window=options.window) for group in runs]
        if options.against is not None:
            tables = [table.against(options.against) for table in tables]
        if options.format == "text" and options.out is None:
            return _print(tables)
        text = _written(tables, options.format)
    print(text.rstrip() if options.out is None else write(options.out, text.encode()))


def _written(tables: Sequence[FinalTable], format: str) -> str:
    import polars as pl
    from rich.console import Console

    if format == "csv":
        return pl.concat([table.frame() for table in tables], how="diagonal_relaxed").write_csv()
    if format == "text":
        console = Console(width=120)
        with console.capture() as shown:
            for table in tables:
                console.print(table.rich())
        return shown.get()
    return "\n".join(table.latex() + "\n" if format == "latex" else table.markdown() for table in tables)


def _print(tables: Sequence[FinalTable]) -> None:
    from neoteny.report.page.sentences import beside

    console = console_for(120)
    for table in tables:
        console.print(table.rich())
        for name, found in table.beside.items():
            console.print(beside(name, found, table, table.base), markup=False, highlight=False)


def show(runs: Sequence[RunStack], window: int | None = None) -> None:
    """Print a table of each benchmark and scale, and the run folders.

    Args:
        runs: the stacks that were run.
        window: examples at the beginning and at the end that are compared; None for a tenth of the stream.
    """
    from neoteny.report import final_table, load

    _print([final_table(group, window=window) for group in load(*(run.folder for run in runs))])
    for line in dict.fromkeys(line for run in runs for line in _data(run)):
        print(line)
    for run in runs:
        print(run.folder)


def _data(run: RunStack) -> list[str]:
    """Which data a run used, and how the benchmark was adapted to it."""
    from neoteny.lab.folder import RunFolder

    said = RunFolder(run.folder).read_provenance().get("data")
    if not isinstance(said, dict):
        return []
    return [f"data: {said.get('source')}", *([f"adapted: {said['adapted']}"] if "adapted" in said else [])]
