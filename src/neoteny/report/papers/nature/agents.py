"""Robots that learn to walk: the paper's ant, Figs. 3 and 4, and the half-cheetah, which the paper does not have."""

from __future__ import annotations

from functools import partial
from typing import Any

from neoteny.report.claims.criteria import Beats, Claim, Falls, FallsMore, Grows, Keeps
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.nature.conditions import CBP, L2, NATURE
from neoteny.report.papers.records import Chosen, PaperFigure

__all__ = ["FIGURES", "HALF_CHEETAH"]

HALF_CHEETAH = "slippery-half-cheetah"
STANDARD, TUNED = "standard PPO", "tuned Adam"
# An agent begins without any skill, so what it loses is counted from a stretch of the run in which it has learned to
# walk. The stretches were fixed before any run, since the best stretch of a run lies above the others by chance alone.
EARLY, LATE = (0.1, 0.4), (0.8, 1.0)
# On unchanging ground the paper's standard agent is back at 0 after a third of the run.
EARLY_STATIONARY = (0.05, 0.25)

_figure = partial(
    PaperFigure,
    conditions=(Condition(STANDARD, "backprop"), Condition(TUNED, "tuned-adam"), L2, CBP),
    optional=(Condition("redo", "redo"),),
    fewer=5,
    axis="steps",
    interval="bca",
    last=LATE,
)
_slippery_ant = partial(_figure, benchmark="slippery-ant", length=20_000_000, runs=100)
_half_cheetah = partial(
    _figure,
    benchmark=HALF_CHEETAH,
    length=20_000_000,
    runs=30,
    chosen=(
        Chosen(
            said="The step size 0.001 was chosen with standard PPO (with 0.0003 hardly a unit became dormant, with "
            "0.003 it collapsed)",
            seeds=(0, 1),
            scale="small",
        ),
    ),
)
_ant = partial(_figure, benchmark="ant", length=50_000_000, runs=30)

# What each figure shows: points are of 100,000 steps, and measures are taken as often.
_WEIGHTS_TITLE = "Mean |w| into the actor's last hidden layer"
RETURN: dict[str, Any] = {"metric": "episodic_return", "bin": 102_400}
DORMANT: dict[str, Any] = {"title": "Dormant units of the actor", "metric": "dormant_units", "layer": "actor.mean"}
WEIGHTS: dict[str, Any] = {"title": _WEIGHTS_TITLE, "metric": "weight_magnitude", "layer": "actor.last"}
RANK: dict[str, Any] = {
    "title": "Stable rank of the actor's last hidden layer",
    "metric": "srank_99",
    "layer": "actor.last",
}

KEPT = (
    Claim("L2 regularisation goes on improving", Keeps("l2", 0.0)),
    Claim("Continual backpropagation goes on improving", Keeps("cbp", 0.0)),
    Claim("L2 regularisation ends above standard PPO", Beats("l2", STANDARD)),
    Claim("Continual backpropagation ends above standard PPO", Beats("cbp", STANDARD)),
)
CHANGING = (
    Claim("Standard PPO loses what it had learned", Falls(STANDARD)),
    Claim("With tuned Adam less is lost", FallsMore(STANDARD, TUNED)),
    *KEPT,
)
MORE_DORMANT = (
    Claim("Units of standard PPO become dormant", Grows(STANDARD)),
    Claim("Standard PPO ends with more dormant units than L2 regularisation", Beats(STANDARD, "l2")),
    Claim("Standard PPO ends with more dormant units than continual backpropagation", Beats(STANDARD, "cbp")),
)
LARGER_WEIGHTS = (
    Claim("The weights of standard PPO grow", Grows(STANDARD)),
    Claim("Standard PPO ends with larger weights than L2 regularisation", Beats(STANDARD, "l2")),
    Claim("Standard PPO ends with larger weights than continual backpropagation", Beats(STANDARD, "cbp")),
)
HIGHER_RANK = (Claim("Continual backpropagation ends with a higher rank than standard PPO", Beats("cbp", STANDARD)),)

FIGURES = (
    _slippery_ant(
        **RETURN,
        name="nature-3c",
        title="Return on ground of changing friction",
        source=f"{NATURE}, Fig. 3c",
        claims=CHANGING,
        first=EARLY,
    ),
    _ant(
        **RETURN,
        name="nature-4a",
        title="Return on unchanging ground",
        source=f"{NATURE}, Fig. 4a",
        published={
            STANDARD: {17_000_000: 0.0},
            TUNED: {40_000_000: 0.0},
            "l2": {50_000_000: 4_000.0},
            "cbp": {50_000_000: 4_900.0},
        },
        claims=(
            Claim("Standard PPO loses what it had learned", Falls(STANDARD)),
            Claim("With tuned Adam it is lost as well", Falls(TUNED)),
            *KEPT,
            Claim("Continual backpropagation ends above L2", Beats("cbp", "l2")),
        ),
        first=EARLY_STATIONARY,
    ),
    _ant(
        **DORMANT,
        name="nature-4b",
        source=f"{NATURE}, Fig. 4b",
        published={
            STANDARD: {50_000_000: 0.58},
            TUNED: {50_000_000: 0.57},
            "l2": {50_000_000: 0.055},
            "cbp": {50_000_000: 0.045},
        },
        claims=MORE_DORMANT,
    ),
    _ant(
        **RANK,
        name="nature-4c",
        source=f"{NATURE}, Fig. 4c",
        published={"l2": {50_000_000: 0.71 * 256}, "cbp": {50_000_000: 0.83 * 256}},  # the paper: per cent of 256 units
        claims=HIGHER_RANK,
    ),
    _ant(
        **WEIGHTS,
        name="nature-4d",
        source=f"{NATURE}, Fig. 4d",
        published={
            STANDARD: {50_000_000: 0.115},
            TUNED: {50_000_000: 0.104},
            "l2": {50_000_000: 0.008},
            "cbp": {50_000_000: 0.03},
        },
        claims=LARGER_WEIGHTS,
    ),
    _slippery_ant(**DORMANT, name="friction-dormant-units", claims=MORE_DORMANT),
    _slippery_ant(**WEIGHTS, name="friction-weight-magnitude", claims=LARGER_WEIGHTS),
    _slippery_ant(**RANK, name="friction-srank", claims=HIGHER_RANK),
    _half_cheetah(
        **RETURN,
        name="friction-half-cheetah",
        title="Return on ground of changing friction",
        claims=CHANGING,
        first=EARLY,
    ),
    _half_cheetah(**DORMANT, name="friction-half-cheetah-dormant-units", claims=MORE_DORMANT),
    _half_cheetah(**WEIGHTS, name="friction-half-cheetah-weight-magnitude", claims=LARGER_WEIGHTS),
)
