"""Figures, tables with intervals, and the HTML page, all drawn from run folders alone.

The usual way is `build`, which turns a directory of runs into one page; `load` gives the same runs to a notebook, and
`learning_curves`, `measures` and `final_table` draw one part each.

>>> from neoteny import report
>>> callable(report.build)
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.report.curves import learning_curves, plot
    from neoteny.report.folders import RunFrame
    from neoteny.report.html import build
    from neoteny.report.intervals import Interval, iqm_interval, mean_interval
    from neoteny.report.panels import measures
    from neoteny.report.series import Group, Runs, Series, load
    from neoteny.report.tables import FinalTable, final_table

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
    "FinalTable": "tables",
    "final_table": "tables",
    "Group": "series",
    "Runs": "series",
    "Series": "series",
    "load": "series",
    "RunFrame": "folders",
    "Interval": "intervals",
    "iqm_interval": "intervals",
    "mean_interval": "intervals",
    "learning_curves": "curves",
    "plot": "curves",
    "measures": "panels",
    "build": "html",
}

__getattr__, __dir__ = exports(__name__, _HOME)
