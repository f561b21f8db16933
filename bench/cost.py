"""What the papers' figures and the tables cost, on paper: from what was measured of their steps.

    python bench/cost.py                # writes docs/evidence/cost.md

Seconds of a core come from the pages of evidence and from the leaderboard's file of costs, and those of a GPU from what
`make gpu` has measured, if it has.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from textwrap import fill

sys.path.insert(0, str(Path(__file__).parent))
from sections import said

from neoteny.benchmarks.atari_100k import Atari100k
from neoteny.lab.resolving import resolve
from neoteny.leaderboard.rows import POINTS, rows
from neoteny.report.leaderboard.costs import Cost, read_run_costs
from neoteny.report.papers import figure

EVIDENCE = Path(__file__).parents[1] / "docs" / "evidence"
PAGE, GPU = EVIDENCE / "cost.md", EVIDENCE / "gpu.json"
RUN_COSTS = "leaderboard-costs.json"
RUNS = 3 * POINTS * 3 // 2 + 10  # of a row: three at each point of a range that is widened, and those reported
STACKS = 3  # of a row
CORES, GPUS = 64, 8
GAMES, SEEDS = 26, 5


@dataclass(frozen=True)
class Work:
    """An experiment.

    Attributes:
        name: of it.
        stacks: jobs that are run.
        steps: of all runs of all stacks together.
        core: seconds of a core for a step of one run.
        source: the page that says so.
        gpu: steps of all runs of a stack together that a GPU makes in a second; None where that is not known.
    """

    name: str
    stacks: int
    steps: float
    core: float
    source: str
    gpu: float | None = None

    def row(self) -> str:
        """Of the table."""
        hours = self.steps * self.core / 3600
        cells = [self.name, str(self.stacks), f"{self.steps:.2g}", f"[{said(1e3 * self.core)}]({self.source})"]
        cells += [said(hours), said(hours / CORES / 24)]
        on_gpu = self.gpu and self.steps / self.gpu / 3600
        cells += [said(on_gpu), said(on_gpu / GPUS / 24)] if on_gpu else ["", ""]
        return "| " + " | ".join(cells) + " |"


def cell(page: str, table: str, row: str, column: str) -> float:
    """The number in a table of a page: the table whose first heading begins so, the row of that name, the column."""
    heading: list[str] = []
    for line in (EVIDENCE / page).read_text("utf-8").splitlines():
        cells = [one.strip() for one in line.strip("|").split("|")] if line.startswith("|") else []
        if cells and heading and cells[0] == row and heading[0].startswith(table):
            found = re.match(r"[\d,.]+", cells[heading.index(column)])
            if found:
                return float(found[0].replace(",", ""))
        heading = (heading or cells) if cells else []
    raise SystemExit(f"{page} has no number for {row!r} below {column!r}: make that page first.")


def on_a_gpu(part: str, ending: str) -> float | None:
    """What was measured of a part of `make gpu`: the first row that ends so."""
    if not GPU.exists():
        return None
    found = json.loads(GPU.read_text("utf-8"))["parts"].get(part, {"rows": {}})["rows"]
    return next((value for what, (value, *_) in found.items() if what.endswith(ending)), None)


def experiments() -> Iterator[Work]:
    """The papers' figures at the papers' scale, the table of games, and the leaderboard."""
    for name, page, table, part in (
        ("nature-1c", "epochs.md", "Continual ImageNet", "imagenet"),
        ("nature-2b", "epochs.md", "Class-incremental CIFAR-100", "cifar"),
    ):
        own = figure(name)
        systems = len(own.conditions) + (own.minus is not None)
        settings = {"tasks": own.length} if own.axis == "tasks" else {}
        steps = resolve(own.benchmark, scale="paper", settings=settings).problem.steps
        core = cell(page, table, "neoteny, ms a step", "measured") / 1e3
        rate = on_a_gpu(part, "runs as one stack: run-steps a second")
        title = f"{own.source.rpartition(', ')[2]}: {own.benchmark}, {systems} systems, {own.runs} runs"
        yield Work(title, systems, systems * own.runs * steps, core, page, rate)
    for name in ("nature-3c", "nature-4a"):
        own = figure(name)
        systems, steps = len(own.conditions), resolve(own.benchmark, scale="paper").problem.steps
        core = cell("agents.md", "case", "1 agent, 1 thread, CBP and L2", "a step") / 1e6
        rate = on_a_gpu("ppo", "physics, policy and updates together")
        title = f"{own.source.rpartition(', ')[2]}: {own.benchmark}, {systems} systems, {own.runs} runs"
        yield Work(title, systems, systems * own.runs * steps, core, "agents.md", rate)
    core = cell("atari_speed.md", "side", "neoteny", "ms") / 1e3
    updates = GAMES * SEEDS * resolve("atari-100k", scale="paper").problem.steps * Atari100k.replay_ratio
    rate = on_a_gpu("atari", f"DrQ(eps), {SEEDS} agents, float32: updates a second")
    yield Work(
        f"Atari-100k, DrQ(ε): {GAMES} games, {SEEDS} seeds, updates alone", GAMES, updates, core, "atari_speed.md", rate
    )
    yield from leaderboard(read_run_costs(EVIDENCE / RUN_COSTS))


def leaderboard(costs: list[Cost]) -> Iterator[Work]:
    """All rows of each benchmark; those whose runs are not known as the mean of the others."""
    count = len(rows())
    for benchmark in dict.fromkeys(one.benchmark for one in costs):
        seconds = [one.seconds for one in costs if one.benchmark == benchmark]
        steps = resolve(benchmark, scale="table").problem.steps
        title = f"Leaderboard: {benchmark.rpartition('-v')[0]}, {count} rows ({len(seconds)} known)"
        yield Work(title, count * STACKS, count * RUNS * steps, fmean(seconds) / steps, RUN_COSTS)


def page() -> str:
    """The table, and what it is made of."""
    gpu = json.loads(GPU.read_text("utf-8"))["device"] if GPU.exists() else None
    of_gpus = (
        f"Hours of a GPU are from what [`make gpu`](gpu.md) measured on {gpu}."
        if gpu
        else "Figures of a GPU wait for `make gpu`, which has not been run on one yet; none are guessed."
    )
    about = (
        "`python bench/cost.py`: steps times what a step was measured to take. Core-hours are those of one thread of a "
        f"machine that other work shared. {CORES} cores and {GPUS} GPUs are taken to be busy all the time, so stacks "
        f"are cut where there are fewer of them; what a smaller stack loses is not counted. {of_gpus} The commands are "
        "in [clusters](../clusters.md#what-it-costs)."
    )
    heading = (
        *("experiment", "stacks", "run-steps", "ms of a core each", "core-hours", f"{CORES} cores: days"),
        *("hours of a GPU", f"{GPUS} GPUs: days"),
    )
    table = ["| " + " | ".join(heading) + " |", "|---|" + "---:|" * 7, *(work.row() for work in experiments())]
    remarks = (
        "Tests, measures and checkpoints come on top, a few per cent. Systems are taken to cost alike, and rows of the "
        f"leaderboard to have {RUNS} runs each, those beyond the ends of ranges included; rows whose cost is not known "
        "are taken to cost the mean of the others. Compiling comes on top as well, ten to a hundred seconds a stack."
    )
    return (
        "\n\n".join(["# What the figures and tables cost", fill(about, 160), "\n".join(table), fill(remarks, 160)])
        + "\n"
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    PAGE.write_text(page(), "utf-8")
    print(page())


if __name__ == "__main__":
    main()
