"""The figures of `warm_starting.py`: what is missing to a fresh network, the way there, axes of trainability."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter
from warm_starting import DEPTHS, EPOCHS, STUDIES, final, ready
from warm_starting_claims import TWO_STAGES, along, by_noise, by_step_size, title

from neoteny.report.statistics.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["draw_all"]

BLUE, ORANGE, GREEN, GREY, PURPLE = "#1a6fb0", "#c2410c", "#15803d", "#6b7280", "#7e22ce"
COLOURS = {
    "fresh": GREY,
    "backprop": ORANGE,
    "hare-and-tortoise": GREEN,
    "shrink-and-perturb": BLUE,
    "head-reset": PURPLE,
}


def draw_all(folder: Path) -> dict[str, str]:
    """Draw what there are pieces for; returns for each file what it shows."""
    made = {}
    for name, words, draw in (
        ("gaps", "Test accuracy beside a fresh network, by study and system", gaps),
        ("stages", "Test accuracy in the last stage: fresh, warm, and with three cures", stages),
        ("shares", "What is missing to a fresh network, by share of wrong labels", shares),
        ("trainability", "Loss of trainability by step size, depth and epochs a task", trainability),
    ):
        figure = draw()
        if figure is not None:
            path = folder / f"warm_starting-{name}.png"
            figure.savefig(path, dpi=130)
            plt.close(figure)
            made[path.name] = words
    return made


def gaps() -> Any:
    """Differences to the fresh network, one panel a study."""
    found = {name: ready(name) for name in TWO_STAGES}
    found = {name: own for name, own in found.items() if "fresh" in own and len(own) > 1}
    if not found:
        return None
    systems = {each: None for own in found.values() for each in own if each != "fresh"}
    first = {each: next(o for o in found.values() if each in o) for each in systems}  # the order is that of its panel
    names = sorted(systems, key=lambda each: final(first[each]["fresh"]).mean() - final(first[each][each]).mean())
    size = (2.6 + 2.4 * len(found), 1.0 + 0.24 * len(names))
    figure, axes = plt.subplots(1, len(found), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, (study, own) in zip(axes[0], found.items(), strict=True):
        for system in set(own) - {"fresh"}:
            mean, low, high = bounds((final(own[system]) - final(own["fresh"]))[:, None])
            colour = COLOURS.get(system, "#111827")
            ax.plot([100 * low[0], 100 * high[0]], [names.index(system)] * 2, color=colour, linewidth=1.5)
            ax.plot(100 * mean[0], names.index(system), "o", markersize=4, color=colour)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_title(STUDIES[study].title.replace(", ", ",\n"), fontsize=9)
        ax.set_xlabel("test accuracy beside fresh, points", fontsize=8)
        tidy(ax)
    axes[0, 0].set_yticks(range(len(names)), [title(name) for name in names], fontsize=8)
    axes[0, 0].invert_yaxis()
    return figure


def stages() -> Any:
    """The way of the last stage, from the updates at which it begins: the fresh network beside those that are warm."""
    studies = [name for name in ("mnist", "fashion", "resnet") if {"fresh", "backprop"} <= set(ready(name))]
    if not studies:
        return None
    figure, axes = plt.subplots(1, len(studies), figsize=(4.4 * len(studies), 3.2), squeeze=False, layout="constrained")
    for ax, name in zip(axes[0], studies, strict=True):
        for system, colour in COLOURS.items():
            own = ready(name).get(system)
            if own is None:
                continue
            steps = own["steps test_accuracy"]
            end = steps[-1] if system == "fresh" else steps[-1] // 2  # both stages are equally long
            last = steps > (0 if system == "fresh" else end)
            x = (steps[last] - (0 if system == "fresh" else end)) / end
            mean, low, high = bounds(own["test_accuracy"][:, last])
            ax.plot(x, 100 * mean, color=colour, linewidth=1.8, label=title(system))
            ax.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.18, linewidth=0)
        ax.set_title(STUDIES[name].title, fontsize=9)
        ax.set_xlabel("share of the last stage", fontsize=8)
        best = 100 * max(final(own).mean() for own in ready(name).values())
        ax.set_ylim(*((0, 1.25 * best) if name == "resnet" else (best - 8, best + 1)))
        tidy(ax)
    axes[0, 0].set_ylabel("test accuracy, %", fontsize=8)
    axes[0, -1].legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def shares() -> Any:
    """What plain training and two cures miss, by noise, a line for each share."""
    grid = STUDIES["noise"].grid
    systems = [name for name in ("backprop", "shrink-and-perturb", "hare-and-tortoise") if by_noise(name) is not None]
    if not systems:
        return None
    figure, axes = plt.subplots(
        1, len(systems), figsize=(3.2 * len(systems), 3.0), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, system in zip(axes[0], systems, strict=True):
        for share, values, colour in zip(grid["share"], by_noise(system), (ORANGE, PURPLE, BLUE), strict=True):
            line(ax, grid["noise"], values, colour, f"{share:.0%} of the images first")
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set_title(title(system), fontsize=9)
        ax.set_xlabel("share of wrong labels", fontsize=8)
        tidy(ax)
    axes[0, 0].set_ylabel("missing to a fresh network, points", fontsize=8)
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def trainability() -> Any:
    """The axes of the talk: step size, depth, how often the task changes; SGD and Adam."""
    sizes = STUDIES["train-step"].sizes
    panels = (
        ("step size", {name: (sizes[name], by_step_size(name)) for name in sizes}),
        ("hidden layers", {name: (DEPTHS, along([f"train-depth-{n}" for n in DEPTHS], name)) for name in sizes}),
        ("epochs a task", {name: (EPOCHS, along([f"train-epochs-{n}" for n in EPOCHS], name)) for name in sizes}),
    )
    if all(values is None for _, own in panels for _, values in own.values()):
        return None
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.0), sharey=True, layout="constrained")
    for ax, (label, own) in zip(axes, panels, strict=True):
        for (at, values), colour, word in zip(own.values(), (BLUE, ORANGE), ("SGD", "Adam"), strict=True):
            if values is not None:
                line(ax, at, values, colour, word)
        if label != "hidden layers":
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter(FuncFormatter(lambda value, place: ""))
        if label == "epochs a task":
            ax.set_xticks(EPOCHS, [str(each) for each in EPOCHS])
        if label == "hidden layers":
            ax.set_xticks(DEPTHS)
        ax.set_xlabel(label, fontsize=8)
        ax.axhline(0, color=GREY, linewidth=0.8)
        tidy(ax)
    axes[0].set_ylabel("accuracy lost from first to last tasks, points", fontsize=8)
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def line(ax: Any, at: Sequence[float], values: np.ndarray, colour: str, label: str) -> None:
    """Means of [places, runs] with their intervals."""
    mean, low, high = bounds(values.T)
    ax.plot(at, 100 * mean, "o-", color=colour, markersize=4, linewidth=1.5, label=label)
    ax.vlines(at, 100 * low, 100 * high, color=colour, linewidth=1.2)


def bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of [runs, places] with its 95 % interval."""
    found = mean_interval(values)
    return found.mean, found.low, found.high


def tidy(ax: Any) -> None:
    """Small numbers, no box."""
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
