"""Agents that learn from replay, at a size for two cores: priming, replay ratios, data at hand, games in few steps.

    python docs/evidence/replay.py --plan              # measures a few steps of each piece, and says what all will take
    python docs/evidence/replay.py                     # goes on where it was stopped
    python docs/evidence/replay.py --only priming      # one piece; several may run side by side

Stacks are trained one after the other on one core in `.cache/replay`, and one that was stopped goes on from its
checkpoint. Complete ones are archived in `runs/replay` beside this file; what is there is not made again. At the end,
or with `--report`, tables and figures are written beside this file from the runs that are complete.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neoteny import lab
from neoteny.lab.execution import Execution
from neoteny.lab.running import folder_of, start
from neoteny.report.runs.archive import archive
from neoteny.report.runs.groups import series_of
from neoteny.report.statistics.aggregate import aggregate, area

HERE = Path(__file__).parent
RUNS = Path(".cache/replay")
ARCHIVE = HERE / "runs" / "replay"
SEEDS = 5
GAMES = ("breakout", "asterix")
SHORT = {"task_length": 40_000, "reset_every": 8_000, "exploration_steps": 8_000, "evaluate_every": 4_000}
"""Games in two fifths of the benchmark's steps, with as many resets: two cores need three hours of a core for them."""


@dataclass(frozen=True)
class Curve:
    """Runs of one system on one problem."""

    part: str
    benchmark: str
    problem: str
    system: str
    settings: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        """What tables and legends call it."""
        return self.label or self.system

    def config(self, seed: int) -> Any:
        """The configuration of the run of one seed: networks of one agent fit into a core's cache."""
        scale = "paper" if self.benchmark == "minatar-100k-v1" else "small"
        return lab.resolve(
            self.benchmark, method=self.system, runs=1, seed=seed, scale=scale, settings=dict(self.settings)
        )

    def folder(self, seed: int) -> Path:
        """Where the run of a seed is trained."""
        return folder_of(self.config(seed), RUNS / self.name.replace(" ", "-") / f"seed-{seed}")

    def archived(self, seed: int) -> Path:
        """Where it is when it is complete."""
        return ARCHIVE / self.name.replace(" ", "-") / f"seed-{seed}" / self.benchmark / self.folder(seed).name

    @property
    def finished(self) -> bool:
        """Whether all seeds are complete."""
        return all(self.archived(seed).exists() for seed in range(SEEDS))


def curves() -> Iterator[Curve]:
    """All of them, in the order in which they are trained."""
    for system in ("backprop", "primed", "primed-full-reset"):
        yield Curve("priming", "primacy-bias-v1", "cheetah-run", system)
    for ratio in (1.0, 32.0):
        for system in ("backprop", "full-reset"):
            settings = {"task": "walker-run", "replay_ratio": ratio}
            label = f"ratio {ratio:g}{', resets' if system == 'full-reset' else ''}"
            yield Curve("ratio", "replay-ratio-v1", "walker-run", system, settings, label)
    for system in ("iql", "rlpd", "backprop", "iql-full-reset"):
        yield Curve("offline", "offline-to-online-v1", "point in the medium maze", system)
    for game in GAMES:
        for system in ("backprop", "head-reset", "shrink-and-perturb", "hare-and-tortoise"):
            yield Curve("minatar", "minatar-100k-v1", game, system, {"game": game, **SHORT}, f"{game} {system}")


def train(curve: Curve) -> None:
    """Train the seeds that are missing, or go on; then archive them."""
    for seed in range(SEEDS):
        if not curve.archived(seed).exists():
            start(curve.config(seed), curve.folder(seed), Execution(), resume=True)
            archive([curve.folder(seed)], curve.archived(seed).parents[1])


def plan(wanted: list[Curve]) -> None:
    """Seconds of the core that each curve will take, from two segments of it after the first updates."""
    total = 0.0
    print("| piece | problem | system | ms a step | core-hours for all seeds |\n|---|---|---|---:|---:|")
    for curve in wanted:
        problem: Any = curve.config(0).problem
        agents = replace(problem, priming_updates=0).build_agents([0], optimizer=problem.optimizer, methods=())
        while not agents.iterate().losses:  # compiles
            pass
        begun, before = time.process_time(), agents.step
        for _ in range(2):
            agents.iterate()
        each = (time.process_time() - begun) / (agents.step - before)
        updates = problem.priming_updates / problem.replay_ratio
        hours = SEEDS * each * (problem.steps + updates) / 3600
        total += hours
        print(f"| {curve.part} | {curve.problem} | {curve.name} | {1e3 * each:.2f} | {hours:.2f} |", flush=True)
    print(f"\nAll: {total:.1f} core-hours, without evaluations.")


def report(done: list[Curve]) -> None:
    """The tables, and a figure for each piece with marks at resets."""
    import matplotlib.pyplot as plt

    lines = [
        "# Agents that learn from replay",
        "",
        "IQM of the returns of the last evaluation, and of the areas under the curves of evaluations, over 5 seeds,",
        "with 95 % stratified bootstrap intervals. Evaluations come before resets, at the best point of the saw-tooth.",
        f"Games have {SHORT['task_length']:,} steps and a reset every {SHORT['reset_every']:,}.",
        "",
        "| piece | problem | system | last | area |",
        "|---|---|---|---:|---:|",
    ]
    for part in dict.fromkeys(curve.part for curve in done):
        own = [curve for curve in done if curve.part == part]
        problems = list(dict.fromkeys(curve.problem for curve in own))
        figure, axes = plt.subplots(1, len(problems), figsize=(5 * len(problems), 3.4), squeeze=False)
        for curve in own:
            found = series_of(map(curve.archived, range(SEEDS))).curve("evaluation_return")
            steps, values = found.steps, found.values  # NaN where a run has ended
            cells = []
            for scores in (values[:, -1], area(steps, values)):
                iqm = aggregate([scores])["IQM"]
                cells.append(f"{iqm.mean:.4g} [{iqm.low:.4g}, {iqm.high:.4g}]")
            lines.append(f"| {part} | {curve.problem} | {curve.name} | {' | '.join(cells)} |")
            ax = axes[0, problems.index(curve.problem)]
            (line,) = ax.plot(steps, np.nanmean(values, axis=0), label=curve.name, linewidth=1.2)
            every = curve.config(0).problem.reset_every
            if curve.config(0).interventions:
                for step in range(every, int(steps[-1]), every):
                    ax.axvline(step, color=line.get_color(), linewidth=0.5, linestyle=":")
            ax.set(title=curve.problem, xlabel="steps")
        axes[0, 0].set_ylabel("return of an evaluation")
        for ax in axes[0]:
            ax.legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(HERE / f"replay-{part}.png", dpi=150)
        plt.close(figure)
    (HERE / "replay.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    """Train what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("priming", "ratio", "offline", "minatar"))
    parser.add_argument("--plan", action="store_true", help="measure and say what all will take; train nothing")
    parser.add_argument("--report", action="store_true", help="train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [curve for curve in curves() if options.only in (None, curve.part)]
    if options.plan:
        plan(wanted)
        return
    for curve in () if options.report else wanted:
        if not curve.finished:
            print(f"{curve.part}: {curve.problem}, {curve.name}", flush=True)
            train(curve)
    report([curve for curve in wanted if curve.finished])


if __name__ == "__main__":
    main()
