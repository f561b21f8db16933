"""Class-incremental CIFAR-100: five more classes in every increment."""

from __future__ import annotations

from functools import partial

from neoteny.report.claims.criteria import (
    Beats,
    Claim,
    EndsAbove,
    EndsBelow,
    Grows,
    Level,
    Shrinks,
)
from neoteny.report.claims.several import All
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.nature.conditions import BACKPROP, CBP, NATURE, SHRINK
from neoteny.report.papers.records import Chosen, PaperFigure

__all__ = ["FIGURES"]

_figure = partial(
    PaperFigure,
    benchmark="incremental-cifar100",
    conditions=(BACKPROP, Condition("head-reset", "head-reset"), SHRINK, CBP),
    length=100,
    runs=30,
    fewer=5,
    axis="classes",
    chosen=(
        Chosen(
            said="The step size 1.0 was chosen as one at which units become dormant within 2,000 updates",
            seeds=(),
            scale="small",
        ),
    ),
)
EARLY = (0.05, 0.4)  # of a run over 100 classes: 10 to 40 of them; with the first 5 all is still the same

FIGURES = (
    _figure(
        name="nature-2b",
        title="Incremental learning against training from scratch",
        source=f"{NATURE}, Fig. 2b",
        metric="test_accuracy",
        minus=Condition("retrained", "retrained"),
        published={
            "backprop": {100: -4.95},
            "head-reset": {100: -2.35},
            "shrink-and-perturb": {100: -1.55},
            "cbp": {100: 0.1},
        },
        claims=(
            Claim(
                "The base system gains from incremental training at first", Beats("backprop", "retrained", window=EARLY)
            ),
            Claim("The base system ends behind the retrained network", Beats("retrained", "backprop")),
            Claim(
                "Continual backpropagation ends about level with the retrained network",
                Level("cbp", "retrained", 0.01),
            ),
            Claim(
                "Head reset and shrink and perturb end between the base system and continual backpropagation",
                All(
                    (
                        Beats("head-reset", "backprop"),
                        Beats("shrink-and-perturb", "backprop"),
                        Beats("cbp", "head-reset"),
                        Beats("cbp", "shrink-and-perturb"),
                    )
                ),
            ),
            Claim("Continual backpropagation ends above the base system", Beats("cbp", "backprop")),
        ),
    ),
    _figure(
        name="nature-2c",
        title="Dormant units",
        source=f"{NATURE}, Fig. 2c",
        metric="dormant_units",
        published={
            "backprop": {100: 0.555},
            "head-reset": {100: 0.41},
            "shrink-and-perturb": {100: 0.076},
            "cbp": {100: 0.014},
        },
        claims=(
            Claim("The base system ends with over 50% dormant units", EndsAbove("backprop", 0.5)),
            Claim("Continual backpropagation ends with under 2% dormant units", EndsBelow("cbp", 0.02)),
            Claim("Units of the base system become dormant", Grows("backprop")),
            Claim(
                "Head reset and shrink and perturb have fewer dormant units than the base system, and more than "
                "continual backpropagation",
                All(
                    (
                        Beats("backprop", "head-reset"),
                        Beats("backprop", "shrink-and-perturb"),
                        Beats("head-reset", "cbp"),
                        Beats("shrink-and-perturb", "cbp"),
                    )
                ),
            ),
        ),
    ),
    _figure(
        name="nature-2d",
        title="Stable rank of the last hidden layer",
        source=f"{NATURE}, Fig. 2d",
        metric="srank_99",
        layer="last",
        published={
            "backprop": {100: 75.0},
            "head-reset": {100: 89.6},
            "shrink-and-perturb": {100: 89.4},
            "cbp": {100: 92.7},
        },
        claims=(
            Claim("The rank of the base system's representation falls", Shrinks("backprop")),
            Claim("Continual backpropagation ends with a higher rank than the base system", Beats("cbp", "backprop")),
        ),
    ),
)
