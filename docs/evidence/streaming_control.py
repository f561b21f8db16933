"""Streaming agents at length: stream AC beside PPO and its ablation on robots, stream Q on three games of MinAtar.

    python docs/evidence/streaming_control.py            # goes on where it was stopped
    python docs/evidence/streaming_control.py --only ac
    python docs/evidence/streaming_control.py --seeds 12    # of each curve twelve runs, instead of three or five

Runs are trained one after the other on one core in `.cache/streaming-control`, and a run that was stopped goes on from
its checkpoint. Complete ones are archived in `runs/streaming` beside this file; what is there is not made again. At the
end, or with `--report`, the table and the figure are written beside this file from the runs that are complete.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pieces import stacks

from neoteny import lab
from neoteny.lab.execution import Execution
from neoteny.lab.running import folder_of, start
from neoteny.report.runs.archive import archive
from neoteny.report.runs.groups import series_of

HERE = Path(__file__).parent
RUNS = Path(".cache/streaming-control")
ARCHIVE = HERE / "runs" / "streaming"
LAST = 0.1  # the share of a run at its end over which returns are averaged


@dataclass(frozen=True)
class Curve:
    """Runs of one system on one problem."""

    part: str
    benchmark: str
    problem: str
    system: str
    steps: int
    runs: int
    published: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    together: bool = True  # as one stack; apart where the weights of all do not fit into a core's cache

    @property
    def title(self) -> str:
        """The system in words."""
        whole = "stream Q" if self.part == "q" else "stream AC"
        return {"backprop": whole, "ppo": "PPO", "classic-ac": "usual actor-critic"}.get(
            self.system, self.system.replace("-", " ").replace("obgd", "ObGD").replace("init", "initialisation")
        )


def curves() -> Iterator[Curve]:
    """All of them, in the order in which they are trained."""
    robots = (("Hopper-v5", ""), ("Walker2d-v5", "2,600 at 2 M"))
    games = (("breakout", "11.5 at 5 M"), ("asterix", "12 at 5 M"), ("space_invaders", "80 at 5 M"))

    def on_robot(part: str, robot: str, system: str, steps: int, runs: int, published: str = "") -> Curve:
        return Curve(part, "stream-mujoco-v1", robot, system, steps, runs, published, {"robot": robot})

    def game(name: str, published: str) -> Curve:
        settings = {"game": name}
        return Curve("q", "stream-minatar-v1", name, "backprop", 1_000_000, 5, published, settings, together=False)

    def ablation(robot: str) -> Iterator[Curve]:
        for system in ("no-obgd", "no-layer-norm", "no-scaling", "no-sparse-init", "classic-ac"):
            yield on_robot("ablation", robot, system, 500_000, 3)

    for robot, published in robots:
        yield on_robot("ac", robot, "backprop", 1_000_000, 5, published)
        yield on_robot("ac", robot, "ppo", 1_000_000, 5)
        if robot == robots[0][0]:
            yield from ablation(robot)
            yield game(*games[0])
    yield from (game(*each) for each in games[1:])
    yield from ablation(robots[1][0])


def config_of(curve: Curve, seed: int, runs: int) -> Any:
    """The configuration of a stack."""
    cls = lab.resolve(curve.benchmark, scale="small").problem
    bins = {"bin_size": cls.segment * max(curve.steps // 100 // cls.segment, 1), "measure_every": 50 * cls.segment}
    settings = {"task_length": curve.steps, **bins, **curve.settings}
    return lab.resolve(curve.benchmark, method=curve.system, runs=runs, seed=seed, scale="small", settings=settings)


def archived(curve: Curve) -> dict[Path, int]:
    """The stacks of its runs that are complete, and how many runs each has."""
    return stacks(ARCHIVE, folder_of(config_of(curve, 0, 1), RUNS).relative_to(RUNS))


def missing(curve: Curve) -> int:
    """How many of its runs are not complete."""
    return max(curve.runs - sum(archived(curve).values()), 0)


def train(curve: Curve) -> None:
    """Train what is missing, or go on; then archive."""
    while runs := missing(curve):
        seed = sum(archived(curve).values())
        config = config_of(curve, seed, runs if curve.together else 1)
        folder = folder_of(config, RUNS / f"seed-{seed}")
        start(config, folder, Execution(), resume=True)
        archive([folder], ARCHIVE / f"seed-{seed}")


def report(done: list[Curve]) -> None:
    """The table and the figure."""
    import matplotlib.pyplot as plt

    lines = [
        "| problem | system | steps | runs | return at the end | ended early | published |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    problems = list(dict.fromkeys(curve.problem for curve in done))
    rows = -(-len(problems) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(10, 3 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat[len(problems) :]:
        ax.set_axis_off()
    for curve in done:
        found = series_of(archived(curve)).curve("episodic_return")
        steps, values = found.steps, found.values  # NaN where a run has ended
        own = np.nanmean(np.where(steps > (1 - LAST) * curve.steps, values, np.nan), axis=1)
        alive = np.isfinite(own)
        spread = own[alive].std(ddof=1) / np.sqrt(alive.sum()) if alive.sum() > 1 else np.nan
        told = f"{own[alive].mean():,.1f} ± {spread:,.1f}" if alive.any() else "none"
        row = (curve.problem, curve.title, f"{curve.steps:,}", len(own), told, int((~alive).sum()), curve.published)
        lines.append("| " + " | ".join(map(str, row)) + " |")
        ax = axes.flat[problems.index(curve.problem)]
        ax.plot(steps / 1e6, np.nanmean(values, axis=0), label=curve.title, linewidth=1)
        ax.set(title=curve.problem, xlabel="million steps", ylabel="return of an episode")
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.flat[: len(problems)]:
        ax.legend(fontsize=6, frameon=False)
    figure.savefig(HERE / "streaming_control.png", dpi=150)
    head = "# Streaming agents\n\nMean return over the last tenth of the steps, ± its standard error over the runs.\n\n"
    (HERE / "streaming_control.md").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    """Train what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("q", "ac", "ablation"), help="train these alone")
    parser.add_argument("--seeds", type=int, help="how many runs of each curve; by default as many as it has above")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--shrink", type=int, default=1, help="divide all lengths by it, for a trial")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = [replace(curve, steps=curve.steps // options.shrink) for curve in curves()]
    for curve in () if options.report else every:
        wanted = replace(curve, runs=options.seeds or curve.runs)
        if options.only in (None, curve.part) and missing(wanted):
            print(f"{curve.problem}: {curve.system}", flush=True)
            train(wanted)
    report([curve for curve in every if not missing(curve)])


if __name__ == "__main__":
    main()
