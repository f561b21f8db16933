"""Online permuted MNIST: the pixels are permuted anew for every task, and every example is seen once."""

from __future__ import annotations

from functools import partial

from neoteny.report.claims.criteria import (
    Beats,
    Claim,
    Falls,
    FallsMore,
    Grows,
    Keeps,
    Shrinks,
)  # fmt: skip
from neoteny.report.claims.several import each
from neoteny.report.papers.condition import Condition, vary
from neoteny.report.papers.nature.conditions import (
    ADAM,
    AHEAD,
    ARXIV,
    BACKPROP,
    CBP,
    L2,
    NATURE,
    SHRINK,
    STEP_SIZES,
    VARIATIONS,
)  # fmt: skip
from neoteny.report.papers.records import PaperFigure

__all__ = ["FIGURES"]

_figure = partial(PaperFigure, benchmark="online-permuted-mnist", length=800, runs=30)
_step_size = partial(_figure, source=f"{NATURE}, Extended Data Fig. 3b; {ARXIV}")
_method = partial(
    _figure, source=f"{NATURE}, Extended Data Fig. 4b; {ARXIV}", published={"backprop": {1: 0.952, 800: 0.937}}
)
# Noise on every weight at every example costs several times the step: added less often, larger noise of the same
# variance does the same.
SHRINK_SELDOM = Condition(SHRINK.label, SHRINK.system, {"shrink-and-perturb.interval": 100})


def _changes(examples: int, *lengths: tuple[str, int]) -> tuple[Condition, ...]:
    """Streams of so many examples, whose permutation changes after each of these lengths."""
    return tuple(
        Condition(f"every {label}", "backprop", {"task_length": length, "tasks": examples // length})
        for label, length in lengths
    )


FIGURES = (
    _step_size(
        name="mnist-step-size",
        title="Step sizes",
        conditions=STEP_SIZES,
        published={
            "step size 0.003": {1: 0.952, 800: 0.937},
            "step size 0.001": {1: 0.948, 800: 0.9395},
            "step size 0.01": {1: 0.947, 800: 0.902},
        },
        claims=(
            Claim("Backpropagation loses plasticity at every step size", each(Falls, range(3))),
            Claim("A larger step size loses more", FallsMore(0, 2)),
        ),
    ),
    _step_size(
        name="mnist-width",
        title="Sizes of the network",
        conditions=vary("backprop", "width", (10_000, 1_000, 100), "width {}"),
        at={"small": vary("backprop", "width", (300, 100, 30), "width {}")},
        published={
            "width 10000": {1: 0.96, 800: 0.9575},
            "width 1000": {1: 0.9485, 800: 0.9375},
            "width 100": {1: 0.933, 150: 0.88},
        },
        claims=(
            Claim("Networks of every size lose plasticity", each(Falls, range(3))),
            Claim("A smaller network loses more", FallsMore(2, 0)),
        ),
    ),
    _step_size(
        name="mnist-change",
        title="How often the permutation changes",
        conditions=_changes(48_000_000, ("10 k", 10_000), ("100 k", 100_000), ("1 M", 1_000_000)),
        at={"small": _changes(1_000_000, ("2.5 k", 2_500), ("10 k", 10_000), ("50 k", 50_000))},
        length=48_000_000,
        axis="examples",
        bin=60_000,
        published={
            "every 10 k": {60_000: 0.886, 48_000_000: 0.85},
            "every 100 k": {60_000: 0.959, 48_000_000: 0.928},
            "every 1 M": {60_000: 0.991, 48_000_000: 0.988},
        },
        claims=(
            Claim("Plasticity is lost however often the permutation changes", each(Falls, range(3))),
            Claim("More frequent changes lose more", FallsMore(0, 2)),
        ),
    ),
    _method(
        name="mnist-adam",
        title="Adam at three step sizes",
        conditions=(BACKPROP, *vary("adam", "step_size", (1e-4, 5e-5, 3e-5), "adam {}")),
        at={"small": (BACKPROP, *vary("adam", "step_size", (1e-3, 3e-4, 1e-4), "adam {}"))},
    ),
    _method(
        name="mnist-l2",
        title="L2 regularisation",
        conditions=(BACKPROP, *vary("l2", "l2.strength", (1e-3, 1e-4, 1e-5), "l2 {}")),
    ),
    _method(
        name="mnist-shrink-and-perturb",
        title="Shrink and perturb, by the noise",
        conditions=(BACKPROP, *vary("shrink-and-perturb", "shrink-and-perturb.sigma", (1e-4, 1e-5, 1e-6), "sigma {}")),
    ),
    _method(name="mnist-normalisation", title="Dropout and normalisation", conditions=(BACKPROP, *VARIATIONS)),
    _method(
        name="mnist-systems",
        title="Methods",
        source=f"{NATURE}, Extended Data Fig. 4a; {ARXIV}",
        conditions=(BACKPROP, ADAM, *VARIATIONS, L2, SHRINK, CBP),
        at={"small": (BACKPROP, ADAM, *VARIATIONS, L2, SHRINK_SELDOM, CBP)},
        claims=(
            Claim("Plasticity is lost also with adam", Falls("adam")),
            Claim("Plasticity is lost also with dropout", Falls("dropout 0.1")),
            Claim("Plasticity is lost also with normalisation", Falls("layer norm")),
            Claim("L2 regularisation loses less than backpropagation", FallsMore("backprop", "l2")),
            Claim("Shrink and perturb loses nearly nothing", Keeps("shrink-and-perturb", 0.005)),
            Claim("Continual backpropagation loses nothing", Keeps("cbp", 0.002)),
            AHEAD,
        ),
    ),
    _method(
        name="mnist-cbp",
        title="Continual backpropagation, by the replacement rate",
        conditions=(BACKPROP, *vary("cbp", "cbp.replacement_rate", (1e-4, 1e-5, 1e-6), "cbp {}")),
        claims=(
            Claim(
                "Continual backpropagation ends above backpropagation at every rate over two orders of magnitude",
                each(Beats, range(1, 4), "backprop"),
            ),
        ),
    ),
    _figure(
        name="mnist-measures",
        title="What becomes of the network",
        source=f"{NATURE}, Extended Data Fig. 3c; {ARXIV}",
        conditions=STEP_SIZES,
        panels=("dead_units", "weight_magnitude", "effective_rank"),
        claims=(
            Claim("Units die", each(Grows, range(3)), "dead_units", "mean"),
            Claim("The weights grow", each(Grows, range(3)), "weight_magnitude", "mean"),
            Claim("The rank of the representation falls", each(Shrinks, range(3)), "effective_rank", "mean"),
        ),
    ),
)
