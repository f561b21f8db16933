"""Claims of the field: verdicts from made-up tables whose effects are known, and the interval against scipy's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from neoteny.report.claims.marks import CHANGED
from neoteny.report.claims.page import markdown
from neoteny.report.leaderboard.claims import judge_board
from report import made_up_board as made_up
from report.made_up_board import MNIST, REGRESSION

TRAINABILITY = "trainability-v1"
RATES = ("1e-06", "1e-05", "0.0001")


def near(level: float, number: int = 10, seed: int = 0) -> np.ndarray:
    """Runs near a level."""
    return level + 0.005 * np.random.default_rng(seed).normal(size=number)


def verdicts(*parts) -> dict[str, str]:
    return {entry.claim: entry.outcome.verdict for entry in judge_board(made_up.board(*parts))}


def grid(levels: Sequence[float], benchmark: str = MNIST):
    """Tuning runs of continual backpropagation at three rates, and a second setting that is no part of the question."""
    points = {
        f"cbp.replacement_rate={rate}, cbp.decay_rate=0.99": near(level, 5, k)
        for k, (rate, level) in enumerate(zip(RATES, levels, strict=True))
    }
    points["cbp.replacement_rate=1e-06, cbp.decay_rate=0.9"] = near(-5.0, 5)
    return made_up.tuned(benchmark, "cbp", points)


CHOSEN = "cbp.replacement_rate=1e-05, cbp.decay_rate=0.99"


@pytest.mark.parametrize("benchmark", [MNIST, REGRESSION])
def test_what_helps_and_what_loses(benchmark):
    better = 1 if benchmark == MNIST else -1

    def row(name: str, last: float, seed: int):
        return made_up.reported(benchmark, name, near(better * last, seed=seed), near(better * 0.9, seed=9))

    found = verdicts(
        row("backprop", 0.8, 0), row("l2", 0.85, 1), row("shrink-and-perturb", 0.9, 2), row("adam", 0.7, 3)
    )
    assert found["L2 regularisation helps"] == "holds"
    assert found["Shrink and perturb helps more than L2"] == "holds"
    assert found["Adam loses more than SGD"] == "holds"
    found = verdicts(
        row("backprop", 0.8, 0), row("l2", 0.7, 1), row("shrink-and-perturb", 0.7, 2), row("adam", 0.85, 3)
    )
    assert found["L2 regularisation helps"] == "does not hold"
    assert found["Shrink and perturb helps more than L2"] == "undecided"
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


@pytest.mark.parametrize(
    ("levels", "gain", "verdict"),
    [
        ((0.9, 0.9, 0.89), 0.1, "holds"),
        ((0.9, 0.9, 0.7), 0.1, "does not hold"),
        ((0.9, 0.9, 0.85), 0.1, "undecided"),  # the spread is half of the gain
        ((0.9, 0.9, 0.9), -0.1, "undecided"),  # there is no gain to take a share of
        ((0.9, 0.9, math.nan), 0.1, "does not hold"),
    ],
)
def test_how_much_a_rate_matters(levels, gain, verdict):
    parts = [
        made_up.reported(MNIST, "backprop", near(0.8)),
        made_up.reported(MNIST, "cbp", near(0.8 + gain), settings=CHOSEN),
        grid(levels),
    ]
    assert verdicts(*parts)["Continual backpropagation hardly depends on its replacement rate"] == verdict


def test_values_that_do_not_differ_are_rarely_refused():
    """Eight equal values, five seeds: the best and the worst of them, as picked, differ "for sure" in many samples."""
    rng, rates = np.random.default_rng(3), [f"1e-0{k}" for k in range(1, 9)]
    gain = 1e-4 + 1e-7 * rng.normal(size=10)
    refused = picked = 0
    for _ in range(100):
        points = {
            f"cbp.replacement_rate={rate}, cbp.decay_rate=0.99": 0.9 + 0.01 * rng.normal(size=5) for rate in rates
        }
        entries = judge_board(
            made_up.board(
                made_up.reported(MNIST, "backprop", [0.8] * 10),
                made_up.reported(MNIST, "cbp", (0.8 + gain).tolist(), settings=CHOSEN),
                made_up.tuned(MNIST, "cbp", points),
            )
        )
        (entry,) = [one for one in entries if "hardly depends" in one.claim]
        refused += entry.outcome.verdict == "does not hold"
        best, worst = (pick(points.values(), key=np.mean) for pick in (max, min))
        picked += ttest_rel(best, worst).confidence_interval(0.95).low > 0
    assert picked > 20  # what the picked ones alone would say
    assert refused <= 10  # of 100, of which 5 are expected at most


def test_two_values_are_compared_with_the_gain_of_other_seeds():
    settings = [f"cbp.replacement_rate={rate}, cbp.decay_rate=0.99" for rate in RATES[:2]]
    points = {text: near(0.9 - 0.05 * place, 5, place) for place, text in enumerate(settings)}
    base, row = near(0.8, 8, 5), near(0.9, 8, 6)
    entries = judge_board(
        made_up.board(
            made_up.reported(MNIST, "backprop", base),
            made_up.reported(MNIST, "cbp", row, settings=CHOSEN),
            made_up.tuned(MNIST, "cbp", points),
        )
    )
    (entry,) = [one for one in entries if "hardly depends" in one.claim]
    high, low = points.values()
    test = ttest_ind(high - low, 0.5 * (row - base), equal_var=False).confidence_interval(0.95)
    assert test.low < 0 < test.high
    assert entry.outcome.verdict == "undecided"
    bounds = ttest_rel(high, low).confidence_interval(0.95)  # a single pair: no correction
    gain = ttest_rel(row, base).confidence_interval(0.95)
    shown = [f"[{100 * one.low:.2f}, {100 * one.high:.2f}] points" for one in (bounds, gain)]
    assert entry.outcome.effect.replace(", gain", "").count("points") == 2
    assert all(one in entry.outcome.effect for one in shown), entry.outcome.effect
    assert entry.outcome.n == "5 pairs and 8"


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
