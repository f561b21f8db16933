"""Studies of agents: curves that are trained seed by seed, archived when they are complete, and drawn.

Stacks of one agent are trained one after the other on one core in `.cache/STUDY`; one that was stopped goes on from its
checkpoint. Complete ones are archived in `runs/STUDY` beside this file; what is there is not made again. Several
processes may work on a study: each piece is claimed by one of them. `--seeds 12` asks for twelve seeds of each curve
instead of five.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pieces import claimed

from neoteny import lab
from neoteny.lab.execution import Execution
from neoteny.lab.running import folder_of, start
from neoteny.report.runs.archive import archive
from neoteny.report.runs.groups import series_of
from neoteny.report.statistics.intervals import mean_interval

HERE = Path(__file__).parent
SEEDS = 5


@dataclass(frozen=True)
class Curve:
    """Runs of one system on one problem.

    Attributes:
        study: whose runs they are; names the folders.
        part: of the study, a figure.
        benchmark: with its version.
        problem: what the title of its panel says.
        system: of the benchmark.
        settings: that differ from the preset.
        label: what tables and legends call it; by default the system.
        scale: the preset.
        first_seed: of its runs; another one where a protocol was settled by what the first ones showed.
    """

    study: str
    part: str
    benchmark: str
    problem: str
    system: str
    settings: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    scale: str = "small"
    first_seed: int = 0

    def seeds(self, runs: int) -> range:
        """Of so many runs."""
        return range(self.first_seed, self.first_seed + runs)

    @property
    def name(self) -> str:
        """What tables and legends call it."""
        return self.label or self.system

    def config(self, seed: int) -> Any:
        """The configuration of the run of one seed: networks of one agent fit into a core's cache."""
        return lab.resolve(
            self.benchmark, method=self.system, runs=1, seed=seed, scale=self.scale, settings=dict(self.settings)
        )

    def folder(self, seed: int) -> Path:
        """Where the run of a seed is trained."""
        return folder_of(self.config(seed), Path(".cache") / self.study / self.name.replace(" ", "-") / f"seed-{seed}")

    def archived(self, seed: int) -> Path:
        """Where it is when it is complete."""
        own = HERE / "runs" / self.study / self.name.replace(" ", "-") / f"seed-{seed}"
        return own / self.benchmark / self.folder(seed).name

    @property
    def complete(self) -> int:
        """How many runs are there, from the first seed on."""
        return next(runs for runs in itertools.count() if not self.archived(self.first_seed + runs).exists())

    def evaluations(self) -> tuple[np.ndarray, np.ndarray]:
        """The steps and the returns of its evaluations, [seeds, evaluations]; NaN where a run has ended."""
        found = series_of(map(self.archived, self.seeds(self.complete))).curve("evaluation_return")
        return found.steps, found.values


def train(curve: Curve, runs: int) -> None:
    """Train the seeds that are missing and that no other process trains, or go on; then archive them."""
    for seed in curve.seeds(runs):
        archived, piece = curve.archived(seed), Path(f"{curve.benchmark}-{curve.name}") / f"seed-{seed}"
        with claimed(piece, Path(".cache") / curve.study / "claims") as own:
            if own and not archived.exists():
                start(curve.config(seed), curve.folder(seed), Execution(), resume=True)
                archive([curve.folder(seed)], archived.parents[1])


def plan(curves: Iterable[Curve], runs: int) -> None:
    """Say what so many runs of each curve will take of a core, from two segments of it after the first updates."""
    total = 0.0
    print("| piece | problem | system | ms a step | core-hours for all seeds |\n|---|---|---|---:|---:|")
    for curve in curves:
        config = curve.config(curve.first_seed)
        problem: Any = config.problem
        methods = config.interventions
        agents = replace(problem, priming_updates=0).build_agents([0], optimizer=problem.optimizer, methods=methods)
        while not agents.iterate().losses:  # compiles
            pass
        begun, before = time.process_time(), agents.step
        for _ in range(2):
            agents.iterate()
        each = (time.process_time() - begun) / (agents.step - before)
        updates = problem.priming_updates / problem.replay_ratio
        hours = runs * each * (problem.steps + updates) / 3600
        total += hours
        print(f"| {curve.part} | {curve.problem} | {curve.name} | {1e3 * each:.2f} | {hours:.2f} |", flush=True)
    print(f"\nAll: {total:.1f} core-hours, without evaluations.")


def make(curves: Sequence[Curve], runs: int) -> None:
    """Train what is missing."""
    for curve in curves:
        if curve.complete < runs:
            print(f"{curve.part}: {curve.problem}, {curve.name}", flush=True)
            train(curve, runs)


def draw(curves: Sequence[Curve]) -> None:
    """A figure for each part: means with 95% intervals, and marks at resets."""
    import matplotlib.pyplot as plt

    for part in dict.fromkeys(curve.part for curve in curves):
        own = [curve for curve in curves if curve.part == part]
        problems = list(dict.fromkeys(curve.problem for curve in own))
        figure, axes = plt.subplots(1, len(problems), figsize=(5 * len(problems), 3.4), squeeze=False)
        for curve in own:
            steps, values = curve.evaluations()
            ax = axes[0, problems.index(curve.problem)]
            name = curve.name.removeprefix(f"{curve.problem} ")
            (line,) = ax.plot(steps, np.nanmean(values, axis=0), label=name, linewidth=1.2)
            interval = mean_interval(values)
            ax.fill_between(steps, interval.low, interval.high, color=line.get_color(), alpha=0.12, linewidth=0)
            every = curve.config(curve.first_seed).problem.reset_every
            if curve.config(curve.first_seed).interventions:
                for step in range(every, int(steps[-1]), every):
                    ax.axvline(step, color=line.get_color(), linewidth=0.5, linestyle=":")
            ax.set(title=curve.problem, xlabel="steps")
        axes[0, 0].set_ylabel("return of an evaluation")
        for ax in axes[0]:
            ax.locator_params(axis="x", nbins=6)
            ax.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False)
        figure.tight_layout()
        figure.savefig(HERE / f"{own[0].study}-{part}.png", dpi=150)
        plt.close(figure)


def main(doc: str | None, curves: Sequence[Curve], report: Callable[[Sequence[Curve]], None]) -> None:
    """The command line of a study: train what is missing, then report.

    Args:
        doc: what it is.
        curves: all, in the order in which they are trained.
        report: writes what the complete ones show.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(dict.fromkeys(curve.part for curve in curves)), help="train this alone")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many runs of each curve; by default %(default)s")
    parser.add_argument("--plan", action="store_true", help="measure and say what all will take; train nothing")
    parser.add_argument("--report", action="store_true", help="train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [curve for curve in curves if options.only in (None, curve.part)]
    if options.plan:
        plan(wanted, options.seeds)
        return
    if not options.report:
        make(wanted, options.seeds)
    report([curve for curve in curves if curve.complete >= SEEDS])
