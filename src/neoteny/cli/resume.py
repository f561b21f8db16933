"""`neoteny resume`: go on with a run that was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from neoteny.cli.options import Tracker
from neoteny.cli.reading import read_options

__all__ = ["main"]


@dataclass(frozen=True)
class ResumeOptions:
    """Go on from the last checkpoint, as the run was started; the numbers are those of a run that never stopped."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """the run folder: the one with config.yaml"""
    device: str | None = None
    """the device; by default that of the start"""
    data_dir: Path | None = None
    """folder of data sets, if it has moved"""
    compile: bool | None = None
    """compile chunks of steps or not; by default as at the start"""
    track: Tracker | None = None
    """write metrics there too; by default where they were written before"""


def main(arguments: Sequence[str]) -> None:
    """Go on, then show the result."""
    options = read_options(ResumeOptions, arguments, "neoteny resume")
    from neoteny import lab
    from neoteny.cli.results import show

    changed = {
        "device": options.device,
        "data_dir": options.data_dir and str(options.data_dir),
        "compile": options.compile,
        "track": options.track,
    }
    run = lab.resume(options.run_dir, **{name: value for name, value in changed.items() if value is not None})
    show([run])
