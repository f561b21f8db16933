"""Sutton's tables of 1992 at full scale: IDBD's tracking problem, and gain adaptation beside a Kalman filter.

    python docs/evidence/tracking.py              # about two minutes on one core
    python docs/evidence/tracking.py --seeds 3    # a quick look

Every row is a sweep over the rule's settings, 30 runs each, all in one stack; the best setting by the error is shown.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt

from neoteny.benchmarks.gain_adaptation import GainAdaptation
from neoteny.benchmarks.idbd_tracking import IDBDTracking
from neoteny.benchmarks.linear_tracking import LinearTrackingBenchmark
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.optim import IDBD, K1, K2, NLMS, SMD, Autostep, MetaOptimize, TraceSGD
from neoteny.optim.base import Optimizer
from neoteny.report.statistics.intervals import mean_interval

HERE = Path(__file__).parent
SETTLING, JUDGED = 20_000, 10_000
Sweep = tuple[str, Optimizer, dict[str, list[float]], str]

TRACKING: list[Sweep] = [
    ("LMS", TraceSGD(), {"step_size": [0.01, 0.02, 0.03, 0.035, 0.04, 0.06]}, "3.5"),
    ("NLMS", NLMS(), {"step_size": [0.5, 0.7, 0.9, 1.1]}, ""),
    ("IDBD", IDBD(), {"step_size": [0.05], "theta": [0.0025, 0.005, 0.01, 0.015, 0.02]}, "1.5"),
    ("Autostep", Autostep(), {"step_size": [0.05], "mu": [0.01, 0.03, 0.1]}, ""),
    ("SMD", SMD(), {"step_size": [0.05], "mu": [0.003, 0.01, 0.02]}, ""),
    (
        "MetaOptimize (SGD, Adam, by weight)",
        MetaOptimize(base="sgd", meta="adamw", blocks="weight", gamma=0.95),
        {"step_size": [0.01, 0.03], "eta": [1e-4, 3e-4, 1e-3]},
        "",
    ),
]
GAIN: list[Sweep] = [
    ("K1", K1(), {"mu": [0.0005, 0.001, 0.002, 0.003]}, "5.5"),
    ("K2", K2(), {"mu": [0.001, 0.003, 0.01]}, ""),
    ("IDBD", IDBD(), {"step_size": [0.05], "theta": [2e-4, 4e-4, 6e-4, 8e-4]}, "6.6"),
    ("Autostep", Autostep(), {"step_size": [0.1], "mu": [0.01, 0.03, 0.1]}, ""),
    ("NLMS", NLMS(), {"step_size": [0.7, 0.85, 1.0, 1.15]}, "10.3"),
    ("LMS", TraceSGD(), {"step_size": [0.03, 0.04, 0.05, 0.06]}, "11.1"),
]


def learner(problem: LinearTrackingBenchmark, rule: Optimizer, varied: dict[str, list[float]], seeds: list[int]):
    """A stack of runs of the problem's linear unit."""
    build, example = problem.build_network, torch.zeros(1, problem.inputs)
    return Learner(build, example, loss="mse", optimizer=rule, seeds=seeds, varied=varied, strategy="stack")


