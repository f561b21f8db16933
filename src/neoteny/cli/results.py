"""What commands print at the end of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neoteny.lab import RunStack

__all__ = ["show"]


def show(runs: Sequence[RunStack], window: int | None = None) -> None:
    """Print a table of each benchmark and scale, and the run folders.

    Args:
        runs: the stacks that were run.
        window: examples at the beginning and at the end that are compared; None for a tenth of the stream.
    """
    from rich.console import Console

    from neoteny.report import final_table
    from neoteny.report.runs.folders import read_folder
    from neoteny.report.runs.groups import group_frames

    console = Console()
    for group in group_frames([read_folder(run.folder) for run in runs]):
        console.print(final_table(group, window=window).rich())
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
