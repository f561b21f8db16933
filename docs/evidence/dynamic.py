"""The ablation of dynamic learning: eight problems, one example at a time, every learner tuned in the same way.

    python docs/evidence/dynamic.py                                  # goes on where it was stopped
    python docs/evidence/dynamic.py --minutes 5                      # begins no piece after five minutes
    python docs/evidence/dynamic.py --problems geoff,flights --systems sgd,dynamic
    python docs/evidence/dynamic.py --report                         # only writes the page and the figure

A piece is one system on one problem: six settings on five seeds of their own and half of the examples, then the best of
them on thirty other seeds. Pieces are kept in `dynamic/` beside this file; one whose definition has changed is made
again. Several processes may work side by side. The page and the figure are written from the pieces that are there.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pieces import claimed, save

from neoteny import registry
from neoteny.lab.benchmark import OnlineBenchmark
from neoteny.lab.learner import Learner
from neoteny.methods import UPGD, Centring, ContinualBackprop, Dynamic, Fringe
from neoteny.methods.base import Method
from neoteny.optim import IDBD, SGD, Adam, Autostep, Intentional
from neoteny.optim.base import Optimizer
from neoteny.report.statistics.relearning import after_returns

PIECES, CLAIMS = Path(__file__).parent / "dynamic", Path(".cache/dynamic")
POINTS, TUNING_SEEDS, SEEDS = 6, range(1000, 1005), range(30)
LAST = 0.3  # the share of a stream at its end that is judged


@dataclass(frozen=True)
class Problem:
    """A benchmark at the size that is run here."""

    title: str
    benchmark: str
    steps: int
    sizes: tuple[float, ...]
    """step sizes of SGD, from small to large"""
    rates: tuple[float, float]
    """shares of the units that are replaced at a step"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "loss"
    window: int = 0
    """examples after a return that are judged, where a part of the problem goes and comes back"""

    def build(self, optimizer: Optimizer) -> OnlineBenchmark:
        """The benchmark; nobody is told when a task begins."""
        return registry.benchmark(self.benchmark).load().preset("paper", **self.settings, optimizer=optimizer)


@dataclass(frozen=True)
class System:
    """A learner, and the settings that are tried: the product of two axes, six points."""

    title: str
    optimizer: Optimizer
    methods: tuple[Method, ...] = ()
    axes: Mapping[str, tuple[float, ...] | str] = field(default_factory=dict)
    """values by setting; `sizes` are all of the problem's step sizes, `few` every second one, `rates` its rates"""
    classes: Optimizer | None = field(default=None, repr=False)
    """the optimizer where classes are learned, if it is another"""

    def rule(self, problem: Problem) -> Optimizer:
        """The optimizer for a problem."""
        return self.classes if self.classes and problem.metric == "accuracy" else self.optimizer

    def points(self, problem: Problem) -> dict[str, list[float]]:
        """The values of each setting at each point."""
        named = {"sizes": problem.sizes, "few": problem.sizes[1::2], "rates": problem.rates}
        axes = {name: named[each] if isinstance(each, str) else each for name, each in self.axes.items()}
        points = list(product(*axes.values()))
        assert len(points) == POINTS
        return {name: [point[at] for point in points] for at, name in enumerate(axes)}


