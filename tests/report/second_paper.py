"""A made-up paper: the one file that a paper needs."""

from __future__ import annotations

from neoteny.report.claims.criteria import Beats, Claim, Falls, FallsMore
from neoteny.report.papers.condition import Condition, vary
from neoteny.report.papers.records import Paper, PaperFigure

PAPER = Paper(
    name="second",
    title="A second paper",
    reference="Nobody, 2030",
    figures=(
        PaperFigure(
            name="second-1",
            title="Regularisers",
            source="Nobody (2030), Fig. 1",
            benchmark="trainability",
            conditions=(
                Condition("backprop", "backprop"),
                *vary("l2", "l2.strength", (1e-3, 1e-4), "strength {}"),
            ),
            at={
                "small": (
                    Condition("backprop", "backprop"),
                    *vary("l2", "l2.strength", (1e-2, 1e-3), "strength {}"),
                )
            },
            length=50,
            runs=20,
            interval="t",
            published={"backprop": {1: 0.9, 50: 0.4}},
            claims=(
                Claim("Backpropagation falls", Falls("backprop")),
                Claim("The stronger regulariser loses less", FallsMore(2, 1)),
                Claim("The weaker regulariser is the best at last", Beats(2, "backprop")),
            ),
        ),
    ),
)
