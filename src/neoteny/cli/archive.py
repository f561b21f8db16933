"""`neoteny archive`: slim copies of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from neoteny.cli.reading import read_options

__all__ = ["main"]


@dataclass(frozen=True)
class ArchiveOptions:
    """Copy what figures, tables and claims need of finished run folders, small enough to be committed."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR...")]
    """the run folders: those with config.yaml"""
    to: Path
    """where the copies go: TO/BENCHMARK/NAME"""


def main(arguments: Sequence[str]) -> None:
    """Copy, and print the copies."""
    options = read_options(ArchiveOptions, arguments, "neoteny archive")
    from neoteny.errors import SettingError
    from neoteny.report.runs.archive import archive

    if not options.run_dirs:
        raise SettingError("Name the run folders to copy: neoteny archive RUN_DIR... --to DIR.")
    for folder in archive(options.run_dirs, options.to):
        print(folder)
