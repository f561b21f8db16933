"""Flights in time order, one million of them: six optimizers with and without continual backpropagation, tuned alike.

    python docs/evidence/flights.py                 # about half an hour on one core; goes on where it was stopped
    python docs/evidence/flights.py --only idbd     # one system: choose its settings, then run it
    python docs/evidence/flights.py --seeds 62      # 62 seeds of each system instead of 32
    python docs/evidence/flights.py --report        # only the table and the figure, of what is there

Each system has nine points of settings. They are tried on the 150,000 flights after the million that is reported, with
two other seeds, and the point of the lowest loss is run on the million with 32 seeds. Runs go to `.cache/flights`.
What is complete is kept beside this file and not made again: the losses of all points in `flights-tuning.json`, slim
copies of the reported runs in `runs/streaming`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from pieces import stacks

from neoteny import lab
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution
from neoteny.lab.running import folder_of, start
from neoteny.report.runs.archive import archive
from neoteny.report.runs.folders import read_folder
from neoteny.report.statistics.intervals import mean_interval

HERE = Path(__file__).parent
RUNS = Path(".cache/flights")
ARCHIVE = HERE / "runs" / "streaming"
TUNING = HERE / "flights-tuning.json"
MILLION, BIN, SEEDS = 1_000_000, 10_000, 32
NETWORK = {"airports": 20, "width": 16, "depth": 2, "bin_size": BIN, "task_length": BIN, "measure_every": 10 * BIN}
FIXED = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05]
TUNED: dict[str, dict[str, list[float]]] = {
    "backprop": {"step_size": FIXED},
    "adam": {"step_size": [each / 10 for each in FIXED]},
    "idbd": {"step_size": [3e-4, 1e-3, 3e-3], "optimizer.theta": [1e-4, 1e-3, 1e-2]},
    "autostep": {"step_size": [3e-4, 1e-3, 3e-3], "optimizer.mu": [1e-3, 3e-3, 1e-2]},
    "meta-optimize": {"step_size": [1e-5, 1e-4, 1e-3], "optimizer.eta": [1e-4, 1e-3, 1e-2]},
    "obgd": {"step_size": [1e-3, 1e-2, 1.0], "optimizer.kappa": [2.0, 20.0, 200.0]},
}
"""The nine points of each optimizer."""
TITLES = {
    "backprop": "SGD",
    "adam": "Adam",
    "idbd": "IDBD",
    "autostep": "Autostep",
    "meta-optimize": "MetaOptimize",
    "obgd": "ObGD",
}
SYSTEMS = {name: (name, "cbp" if name == "backprop" else f"{name}-cbp") for name in TUNED}
"""Of each optimizer the system without and with continual backpropagation."""


def resolved(system: str, tasks: int, **asked: Any) -> RunConfig:
    """The configuration of a system."""
    settings = {**NETWORK, "tasks": tasks, **asked.pop("settings", {})}
    return lab.resolve("flights-v1", method=system, scale="paper", settings=settings, **asked)


def trial(name: str, system: str) -> RunConfig:
    """All nine points, on later flights and other seeds."""
    return resolved(system, 15, runs=2, seed=100, settings={"first": MILLION}, grid=TUNED[name])


def losses_of_points(system: str) -> list[float] | None:
    """The mean loss of each point, in order; infinite where a run ended early. None if they were not tried yet."""
    known = json.loads(TUNING.read_text()) if TUNING.exists() else {}
    return known.get(system)


def tune(name: str, system: str) -> None:
    """Try all points, and keep their losses."""
    config = trial(name, system)
    folder = folder_of(config, RUNS / "tuning")
    start(config, folder, Execution(), resume=True)
    losses = np.nan_to_num(by_run(config, folder).mean(axis=1), nan=np.inf).reshape(-1, 2).mean(axis=1)
    known = json.loads(TUNING.read_text()) if TUNING.exists() else {}
    known[system] = [round(float(loss), 6) for loss in losses]
    TUNING.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def chosen(name: str, system: str) -> dict[str, float]:
    """The point of the lowest mean loss over the later flights."""
    losses, points = losses_of_points(system), list(itertools.product(*TUNED[name].values()))
    assert losses is not None
    return dict(zip(TUNED[name], points[int(np.argmin(losses))], strict=True))


def reported(name: str, system: str, first: int = 0, runs: int = SEEDS) -> RunConfig:
    """Seeds of the chosen point on the million."""
    return resolved(system, MILLION // BIN, runs=runs, seed=first, settings=chosen(name, system))


def archived(name: str, system: str) -> dict[Path, int]:
    """The stacks of a system's reported runs that are complete, and how many runs each has."""
    folder = folder_of(reported(name, system), ARCHIVE)
    return stacks(ARCHIVE, folder.relative_to(ARCHIVE))


