"""Progress on the terminal (standard error): a bar for one task, live lines and curves for stacks of runs.

Without a terminal, as in a log, one line is written for each task or stack that is done.
"""

from __future__ import annotations

from neoteny.progress.bars import bar, waiting
from neoteny.progress.lines import Rate, describe, live, time_left
from neoteny.progress.stages import hearing, stage

__all__ = ["Rate", "bar", "describe", "hearing", "live", "stage", "time_left", "waiting"]
