"""Draw the page of examples/character_stream.py from what it left behind.

    python examples/character_stream.py
    python docs/evidence/character_stream.py

`make character-stream` calls both.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from pieces import remarks

from neoteny.report.statistics.intervals import Interval, mean_interval

HERE = Path(__file__).parent
CYCLE = 8
"""Tasks in which every text comes once."""
LABELS = {
    "backprop": "Adam",
    "l2": "Adam, weights decayed",
    "cbp": "continual backpropagation",
    "cbp-stream": "the same, residual stream too",
    "cbp-random": "the same, units drawn by lot",
    "restart": "a new network in every task",
}
HUES = {
    "backprop": "#444444",
    "l2": "#c77f0a",
    "cbp": "#1a6fb0",
    "cbp-stream": "#2f8f4e",
    "cbp-random": "#a8327d",
    "restart": "#999999",
}


def by_cycle(runs: list[list[float]]) -> Interval:
    """Mean loss at the end of a task, of each cycle of all texts, over the seeds."""
    losses = np.array(runs)
    losses = losses[:, : losses.shape[1] // CYCLE * CYCLE]
    return mean_interval(losses.reshape(len(losses), -1, CYCLE).mean(2))


def draw(curves: dict[str, Interval], path: Path) -> None:
    """The figure: one line a system, the band is the interval over seeds."""
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    tasks = CYCLE * (np.arange(len(curves["backprop"].mean)) + 1)
    for name, curve in curves.items():
        style = "--" if name == "restart" else "-"
        axes.plot(tasks, curve.mean, style, marker="o", markersize=4, color=HUES[name], label=LABELS[name])
        axes.fill_between(tasks, curve.low, curve.high, color=HUES[name], alpha=0.2, linewidth=0)
    axes.set_xlabel(f"tasks seen (each point: the last {CYCLE}, in which every text came once)")
    axes.set_xticks(tasks)
    axes.set_ylabel("loss at the end of a task\n(nats a character)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)


def cell(curve: Interval, at: int) -> str:
    """Mean and half-width of the interval."""
    return f"{curve.mean[at]:.3f} ± {(curve.high[at] - curve.low[at]) / 2:.3f}"


def page(curves: dict[str, Interval], seeds: int, tasks: int, steps: int) -> str:
    """The page's Markdown."""
    rows = [
        f"| {LABELS[name]} | {cell(curve, 0)} | {cell(curve, len(curve.mean) // 2)} | {cell(curve, -1)} |"
        for name, curve in curves.items()
    ]
    middle = CYCLE * (len(next(iter(curves.values())).mean) // 2)
    about = (
        "`examples/character_stream.py`: a transformer of 2 layers, width 64 and context 64 predicts the next "
        f"character in {tasks} tasks of {steps} steps, one after the other, with {seeds} seeds. A task is the source "
        "code of one package of the standard library, its characters exchanged for one another at random. Loss on "
        "fresh text before the step, averaged over the last fifth of a task's steps and over "
        f"{CYCLE} tasks, in which each package comes once; ± and bands are the {curves['backprop'].name} over seeds."
    )
    heading = f"| system | tasks 1-{CYCLE} | tasks {middle + 1}-{middle + CYCLE} | tasks {tasks - CYCLE + 1}-{tasks} |"
    table = "\n".join([heading, "|---|---:|---:|---:|", *rows])
    title, figure = "# A transformer on a stream of texts", "![Loss at the end of each task](character-stream.png)"
    parts = [title, figure, about, table]
    if said := remarks("character-stream"):
        parts.append(said)
    version = f"Python {platform.python_version()} (whose library is the text), torch {torch.__version__}"
    parts.append(f"Made by `make character-stream` with {version}.")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Read the losses, write figure and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/character-stream"))
    found = json.loads((parser.parse_args().folder / "losses.json").read_text(encoding="utf-8"))
    losses = found["losses"]
    curves = {name: by_cycle(losses[name]) for name in LABELS if name in losses}
    draw(curves, HERE / "character-stream.png")
    seeds, tasks = np.array(losses["backprop"]).shape
    text = page(curves, seeds, tasks // CYCLE * CYCLE, found["steps"])
    (HERE / "character-stream.md").write_text(text, encoding="utf-8")
    print(HERE / "character-stream.md")


if __name__ == "__main__":
    main()
