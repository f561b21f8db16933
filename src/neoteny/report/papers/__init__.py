"""The papers whose figures and claims can be reproduced: data, and what reads it.

A paper is one record (`records.Paper`) in a file of its own, and an entry in `registry.PAPERS`. Its figures name the
experimental conditions whose curves they show, and carry the claims that are made of them. From these records come
`neoteny figure`, `neoteny claims` and the commands for runs that are missing; `nature` is an example.

>>> from neoteny.report import papers
>>> papers.figure("nature-1c").title
'Methods that keep plasticity'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.report.papers.condition import Condition, vary
    from neoteny.report.papers.judging import judge
    from neoteny.report.papers.records import Paper, PaperFigure
    from neoteny.report.papers.registry import PAPERS, figure, figures, find

__all__ = ["PAPERS", "Condition", "Paper", "PaperFigure", "figure", "figures", "find", "judge", "vary"]

_HOME = {
    "Condition": "condition",
    "vary": "condition",
    "judge": "judging",
    "Paper": "records",
    "PaperFigure": "records",
    "PAPERS": "registry",
    "figure": "registry",
    "figures": "registry",
    "find": "registry",
}

__getattr__, __dir__ = exports(__name__, _HOME)
