"""Continual ImageNet: pairs of classes, one after the other."""

from __future__ import annotations

from functools import partial

from neoteny.report.claims.criteria import Beats, Claim, Falls, FallsMore, Keeps
from neoteny.report.claims.several import each
from neoteny.report.papers.condition import Condition, vary
from neoteny.report.papers.nature.conditions import (
    ADAM,
    AHEAD,
    ARXIV,
    BACKPROP,
    CBP,
    L2,
    LINEAR,
    NATURE,
    SHRINK,
    VARIATIONS,
)  # fmt: skip
from neoteny.report.papers.records import Chosen, PaperFigure

__all__ = ["FIGURES"]

_STEP_SIZE = Chosen(
    said="The step size 0.02 of this scale was chosen as one with which plasticity is lost soon",
    seeds=(),
    scale="small",
)
_RATE = Chosen(
    said="The replacement rate of continual backpropagation was chosen among three, which did not differ",
    seeds=(100, 101),
    scale="small",
    curves=("cbp",),
)
_figure = partial(
    PaperFigure,
    benchmark="continual-imagenet",
    runs=30,
    fewer=5,
    metric="test_accuracy",
    bin=50,
    chosen=(_STEP_SIZE,),
)
OTHERS = (
    ADAM, *VARIATIONS, Condition("batch norm", "backprop", {"normalisation": "batch"}),
    *vary("backprop", "activation", ("leaky_relu", "elu", "tanh", "sigmoid"), "{}"),
)  # fmt: skip

FIGURES = (
    _figure(
        name="nature-1b",
        title="Backpropagation at three step sizes, and a linear network",
        source=f"{NATURE}, Fig. 1b",
        conditions=(*vary("backprop", "step_size", (0.01, 0.001, 0.0001), "step size {}"), LINEAR),
        at={"small": (*vary("backprop", "step_size", (0.02, 0.005, 0.001), "step size {}"), LINEAR)},
        length=2_000,
        published={
            "step size 0.01": {50: 0.843, 2_000: 0.74},
            "step size 0.001": {2_000: 0.787},
            "step size 0.0001": {2_000: 0.784},
            "linear": {2_000: 0.771},
        },
        claims=(
            Claim("Backpropagation loses plasticity at every step size", each(Falls, range(3))),
            Claim("A larger step size loses more", FallsMore(0, 2)),
            Claim(
                "Backpropagation falls to about the linear network's level, or below it", Beats("linear", 0, by=-0.02)
            ),
        ),
    ),
    _figure(
        name="nature-1c",
        title="Methods that keep plasticity",
        source=f"{NATURE}, Fig. 1c",
        conditions=(BACKPROP, LINEAR, L2, SHRINK, CBP),
        chosen=(_STEP_SIZE, _RATE),
        length=5_000,
        published={"cbp": {50: 0.844, 5_000: 0.904}, "l2": {5_000: 0.892}, "shrink-and-perturb": {5_000: 0.892}},
        claims=(
            Claim("Continual backpropagation does not fall", Keeps("cbp", 0.01)),
            Claim("L2 regularisation does not fall", Keeps("l2", 0.01)),
            Claim("Shrink and perturb does not fall", Keeps("shrink-and-perturb", 0.01)),
            Claim("Continual backpropagation ends above L2", Beats("cbp", "l2")),
            Claim("Continual backpropagation ends above shrink and perturb", Beats("cbp", "shrink-and-perturb")),
            AHEAD,
        ),
    ),
    _figure(
        name="imagenet-variations",
        title="Optimizer, dropout, normalisation and activations",
        source=f"{ARXIV}, Continual ImageNet",
        conditions=(BACKPROP, *OTHERS),
        length=2_000,
        claims=tuple(Claim(f"Plasticity is lost also with {one.label}", Falls(one.label)) for one in OTHERS),
    ),
)
