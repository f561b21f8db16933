"""Figures, tables with intervals, and the HTML page, all drawn from run folders alone.

The usual way is `build`, which turns a directory of runs into one page. `load` reads the same runs in a notebook, and
`learning_curves`, `measures` and `final_table` make one part each. `neoteny.report.papers` has the figures and claims
of papers.

>>> from neoteny import report
>>> callable(report.build)
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.report.figures.curves import learning_curves, plot
    from neoteny.report.figures.panels import measures
    from neoteny.report.page.html import build
    from neoteny.report.runs.folders import RunFrame
    from neoteny.report.runs.groups import Group, Runs, load
    from neoteny.report.runs.series import Series
    from neoteny.report.statistics.final_table import FinalTable, final_table
    from neoteny.report.statistics.intervals import Interval, iqm_interval, mean_interval

__all__ = [
    "FinalTable",
    "Group",
    "Interval",
    "RunFrame",
    "Runs",
    "Series",
    "build",
    "final_table",
    "iqm_interval",
    "learning_curves",
    "load",
    "mean_interval",
    "measures",
    "plot",
]

# Looked up on first use: a table needs no matplotlib, and importing the package needs nothing at all.
_HOME = {
    "FinalTable": "statistics.final_table",
    "final_table": "statistics.final_table",
    "Group": "runs.groups",
    "Runs": "runs.groups",
    "load": "runs.groups",
    "Series": "runs.series",
    "RunFrame": "runs.folders",
    "Interval": "statistics.intervals",
    "iqm_interval": "statistics.intervals",
    "mean_interval": "statistics.intervals",
    "learning_curves": "figures.curves",
    "plot": "figures.curves",
    "measures": "figures.panels",
    "build": "page.html",
}

__getattr__, __dir__ = exports(__name__, _HOME)
