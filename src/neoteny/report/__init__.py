"""Figures, tables with intervals, and the HTML page, all drawn from run folders alone.

The usual way is `build`, which turns a directory of runs into one page. `load` reads the same runs in a notebook, and
`learning_curves`, `measures` and `final_table` make one part each. `neoteny.report.papers` has the figures and claims
of papers.

>>> from neoteny import report
>>> callable(report.build)
True
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
