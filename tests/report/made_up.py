"""Run folders made up to the contract's schema, for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from neoteny.lab.recorder import COLUMNS, SORT
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.records import PaperFigure
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.metrics import is_performance

# loss at the start and at the end, share of dead units at the end, weight magnitude at the end
SYSTEMS: dict[str, tuple[float, float, float, float]] = {
    "linear": (0.95, 0.88, 0.0, 0.4),
    "backprop": (0.62, 1.25, 0.4, 2.5),
    "l2": (0.64, 0.86, 0.1, 0.9),
    "shrink-and-perturb": (0.63, 0.72, 0.05, 0.8),
    "cbp": (0.61, 0.68, 0.01, 0.7),
}
LAYERS = {
    "network": ("layer1", "layer2.0.conv1", "layer10"),
    "agent": ("actor.layers.0", "actor.layers.2", "critic.layers.0", "critic.layers.2"),
}
Row = tuple[int, int, int, str, str, float]


def metrics(
    system: str = "backprop",
    runs: int = 3,
    bins: int = 50,
    bin_size: int = 20_000,
    layers: Sequence[str] = ("layer1",),
    metric: str = "loss",
    measures: bool = True,
    seed: int = 0,
    ended: Mapping[int, int] | None = None,
    offset: Sequence[float] | None = None,
    task_length: int = 10_000,
) -> pl.DataFrame:
    """Tidy metrics of a stack of runs; `ended` gives the bin in which a run became non-finite."""
    rng = np.random.default_rng(seed)
    first, last, dead, weight = SYSTEMS.get(system, (0.7, 0.9, 0.2, 1.0))
    level = rng.normal(0, 0.08, runs) if offset is None else np.asarray(offset)
    rows: list[Row] = []
    for index in range(bins):
        share = (index + 1) / bins
        step = (index + 1) * bin_size
        for run in range(runs):
            stop = (ended or {}).get(run, bins)
            if index > stop:
                continue
            task = (step - 1) // task_length
            if index == stop:
                rows.append((run, step, task, "non_finite", "", 1.0))
                continue
            rise = 1 - np.exp(-4 * share)
            value = first + (last - first) * rise + level[run] + rng.normal(0, 0.05)
            if metric == "accuracy":
                value = 0.99 - 0.1 * value
            rows.append((run, step, task, metric, "", float(value)))
            if not measures:
                continue
            for depth, layer in enumerate(layers, start=1):
                rows += [
                    (
                        run,
                        step,
                        task,
                        "dead_units",
                        layer,
                        float(np.clip(dead * rise * depth / len(layers) + rng.normal(0, 0.02), 0, 1)),
                    ),
                    (
                        run,
                        step,
                        task,
                        "srank_99",
                        layer,
                        float(90 - 150 * dead * rise * depth / len(layers) + rng.normal(0, 2)),
                    ),
                    (
                        run,
                        step,
                        task,
                        "weight_magnitude",
                        layer,
                        float(0.3 + (weight - 0.3) * rise / depth + rng.normal(0, 0.03)),
                    ),
                ]
                if system == "cbp":
                    rows.append((run, step, task, "units_replaced", layer, float(int(step * 1e-3 * (1 + 0.1 * run)))))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row").sort(SORT)


def config(system: str = "backprop", runs: int = 3, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A resolved configuration."""
    base: dict[str, Any] = {
        "schema": 1,
        "benchmark": "slowly-changing-regression-v1",
        "scale": "paper",
        "method": system,
        "seed": seed,
        "runs": runs,
        "seeds": list(range(seed, seed + runs)),
        "varied": {},
        "settings": {"steps": 1_000_000, "task_length": 10_000, "bin_size": 20_000, "measure_every": 20_000},
        "network": {"hidden": [5], "activation": "relu"},
        "optimizer": {"name": "sgd", "learning_rate": 0.01},
        "methods": {system: {"replacement_rate": 1e-4, "maturity": 100}} if system == "cbp" else {},
    }
    return base | changes


