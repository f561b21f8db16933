"""The figures of "Loss of plasticity in deep continual learning": which curves, from which runs.

Dohare et al., Nature 632, 2024, and its longer predecessor arXiv 2306.13812. The known values are read off the plots.
Here are those of supervised learning; `neoteny.report.atlas_agents` has those of agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from neoteny.errors import UnknownNameError
from neoteny.report.atlas_agents import AGENTS, NATURE
from neoteny.report.figure import Known, PaperFigure
from neoteny.report.lines import Line, vary

__all__ = ["CIFAR", "FIGURES", "IMAGENET", "MNIST", "REGRESSION", "figure"]

IMAGENET, CIFAR = "continual-imagenet", "incremental-cifar100"
MNIST, REGRESSION = "online-permuted-mnist", "slowly-changing-regression"
ARXIV = "arXiv 2306.13812"

BACKPROP, LINEAR = Line("backprop", "backprop"), Line("linear", "linear")
L2, CBP, ADAM = Line("l2", "l2"), Line("cbp", "cbp"), Line("adam", "adam")
SHRINK, HEAD = Line("shrink-and-perturb", "shrink-and-perturb"), Line("head-reset", "head-reset")
RETRAINED = Line("retrained", "retrained")
# Noise on every weight at every example costs several times the step: seldom and larger, it has the same variance.
SHRINK_SELDOM = Line(SHRINK.label, SHRINK.system, {"shrink-and-perturb.interval": 100})
CURVES = ("relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid")


def _activations(**others: object) -> tuple[Line, ...]:
    return vary("backprop", "activation", CURVES, "{}", **others)


def _imagenet(
    name: str, title: str, source: str, lines: tuple[Line, ...], length: int, *known: Known,
    small: tuple[Line, ...] | None = None,
) -> PaperFigure:  # fmt: skip
    at = {"small": small} if small else {}
    return PaperFigure(
        name, title, source, IMAGENET, lines, length, 30, 5, at, metric="test_accuracy", bin=50, known=known
    )


def _cifar(
    name: str, title: str, source: str, metric: str, layer: str, ends: tuple[float, ...], minus: Line | None = None
) -> PaperFigure:
    lines = (BACKPROP, HEAD, SHRINK, CBP)
    known = tuple(Known(line.label, 100, end) for line, end in zip(lines, ends, strict=True))
    return PaperFigure(
        name,
        title,
        source,
        CIFAR,
        lines,
        100,
        30,
        5,
        metric=metric,
        layer=layer,
        axis="classes",
        minus=minus,
        known=known,
    )


def _mnist(
    name: str, title: str, source: str, lines: tuple[Line, ...], *known: Known, panels: tuple[str, ...] = (),
    small: tuple[Line, ...] | None = None,
) -> PaperFigure:  # fmt: skip
    at = {"small": small} if small else {}
    return PaperFigure(name, title, source, MNIST, lines, 800, 30, at=at, known=known, panels=panels)


def _regression(name: str, title: str, source: str, lines: tuple[Line, ...], *known: Known) -> PaperFigure:
    return PaperFigure(
        name, title, source, REGRESSION, lines, 1_000_000, 100, metric="loss", axis="examples", bin=20_000, known=known
    )


STEP_SIZES = vary("backprop", "step_size", (0.01, 0.003, 0.001), "step size {}")
SYSTEMS_KNOWN = (Known("backprop", 1, 0.952), Known("backprop", 800, 0.937))
VARIATIONS = (
    Line("dropout 0.1", "backprop", {"dropout": 0.1}),
    Line("layer norm", "backprop", {"normalisation": "layer"}),
)

_ALL = (
    _imagenet(
        "nature-1b", "Backpropagation at three step sizes, and a linear network", f"{NATURE}, Fig. 1b",
        (*vary("backprop", "step_size", (0.01, 0.001, 0.0001), "step size {}"), LINEAR), 2_000,
        Known("step size 0.01", 50, 0.843), Known("step size 0.01", 2_000, 0.74),
        Known("step size 0.001", 2_000, 0.787), Known("step size 0.0001", 2_000, 0.784), Known("linear", 2_000, 0.771),
        small=(*vary("backprop", "step_size", (0.02, 0.005, 0.001), "step size {}"), LINEAR),
    ),
    _imagenet(
        "nature-1c", "Methods that keep plasticity", f"{NATURE}, Fig. 1c", (BACKPROP, LINEAR, L2, SHRINK, CBP), 5_000,
        Known("cbp", 50, 0.844), Known("cbp", 5_000, 0.904), Known("l2", 5_000, 0.892),
        Known("shrink-and-perturb", 5_000, 0.892),
    ),
    _imagenet(
        "imagenet-variations", "Optimizer, dropout, normalisation and activations", f"{ARXIV}, Continual ImageNet",
        (
            BACKPROP, ADAM, *VARIATIONS, Line("batch norm", "backprop", {"normalisation": "batch"}),
            *vary("backprop", "activation", ("leaky_relu", "elu", "tanh", "sigmoid"), "{}"),
        ),
        2_000,
    ),
    _cifar(
        "nature-2b", "Incremental learning against training from scratch", f"{NATURE}, Fig. 2b", "test_accuracy", "",
        (-4.95, -2.35, -1.55, 0.1), RETRAINED,
    ),
    _cifar(
        "nature-2c", "Dormant units", f"{NATURE}, Fig. 2c", "dormant_units", "", (0.555, 0.41, 0.076, 0.014)
    ),
    _cifar(
        "nature-2d", "Stable rank of the last hidden layer", f"{NATURE}, Fig. 2d", "srank_99", "last",
        (75.0, 89.6, 89.4, 92.7),
    ),
    _mnist(
        "mnist-step-size", "Step sizes", f"{NATURE}, Extended Data Fig. 3b; {ARXIV}", STEP_SIZES,
        Known("step size 0.003", 1, 0.952), Known("step size 0.003", 800, 0.937),
        Known("step size 0.001", 1, 0.948), Known("step size 0.001", 800, 0.9395),
        Known("step size 0.01", 1, 0.947), Known("step size 0.01", 800, 0.902),
    ),
    _mnist(
        "mnist-width", "Sizes of the network", f"{NATURE}, Extended Data Fig. 3b; {ARXIV}",
        vary("backprop", "width", (10_000, 1_000, 100), "width {}"),
        Known("width 10000", 1, 0.96), Known("width 10000", 800, 0.9575),
        Known("width 1000", 1, 0.9485), Known("width 1000", 800, 0.9375),
        Known("width 100", 1, 0.933), Known("width 100", 150, 0.88),
        small=vary("backprop", "width", (300, 100, 30), "width {}"),
    ),
    PaperFigure(
        "mnist-change", "How often the permutation changes", f"{NATURE}, Extended Data Fig. 3b; {ARXIV}", MNIST,
        tuple(
            Line(f"every {label}", "backprop", {"task_length": length, "tasks": 48_000_000 // length})
            for label, length in (("10 k", 10_000), ("100 k", 100_000), ("1 M", 1_000_000))
        ),
        48_000_000, 30, axis="examples", bin=60_000,
        at={
            "small": tuple(
                Line(f"every {label}", "backprop", {"task_length": length, "tasks": 1_000_000 // length})
                for label, length in (("2.5 k", 2_500), ("10 k", 10_000), ("50 k", 50_000))
            )
        },
        known=(
            Known("every 10 k", 60_000, 0.886), Known("every 10 k", 48_000_000, 0.85),
            Known("every 100 k", 60_000, 0.959), Known("every 100 k", 48_000_000, 0.928),
            Known("every 1 M", 60_000, 0.991), Known("every 1 M", 48_000_000, 0.988),
        ),
    ),
    _mnist(
        "mnist-adam", "Adam at three step sizes", f"{NATURE}, Extended Data Fig. 4b; {ARXIV}",
        (BACKPROP, *vary("adam", "step_size", (1e-4, 5e-5, 3e-5), "adam {}")), *SYSTEMS_KNOWN,
        small=(BACKPROP, *vary("adam", "step_size", (1e-3, 3e-4, 1e-4), "adam {}")),
    ),
    _mnist(
        "mnist-l2", "L2 regularisation", f"{NATURE}, Extended Data Fig. 4b; {ARXIV}",
        (BACKPROP, *vary("l2", "l2.strength", (1e-3, 1e-4, 1e-5), "l2 {}")), *SYSTEMS_KNOWN,
    ),
    _mnist(
        "mnist-shrink-and-perturb", "Shrink and perturb, by the noise", f"{NATURE}, Extended Data Fig. 4b; {ARXIV}",
        (BACKPROP, *vary("shrink-and-perturb", "shrink-and-perturb.sigma", (1e-4, 1e-5, 1e-6), "sigma {}")),
        *SYSTEMS_KNOWN,
    ),
    _mnist(
        "mnist-normalisation", "Dropout and normalisation", f"{NATURE}, Extended Data Fig. 4b; {ARXIV}",
        (BACKPROP, *VARIATIONS), *SYSTEMS_KNOWN,
    ),
    _mnist(
        "mnist-cbp", "Continual backpropagation, by the replacement rate", f"{NATURE}, Extended Data Fig. 4b; {ARXIV}",
        (BACKPROP, *vary("cbp", "cbp.replacement_rate", (1e-4, 1e-5, 1e-6), "cbp {}")), *SYSTEMS_KNOWN,
    ),
    _mnist(
        "mnist-systems", "Methods", f"{NATURE}, Extended Data Fig. 4a; {ARXIV}",
        (BACKPROP, ADAM, *VARIATIONS, L2, SHRINK, CBP), *SYSTEMS_KNOWN,
        small=(BACKPROP, ADAM, *VARIATIONS, L2, SHRINK_SELDOM, CBP),
    ),
    _mnist(
        "mnist-measures", "What becomes of the network", f"{NATURE}, Extended Data Fig. 3c; {ARXIV}", STEP_SIZES,
        panels=("dead_units", "weight_magnitude", "effective_rank"),
    ),
    _regression(
        "regression-activations", "Activations", f"{NATURE}, Extended Data Fig. 2b; {ARXIV}",
        (*_activations(), LINEAR),
        Known("relu", 20_000, 0.62), Known("relu", 1_000_000, 1.25), Known("linear", 1_000_000, 0.88),
        Known("tanh", 20_000, 0.4), Known("tanh", 1_000_000, 0.9),
    ),
    _regression(
        "regression-adam", "Activations, with Adam", f"{NATURE}, Extended Data Fig. 2b; {ARXIV}",
        (*_activations(optimizer="adam"), Line("linear", "linear", {"optimizer": "adam"})),
    ),
    _regression(
        "regression-step-size", "Step sizes", ARXIV, STEP_SIZES,
        Known("step size 0.01", 20_000, 0.62), Known("step size 0.01", 1_000_000, 1.25),
    ),
    _regression(
        "regression-systems", "Methods", ARXIV, (BACKPROP, LINEAR, L2, SHRINK, CBP),
        Known("backprop", 20_000, 0.62), Known("backprop", 1_000_000, 1.25), Known("linear", 1_000_000, 0.88),
    ),
    _regression(
        "regression-l2", "L2 regularisation", ARXIV,
        (BACKPROP, *vary("l2", "l2.strength", (1e-4, 1e-3, 1e-2, 1e-1), "l2 {}")),
    ),
    _regression(
        "regression-shrink-and-perturb", "Shrink and perturb, by the noise", ARXIV,
        (BACKPROP, *vary("shrink-and-perturb", "shrink-and-perturb.sigma", (1e-4, 1e-3, 1e-2, 1e-1), "sigma {}")),
    ),
    _regression(
        "regression-cbp", "Continual backpropagation, by the replacement rate", ARXIV,
        (BACKPROP, *vary("cbp", "cbp.replacement_rate", (1e-6, 1e-5, 1e-4, 1e-3, 1e-2), "cbp {}")),
    ),
)  # fmt: skip
FIGURES: Mapping[str, PaperFigure] = MappingProxyType({one.name: one for one in (*_ALL, *AGENTS)})
"""Every figure, by name."""


def figure(name: str) -> PaperFigure:
    """The figure of that name.

    Raises:
        UnknownNameError: there is none.

    >>> figure("nature-1c").source
    'Nature 632 (2024), Fig. 1c'
    """
    if name not in FIGURES:
        raise UnknownNameError(name, FIGURES, "figure")
    return FIGURES[name]
