"""What is claimed of methods in general, held against the leaderboard's table.

Rows are compared seed by seed, over the first tenth, the last tenth or the whole stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
from neoteny.report.claims.page import Judgement
from neoteny.report.leaderboard.board import Board, settings_of
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

    The worst value of its grid is compared with the best one, over the whole stream of the tuning seeds and with the
    other settings as chosen. The difference has to be less than a share of what the row gains over another row, over
    the whole stream of the reported seeds. A value under which a run turned non-finite is beyond every share.

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
        return f"best - worst {name} of the grid, whole stream, < {self.share:.0%} of what {gain}"

    def judge(self, look: Look, level: float = 0.95) -> Outcome:
        """Compare the spread over the grid with the gain."""
        assert isinstance(look, BoardLook)
        points = self._points(look)
        if len(points) < 2:
            return Outcome("not yet run", f"no grid over {self.setting}")
        ended = [value for value, sample in points.items() if not np.isfinite(sample.values).all()]
        if ended:
            return Outcome("does not hold", f"runs turned non-finite at {', '.join(ended)}")
        ordered = sorted(points.values(), key=lambda sample: look.better * float(sample.values.mean()))
        difference = ordered[-1] - ordered[0]
        interval = (difference * look.better).interval(level)
        gained = look.sample(self.row, WHOLE) - look.sample(self.other, WHOLE)
        gain = look.better * float(gained.interval().mean)
        text = f"{effect_text(interval, look.share, signed=True)}, gain {look.difference(float(f'{gain:.3g}'))}"
        verdict: Verdict = "undecided"
        if gain > 0 and float(interval.high) < self.share * gain:
            verdict = "holds"
        elif gain > 0 and float(interval.low) > self.share * gain:
            verdict = "does not hold"
        return Outcome(verdict, text, f"{len(difference.seeds)} pairs")

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
            names = ",".join(claim.criterion.labels(look))
            judgements.append(
                Judgement(
                    paper="",
                    benchmark=base,
                    figure=FIGURE,
                    claim=claim.text,
                    scale=board.scale(benchmark),
                    criterion=f"{look.metric}: {claim.describe(look)}",
                    outcome=claim.judge(look),
                    commands=(f"neoteny leaderboard --benchmark {base} --method {names}",),
                    note=NOTE,
                )
            )
    return judgements
