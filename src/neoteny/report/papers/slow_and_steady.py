"""Lee et al., "Slow and steady wins the race: maintaining plasticity with hare and tortoise networks", ICML 2024.

The values of the curves are not published as numbers; the claims are those of the paper and of Lee's talk.
"""

from __future__ import annotations

from neoteny.report.claims.criteria import Beats, Claim
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.records import Paper, PaperFigure

__all__ = ["SLOW_AND_STEADY"]

FRESH, WARM, HARE = "fresh", "warm", "hare and tortoise"
_SYSTEMS = {
    FRESH: "fresh",
    WARM: "backprop",
    "L2": "l2",
    "augmentation": "augmentation",
    "L2-Init": "l2-init",
    "CReLU": "crelu",
    "head reset": "head-reset",
    "shrink and perturb": "shrink-and-perturb",
    "EMA": "ema",
    "self-distillation": "self-distillation",
    HARE: "hare-and-tortoise",
}
_HALF_A_POINT = -0.005


def _figure(data: str, title: str) -> PaperFigure:
    settings = {"data": data}
    return PaperFigure(
        name=f"generalisability-{data}",
        title=f"Few images with wrong labels, then all: {title}",
        source="Lee et al. (2024), Section 3",
        benchmark="generalisability",
        conditions=tuple(Condition(label, system, settings) for label, system in _SYSTEMS.items()),
        optional=tuple(
            Condition(name, name, settings)
            for name in ("layer-norm", "full-reset", "cbp", "redo", "l2-er", "spectral", "fire", "dash", "infer")
        ),
        length=2 * 100 * 60_000,
        at_end=(FRESH,),
        runs=5,
        metric="test_accuracy",
        axis="examples",
        bin=300_000,
        claims=(
            Claim(f"{title}: a network that learned little and wrong at first generalises worse", Beats(FRESH, WARM)),
            *(
                Claim(f"{title}: {name} leaves a gap to the fresh network", Beats(FRESH, name))
                for name in ("L2", "augmentation", "L2-Init", "CReLU", "EMA", "self-distillation")
            ),
            *(
                Claim(f"{title}: with {name} half a point is missing at most", Beats(name, FRESH, by=_HALF_A_POINT))
                for name in ("head reset", "shrink and perturb", HARE)
            ),
            Claim(f"{title}: Hare & Tortoise generalises better than the moving average alone", Beats(HARE, "EMA")),
            Claim(
                f"{title}: Hare & Tortoise is as good as shrink and perturb, up to half a point",
                Beats(HARE, "shrink and perturb", by=_HALF_A_POINT),
            ),
        ),
    )


DQN, RESET, SHRINK = "double DQN", "head reset", "shrink and perturb"
_WHOLE = (0.0, 1.0)


def _game(game: str) -> PaperFigure:
    """A stand-in for Atari-100k on a CPU; agents are evaluated before resets, so the whole curve counts as well."""
    name = game.replace("_", " ").title()
    settings = {"game": game}
    systems = {DQN: "backprop", RESET: "head-reset", SHRINK: "shrink-and-perturb", HARE: "hare-and-tortoise"}
    return PaperFigure(
        name=f"minatar-100k-{game.replace('_', '-')}",
        title=f"MinAtar's {name} in few steps, two updates for each",
        source="Lee et al. (2024), Section 5, whose games are Atari's",
        benchmark="minatar-100k",
        conditions=tuple(Condition(label, system, settings) for label, system in systems.items()),
        length=100_000,
        runs=5,
        metric="evaluation_return",
        axis="steps",
        bin=5_000,
        interval="bca",
        claims=tuple(
            claim
            for label in (RESET, SHRINK, HARE)
            for claim in (
                Claim(f"{name}: with {label} an agent ends above the plain one", Beats(label, DQN)),
                Claim(f"{name}: with {label} the whole curve is above the plain one", Beats(label, DQN, window=_WHOLE)),
            )
        ),
    )


SLOW_AND_STEADY = Paper(
    name="slow-and-steady",
    title="Slow and steady wins the race",
    reference="Lee et al., ICML 2024, arXiv 2406.02596",
    figures=(
        _figure("mnist", "MNIST"),
        _figure("fashion-mnist", "Fashion-MNIST"),
        _figure("cifar10", "CIFAR-10"),
        _figure("cifar100-superclasses", "CIFAR-100's superclasses"),
        _game("breakout"),
        _game("asterix"),
    ),
)
