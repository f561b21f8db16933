"""Lee, "Towards plastic neural networks" (talk): what trainability is lost by, in words and without numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neoteny.report.claims.criteria import Claim, Falls, FallsMore, Grows, Shrinks
from neoteny.report.papers.condition import Condition, vary
from neoteny.report.papers.records import Paper, PaperFigure

__all__ = ["TOWARDS_PLASTIC"]

_OPTIMIZERS = {"backprop": "SGD", "adam": "Adam"}
_SIZES = {
    "backprop": {"paper": (0.001, 0.003, 0.01, 0.03), "fast": (0.03, 0.1, 0.3, 0.6)},
    "adam": {"paper": (3e-5, 1e-4, 3e-4, 1e-3), "fast": (3e-4, 1e-3, 3e-3, 1e-2)},
}
"""Step sizes, from small to large."""
_DEPTHS = (5, 3, 2, 1)
_EPOCHS = {"paper": ((20, 125), (10, 250), (5, 500), (2, 1_250)), "fast": ((20, 10), (10, 20), (5, 40), (2, 100))}
"""Epochs of a task and the number of tasks, with as many epochs in all."""


def _changing(system: str, pairs: Sequence[tuple[int, int]]) -> tuple[Condition, ...]:
    return tuple(
        Condition(f"{epochs} epochs a task", system, {"epochs": epochs, "tasks": tasks}) for epochs, tasks in pairs
    )


def _figures(system: str) -> tuple[PaperFigure, ...]:
    """Accuracy over time by step size, by depth and by how often the task changes, with one optimizer."""
    words, end = _OPTIMIZERS[system], "" if system == "backprop" else f"-{system}"
    sizes = {scale: vary(system, "step_size", own, "step size {}") for scale, own in _SIZES[system].items()}
    changes = {scale: _changing(system, own) for scale, own in _EPOCHS.items()}
    depths = vary(system, "depth", _DEPTHS, "hidden layers: {}")
    common: dict[str, Any] = {"source": "Lee (talk), in words", "benchmark": "trainability", "runs": 10}
    first, last = 0, len(_DEPTHS) - 1
    return (
        PaperFigure(
            name=f"trainability-step-size{end}",
            title=f"Trainability by step size, {words}",
            conditions=sizes["paper"],
            at={"fast": sizes["fast"]},
            length=500,
            claims=(
                Claim(f"{words}: trainability is lost at the largest step size", Falls(last)),
                Claim(f"{words}: more is lost with a larger step size", FallsMore(last, first)),
                Claim(f"{words}: units die at the largest step size", Grows(last), metric="dead_units"),
                Claim(f"{words}: weights grow at the largest step size", Grows(last), metric="weight_magnitude"),
                Claim(
                    f"{words}: the Hessian loses rank at the largest step size", Shrinks(last), metric="hessian_rank"
                ),
            ),
            **common,
        ),
        PaperFigure(
            name=f"trainability-depth{end}",
            title=f"Trainability by depth, {words}",
            conditions=depths,
            length=500,
            claims=(Claim(f"{words}: a shallower network loses more", FallsMore(last, first)),),
            **common,
        ),
        PaperFigure(
            name=f"trainability-change{end}",
            title=f"Trainability by how often the task changes, {words}",
            conditions=changes["paper"],
            at={"fast": changes["fast"]},
            length=500 * 5 * 10_000,
            axis="examples",
            bin=50_000,
            claims=(Claim(f"{words}: more is lost where the task changes more often", FallsMore(last, first)),),
            **common,
        ),
    )


TOWARDS_PLASTIC = Paper(
    name="towards-plastic",
    title="Towards plastic neural networks",
    reference="Lee, talk",
    figures=(*_figures("backprop"), *_figures("adam")),
)
