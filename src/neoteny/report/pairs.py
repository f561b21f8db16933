"""Two stacks of runs, compared seed by seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neoteny.checks import expanded
from neoteny.errors import SettingError
from neoteny.lab.running import RunStack
from neoteny.report.page.sentences import beside, same_stream
from neoteny.report.runs.folders import read_folder
from neoteny.report.runs.groups import group_frames
from neoteny.report.statistics.final_table import FinalTable, final_table
from neoteny.report.statistics.paired import Difference

__all__ = ["PairedRuns", "compare_runs"]


@dataclass(frozen=True)
class PairedRuns:
    """How a stack of runs ended beside another; printed, it is a sentence.

    Attributes:
        difference: mean, interval, p and number of seeds.
        table: both stacks' first and last windows.
    """

    difference: Difference
    table: FinalTable

    def __str__(self) -> str:
        name = next(row.system for row in self.table.rows if row.system != self.table.base)
        return beside(name, self.difference, self.table, self.table.base)


def compare_runs(
    one: RunStack | str | Path, base: RunStack | str | Path, metric: str | None = None, *, window: int | None = None
) -> PairedRuns:
    """How much better or worse one stack of runs ended than another, on the seeds that both have.

        print(neoteny.compare_runs("runs/online-permuted-mnist-v1/cbp", "runs/online-permuted-mnist-v1/backprop"))

    The mean of the last window is taken of each run; the difference is that of the pairs, with Student's interval and
    the paired t test.

    Args:
        one: a run folder, or the stack itself.
        base: the same, of what it is compared with.
        metric: by default the accuracy, the return of agents, or else the loss.
        window: examples (of agents: steps) at the end; by default a tenth of the stream.

    Raises:
        RunFolderError: a folder holds no run that can be read.
        SettingError: they are not of one benchmark and stream, hold a grid, or share fewer than two seeds.
        UnknownNameError: the metric was not recorded.
    """
    paths = [side.folder if isinstance(side, RunStack) else expanded(side) for side in (one, base)]
    groups = group_frames([read_folder(path) for path in paths])
    where = f"{paths[0]} and {paths[1]}"
    if len(groups) != 1:
        titles = " and ".join(group.title for group in groups)
        raise SettingError(f"{where} hold runs of {titles}: give runs of one benchmark at one scale.")
    group = groups[0]
    if len(group.series) != 2 or len({series.label for series in group.series}) != 2:
        labels = ", ".join(series.label for series in group.series)
        raise SettingError(
            f"{where} hold {labels}, not two systems: give the folders of two systems; `neoteny results` shows a grid."
        )
    if not same_stream(*group.series):
        raise SettingError(
            f"{where} learned from other streams (their settings of the problem differ): give equal ones."
        )
    name = next(series.label for series in group.series if series.sources[0].path == paths[1])
    table = final_table(group, metric, window=window).against(name)
    if not table.beside:
        seeds = " and ".join(str(sorted(row.scores)) for row in table.rows)
        raise SettingError(
            f"{where} came to their end with the seeds {seeds}: a paired comparison needs two that both have; run them "
            "with the same --seed."
        )
    return PairedRuns(next(iter(table.beside.values())), table)
