"""What is claimed of methods in general, held against the leaderboard's table.

Rows are compared seed by seed, over the first tenth, the last tenth or the whole stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from neoteny.report.claims.criteria import (
    Beats,
    Claim,
    Criterion,
    Falls,
    FallsMore,
    Keeps,
    Loses,
    Outcome,
    Verdict,
    effect_text,
)
from neoteny.report.claims.look import FIRST, LAST, CurveName, Look, Window
from neoteny.report.claims.marks import mark_of
from neoteny.report.claims.page import Judgement
from neoteny.report.leaderboard.board import Board, settings_of
from neoteny.report.statistics.intervals import welch_interval
from neoteny.report.statistics.sample import Sample

__all__ = ["BoardLook", "Insensitive", "claims_of", "judge_board"]

FIGURE = "leaderboard"
TRAINABILITY = "trainability"
MARGIN = 0.02
"""Trainability is held if no more of the training accuracy is lost than this."""
WHOLE: Window = (0.0, 1.0)
QUANTITIES: Mapping[Window, str] = {FIRST: "first", LAST: "last", WHOLE: "mean"}

BASE = "backprop"
NO_CURE = ("dropout", "layer-norm", "batch-norm")
NOTE = "Not the paper's: what is claimed of methods, from the [leaderboard](leaderboard.md)."


@dataclass(frozen=True, eq=False)
class BoardLook(Look):
    """A look at a benchmark of the table instead of at run folders.

    Attributes:
        board: the table.
        benchmark: id.
    """

    board: Board = field(kw_only=True)
    benchmark: str = field(kw_only=True)

    def sample(self, curve: CurveName, window: Window) -> Sample:
        """The mean of each run over the first tenth, the last tenth, or the whole stream."""
        found = self.board.sample(self.benchmark, self.label(curve), QUANTITIES[window])
        return Sample(np.empty(0), ()) if found is None else found

    def obstacle(self, labels: Sequence[str]) -> str:
        """Which rows are missing; empty where all are there."""
        missing = [label for label in labels if not self.sample(label, LAST).seeds]
        return f"missing: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Insensitive(Criterion):
    """A row hardly depends on one of its settings.

    Any two values of its grid differ by less than a share of what the row gains over another row. They are compared
    over the whole stream of the tuning seeds, with the other settings as chosen; the gain is that of the reported
    seeds, so both have errors of their own:

        mean(a - b) - share * mean(gain) < 0  for each two values a, b    (Welch's t, of independent runs)

    No best and no worst value is picked on the seeds that judge them. It holds if every pair keeps to the bound, and
    does not if one of k pairs is beyond it by an interval of the level 1 - 0.05 / k (Bonferroni), as for `All`. A value
    under which a run turned non-finite is beyond every share.

    Attributes:
        row: whose setting.
        setting: its full name.
        other: what the gain is counted from.
        share: of the gain.
    """

    row: str
    setting: str
    other: str
    share: float = 0.5

    @property
    def curves(self) -> tuple[CurveName, ...]:
        """Both."""
        return (self.row, self.other)

    def describe(self, look: Look) -> str:
        """In words."""
        name = self.setting.rpartition(".")[2]
        gain = f"{self.row} gains over {self.other}"
        return f"each two values of {name} in the grid, whole stream, apart by < {self.share:.0%} of what {gain}"

    def judge(self, look: Look, level: float = 0.95) -> Outcome:
        """Compare each two values of the grid with the gain; the effect shown is that of the two furthest apart."""
        assert isinstance(look, BoardLook)
        points = self._points(look)
        if len(points) < 2:
            return Outcome("not yet run", f"no grid over {self.setting}")
        ended = [value for value, sample in points.items() if not np.isfinite(sample.values).all()]
        if ended:
            return Outcome("does not hold", f"runs turned non-finite at {', '.join(ended)}")
        gain = (look.sample(self.row, WHOLE) - look.sample(self.other, WHOLE)) * look.better
        ordered = sorted(points.values(), key=lambda sample: float(sample.values.mean()))
        pairs = [high - low for low, high in combinations(ordered, 2)]
        strict = 1 - (1 - level) / len(pairs)
        beyond = [
            [welch_interval(pair.values, self.share * gain.values, level=each) for pair in pairs]
            for each in (level, strict)
        ]
        verdict: Verdict = "undecided"
        if not np.isfinite(gain.values).all():  # of the runs that are reported some ended
            pass
        elif all(float(one.high) < 0 for one in beyond[0]):
            verdict = "holds"
        elif float(gain.interval(level).low) > 0 and any(float(one.low) > 0 for one in beyond[1]):
            verdict = "does not hold"
        widest = ordered[-1] - ordered[0]
        effects = [effect_text(one, look.share, True) for one in (widest.interval(strict), gain.interval(level))]
        return Outcome(verdict, ", gain ".join(effects), f"{len(widest.seeds)} pairs and {len(gain.seeds)}")

    def _points(self, look: BoardLook) -> dict[str, Sample]:
        """The tuning samples by value of the setting, the other settings being those chosen."""
        chosen = settings_of(look.board.chosen(look.benchmark, self.row))
        others = {name: value for name, value in chosen.items() if name != self.setting}
        found = {}
        for text, sample in look.board.tuning(look.benchmark, self.row).items():
            point = settings_of(text)
            value = point.pop(self.setting, None)
            if value is not None and point == others:
                found[value] = sample
        return found


def claims_of(benchmark: str) -> tuple[Claim, ...]:
    """The claims about a benchmark, which is named without its version.

    >>> claims_of("trainability")[0].describe(Look({}, "accuracy"))
    'l2 - backprop, last, > 0 points'
    """
    claims = (
        Claim("L2 regularisation helps", Beats("l2", BASE)),
        Claim("Shrink and perturb helps more than L2", Beats("shrink-and-perturb", "l2")),
        Claim("Adam loses more than SGD", FallsMore("adam", BASE)),
        Claim(
            "Continual backpropagation hardly depends on its replacement rate",
            Insensitive("cbp", "cbp.replacement_rate", BASE),
        ),
    )
    if benchmark != TRAINABILITY:
        return claims
    return (
        *claims,
        Claim("Backpropagation loses trainability", Falls(BASE)),
        Claim("L2-Init (Regen) holds trainability", Keeps("l2-init", MARGIN)),
        Claim("CReLU holds trainability", Keeps("crelu", MARGIN)),
        *(Claim(f"{row} does not hold trainability", Loses(row, MARGIN)) for row in NO_CURE),
    )


def judge_board(board: Board) -> list[Judgement]:
    """Hold every claim against the table: one judgement for each claim and benchmark."""
    judgements = []
    for benchmark in board.benchmarks:
        base = benchmark.rpartition("-v")[0]
        look = BoardLook({}, board.metric(benchmark), board=board, benchmark=benchmark)
        for claim in claims_of(base):
            labels = claim.criterion.labels(look)
            command = f"neoteny leaderboard --benchmark {base} --method {','.join(labels)}"
            marks = list(filter(None, map(mark_of, board.commits(benchmark, labels))))
            judgements.append(
                Judgement(
                    paper="",
                    benchmark=base,
                    figure=FIGURE,
                    claim=claim.text,
                    scale=board.scale(benchmark),
                    criterion=f"{look.metric}: {claim.describe(look)}",
                    outcome=claim.judge(look),
                    commands=(command,),
                    note=NOTE,
                    made={command: marks[0]} if marks else {},
                )
            )
    return judgements
