"""What decides a claim: a criterion finds an effect with its 95% interval, and the interval gives the verdict.

    holds            the whole interval lies on the claimed side of the threshold
    does not hold    the whole interval lies on the other side
    level            the threshold lies in the interval, which is so narrow that no difference beyond the margin of the
                     criterion is left, to either side
    undecided        the threshold lies in another interval, or there is one run and so no interval, or a run turned
                     non-finite: the interval is that of the others, which came to the end for a reason
    not yet run      runs that the claim is about are missing or not finished

Effects within a curve are differences run by run; effects between two curves are differences between runs of the same
seeds (Student's t), or between independent runs where no seeds are shared (Welch's t). "First" and "last" are the
first and the last tenth of a run unless the figure says otherwise. A loss is how much worse a run is at last than
fresh networks at the same tasks, where these were recorded beside all curves of the criterion; otherwise how much worse
it is at last than at first. The criterion's words say which.

>>> Claim("Continual backpropagation does not fall", Keeps("cbp", 0.01)).describe(Look({}, "accuracy"))
'loss of cbp, first to last, < 1 points'
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from neoteny.report.claims.look import CurveName, Look, Window, percent
from neoteny.report.statistics.cell import Cell
from neoteny.report.statistics.intervals import Interval, runs_to_decide
from neoteny.report.statistics.sample import Sample

__all__ = [
    "Ahead",
    "Beats",
    "Claim",
    "Criterion",
    "EndsAbove",
    "EndsBelow",
    "Falls",
    "FallsMore",
    "Grows",
    "Keeps",
    "Level",
    "Loses",
    "Outcome",
    "Shrinks",
    "Verdict",
    "effect_text",
]

Verdict = Literal["holds", "does not hold", "level", "undecided", "not yet run"]


@dataclass(frozen=True)
class Outcome:
    """What a criterion found.

    Attributes:
        verdict: see the module.
        effect: with its interval, as text.
        n: number of runs that it was found from.
        enough: how many runs would decide what is undecided in four of five cases, if effect and spread are as they
            were found; 0 where that is not known.
    """

    verdict: Verdict
    effect: str = "-"
    n: str = "-"
    enough: int = 0


class Criterion(ABC):
    """What decides a claim.

    Attributes:
        words: the criterion in words, with `{}` for the label of each curve, and `{against}` for what a loss is
            counted from.
    """

    words: ClassVar[str] = ""

    @property
    @abstractmethod
    def curves(self) -> tuple[CurveName, ...]:
        """The curves that it needs."""

    @property
    def threshold(self) -> float:
        """What the effect has to exceed."""
        return 0.0

    def labels(self, look: Look) -> tuple[str, ...]:
        """The labels of the curves that it needs."""
        return tuple(dict.fromkeys(map(look.label, self.curves)))

    def describe(self, look: Look) -> str:
        """What is compared with what; the series of `look` are not needed."""
        level = f"{100 * self.threshold:g}%" if look.share else f"{self.threshold:g}"
        labels, difference = map(look.label, self.curves), look.difference(self.threshold)
        against = "last, beside fresh networks" if look.has_fresh(self.curves) else "first to last"
        return self.words.format(*labels, metric=look.metric, difference=difference, level=level, against=against)

    @abstractmethod
    def judge(self, look: Look, level: float = 0.95) -> Outcome:
        """The verdict by intervals of a level, where all curves are there."""


@dataclass(frozen=True)
class Claim:
    """A sentence and what decides it.

    Attributes:
        text: the sentence.
        criterion: what decides it.
        metric: what it is about, if that is not the metric of its figure.
        layer: of that metric, as for `curve_of`.
    """

    text: str
    criterion: Criterion
    metric: str = ""
    layer: str = ""

    def describe(self, look: Look) -> str:
        """The criterion in words; the series of `look` are not needed."""
        text = self.criterion.describe(look)
        return text + look.windows(text)

    def judge(self, look: Look) -> Outcome:
        """The verdict, also where curves are missing."""
        obstacle = look.obstacle(self.criterion.labels(look))
        return Outcome("not yet run", obstacle) if obstacle else self.criterion.judge(look)


class Effect(Criterion):
    """A criterion that compares a quantity of a curve, or the difference of two curves in it, with the threshold.

    Attributes:
        below: whether the effect has to lie below the threshold instead of above it.
        signed: whether the effect is a difference.
    """

    below: ClassVar[bool] = False
    signed: ClassVar[bool] = True

    @abstractmethod
    def quantity(self, look: Look, curve: CurveName) -> Sample:
        """One value a run."""

    def whole(self, look: Look) -> bool:
        """Whether every run has a value."""
        return all(np.isfinite(self.quantity(look, curve).values).all() for curve in self.curves)

    def effect(self, look: Look, level: float = 0.95) -> tuple[Interval, str]:
        """The effect with its interval, and n."""
        one, *others = (self.quantity(look, curve) for curve in self.curves)
        return one.minus(*others, level=level) if others else one.mean(level)

    def verdict(self, interval: Interval, look: Look) -> Verdict:
        """What the interval of the effect says to the threshold, where every run has a value."""
        low, high = float(interval.low) - self.threshold, float(interval.high) - self.threshold
        if self.below:
            low, high = -high, -low
        return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"

    def enough(self, interval: Interval) -> int:
        """How many runs would decide what is undecided; 0 where that is not known."""
        return runs_to_decide(interval, self.threshold)

    def judge(self, look: Look, level: float = 0.95) -> Outcome:
        """Compare the interval with the threshold."""
        interval, n = self.effect(look, level)
        whole = self.whole(look)
        verdict = self.verdict(interval, look) if whole else "undecided"
        enough = self.enough(interval) if whole and verdict == "undecided" else 0
        return Outcome(verdict, effect_text(interval, look.share, self.signed), n, enough)


@dataclass(frozen=True)
class _OfOne(Effect):
    curve: CurveName

    @property
    def curves(self) -> tuple[CurveName, ...]:
        """The one."""
        return (self.curve,)


@dataclass(frozen=True)
class _OfTwo(Criterion):
    curve: CurveName
    other: CurveName

    @property
    def curves(self) -> tuple[CurveName, ...]:
        """Both."""
        return (self.curve, self.other)


class _Loss(Effect):
    def quantity(self, look: Look, curve: CurveName) -> Sample:
        """How much worse each run is at last than fresh networks, or than at first; see the module."""
        return look.loss(curve, look.has_fresh(self.curves))


class Falls(_OfOne, _Loss):
    """A curve loses: it is worse at last."""

    words = "loss of {}, {against}, > 0"


class FallsMore(_OfTwo, _Loss):
    """One curve loses more than another."""

    words = "loss of {} - loss of {}, {against}, > 0"


@dataclass(frozen=True)
class Loses(Falls):
    """A curve loses more than a margin."""

    margin: float
    words = "loss of {}, {against}, > {difference}"

    @property
    def threshold(self) -> float:
        """The margin."""
        return self.margin


class Keeps(Loses):
    """A curve loses nothing, up to a margin."""

    words = "loss of {}, {against}, < {difference}"
    below = True


class Grows(_OfOne):
    """A measure is larger at last than at first."""

    words = "{metric} of {}, last - first, > 0"

    def quantity(self, look: Look, curve: CurveName) -> Sample:
        """The change of each run."""
        return look.change(curve)


class Shrinks(Grows):
    """A measure is smaller at last than at first."""

    words = "{metric} of {}, last - first, < 0"
    below = True


@dataclass(frozen=True)
class EndsAbove(_OfOne):
    """At last the metric is above a bound."""

    bound: float
    words = "{metric} of {}, last, > {level}"
    signed = False

    @property
    def threshold(self) -> float:
        """The bound."""
        return self.bound

    def quantity(self, look: Look, curve: CurveName) -> Sample:
        """The level at last."""
        return look.sample(curve, look.last)


class EndsBelow(EndsAbove):
    """At last the metric is below a bound."""

    words = "{metric} of {}, last, < {level}"
    below = True


@dataclass(frozen=True)
class Beats(_OfTwo, Effect):
    """One curve is better than another by more than `by`, at last or in another window.

    A measure of the network is neither good nor bad: there the first curve has more of it.

    Attributes:
        by: what the difference has to exceed.
        window: where; None for the last tenth.
        margin: a difference that does not matter. What is undecided is level where the whole interval lies within it,
            on either side of 0 (an equivalence test). Only for metrics that are shares; 0 for none.
    """

    by: float = 0.0
    window: Window | None = None
    margin: float = 0.0

    @property
    def threshold(self) -> float:
        """By how much."""
        return self.by

    def describe(self, look: Look) -> str:
        """In words: where less is better, the second curve is larger."""
        larger, smaller = (look.label(curve) for curve in self.curves[:: look.better])
        where = f"{percent(self.window)} of the run" if self.window else "last"
        margin = f"; level within {look.difference(self.margin)}" if self.margin and look.share else ""
        return f"{larger} - {smaller}, {where}, > {look.difference(self.by)}{margin}"

    def quantity(self, look: Look, curve: CurveName) -> Sample:
        """How good each run is."""
        return look.sample(curve, self.window or look.last) * look.better

    def verdict(self, interval: Interval, look: Look) -> Verdict:
        """Compare the interval with the threshold, and with the difference that does not matter."""
        found = super().verdict(interval, look)
        narrow = look.share and -self.margin < float(interval.low) and float(interval.high) < self.margin
        return "level" if found == "undecided" and narrow else found


@dataclass(frozen=True)
class Ahead(_OfTwo, Effect):
    """One curve is better than another over the last tenth of the shorter one's steps."""

    def describe(self, look: Look) -> str:
        """In words."""
        larger, smaller = (look.label(curve) for curve in self.curves[:: look.better])
        return f"{larger} - {smaller}, last tenth of the shorter run, > 0"

    def quantity(self, look: Look, curve: CurveName) -> Sample:
        """How good each run is."""
        stop = min(look.length(one) for one in self.curves) / look.length(curve)
        return look.sample(curve, (0.9 * stop, stop)) * look.better


@dataclass(frozen=True)
class Level(_OfTwo, Effect):
    """At last two curves are level, up to a margin on either side."""

    margin: float
    words = "{} - {}, last, between -{difference} and {difference}"

    @property
    def threshold(self) -> float:
        """The margin."""
        return self.margin

    def quantity(self, look: Look, curve: CurveName) -> Sample:
        """The level at last."""
        return look.sample(curve, look.last)

    def verdict(self, interval: Interval, look: Look) -> Verdict:
        """It holds where the whole interval lies between the margins, and does not where it lies beyond one."""
        low, high = float(interval.low), float(interval.high)
        if -self.margin < low and high < self.margin:
            return "holds"
        return "does not hold" if low > self.margin or high < -self.margin else "undecided"

    def enough(self, interval: Interval) -> int:
        """Not known, as there are two thresholds."""
        return 0


def effect_text(interval: Interval, share: bool, signed: bool = False) -> str:
    """An effect with its interval, as it stands among the verdicts."""
    text = Cell.of(interval, kind="bounds").text(share, signed)
    return text + (" points" if signed else " %") * share
