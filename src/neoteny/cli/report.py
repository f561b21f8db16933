"""`neoteny report`: all runs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from neoteny.cli.reading import read_options

__all__ = ["main"]


@dataclass(frozen=True)
class ReportOptions:
    """Make one self-contained HTML page with findings, interactive charts and tables of all runs below a directory."""

    runs_dir: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """the folder that `neoteny run --out` wrote to, or any below it"""
    out: Path | None = None
    """where to write the page and its tables; by default beside the runs"""
    figures: bool = False
    """draw static figures too, PNG and PDF, for papers: takes minutes where there are many runs"""


def main(arguments: Sequence[str]) -> None:
    """Build the report and print where it is."""
    options = read_options(ReportOptions, arguments, "neoteny report")
    from neoteny import report

    print(report.build(options.runs_dir, out=options.out, figures=options.figures))
