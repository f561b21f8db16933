"""Holding the claims of papers against runs: one judgement for each claim and scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from neoteny.report.claims.criteria import Outcome
from neoteny.report.claims.marks import Chosen, mark_of
from neoteny.report.claims.page import Judgement
from neoteny.report.papers.records import Paper, PaperFigure
from neoteny.report.runs.archive import public_command
from neoteny.report.runs.groups import Runs
from neoteny.report.runs.series import Series

__all__ = ["judge"]

TINY = Outcome("not yet run", "runs of the scale tiny only show that the code runs")


def judge(runs: Runs, papers: Sequence[Paper], out: Path | None = None) -> list[Judgement]:
    """Hold every claim against the runs.

    Args:
        runs: from `load`.
        papers: whose claims, such as `neoteny.report.papers.find()`.
        out: the folder that commands for missing runs name.

    Returns:
        A judgement for each claim and each scale that its benchmark was run at; one for `small` if it never was run.
    """
    return [one for paper in papers for one in _of_paper(paper, runs, out)]


def _of_paper(paper: Paper, runs: Runs, out: Path | None) -> Iterator[Judgement]:
    for benchmark in dict.fromkeys(figure.benchmark for figure in paper.figures):
        for figure in (one for one in paper.figures if one.benchmark == benchmark):
            yield from _of_figure(paper, figure, runs, out)


def _of_figure(paper: Paper, figure: PaperFigure, runs: Runs, out: Path | None) -> Iterator[Judgement]:
    scales = runs.scales(figure.benchmark) or ["small"]
    selections = {scale: figure.select(runs.newest(figure.benchmark, scale), scale) for scale in scales}
    for claim in figure.claims:
        for scale, selection in selections.items():
            found = selection.found
            look = figure.look(claim, scale, found)
            labels = claim.criterion.labels(look)
            conditions = sorted(
                (one for one in figure.needs(scale) if one.label in labels), key=lambda one: labels.index(one.label)
            )
            there = [found[condition] for condition in conditions if condition in found]
            provenances = [source.provenance for series in there for source in series.sources]
            recorded = [(public_command(str(one["command"])), one) for one in provenances if one.get("command")]
            marks = {command: mark for command, one in recorded if (mark := mark_of(one.get("git_commit")))}
            made = [command for command, _ in recorded]
            if missing := tuple(condition for condition in conditions if condition not in found):
                made += figure.commands(scale, replace(selection, missing=missing), out)
            yield Judgement(
                paper=paper.title,
                benchmark=figure.benchmark,
                figure=figure.name,
                claim=claim.text,
                scale=scale,
                criterion=f"{look.metric}: {claim.describe(look)}",
                outcome=TINY if scale == "tiny" else claim.judge(look),
                commands=tuple(dict.fromkeys(made)),
                note=paper.beyond.get(figure.benchmark, ""),
                runs=len(_pairs(there)),
                next_seed=max((seed + 1 for series in there for seed in series.seeds), default=0),
                seconds=sum(map(_seconds_a_run, there)),
                made=marks,
                chosen=tuple(
                    filter(None, (one.note(_seeds(one, there)) for one in figure.chosen if one.scale == scale))
                ),
            )


def _seeds(chosen: Chosen, there: Sequence[Series]) -> set[int]:
    """The seeds of the runs that have the settings."""
    return {seed for series in there if series.label in (chosen.curves or (series.label,)) for seed in series.seeds}


def _pairs(there: Sequence[Series]) -> set[int]:
    """The seeds that all curves share; if they are fewer than two, those of the curve that has the fewest."""
    seeds = [set(series.seeds) for series in there]
    shared = set[int].intersection(*seeds) if seeds else set[int]()
    return shared if len(shared) > 1 else min(seeds, key=len, default=set())


def _seconds_a_run(series: Series) -> float:
    """What a run took, by the folders that it comes from; 0 where they do not say."""
    seconds = sum(float(source.provenance.get("seconds") or 0.0) for source in series.sources)
    return seconds / sum(len(source.seeds) for source in series.sources)
