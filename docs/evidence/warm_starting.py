"""Warm starting, generalisability and trainability on two cores: what early training costs, and what takes it back.

    python docs/evidence/warm_starting.py --plan            # the pieces, in their order, with what they cost
    python docs/evidence/warm_starting.py --minutes 30      # goes on where it was stopped; no new piece after 30
    python docs/evidence/warm_starting.py --studies mnist,warm-mlp --systems backprop,fresh
    python docs/evidence/warm_starting.py --report          # only writes the page and the figures

A piece is one system in one study. Where a study tunes, six settings are tried on three seeds of their own
(`Generalisability.TUNING`), and the best of them is trained on eighteen other seeds: as many runs again, so that both
stacks are one compiled graph. Runs go to `.cache/warm-starting` and are resumed; what they found is kept in
`warm_starting/` beside this file, a file for each piece; one whose definition has changed is made again. Several
processes may work side by side.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from pieces import claimed, save

from neoteny import lab
from neoteny.benchmarks.generalisability import Generalisability
from neoteny.lab.config import RunConfig
from neoteny.lab.resolving import resolve
from neoteny.sweeps.choosing import TUNING_SEED, best_point

PIECES, RUNS = Path(__file__).parent / "warm_starting", Path(".cache/warm-starting")
TUNING_SEEDS, SEEDS = 3, 10
TUNED_SEEDS = 6 * TUNING_SEEDS
KEPT = ("test_accuracy", "accuracy", "loss", "bins_to_goal")
MEASURES = ("dead_units", "dormant_units", "srank_99", "weight_magnitude", "distance_from_init", "hessian_rank")


@dataclass(frozen=True)
class Study:
    """A benchmark at the size that is run here, and the systems in it.

    Attributes:
        title: for the page.
        benchmark: its name.
        settings: of the benchmark.
        systems: what is compared.
        seconds: of one run of the plainest system on one core, for the plan, until a piece has told.
        seeds: runs of each system.
        tuned: the study whose chosen settings are taken; itself, if it tunes.
        methods: settings of methods at this size, by system.
        grid: settings that differ within a stack, for all systems.
        sizes: step sizes that differ within a stack, by system.
        scale: of the benchmark, which the settings change.
    """

    title: str
    benchmark: str
    settings: Mapping[str, Any]
    systems: tuple[str, ...]
    seconds: float
    seeds: int = SEEDS
    tuned: str = ""
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    sizes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    scale: str = "paper"

    def axes(self, system: str) -> dict[str, list[Any]]:
        """What differs within a stack of the system."""
        own = {"step_size": self.sizes[system]} if system in self.sizes else {}
        return {name: list(values) for name, values in {**self.grid, **own}.items()}

    def config(self, system: str, first: int, seeds: int, axes: Mapping[str, list[Any]]) -> RunConfig:
        """Runs of a system."""
        name = system.removesuffix("-ash")
        own = {name: dict(self.methods[system])} if system in self.methods else {}
        owned = {"tasks"} if system.startswith("fresh") else set()  # its one stage is a setting of the system,
        owned |= {"step_size"} if system.endswith("-adam") else set()  # and so is Adam's step size
        settings = {key: value for key, value in self.settings.items() if key not in owned}
        how = {"runs": seeds, "seed": first, "scale": self.scale}
        return resolve(self.benchmark, method=system, settings=settings, methods=own, grid=dict(axes), **how)

    def runs(self, system: str) -> int:
        """How many runs a piece has."""
        points = int(np.prod([len(values) for values in self.axes(system).values()]))
        tuning = STUDIES.get(self.tuned) is self
        return points * self.seeds + TUNED_SEEDS * tuning


ALL = tuple(Generalisability.SYSTEMS)
TALK = (
    "backprop",
    "fresh",
    "hare-and-tortoise",
    "shrink-and-perturb",
    "head-reset",
    "ema",
    "l2-init",
    "augmentation",
)
_MLP = {"side": 14, "hidden": (128, 64), "images": 6_000, "batch_size": 64, "passes": 15}
_METHODS = {"hare-and-tortoise": {"period": 139}, "redo": {"period": 93}}  # ten times a stage; once in an epoch
_IMAGES = {
    "data": "cifar100-superclasses",
    "network": "resnet18",
    "width": 16,
    "hidden": (),
    "side": 16,
    "batch_size": 64,
}
_RESNET = {**_IMAGES, "images": 2_560, "test_images": 1_000, "passes": 15}
_CODE = ("backprop", "fresh", "hare-and-tortoise", "l2-init", "self-distillation", "shrink-and-perturb", "head-reset")
_WARM = {"images": 6_000, "side": 16, "epochs": 300, "step_size": 0.02}
_WARM_SYSTEMS = tuple(f"{name}{end}" for end in ("-adam", "") for name in ("fresh", "backprop", "shrink-and-perturb"))
_TRAIN = {"tasks": 60, "measure_every": 6}
_OPTIMIZERS = ("backprop", "adam")
DEPTHS, EPOCHS = (1, 2, 3, 5), (3, 5, 10, 20)


def _two_stages(title: str, data: str = "mnist", **more: Any) -> Study:
    settings = {**_MLP, "data": data, **more.pop("settings", {})}
    more = {"systems": TALK, "seconds": 2.0, "methods": _METHODS, **more}
    return Study(title, "generalisability", settings, **more)


def _warm(title: str, data: str, network: str, seconds: float) -> Study:
    settings = {**_WARM, "data": data, "network": network}
    return Study(title, "warm-start", settings, _WARM_SYSTEMS, seconds)


def _trained(title: str, **more: Any) -> Study:
    settings = {**_TRAIN, **more.pop("settings", {})}
    return Study(title, "trainability", settings, _OPTIMIZERS, more.pop("seconds", 0.5), scale="fast", **more)


STUDIES: dict[str, Study] = {
    "mnist": _two_stages("MNIST", systems=ALL, tuned="mnist", seeds=TUNED_SEEDS),
    "train-step": _trained("step size", sizes={"backprop": (0.03, 0.1, 0.3, 0.6), "adam": (1e-3, 3e-3, 1e-2, 3e-2)}),
    "warm-mlp": _warm("CIFAR-100's superclasses, multi-layer perceptron", "cifar100-superclasses", "mlp", 15.0),
    "code": _two_stages("MNIST, the paper's rules", systems=_CODE),
    "code-accumulates": _two_stages("MNIST, gradients never set to 0", systems=_CODE, settings={"accumulates": True}),
    "code-authors": _two_stages("MNIST, the authors' code", systems=_CODE, settings={"authors_code": True}),
    "noise": _two_stages(
        "MNIST, share and noise",
        systems=("backprop", "hare-and-tortoise", "shrink-and-perturb", "head-reset", "full-reset"),
        grid={"share": (0.05, 0.1, 0.3), "noise": (0.0, 0.5, 0.9)},
        tuned="mnist",
        seeds=5,
    ),
    **{f"train-depth-{depth}": _trained(f"{depth} hidden layers", settings={"depth": depth}) for depth in DEPTHS},
    **{
        f"train-epochs-{epochs}": _trained(
            f"{epochs} epochs a task",
            settings={"epochs": epochs, "tasks": 600 // epochs, "measure_every": 60 // epochs},
        )
        for epochs in EPOCHS
    },
    "resnet": Study(
        "CIFAR-100's superclasses, ResNet-18 of width 16",
        "generalisability",
        _RESNET,
        TALK,
        105.0,
        seeds=5,
        methods={"hare-and-tortoise": {"period": 60, "mu": 0.98}, "ema": {"mu": 0.98}},
    ),
    "fashion": _two_stages("Fashion-MNIST", "fashion-mnist", tuned="mnist", seeds=TUNED_SEEDS),
    "warm-logistic": _warm("CIFAR-100's superclasses, logistic regression", "cifar100-superclasses", "linear", 4.0),
    "ten-stages": _two_stages("MNIST in ten stages", tuned="mnist", settings={"tasks": 10, "passes": 12}, seconds=7.0),
    "warm-resnet": Study(
        "CIFAR-100's superclasses, ResNet-18 of width 16",
        "warm-start",
        {**_IMAGES, "images": 2_400, "epochs": 60},
        _WARM_SYSTEMS[:3],
        75.0,
        seeds=5,
    ),
    "warm-mlp-100": _warm("CIFAR-100, multi-layer perceptron", "cifar100", "mlp", 15.0),
    "warm-logistic-100": _warm("CIFAR-100, logistic regression", "cifar100", "linear", 4.0),
}
FACTORS = {
    "fresh": 0.5,
    "fresh-augmentation": 0.6,
    "fresh-adam": 0.6,
    "crelu": 1.5,
    "self-distillation": 2.5,
    "l2-er": 3.0,
    "infer": 2.0,
}
"""What a run of a system takes, in units of the plainest."""
COMPILING = 25.0
"""Seconds that a piece takes until its steps are compiled."""


def train(config: RunConfig, out: Path) -> dict[str, np.ndarray]:
    """What runs found, by metric: [runs, places] and the steps of these places; and the settings that differ."""
    run = lab.run(config, out=out, resume=True, progress=False)
    frame = run.metrics.filter(pl.col("metric").is_in([*KEPT, *MEASURES]))
    ends = (config.problem.timeline().tasks * config.problem.batch_size).tolist()
    frame = frame.filter(pl.col("metric").is_in(["test_accuracy", *MEASURES]) | pl.col("step").is_in(ends))
    found: dict[str, np.ndarray] = {f"varied {name}": np.array(values) for name, values in config.varied.items()}
    for (metric,), own in frame.group_by("metric"):
        layers = own["layer"].unique().to_list()
        own = own.filter(pl.col("layer") == "") if "" in layers else own
        table = own.group_by("run", "step").agg(pl.col("value").mean()).pivot("run", index="step", values="value")
        table = table.sort("step")
        found[f"steps {metric}"] = table["step"].to_numpy()
        gone = pl.Series([None] * table.height, dtype=pl.Float64)  # a run at its goal is no longer trained
        columns = (table.get_column(str(number), default=gone) for number in range(config.runs))
        found[str(metric)] = np.stack([column.to_numpy().astype(float) for column in columns])
    return found


def final(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """The last test accuracy of each run."""
    return found["test_accuracy"][:, -1]


def piece(name: str, system: str) -> dict[str, Any]:
    """Tune if the study does, take over what was chosen, and train."""
    study, out, axes = STUDIES[name], RUNS / name, STUDIES[name].axes(system)
    chosen: dict[str, float] = {}
    extra: dict[str, Any] = {}
    if study.tuned == name:
        tuning = study.config(system, TUNING_SEED, TUNING_SEEDS, Generalisability.TUNING[system])
        scores = final(train(tuning, out / "tuning")).reshape(-1, TUNING_SEEDS)
        points = [
            dict(zip(Generalisability.TUNING[system], p, strict=True))
            for p in product(*Generalisability.TUNING[system].values())
        ]
        chosen = points[best_point(scores, higher_is_better=True)]
        extra["tuning"] = scores
    elif study.tuned:
        taken = load(study.tuned, system)
        chosen = {
            key.removeprefix("chosen "): float(value) for key, value in taken.items() if key.startswith("chosen ")
        }
    axes |= {key: [value] for key, value in chosen.items()}
    extra |= {f"chosen {key}": value for key, value in chosen.items()}
    return {**train(study.config(system, 0, study.seeds, axes), out), **extra}


def path_of(name: str, system: str) -> Path:
    """Where a piece is; the name changes with what it depends on."""
    study = STUDIES[name]
    told = repr((study, system, TUNING_SEEDS, Generalisability.TUNING.get(system) if study.tuned else None))
    return PIECES / name / f"{system}-{hashlib.sha256(told.encode()).hexdigest()[:10]}.npz"


def load(name: str, system: str) -> dict[str, np.ndarray]:
    """A piece that is there."""
    return dict(np.load(path_of(name, system)))


def ready(name: str) -> dict[str, dict[str, np.ndarray]]:
    """The pieces of a study that are there, by system."""
    return {system: load(name, system) for system in STUDIES[name].systems if path_of(name, system).exists()}


def order(studies: list[str], systems: list[str]) -> Iterator[tuple[str, str]]:
    """The pieces in the order in which they are made."""
    for name in studies:
        for system in STUDIES[name].systems:
            if not systems or system in systems:
                yield name, system


def minutes(name: str, system: str) -> float:
    """What a piece takes: as it told, or from what similar ones told, or as estimated."""
    if path_of(name, system).exists():
        return float(load(name, system)["seconds"]) / 60
    study = STUDIES[name]
    stacks = 2 if study.tuned == name else 1
    return (study.runs(system) * study.seconds * FACTORS.get(system, 1.0) + stacks * COMPILING) / 60


def work(studies: list[str], systems: list[str], until: float) -> bool:
    """Make what is missing; returns whether nothing is left."""
    left = False
    for name, system in order(studies, systems):
        path, needed = path_of(name, system), STUDIES[name].tuned
        with claimed(path, RUNS / "claims") as free:
            if not free or path.exists():
                continue
            if needed not in ("", name) and not path_of(needed, system).exists():
                left = True
                continue
            if time.monotonic() > until:
                return False
            begun = time.process_time()
            found = piece(name, system) | {"seconds": time.process_time() - begun}
            save(path, found)
            score = final(found) if "test_accuracy" in found else found["accuracy"][:, -1]
            print(f"{name} {system}: {score.mean():.4f}, {found['seconds'] / 60:.1f} min", flush=True)
    return not left


def plan(studies: list[str], systems: list[str]) -> None:
    """Print the pieces with their runs and core-minutes."""
    total = open_ = 0.0
    for name, system in order(studies, systems):
        took, done = minutes(name, system), path_of(name, system).exists()
        total, open_ = total + took, open_ + (0.0 if done else took)
        state = "done" if done else "open"
        print(
            f"{name:18} {system:24} {STUDIES[name].runs(system):4} runs {took:6.1f} min {state} {total:7.1f} min so far"
        )
    print(f"{total:.0f} core-minutes in all, {open_:.0f} of them open")


def main() -> None:
    """Plan, or make what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", default=",".join(STUDIES))
    parser.add_argument("--systems", default="", help="only these")
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no piece after so long")
    parser.add_argument("--plan", action="store_true", help="only say what there is to do")
    parser.add_argument("--report", action="store_true", help="only write the page and the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = options.studies.split(","), [name for name in options.systems.split(",") if name]
    if options.plan:
        return plan(*chosen)
    left = not options.report and not work(*chosen, until=time.monotonic() + 60 * options.minutes)
    if not left:
        from warm_starting_page import report

        report()
    raise SystemExit(75 if left else 0)  # 75: call it again


if __name__ == "__main__":
    main()