def by_run(config: RunConfig, folder: Path, metric: str = "loss") -> np.ndarray:
    """A metric of each run in each bin, [runs, bins]; NaN from where a run has ended."""
    frame = read_folder(folder).frame.filter(metric=metric)
    steps = np.arange(1, config.problem.steps // BIN + 1) * BIN
    found = np.full((config.runs, len(steps)), np.nan)
    for run, step, value in frame.select("run", "step", "value").iter_rows():
        found[run, np.searchsorted(steps, step)] = value
    return found


def train(name: str, system: str, seeds: int) -> None:
    """Choose the settings of a system, then run the seeds that are missing."""
    if losses_of_points(system) is None:
        tune(name, system)
    print(f"{system}: {chosen(name, system)}", flush=True)
    first = sum(archived(name, system).values())
    if first < seeds:
        config = reported(name, system, first, seeds - first)
        folder = folder_of(config, RUNS / "reported" / f"seed-{first}")
        start(config, folder, Execution(), resume=True)
        archive([folder], ARCHIVE / f"seed-{first}")


def complete() -> dict[tuple[str, str], np.ndarray]:
    """The losses [seeds, bins] of all systems that are complete, by optimizer and system."""
    found = {}
    for name, system in ((name, system) for name, pair in SYSTEMS.items() for system in pair):
        if losses_of_points(system) is None:
            continue
        there = archived(name, system).items()
        if there:
            parts = [by_run(reported(name, system, runs=runs), folder) for folder, runs in there]
            found[name, system] = np.concatenate(parts)
    return found


def said(values: np.ndarray, digits: int = 4) -> str:
    """Mean and 95 % interval over the runs."""
    interval = mean_interval(values[:, None])
    return f"{interval.mean[0]:.{digits}f} [{interval.low[0]:.{digits}f}, {interval.high[0]:.{digits}f}]"


def table(losses: dict[tuple[str, str], np.ndarray]) -> list[str]:
    """Mean losses over all flights and over the last tenth, and the settings."""
    lines = ["| system | seeds | all flights | last 100,000 | beside SGD, run by run | runs ended | settings |"]
    lines.append("|---|---:|---|---|---|---:|---|")
    base = losses.get(("backprop", "backprop"))
    for (name, system), values in losses.items():
        alive = np.isfinite(values).all(axis=1)
        title = TITLES[name] + (" + CBP" if system.endswith("cbp") else "")
        beside = ""
        if base is not None and system != "backprop":
            apart = values[: len(base)].mean(axis=1) - base[: len(values)].mean(axis=1)
            both = np.isfinite(apart)
            beside = said(apart[both]) if both.sum() > 1 else "none"
        cells = [said(part[alive].mean(axis=1)) if alive.sum() > 1 else "none" for part in (values, values[:, -10:])]
        settings = ", ".join(f"{key.split('.')[-1]} {value:g}" for key, value in chosen(name, system).items())
        row = (title, len(values), *cells, beside, (~alive).sum(), settings)
        lines.append(f"| {' | '.join(map(str, row))} |")
    return lines


def figure(losses: dict[tuple[str, str], np.ndarray], path: Path) -> None:
    """Loss of each system less that of SGD, added up over the flights."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    base = losses["backprop", "backprop"]
    drawn, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    flights = np.arange(1, base.shape[1] + 1) * BIN / 1e6
    for (name, system), values in losses.items():
        if system == "backprop":
            continue
        apart = np.nancumsum(np.nanmean(values[: len(base)] - base[: len(values)], axis=0)) * BIN / 1e3
        dashed, colour = system.endswith("cbp"), f"C{list(TUNED).index(name)}"
        label = TITLES[name] + (" + CBP" if dashed else "")
        axes.plot(flights, apart, color=colour, linestyle="--" if dashed else "-", label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="flights (millions)", ylabel="sum of squared errors less SGD's (thousands)")
    axes.set_title("Delays of flights: below 0 is better than SGD at its best step size", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=7, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, dpi=120)


def report() -> None:
    """The page, of what is complete."""
    losses = complete()
    lines = table(losses)
    print("\n".join(lines))
    if ("backprop", "backprop") not in losses:
        return
    figure(losses, HERE / "flights.png")
    points = [f"- {TITLES[name]}: " + " x ".join(f"{key} {list(values)}" for key, values in axes.items())
              for name, axes in TUNED.items()]  # fmt: skip
    sizes = "-".join(map(str, reported("backprop", "backprop").network["sizes"]))
    missing = [system for name, pair in SYSTEMS.items() for system in pair if (name, system) not in losses]
    text = PAGE.format(sizes=sizes, table="\n".join(lines), points="\n".join(points))
    text += f"\nNot run yet: {', '.join(missing)}.\n" if missing else ""
    (HERE / "flights.md").write_text(text, encoding="utf-8")


PAGE = """# A million flights in time order

`python docs/evidence/flights.py`: the delays of the first million US flights of 2001, predicted one after the other
before they depart by a network {sizes} (ReLU), each learned from once, when its label is known 2,000 flights later
(`flights-v1`). Runs differ in the initial weights; the series is the same for all. The loss is the squared
error in half hours; means over the runs that went to the end, with 95 % intervals.

{table}

![Loss beside SGD](flights.png)

Each system has nine points of settings, tried on the 150,000 flights after the million and with two other seeds; the
point of the lowest mean loss is reported. The points are:

{points}

Continual backpropagation replaces 1e-4 of the mature units a step (maturity 100); its own settings are not tuned.
"""


def main() -> None:
    """Run what is missing, then report."""
    names = {system: name for name, pair in SYSTEMS.items() for system in pair}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(names), help="train this system alone")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many of each system; by default %(default)s")
    parser.add_argument("--report", action="store_true", help="train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for system in () if options.report else [options.only] if options.only else names:
        train(names[system], system, options.seeds)
    if not options.only:
        report()


if __name__ == "__main__":
    main()
