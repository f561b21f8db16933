"""Slowly-changing regression: a small network follows a target that changes one bit at a time."""

from __future__ import annotations

from functools import partial

from neoteny.report.claims.criteria import Beats, Claim, Falls, FallsMore, Keeps
from neoteny.report.claims.several import each
from neoteny.report.papers.condition import Condition, vary
from neoteny.report.papers.nature.conditions import (
    AHEAD,
    ARXIV,
    BACKPROP,
    CBP,
    L2,
    LINEAR,
    NATURE,
    SHRINK,
    STEP_SIZES,
)  # fmt: skip
from neoteny.report.papers.records import PaperFigure

__all__ = ["FIGURES"]

_figure = partial(
    PaperFigure,
    source=ARXIV,
    benchmark="slowly-changing-regression",
    length=1_000_000,
    runs=100,
    metric="loss",
    axis="examples",
    bin=20_000,
)
ACTIVATIONS = ("relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid")

FIGURES = (
    _figure(
        name="regression-activations",
        title="Activations",
        source=f"{NATURE}, Extended Data Fig. 2b; {ARXIV}",
        conditions=(*vary("backprop", "activation", ACTIVATIONS, "{}"), LINEAR),
        published={
            "relu": {20_000: 0.62, 1_000_000: 1.25},
            "linear": {1_000_000: 0.88},
            "tanh": {20_000: 0.4, 1_000_000: 0.9},
        },
        claims=(
            Claim("Every activation loses plasticity", each(Falls, ACTIVATIONS)),
            Claim("ReLU ends worse than a linear network", Beats("linear", "relu")),
        ),
    ),
    _figure(
        name="regression-adam",
        title="Activations, with Adam",
        source=f"{NATURE}, Extended Data Fig. 2b; {ARXIV}",
        conditions=(
            *vary("backprop", "activation", ACTIVATIONS, "{}", optimizer="adam"),
            Condition("linear", "linear", {"optimizer": "adam"}),
        ),
        claims=(Claim("With Adam, too, every activation loses plasticity", each(Falls, ACTIVATIONS)),),
    ),
    _figure(
        name="regression-step-size",
        title="Step sizes",
        conditions=STEP_SIZES,
        published={"step size 0.01": {20_000: 0.62, 1_000_000: 1.25}},
        claims=(Claim("Backpropagation loses plasticity at every step size", each(Falls, range(3))),),
    ),
    _figure(
        name="regression-systems",
        title="Methods",
        conditions=(BACKPROP, LINEAR, L2, SHRINK, CBP),
        published={"backprop": {20_000: 0.62, 1_000_000: 1.25}, "linear": {1_000_000: 0.88}},
        claims=(
            Claim("Continual backpropagation does not lose plasticity", Keeps("cbp", 0.05)),
            Claim("Shrink and perturb loses less than backpropagation", FallsMore("backprop", "shrink-and-perturb")),
            Claim("L2 regularisation loses less than backpropagation", FallsMore("backprop", "l2")),
            Claim("Continual backpropagation ends better than L2", Beats("cbp", "l2")),
            AHEAD,
        ),
    ),
    _figure(
        name="regression-l2",
        title="L2 regularisation",
        conditions=(BACKPROP, *vary("l2", "l2.strength", (1e-4, 1e-3, 1e-2, 1e-1), "l2 {}")),
    ),
    _figure(
        name="regression-shrink-and-perturb",
        title="Shrink and perturb, by the noise",
        conditions=(
            BACKPROP,
            *vary("shrink-and-perturb", "shrink-and-perturb.sigma", (1e-4, 1e-3, 1e-2, 1e-1), "sigma {}"),
        ),
    ),
    _figure(
        name="regression-cbp",
        title="Continual backpropagation, by the replacement rate",
        conditions=(BACKPROP, *vary("cbp", "cbp.replacement_rate", (1e-6, 1e-5, 1e-4, 1e-3, 1e-2), "cbp {}")),
        claims=(
            Claim(
                "Continual backpropagation ends better than backpropagation at every rate over four orders of "
                "magnitude",
                each(Beats, range(1, 6), "backprop"),
            ),
        ),
    ),
)