def write(path: Path, settings: Mapping[str, Any], frame: pl.DataFrame | None, provenance: bool = True) -> Path:
    """Write a run folder."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False))
    if frame is not None:
        frame.write_parquet(path / "metrics.parquet")
    if provenance:
        facts = {
            "versions": {"neoteny": "0.1.0", "torch": "2.13.0", "python": "3.11.4"},
            "platform": "Linux-6.1-x86_64",
            "cpu": "Example CPU @ 2.4 GHz",
            "command": f"neoteny run {settings['benchmark']} --method {settings['method']} --runs {settings['runs']}",
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "started": "2025-01-31T12:00:00+00:00",
            "seconds": 83.4,
        }
        (path / "provenance.json").write_text(json.dumps(facts))
    return path


def demo(directory: Path, runs: int = 8, bins: int = 50, **options: Any) -> Path:
    """The demo: five systems on slowly-changing regression."""
    for index, system in enumerate(SYSTEMS):
        frame = metrics(system, runs, bins, seed=index, **options)
        write(directory / "slowly-changing-regression-v1" / system, config(system, runs), frame)
    return directory


def agents(system: str = "backprop", runs: int = 3, bins: int = 20, end: float = -50.0, **settings: Any) -> RunFrame:
    """A stack of agents: returns that rise and then go to `end`, what is recorded beside them, and episodes."""
    rng = np.random.default_rng(len(system))
    size, rows = 20_480, []
    for index in range(bins):
        step, share = (index + 1) * size, (index + 1) / bins
        task = min(step // 100_000, 3)
        for run in range(runs):
            value = 1_000 * share / 0.3 if share < 0.3 else 1_000 + (end - 1_000) * (share - 0.3) / 0.7
            values = {("episodic_return", ""): value + rng.normal(0, 5), ("friction", ""): 0.1 * (run + 1)}
            values |= {
                (name, ""): rng.normal(1, 0.1) for name in ("loss", "policy_loss", "value_loss", "approx_kl", "entropy")
            }
            values |= {("clip_fraction", ""): 0.1, ("weight_change", ""): 1e-5}
            if index % 5 == 4:
                for depth, layer in enumerate(LAYERS["agent"]):
                    values[("dormant_units", layer)] = 0.1 * depth + 0.05 * share
                    values[("srank_99", layer)] = 10.0 * depth
                    values[("weight_magnitude", layer)] = 0.1 + depth
                values |= {("weight_magnitude", f"{part}.layers.4"): 9.0 for part in ("actor", "critic")}
            rows += [(run, step, task, metric, layer, float(one)) for (metric, layer), one in values.items()]
            for episode in range(3):
                where = step - 7_001 * episode - 13 * run
                rows += [(run, where, task, name, "", 100.0) for name in ("episode_reward", "episode_length")]
    rows.append((0, 777, 0, "episode_unstable", "", 1.0))
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row").sort(SORT)
    own = {"task_length": 100_000, "bin_size": size} | settings
    return RunFrame(config(system, runs, benchmark="slippery-ant-v1", scale="small", settings=own), frame)


def paper_runs(
    directory: Path,
    figure: PaperFigure,
    scale: str = "small",
    lines: Sequence[Condition] | None = None,
    runs: int = 4,
    tasks: int = 40,
    changes: Mapping[str, float] | None = None,
    noise: float = 0.01,
    **settings: Any,
) -> Path:
    """Run folders for the lines of a paper's figure: each goes from one level to another, by `changes` at the end."""
    metrics = {name for name in (figure.metric, *figure.panels) if name}
    for place, line in enumerate(figure.needs(scale) if lines is None else lines):
        rng = np.random.default_rng(place)
        change = (changes or {}).get(line.label, -0.03 * place)
        steps = np.arange(1, tasks + 1)
        rows: list[Row] = []
        for metric in sorted(metrics):
            measure = not is_performance(metric)
            layers = LAYERS["agent" if figure.axis == "steps" else "network"] if measure else ("",)
            for layer in (*layers, *([""] if metric == "dormant_units" else [])):
                base, size = {"dormant_units": (0.3, 1), "srank_99": (80, 100), "effective_rank": (80, 100)}.get(
                    metric, (0.7, 1)
                )
                level = base + size * (change * steps / tasks + rng.normal(0, noise, (runs, tasks)))
                rows += [
                    (run, 1000 * int(step), int(step) - 1, metric, layer, float(level[run, step - 1]))
                    for run in range(runs)
                    for step in steps
                ]
        own = {key: value for key, value in line.settings.items() if "." not in key}
        methods: dict[str, dict[str, Any]] = {}
        for key, value in line.settings.items():
            if "." in key:
                methods.setdefault(key.partition(".")[0], {})[key.partition(".")[2]] = value
        resolved = config(
            line.system,
            runs,
            benchmark=f"{figure.benchmark}-v1",
            scale=scale,
            settings={**settings, **own},
            network={},
            optimizer={},
            methods=methods,
        )
        frame = pl.DataFrame(rows, schema=COLUMNS, orient="row").sort(SORT)
        write(directory / f"{figure.benchmark}-v1" / scale / f"{place}-{line.system}", resolved, frame)
    return directory
