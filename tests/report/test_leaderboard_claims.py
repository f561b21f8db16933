"""Claims of the field: verdicts from made-up tables whose effects are known, and the interval against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from neoteny.report.claims.marks import CHANGED
from neoteny.report.claims.page import markdown
from neoteny.report.leaderboard.claims import judge_board
from report import made_up_board as made_up
from report.made_up_board import MNIST, REGRESSION

TRAINABILITY = "trainability-v1"


def near(level: float, number: int = 10, seed: int = 0) -> np.ndarray:
    """Runs near a level."""
    return level + 0.005 * np.random.default_rng(seed).normal(size=number)


def verdicts(*parts) -> dict[str, str]:
    return {entry.claim: entry.outcome.verdict for entry in judge_board(made_up.board(*parts))}


@pytest.mark.parametrize("benchmark", [MNIST, REGRESSION])
def test_what_helps_and_what_loses(benchmark):
    better = 1 if benchmark == MNIST else -1

    def row(name: str, last: float, seed: int):
        return made_up.reported(benchmark, name, near(better * last, seed=seed), near(better * 0.9, seed=9))

    found = verdicts(
        row("backprop", 0.8, 0), row("l2", 0.85, 1), row("shrink-and-perturb", 0.9, 2), row("adam", 0.7, 3),
        row("cbp", 0.95, 4),
    )  # fmt: skip
    assert found["Continual backpropagation helps"] == found["Continual backpropagation helps more than L2"] == "holds"
    assert found["L2 regularisation helps"] == "holds"
    assert found["Shrink and perturb helps more than L2"] == "holds"
    assert found["Adam loses more than SGD"] == "holds"
    found = verdicts(
        row("backprop", 0.8, 0), row("l2", 0.7, 1), row("shrink-and-perturb", 0.7, 2), row("adam", 0.85, 3)
    )
    assert found["L2 regularisation helps"] == "does not hold"
    assert found["Shrink and perturb helps more than L2"] == ("level" if benchmark == MNIST else "undecided")
    assert found["Adam loses more than SGD"] == "does not hold"
    assert verdicts(row("backprop", 0.8, 0))["L2 regularisation helps"] == "not yet run"


def test_the_effect_is_the_difference_seed_by_seed():
    base, l2 = near(0.8, seed=1), near(0.805, seed=2)
    entries = judge_board(made_up.board(made_up.reported(MNIST, "backprop", base), made_up.reported(MNIST, "l2", l2)))
    (entry,) = [one for one in entries if one.claim == "L2 regularisation helps"]
    low, high = ttest_rel(l2, base).confidence_interval(0.95)
    assert entry.outcome.effect == f"{100 * (l2 - base).mean():+.2f} [{100 * low:.2f}, {100 * high:.2f}] points"
    assert entry.outcome.n == "10 pairs"
    assert entry.scale == "fast"
    assert entry.commands == ("neoteny leaderboard --benchmark online-permuted-mnist --method l2,backprop",)


def test_rows_that_no_commit_makes_again_are_marked():
    lines = made_up.reported(MNIST, "backprop", near(0.8)) + made_up.reported(MNIST, "l2", near(0.9))
    told = {"backprop": "torch 2.13; commit 0123abc; a processor", "l2": "torch 2.13; commit 0123abc+; a processor"}
    for line in lines:
        line["made_with"] = told[line["row"]]
    entries = judge_board(made_up.board(lines))
    found = {entry.claim: entry.marks for entry in entries}
    assert found["L2 regularisation helps"] == (CHANGED,)
    assert found["Adam loses more than SGD"] == ()
    assert entries[0].commands[0] in entries[0].made


def test_trainability_is_held_or_lost_by_two_points():
    def row(name: str, last: float, seed: int):
        return made_up.reported(TRAINABILITY, name, near(last, seed=seed), near(0.9, seed=seed + 20))

    found = verdicts(
        row("backprop", 0.6, 0), row("l2-init", 0.9, 1), row("crelu", 0.8, 2), row("dropout", 0.7, 3),
        row("layer-norm", 0.9, 4), row("batch-norm", 0.88, 5),
    )  # fmt: skip
    assert found["Backpropagation loses trainability"] == "holds"
    assert found["L2-Init (Regen) holds trainability"] == "holds"
    assert found["CReLU holds trainability"] == "does not hold"
    assert found["dropout does not hold trainability"] == "holds"
    assert found["layer-norm does not hold trainability"] == "does not hold"
    assert found["batch-norm does not hold trainability"] == "undecided"


def test_the_page_says_whose_claims_they_are():
    entries = judge_board(made_up.board(made_up.reported(TRAINABILITY, "backprop", near(0.6), near(0.9, seed=1))))
    page = markdown(entries)
    assert "## trainability\n\nNot the paper's" in page
    assert "[leaderboard](leaderboard.md)" in page
    assert "loss of dropout, first to last, > 2 points" in page
    assert "loss of backprop, first to last, > 0" in page
