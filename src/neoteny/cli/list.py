"""`neoteny list`: what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from neoteny import registry
from neoteny.cli.own import console_for
from neoteny.cli.reading import parsed
from neoteny.lab.benchmark import StreamBenchmark

__all__ = ["main"]


What = Literal["names", "benchmarks", "systems", "methods", "optimizers", "scales", "all"]


@dataclass(frozen=True)
class ListOptions:
    """What there is: the names of benchmarks, methods and optimizers on one screen, or a table that tells more."""

    what: Annotated[What, tyro.conf.Positional] = "names"
    """the names, one of the tables, or all of them"""


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    what = parsed(ListOptions, arguments, "neoteny list").what
    console = console_for(160)
    if what == "names":
        return _names(console)
    for name, table in (
        ("benchmarks", _benchmarks),
        ("scales", _scales),
        ("systems", _systems),
        ("methods", _methods),
        ("optimizers", _optimizers),
    ):
        if what in ("all", name):
            console.print(table())


def _names(console: Console) -> None:
    for title, table in (
        ("Benchmarks", registry.BENCHMARKS),
        ("Methods", registry.METHODS),
        ("Optimizers", registry.OPTIMIZERS),
    ):
        console.print(f"[bold]{title}[/bold] (neoteny list {title.lower()})", highlight=False)
        console.print(Padding(", ".join(table), (0, 0, 1, 2)), highlight=False)
    console.print("Also: neoteny list scales, systems, all.", highlight=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for position, column in enumerate(columns):
        table.add_column(column, no_wrap=position == 0, overflow="fold")
    return table


def _benchmarks() -> Table:
    table = _table("Benchmarks", "id", "what it is")
    for entry in registry.BENCHMARKS.values():
        table.add_row(entry.name, f"{entry.summary} [dim]({entry.source})[/dim]")
    return table


def _scales() -> Table:
    table = _table("\nScales", "benchmark", "--scale", "examples (steps of an agent)", "tasks")
    for entry in registry.BENCHMARKS.values():
        cls = entry.load()
        for place, scale in enumerate(cls.SCALES):
            preset = cls.preset(scale)
            examples = preset.steps * (preset.batch_size if isinstance(preset, StreamBenchmark) else 1)
            table.add_row("" if place else entry.name, scale, f"{examples:,}", f"{preset.tasks:,}")
    return table


def _systems() -> Table:
    table = _table("\nSystems", "benchmark\n  --method", "what it is")
    for entry in registry.BENCHMARKS.values():
        table.add_row(f"[bold]{entry.name}[/bold]", "")
        for name, system in entry.load().SYSTEMS.items():
            table.add_row(f"  {name}", system.summary)
    return table


def _methods() -> Table:
    table = _table("\nMethods (each is a system of every benchmark; join several by +)", "name", "kind", "what it does")
    for entry in registry.METHODS.values():
        table.add_row(entry.name, entry.kind, f"{entry.summary} [dim]({entry.source})[/dim]")
    return table


def _optimizers() -> Table:
    table = _table("\nOptimizers (--optimizer NAME, --optimizer.SETTING)", "name", "what it does")
    for entry in registry.OPTIMIZERS.values():
        table.add_row(entry.name, f"{entry.summary} [dim]({entry.source})[/dim]")
    return table
