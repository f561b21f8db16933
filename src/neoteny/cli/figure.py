"""`neoteny figure`: the figures of papers, drawn from runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from neoteny import registry
from neoteny.cli.own import check_figure, console_for, imported, named, write_figure
from neoteny.cli.reading import read_options
from neoteny.errors import SettingError, UnknownNameError
from neoteny.registry import base_and_version

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neoteny.report import Runs
    from neoteny.report.papers.condition import Condition
    from neoteny.report.papers.records import PaperFigure

__all__ = ["main"]

RUNS = Path("runs")


@dataclass(frozen=True)
class FigureOptions:
    """Draw a figure of a paper from run folders, or list which runs each figure needs."""

    name: Annotated[str | None, tyro.conf.Positional] = None
    """the figure, such as nature-1b (--list names all); or your own, MODULE:NAME, a PaperFigure or a function of the
    runs that returns a matplotlib Figure"""
    runs_dir: Annotated[Path, tyro.conf.Positional] = RUNS
    """the folder that `neoteny run --out` wrote to, or any above it"""
    out: Path | None = None
    """the file, .png, .pdf or .svg; NAME.png by default"""
    scale: str | None = None
    """paper, small or tiny; by default the one at which most of the figure's curves were run"""
    list: tyro.conf.FlagCreatePairsOff[bool] = False
    """say for each figure which runs it needs and which are there, and print the commands for the others"""
    paper: str | None = None
    """list only the figures of this paper, such as nature"""


def main(arguments: Sequence[str]) -> None:
    """Draw the figure and print where it is, or list."""
    options = read_options(FigureOptions, arguments, "neoteny figure")
    check_figure(options.out, "--out")
    if options.paper is not None and not options.list:
        raise SettingError(f"--paper {options.paper} says which figures are listed: add --list.")
    if options.name is None and not options.list:
        raise SettingError("Name a figure, such as `neoteny figure nature-1b`; `neoteny figure --list` has all.")
    from neoteny.report.papers import figure, figures
    from neoteny.report.runs.groups import load_any

    name, directory = options.name, options.runs_dir
    if options.list:
        known = figures(options.paper)
        if name is not None and name not in known:
            name, directory = None, Path(name)
        runs = load_any(directory, absent=directory == RUNS)
        wanted = [known[name]] if name else [*known.values()]
        _list(_with_scale(wanted, options.scale), runs, options.scale, directory)
        return
    from neoteny.report.figures.paper import draw
    from neoteny.report.papers.records import PaperFigure

    runs = load_any(directory, absent=directory == RUNS)
    asked = imported(str(name)) if ":" in str(name) else figure(str(name))
    if isinstance(asked, PaperFigure):
        drawn, name = draw(_with_own(asked), runs, options.scale, out=directory), asked.name
    else:
        drawn, name = _drawn(asked, runs, str(name)), str(name).rpartition(":")[2]
    write_figure(options.out or Path(f"{name}.png"), drawn)


def _with_scale(figures: Sequence[PaperFigure], scale: str | None) -> Sequence[PaperFigure]:
    """Those whose benchmark has the scale: no command makes runs for the others.

    Raises:
        UnknownNameError: none has it.
    """
    if scale is None:
        return figures
    scales = {figure.name: registry.benchmark(figure.benchmark).load().SCALES for figure in figures}
    if not any(scale in known for known in scales.values()):
        raise UnknownNameError(scale, {one for known in scales.values() for one in known}, "scale of these figures")
    return [figure for figure in figures if scale in scales[figure.name]]


def _with_own(figure: PaperFigure) -> PaperFigure:
    """The figure with the names of classes that it names as MODULE:CLASS."""

    def own(condition: Condition) -> Condition:
        return replace(condition, system=named(condition.system))

    return replace(
        figure,
        benchmark=base_and_version(named(figure.benchmark))[0],
        conditions=tuple(map(own, figure.conditions)),
        at={scale: tuple(map(own, several)) for scale, several in figure.at.items()},
        optional=tuple(map(own, figure.optional)),
        minus=figure.minus and own(figure.minus),
    )


def _drawn(draw: Any, runs: Runs, target: str) -> Figure:
    """What a function of the user's own draws from the runs."""
    from matplotlib.figure import Figure

    found = draw(runs) if callable(draw) else None
    if not isinstance(found, Figure):
        raise SettingError(
            f"{target} is neither a PaperFigure nor a function that returns a figure (it gives "
            f"{type(found).__name__}): write a function of what neoteny.report.load returns, with a matplotlib Figure."
        )
    return found


def _list(figures: Sequence[PaperFigure], runs: Runs, scale: str | None, directory: Path) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console = console_for(200)
    missing: dict[str, list[str]] = {}
    for figure in figures:
        console.print(f"[bold]{figure.name}[/bold]  {figure.title} ({figure.origin})", highlight=False)
        for at in [scale] if scale else runs.scales(figure.benchmark) or ["small"]:
            selection = figure.select(runs.newest(figure.benchmark, at), at)
            there = ", ".join(
                f"{condition.label} ({one.runs}{'' if one.finished else ', not finished'})"
                for condition, one in selection.found.items()
            )
            lacking = ", ".join(condition.label for condition in selection.missing)
            said = "; ".join(filter(None, (there, f"missing: {lacking}" * bool(lacking))))
            console.print(Padding(Text(f"{at} scale: {said}"), (0, 0, 0, 4), expand=False))
            if selection.missing:
                missing[f"{figure.name}, {at} scale"] = figure.commands(at, selection, directory)
    if missing:
        print("Commands for what is missing:")
    for name, made in missing.items():
        print(f"\n# {name}\n" + "\n".join(made))
