"""The papers whose figures and claims can be reproduced: data, and what reads it.

A paper is one record (`records.Paper`) in a file of its own, and an entry in `PAPERS`. Its figures name the
experimental conditions whose curves they show, and carry the claims that are made of them. From these records come
`neoteny figure`, `neoteny claims` and the commands for runs that are missing; `nature` is an example.
"""

from __future__ import annotations

from neoteny.errors import UnknownNameError
from neoteny.report.papers.atari_100k import ATARI_100K
from neoteny.report.papers.nature import NATURE
from neoteny.report.papers.offline_to_online import OFFLINE_TO_ONLINE
from neoteny.report.papers.primacy_bias import PRIMACY_BIAS
from neoteny.report.papers.records import Paper, PaperFigure
from neoteny.report.papers.slow_and_steady import SLOW_AND_STEADY
from neoteny.report.papers.streaming import STREAMING
from neoteny.report.papers.towards_plastic import TOWARDS_PLASTIC
from neoteny.report.papers.warm_starting import WARM_STARTING

__all__ = ["PAPERS", "figure", "figures", "find"]

_ALL = (NATURE, WARM_STARTING, SLOW_AND_STEADY, TOWARDS_PLASTIC, STREAMING, PRIMACY_BIAS, OFFLINE_TO_ONLINE, ATARI_100K)
PAPERS: dict[str, Paper] = {paper.name: paper for paper in _ALL}
"""Every paper, by name."""


def find(name: str | None = None) -> tuple[Paper, ...]:
    """The paper of that name; all of them without a name.

    Raises:
        UnknownNameError: there is none.
    """
    if name is not None and name not in PAPERS:
        raise UnknownNameError(name, PAPERS, "paper")
    return tuple(PAPERS.values()) if name is None else (PAPERS[name],)


def figures(paper: str | None = None) -> dict[str, PaperFigure]:
    """The figures of a paper, or of all papers, by name.

    Raises:
        UnknownNameError: there is no such paper.
    """
    return {one.name: one for each in find(paper) for one in each.figures}


def figure(name: str) -> PaperFigure:
    """The figure of that name.

    Raises:
        UnknownNameError: there is none.

    >>> figure("nature-1c").source
    'Nature 632 (2024), Fig. 1c'
    """
    found = figures()
    if name not in found:
        raise UnknownNameError(name, found, "figure")
    return found[name]
