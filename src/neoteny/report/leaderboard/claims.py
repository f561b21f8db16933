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
    Falls,
    FallsMore,
    Keeps,
    Loses,
)
from neoteny.report.claims.look import FIRST, LAST, CurveName, Look, Window
from neoteny.report.claims.marks import mark_of
from neoteny.report.claims.page import Judgement
from neoteny.report.leaderboard.board import Board
from neoteny.report.statistics.sample import Sample

__all__ = ["BoardLook", "claims_of", "judge_board"]

FIGURE = "leaderboard"
TRAINABILITY = "trainability"
MARGIN = 0.02
"""A difference in accuracy that does not matter; trainability is held if no more is lost."""
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


def claims_of(benchmark: str) -> tuple[Claim, ...]:
    """The claims about a benchmark, which is named without its version.

    >>> claims_of("trainability")[0].describe(Look({}, "accuracy"))
    'l2 - backprop, last, > 0 points; level within 2 points'
    """
    claims = (
        Claim("L2 regularisation helps", Beats("l2", BASE, margin=MARGIN)),
        Claim("Shrink and perturb helps more than L2", Beats("shrink-and-perturb", "l2", margin=MARGIN)),
        Claim("Continual backpropagation helps", Beats("cbp", BASE, margin=MARGIN)),
        Claim("Continual backpropagation helps more than L2", Beats("cbp", "l2", margin=MARGIN)),
        Claim("Adam loses more than SGD", FallsMore("adam", BASE)),
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
