"""Claims of several parts: a criterion that holds if several others do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from neoteny.report.claims.criteria import Criterion, Outcome, Verdict
from neoteny.report.claims.look import CurveName, Look

__all__ = ["All", "each"]


@dataclass(frozen=True)
class All(Criterion):
    """Several at once: it holds if all of them do.

    It does not hold if one of k does not by an interval of the level 1 - 0.05 / k: so a claim that is true is refused
    in one of twenty cases at most, as one of a single part is (Bonferroni).
    """

    criteria: tuple[Criterion, ...]

    @property
    def curves(self) -> tuple[CurveName, ...]:
        """Those of all."""
        return tuple(curve for one in self.criteria for curve in one.curves)

    def describe(self, look: Look) -> str:
        """One after the other."""
        return "; ".join(one.describe(look) for one in self.criteria)

    def judge(self, look: Look, level: float = 0.95) -> Outcome:
        """The verdict, and the effect of each."""
        outcomes = [one.judge(look, level) for one in self.criteria]
        strict = 1 - (1 - level) / len(self.criteria)
        verdict: Verdict = "undecided"
        if all(one.verdict == "holds" for one in outcomes):
            verdict = "holds"
        elif any(one.judge(look, strict).verdict == "does not hold" for one in self.criteria):
            verdict = "does not hold"
        counts = dict.fromkeys(outcome.n for outcome in outcomes)
        enough = max(one.enough for one in outcomes) if verdict == "undecided" else 0
        return Outcome(verdict, "; ".join(outcome.effect for outcome in outcomes), "; ".join(counts), enough)


def each(criterion: Callable[..., Criterion], curves: Iterable[CurveName], *others: Any) -> All:
    """A criterion that every one of some curves has to meet.

    Args:
        criterion: its class.
        curves: which.
        others: what the class takes beside the curve.

    >>> from neoteny.report.claims.criteria import Beats
    >>> each(Beats, range(1, 3), "backprop").curves
    (1, 'backprop', 2, 'backprop')
    """
    return All(tuple(criterion(curve, *others) for curve in curves))
