"""What a paper is to us: its figures, the conditions that they show, the values published, and the claims made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from neoteny.report.claims.criteria import Claim
from neoteny.report.claims.look import FIRST, LAST, Look, Window
from neoteny.report.claims.marks import Chosen
from neoteny.report.papers.commands import commands
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.selection import Selection, select
from neoteny.report.runs.groups import Group
from neoteny.report.runs.series import Axis, Series
from neoteny.report.statistics.intervals import Kind

__all__ = ["Chosen", "Paper", "PaperFigure"]


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """What a figure shows, and what is claimed of it.

    Attributes:
        name: what it is called on the command line; no figure of another paper has the same name.
        title: what it shows.
        source: where the paper has it; empty for a figure that the paper does not have.
        benchmark: name without version.
        conditions: the curves, as the paper has them.
        length: of the paper's axis, in its unit.
        runs: how many the paper has of each curve.
        fewer: how many to run at other scales.
        at: the curves at another scale, if the paper's settings make no sense there; as many as `conditions`.
        metric: what is drawn.
        layer: of it, as for `curve_of`.
        axis: what the axis counts.
        bin: of the paper, in the axis's unit.
        minus: the curve that is subtracted from the others, run by run; it is not drawn itself.
        at_end: labels of curves that are shorter than the others and are drawn so that all end together.
        panels: measures to draw layer by layer, instead of one metric.
        optional: curves that are drawn if they were run, and are not missed if they were not.
        published: the paper's values: for the label of a curve, the value at some places on the axis.
        interval: the kind that the paper shows.
        claims: what is claimed of the curves. A criterion names a curve by its label, or by its place where the labels
            differ from scale to scale.
        first: what "first" means in the claims, as shares of a run.
        last: what "last" means.
        chosen: settings of the runs that were chosen here, and on which seeds; where these are among those reported,
            the page of claims says so.
    """

    name: str
    title: str
    source: str = ""
    benchmark: str
    conditions: tuple[Condition, ...]
    length: int
    runs: int
    fewer: int = 10
    at: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)
    metric: str = "accuracy"
    layer: str = ""
    axis: Axis = "tasks"
    bin: int = 1
    minus: Condition | None = None
    at_end: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()
    optional: tuple[Condition, ...] = ()
    published: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    interval: Kind = "se"
    claims: tuple[Claim, ...] = ()
    first: Window = FIRST
    last: Window = LAST
    chosen: tuple[Chosen, ...] = ()

    def conditions_at(self, scale: str) -> tuple[Condition, ...]:
        """The curves at a scale, without the one that is subtracted from them."""
        return self.at.get(scale, self.conditions)

    def needs(self, scale: str) -> tuple[Condition, ...]:
        """Everything that has to be run."""
        return (*self.conditions_at(scale), *([self.minus] if self.minus else []))

    def select(self, group: Group | None, scale: str) -> Selection:
        """The runs of the figure at a scale."""
        needs = self.needs(scale)
        found = select(group, (*needs, *self.optional))
        return replace(found, missing=tuple(one for one in found.missing if one in needs))

    def commands(self, scale: str, selection: Selection | None = None, out: Path | None = None) -> list[str]:
        """What makes the missing curves, as many runs of each as there are of the others; by default all of them."""
        needs = self.needs(scale)
        there = [one.runs for one in selection.found.values()] if selection else []
        runs = max(there, default=self.runs if scale == "paper" else self.fewer)
        return commands(self.benchmark, scale, runs, selection.missing if selection else needs, needs, out)

    def look(self, claim: Claim, scale: str, found: Mapping[Condition, Series]) -> Look:
        """What a claim of the figure's is judged on."""
        series = {condition.label: one for condition, one in found.items()}
        metric, layer = (claim.metric, claim.layer) if claim.metric else (self.metric, self.layer)
        labels = tuple(condition.label for condition in self.needs(scale))
        return Look(series, metric, layer, self.axis, self.first, self.last, labels)

    @property
    def origin(self) -> str:
        """Where it comes from."""
        return self.source or "not in the paper"


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper.

    Attributes:
        name: what it is called on the command line.
        title: its own.
        reference: where it appeared.
        figures: in the order in which they are listed.
        beyond: for a benchmark that the paper does not have, a sentence on why it is here.
    """

    name: str
    title: str
    reference: str
    figures: tuple[PaperFigure, ...]
    beyond: Mapping[str, str] = field(default_factory=dict)
