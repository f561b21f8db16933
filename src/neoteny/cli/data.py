"""`neoteny data`: which data sets there are and where they are; `neoteny data NAME` fetches, checks and decodes one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from neoteny.cli.own import console_for
from neoteny.cli.reading import read_options
from neoteny.data import DATA_SETS
from neoteny.errors import UnknownNameError

__all__ = ["main"]


@dataclass(frozen=True)
class DataOptions:
    """Which data sets there are and where they are; with names: fetch, check and decode these, each once."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """data sets to prepare"""
    data_dir: Path | None = None
    """folder of data sets; otherwise NEOTENY_DATA, or they are downloaded once"""


def main(arguments: Sequence[str]) -> None:
    """Print the table, or prepare data sets and print what they are."""
    options = read_options(DataOptions, arguments, "neoteny data")
    for name in options.names:
        if name not in DATA_SETS:
            raise UnknownNameError(name, DATA_SETS, "data set")
    for name in options.names:
        try:
            shown = DATA_SETS[name].load(options.data_dir)
        except KeyboardInterrupt:
            print("neoteny: stopped; the same command resumes the download.", file=sys.stderr)
            raise SystemExit(130) from None
        print(f"{name}: {shown}\n  {DATA_SETS[name].find(options.data_dir)}")
    if not options.names:
        _list(options.data_dir)


def _list(data_dir: Path | None) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    for column in ("what it is", "where"):
        table.add_column(column, overflow="fold")
    for data_set in DATA_SETS.values():
        table.add_row(data_set.name, data_set.summary, data_set.find(data_dir) or f"not here: {data_set.cure}")
    console = console_for(400)
    console.print(table)
    if folder := data_dir or os.environ.get("NEOTENY_DATA"):
        said = (
            f"{folder} is named as their folder, so nothing is fetched: leave --data-dir and NEOTENY_DATA out for that."
        )
        console.print(said, markup=False, highlight=False)
