"""What a claim is judged on: one metric of some curves, and what "first" and "last" mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from neoteny.report.runs.curve import FIRST, LAST, Curve, Window
from neoteny.report.runs.metrics import direction, is_share
from neoteny.report.runs.series import Axis, Series, curve_of
from neoteny.report.statistics.plasticity import has_fresh, loss_of_plasticity
from neoteny.report.statistics.sample import Sample

__all__ = ["FIRST", "LAST", "CurveName", "Look", "Window", "percent"]

CurveName = str | int
"""A curve of a figure: its label, or its place from 0 on where the labels differ from scale to scale."""


@dataclass(frozen=True, eq=False)
class Look:
    """One metric of the curves that a claim is about.

    Attributes:
        series: the runs of each curve, by its label.
        metric: its name.
        layer: of it, as for `curve_of`.
        axis: over which windows are shares.
        first: what "first" means.
        last: what "last" means.
        labels: those of the figure's curves, in its order.
    """

    series: Mapping[str, Series]
    metric: str
    layer: str = ""
    axis: Axis = "examples"
    first: Window = FIRST
    last: Window = LAST
    labels: tuple[str, ...] = ()

    @property
    def better(self) -> int:
        """1 where more of the metric is better, -1 where less is; 1 for a measure of the network."""
        return direction(self.metric)

    @property
    def share(self) -> bool:
        """Whether the metric is shown in per cent."""
        return is_share(self.metric)

    def label(self, curve: CurveName) -> str:
        """The label of a curve."""
        return curve if isinstance(curve, str) else self.labels[curve]

    def obstacle(self, labels: Sequence[str]) -> str:
        """Why nothing can be said of some curves yet; empty where something can."""
        if missing := [label for label in labels if label not in self.series]:
            return f"missing: {', '.join(missing)}"
        if going := [label for label in labels if not self.series[label].finished]:
            return f"not finished: {', '.join(going)}"
        unrecorded = (label for label in labels if not len(self._curve(label).steps))
        return next((f"{self.metric} was not recorded for {label}" for label in unrecorded), "")

    def sample(self, curve: CurveName, window: Window) -> Sample:
        """The mean of each run over a window."""
        return Sample(self._curve(self.label(curve)).over(window), self.series[self.label(curve)].seeds)

    def length(self, curve: CurveName) -> float:
        """Where a curve ends on the axis."""
        return float(self._curve(self.label(curve)).steps[-1])

    def change(self, curve: CurveName) -> Sample:
        """Last minus first, run by run."""
        return self.sample(curve, self.last) - self.sample(curve, self.first)

    def has_fresh(self, curves: Iterable[CurveName]) -> bool:
        """Whether fresh networks were recorded beside all of these curves."""
        labels = [self.label(curve) for curve in curves]
        return not self.layer and all(
            label in self.series and has_fresh(self.series[label], self.metric) for label in labels
        )

    def loss(self, curve: CurveName, fresh: bool) -> Sample:
        """How much worse each run is at last than a fresh network at the same tasks, or else than it was at first."""
        if fresh:
            return loss_of_plasticity(self.series[self.label(curve)], self.metric, self.last, self.axis)
        return self.change(curve) * -self.better

    def difference(self, value: float) -> str:
        """A difference of the metric, as text."""
        return f"{100 * value:g} points" if self.share else f"{value:g}"

    def windows(self, text: str) -> str:
        """What "first" and "last" mean in a text, where that is not the first and the last tenth; else empty."""
        used = [
            f"{name}: {percent(own)}"
            for name, own, usual in (("first", self.first, FIRST), ("last", self.last, LAST))
            if own != usual and name in text
        ]
        return f" ({', '.join(used)} of the run)" if used else ""

    def _curve(self, label: str) -> Curve:
        return curve_of(self.series[label], self.metric, self.layer, self.axis)


def percent(window: Window) -> str:
    """A window as text.

    >>> percent((0.1, 0.4))
    '10% to 40%'
    """
    return f"{window[0]:.0%} to {window[1]:.0%}"