_REGRESSION = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
_IMAGES = {"side": 7, "width": 40, "depth": 2, "tasks": 40, "task_length": 1_000, "bin_size": 1_000}
_MNIST = {"sizes": (2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1), "rates": (1e-5, 1e-4), "settings": _IMAGES}
PROBLEMS: dict[str, Problem] = {
    "drifting-features": Problem(
        "drifting features", "drifting-features", 100_000, _REGRESSION, (1e-5, 1e-4), {"tasks": 100}
    ),
    "geoff": Problem("GEOFF", "geoff", 60_000, _REGRESSION, (1e-5, 1e-4), {"tasks": 60}),
    "slowly-changing": Problem(
        "slowly-changing regression",
        "slowly-changing-regression",
        200_000,
        (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
        (1e-4, 1e-3),
        {"tasks": 20},
    ),
    "representation-search": Problem(
        "representation search",
        "representation-search",
        40_000,
        (2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2),
        (1e-4, 1e-3),
        {"tasks": 40, "width": 100},
    ),
    "trace-patterning": Problem(
        "trace patterning",
        "trace-patterning",
        60_000,
        (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2),
        (1e-5, 1e-4),
        {"tasks": 6, "bin_size": 2_000, "trace": 0.0, "depth": 1, "width": 16},
    ),
    "flights": Problem(
        "flights",
        "flights",
        48_000,
        (1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2),
        (1e-5, 1e-4),
        {"tasks": 3, "task_length": 16_000, "bin_size": 2_000, "airports": 10, "depth": 1, "width": 32},
    ),
    "permuted-mnist": Problem("online permuted MNIST", "online-permuted-mnist", 40_000, metric="accuracy", **_MNIST),
    "label-permuted-mnist": Problem(
        "label-permuted MNIST", "label-permuted-mnist", 40_000, metric="accuracy", **_MNIST
    ),
}
RETURN = "return"
PROBLEMS[RETURN] = Problem(
    "a part that comes back",
    "drifting-features",
    80_000,
    _REGRESSION,
    (1e-5, 1e-4),
    {"tasks": 80, "bin_size": 500, "flips": 0.0, "replacements": 0.0, "period": 10_000},
    window=2_000,
)
_CBP = ContinualBackprop(replacement_rate=1e-4, maturity_threshold=100)
_RATE = {"cbp.replacement_rate": "rates"}
_FAST = 0.05
"""the meta step size where the second axis is another setting"""
_CLASSES = IDBD(theta=_FAST)
"""Where classes are learned it takes Autostep's place: Autostep's bound is on steps against the curvature, for which a
loss of classes only has squared gradients, and each surprising example made all step sizes smaller for good."""
SYSTEMS: dict[str, System] = {
    "sgd": System("SGD", SGD(), axes={"step_size": "sizes"}),
    "adam": System("Adam", Adam(), axes={"step_size": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}),
    "cbp": System("continual backpropagation", SGD(), (_CBP,), {"step_size": "few", **_RATE}),
    "upgd": System("UPGD", SGD(), (UPGD(),), {"step_size": "few", "upgd.sigma": (1e-3, 1e-2)}),
    "idbd": System("IDBD", IDBD(), axes={"step_size": "few", "theta": (1e-3, 1e-2)}),
    "autostep": System("Autostep", Autostep(), axes={"step_size": "few", "mu": (0.01, _FAST)}),
    "cbp-autostep": System(
        "continual backpropagation, Autostep", Autostep(mu=_FAST), (_CBP,), {"step_size": "few", **_RATE}, _CLASSES
    ),
    "intentional": System("Intentional updates", Intentional(), axes={"step_size": (3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.5)}),
}
RIVALS = tuple(SYSTEMS)
_SIZES = {"step_size": "sizes"}
_WIDE = {"step_size": "few", "mu": (0.01, _FAST)}
_PROTECTED = Fringe(replacement_rate=0.0)


def _replacing(method: Fringe, optimizer: Optimizer, title: str) -> System:
    axes = {"step_size": "few", f"{method.name}.decay_rate": (0.999, 0.99)}
    return System(title, optimizer, (method,), axes, _CLASSES if isinstance(optimizer, Autostep) else None)


_UNPROTECTED, _AUTOSTEP = Fringe(protection=0.0), Autostep(mu=_FAST)
SYSTEMS |= {
    "1-protected": System("1: SGD, protected", SGD(), (_PROTECTED,), _SIZES),
    "12-protected": System("1+2: Autostep, protected", Autostep(), (_PROTECTED,), _WIDE),
    "13": _replacing(_UNPROTECTED, SGD(), "1+3: SGD, fringe"),
    "13-protected": _replacing(Fringe(), SGD(), "1+3: SGD, fringe, protected"),
    "123": _replacing(_UNPROTECTED, _AUTOSTEP, "1+2+3: Autostep, fringe"),
    "123-protected": _replacing(Fringe(), _AUTOSTEP, "1+2+3: Autostep, fringe, protected"),
    "centring": System("Autostep, centred inputs", Autostep(), (Centring(),), _WIDE),
    "cbp-centring": System(
        "continual backpropagation, Autostep, centred inputs",
        _AUTOSTEP,
        (Centring(), _CBP),
        {"step_size": "few", **_RATE},
        _CLASSES,
    ),
    "dynamic-unprotected": _replacing(Dynamic(protection=0.0), _AUTOSTEP, "dynamic, not protected"),
    "dynamic": _replacing(Dynamic(), _AUTOSTEP, "dynamic: 1+2+3, centred inputs, protected"),
}


def train(problem: Problem, system: System, varied: dict[str, list[float]], seeds: range, steps: int) -> dict[str, Any]:
    """Scores in bins, [points, seeds, bins], and how they were computed."""
    optimizer, points = system.rule(problem), len(next(iter(varied.values())))
    benchmark = problem.build(optimizer)
    stream = benchmark.build_stream(seeds)
    batch = dict(zip(stream.PARTS, stream.next(1), strict=True))
    objective, example = benchmark.build_objective(), batch["inputs"][0, 0]
    given: dict[str, Any] = {"objective": objective}
    if objective is None:
        given = {"loss": benchmark.LOSS, "optimizer": optimizer}
    given |= {"methods": (*benchmark.implied(), *system.methods), "unroll": 1, "seeds": [*seeds] * points}
    given["varied"] = {name: [value for value in values for _ in seeds] for name, values in varied.items()}
    learner = Learner(benchmark.build_network, example, **given)
    stream, bins, seconds = benchmark.build_stream(seeds), [], []
    for _ in range(steps // benchmark.bin_size):
        begun = time.process_time()
        total, left = 0.0, benchmark.bin_size
        while left:
            length = min(left, 500)
            parts = (part.repeat(points, *[1] * (part.dim() - 1)) for part in stream.next(length))
            sums = learner.advance(dict(zip(stream.PARTS, parts, strict=True)))
            total, left = total + sums[problem.metric].numpy(), left - length
        bins.append(total / benchmark.bin_size)
        seconds.append(time.process_time() - begun)
    told, runs = learner.describe(), points * len(seeds)
    microseconds = 1e6 * float(np.median(seconds)) / (runs * benchmark.bin_size)  # some compile, some replace units
    scores = np.stack(bins, -1).reshape(points, len(seeds), -1)
    return {"scores": scores, "microseconds": microseconds, **{k: told[k] for k in ("strategy", "parameters")}}


def judged(problem: Problem, scores: np.ndarray) -> np.ndarray:
    """The mean over the last bins, or after returns; a run that is no longer finite has none."""
    if problem.window:
        return after_returns(scores, *returning(problem))[..., 1:].mean(-1)
    bins = scores.shape[-1]
    return scores[..., bins - max(round(LAST * bins), 1) :].mean(-1)


def returning(problem: Problem) -> tuple[int, int, int]:
    """The sizes of bins, of the period and of the window."""
    return problem.settings["bin_size"], problem.settings["period"], problem.window


def best(problem: Problem, scores: np.ndarray) -> int:
    """The point, of [points, seeds], whose mean score is best; one with a run that broke down comes last."""
    sign = 1 if problem.metric == "loss" else -1
    return int(np.argmin(np.nan_to_num(sign * scores.mean(1), nan=np.inf, posinf=np.inf)))


def piece(problem: Problem, system: System) -> dict[str, Any]:
    """Tune, then run the best point on the other seeds; both are stacks of the same size, compiled once."""
    points = system.points(problem)
    tuned = train(problem, system, points, TUNING_SEEDS, problem.steps // 2)
    chosen = best(problem, judged(problem, tuned["scores"]))
    fixed = {name: [values[chosen]] for name, values in points.items()}
    found = train(problem, system, fixed, SEEDS, problem.steps)
    return {
        **found,
        "scores": found["scores"][0].astype(np.float32),
        "tuning": judged(problem, tuned["scores"]),
        "chosen": chosen,
    }


def path_of(problem: str, system: str) -> Path:
    """Where a piece is; the name changes with what it depends on."""
    told = repr((PROBLEMS[problem], SYSTEMS[system], POINTS, TUNING_SEEDS, SEEDS))
    rule = SYSTEMS[system].rule(PROBLEMS[problem])
    told += "" if rule is SYSTEMS[system].optimizer else repr(rule)
    return PIECES / problem / f"{system}-{hashlib.sha256(told.encode()).hexdigest()[:10]}.npz"


def work(problems: list[str], systems: list[str], until: float) -> bool:
    """Make what is missing; returns whether nothing is left."""
    for problem, system in product(problems, systems):
        path = path_of(problem, system)
        with claimed(path, CLAIMS) as free:
            if not free or path.exists():
                continue
            if time.monotonic() > until:
                return False
            begun = time.process_time()
            found = piece(PROBLEMS[problem], SYSTEMS[system])
            found["seconds"] = time.process_time() - begun
            save(path, found)
            told = f"{found['microseconds']:.2f} us a run-step ({found['strategy']}), {found['seconds']:.0f} s in all"
            print(f"{problem} {system}: {judged(PROBLEMS[problem], found['scores']).mean():.4f}, {told}", flush=True)
    return True


def pieces(problem: str) -> dict[str, dict[str, Any]]:
    """Those of a problem that are there, by system."""
    paths = {system: path_of(problem, system) for system in SYSTEMS}
    return {system: dict(np.load(path)) for system, path in paths.items() if path.exists()}


def main() -> None:
    """Make what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no piece after so long")
    parser.add_argument("--report", action="store_true", help="only write the page and the figure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    left = False
    if not options.report:
        chosen = options.problems.split(","), options.systems.split(",")
        left = not work(*chosen, until=time.monotonic() + 60 * options.minutes)
    if not left:
        from dynamic_page import report

        report()
    raise SystemExit(75 if left else 0)  # 75: call it again


if __name__ == "__main__":
    main()