def sweep(problem: LinearTrackingBenchmark, found: Sweep, runs: int) -> list[tuple[str, np.ndarray]]:
    """For each setting its name, and the mean squared error of each run over the last examples."""
    _, rule, grid, _ = found
    settings = list(itertools.product(*grid.values()))
    seeds = [seed for _ in settings for seed in range(runs)]
    varied = {name: [values[at] for values in settings for _ in range(runs)] for at, name in enumerate(grid)}
    together = learner(problem, rule, varied, seeds)
    stream = problem.build_stream(range(runs))

    def advance(steps: int) -> np.ndarray:
        total = np.zeros(len(seeds))
        for _ in range(steps // 1_000):
            batch = examples(*(value.repeat(len(settings), 1, 1, 1) for value in stream.next(1_000)))
            total += together.advance(batch)["loss"].numpy()
        return total / steps

    advance(SETTLING)
    errors = advance(JUDGED).reshape(len(settings), runs)
    names = [", ".join(f"{name} {value:g}" for name, value in zip(grid, values, strict=True)) for values in settings]
    return list(zip(names, errors, strict=True))


def said(values: np.ndarray) -> str:
    """The mean over runs with its interval, and the range of the runs."""
    interval = mean_interval(values[:, None])
    mean = f"{interval.mean[0]:.2f} [{interval.low[0]:.2f}, {interval.high[0]:.2f}]"
    return f"{mean} | {values.min():.2f} to {values.max():.2f}"


def table(problem: LinearTrackingBenchmark, sweeps: list[Sweep], runs: int, root: bool) -> list[str]:
    """Rows of the best settings, with intervals over the runs."""
    rows = []
    for found in sweeps:
        tried = [(name, np.sqrt(errors) if root else errors) for name, errors in sweep(problem, found, runs)]
        tried = [(name, errors) for name, errors in tried if np.isfinite(errors).all()]
        name, errors = min(tried, key=lambda one: one[1].mean())
        others = "; ".join(f"{label}: {values.mean():.2f}" for label, values in tried if label != name)
        rows.append(f"| {found[0]} | {said(errors)} | {found[3]} | {name} | {others} |")
        print(rows[-1], flush=True)
    return rows


def filters(problem: LinearTrackingBenchmark, runs: int) -> list[str]:
    """The Kalman filter that knows which weights walk, and one that does not, in NumPy."""
    x, y = (value.double().numpy()[:, :, 0] for value in problem.build_stream(range(runs)).next(SETTLING + JUDGED))
    rows = []
    walks = (np.arange(20) < 5).astype(float)
    for name, drift, published in (("Kalman filter", walks, "4.83"), ("Kalman filter", np.full(20, 0.25), "")):
        w, covariance = np.zeros((runs, 20)), np.broadcast_to(np.eye(20), (runs, 20, 20)).copy()
        squares = np.zeros(runs)
        for t in range(SETTLING + JUDGED):
            covariance = covariance + np.diag(drift)
            px = np.einsum("rij,rj->ri", covariance, x[:, t])
            gain = px / (1 + (x[:, t] * px).sum(1, keepdims=True))
            delta = y[:, t] - (w * x[:, t]).sum(1, keepdims=True)
            w, covariance = w + gain * delta, covariance - gain[:, :, None] * px[:, None, :]
            squares += delta[:, 0] ** 2 * (t >= SETTLING)
        setting = "knows which weights walk" if published else "spreads the same drift over all weights"
        rows.append(f"| {name} | {said(np.sqrt(squares / JUDGED))} | {published} | {setting} | |")
        print(rows[-1], flush=True)
    return rows


def step_sizes(runs: int, path: Path) -> str:
    """Experiment 2: the figure of the step sizes over time, and what they come to."""
    problem = IDBDTracking.preset("long", **IDBDTracking.SYSTEMS["slow"].overrides)
    together = learner(problem, problem.optimizer, {}, list(range(runs)))
    stream, seen = problem.build_stream(range(runs)), []
    for _ in range(problem.steps // 1_000):
        seen.append(together.strategy.carry()["optim"]["layers.0.weight"]["beta"].exp()[:, 0].numpy().copy())
        together.advance(examples(*stream.next(1_000)))
    sizes, thousands = np.array(seen), np.arange(len(seen))
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for inputs, name, colour in ((slice(0, 5), "relevant inputs", "#1a6fb0"), (slice(5, 20), "irrelevant", "#c77f0a")):
        lines = sizes[:, :, inputs].reshape(len(sizes), -1)
        low, middle, high = np.quantile(lines, [0.05, 0.5, 0.95], axis=1)
        axes.plot(thousands, middle, color=colour, label=name)
        axes.fill_between(thousands, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.set_xlabel("examples (thousands)")
    axes.set_ylabel("step size α")
    axes.set_yscale("log")
    axes.legend(frameon=False, loc="center right")
    axes.set_title("IDBD learns which inputs matter", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    last = sizes[-1]
    relevant, others = last[:, :5], last[:, 5:]
    return (
        f"At the end of {problem.steps:,} examples the step sizes of the five relevant inputs lie between "
        f"{relevant.min():.3f} and {relevant.max():.3f} (mean {relevant.mean():.3f}; published 0.13 +- 0.015), those "
        f"of the others are at most {others.max():.4f} (published: less than 0.007)."
    )


def main() -> None:
    """Compute, and write page and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = "| rule | {} | of single runs | known | best setting | other settings |\n|---|---|---|---|---|---|"
    tracking = table(IDBDTracking(), TRACKING, options.seeds, root=False)
    gain = filters(GainAdaptation(), options.seeds) + table(GainAdaptation(), GAIN, options.seeds, root=True)
    text = PAGE.format(
        seeds=options.seeds,
        tracking="\n".join([head.format("mean squared error"), *tracking]),
        gain="\n".join([head.format("root mean squared error"), *gain]),
        sizes=step_sizes(options.seeds, options.out / "tracking-step-sizes.png"),
    )
    (options.out / "tracking.md").write_text(text, encoding="utf-8")


PAGE = """# Step sizes that are learned: Sutton's tables of 1992

`python docs/evidence/tracking.py`: {seeds} runs a setting, 20,000 examples to settle, the mean over the next 10,000,
with 95 % intervals over the runs. Of each rule's sweep the best setting is shown; the others beside it. What is known
of the first problem was read off the paper's figures; what is known of the second is of single runs, which differ by
as much as their range says, and by the same factor for all rules on one target.

## IDBD's tracking problem (`idbd-tracking-v1`, Experiment 1)

{tracking}

## Step sizes over time (Experiment 2)

![Step sizes of relevant and irrelevant inputs](tracking-step-sizes.png)

Lines are medians over inputs and runs, bands from 5 to 95 %. {sizes}

## Gain adaptation (`gain-adaptation-v1`)

{gain}
"""


if __name__ == "__main__":
    main()
