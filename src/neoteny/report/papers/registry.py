"""The list of papers. A new one is a file beside `nature/` and an entry here."""

from __future__ import annotations

from neoteny.errors import UnknownNameError
from neoteny.report.papers.nature import NATURE
from neoteny.report.papers.records import Paper, PaperFigure

__all__ = ["PAPERS", "figure", "figures", "find"]

PAPERS: dict[str, Paper] = {paper.name: paper for paper in (NATURE,)}
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
