"""What each registered method costs: time of a step against plain backpropagation, and memory, on three networks.

`make costs` attaches each method with its default settings. This loop and the bare one take turns by gradient descent,
in one process with one thread. The cost is the median of the ratios of neighbouring turns, in seconds of the core.
Memory is that of tensors, with the settings of `Method.contract`, which act within the ten steps measured. It writes
`docs/evidence/costs.parquet` and `costs.md`; the methods' pages and the leaderboard read them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import polars as pl
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

import neoteny
from neoteny import PlasticityWarning
from neoteny.errors import NetworkError
from neoteny.methods import Method
from neoteny.registry import METHODS
from neoteny.testing.memory import memory
from neoteny.testing.models import mlp

OUT = Path(__file__).parents[1] / "docs" / "evidence"
REFERENCE = 32  # examples, as in the laboratory
TURN = 0.004  # seconds, at least


@dataclass(frozen=True)
class Problem:
    """A network with a batch to train on, and reference inputs for methods that compare outputs."""

    make: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    reference: Tensor
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy


def conv_net() -> nn.Module:
    """Two convolutions and two linear layers."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def rectified(*widths: int) -> Callable[[], nn.Module]:
    """A multilayer perceptron."""

    def make() -> nn.Module:
        return nn.Sequential(*(nn.ReLU() if isinstance(layer, nn.Tanh) else layer for layer in mlp(*widths)))

    return make


def problems() -> dict[str, Problem]:
    """A small, a middle and a convolutional network."""
    classes, images = torch.randint(10, (32,)), (3, 16, 16)
    return {
        "MLP 20-5-1, batch 1": Problem(
            rectified(20, 5, 1), torch.randn(1, 20), torch.randn(1, 1), torch.randn(REFERENCE, 20), F.mse_loss
        ),
        "MLP 784-3x100-10, batch 32": Problem(
            rectified(784, 100, 100, 100, 10), torch.randn(32, 784), classes, torch.randn(REFERENCE, 784)
        ),
        "ConvNet, batch 32": Problem(conv_net, torch.randn(32, *images), classes, torch.randn(REFERENCE, *images)),
    }


class Loop:
    """A network in training, with or without a method."""

    def __init__(self, problem: Problem, method: Method | None = None):
        torch.manual_seed(0)
        self.problem, self.model = problem, problem.make()
        if method is not None:
            self.model = neoteny.prepare(self.model, method, problem.reference)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 1e-4)
        if method is not None:
            neoteny.attach(self.model, self.optimizer, method, problem.reference, reference=problem.reference)

    def turn(self, steps: int) -> float:
        """Seconds of the core for `steps` steps."""
        start = time.process_time()
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.problem.loss(self.model(self.problem.x), self.problem.y).backward()
            self.optimizer.step()
        return time.process_time() - start


def time_of(method: Method, problem: Problem, seconds: float) -> tuple[float, float]:
    """The cost of a step relative to the bare one, and microseconds of that."""
    bare, attached = Loop(problem), Loop(problem, method)
    for loop in (bare, attached):
        loop.turn(3)
    steps = max(1, round(3 * TURN / bare.turn(3)))
    ratios, of_bare = [], []
    end = time.process_time() + seconds
    while len(ratios) < 5 or time.process_time() < end:
        of_bare.append(bare.turn(steps))
        ratios.append(attached.turn(steps) / of_bare[-1])
    return median(ratios), median(of_bare) / steps * 1e6


def memory_of(cls: type[Method], problem: Problem) -> tuple[float, float]:
    """The most that it keeps and that a step allocates, as multiples of the parameters' memory."""
    torch.manual_seed(0)
    found = [memory(method, problem.make(), problem.x, problem.y, problem.loss) for method in cls.contract()[0]]
    return max(kept for kept, _ in found), max(allocated for _, allocated in found)


def measure(seconds: float) -> pl.DataFrame:
    """A row for each method and network; none if the method refuses the network."""
    rows = []
    each = seconds / len(METHODS) / len(problems())
    for network, problem in problems().items():
        for name, entry in track(METHODS.items(), network):
            cls = entry.load()
            try:
                relative, bare = time_of(cls(), problem, each)
                kept, allocated = memory_of(cls, problem)
            except (NetworkError, ValueError):  # batch normalisation of a single example, say
                continue
            rows.append((name, network, relative, bare, kept, allocated))
    columns = ("method", "network", "relative", "bare_us", "kept", "allocated")
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.col(pl.Float64).round(4))


def page(costs: pl.DataFrame) -> str:
    """The table, as Markdown."""
    networks = list(dict.fromkeys(costs["network"]))
    middle = networks[1]
    bare = [f"{network}: {costs.filter(network=network)['bare_us'].median():,.0f} µs" for network in networks]
    lines = [
        "# What each method costs",
        "",
        "`make costs`: a training step with a method against the same step without it (plain gradient descent), eager,",
        "with `neoteny.attach` and default settings. Both loops take turns in one process with one thread; the number",
        "is the median over neighbouring turns of the ratio of seconds of the core. 1.00 is backpropagation. What",
        "happens only at a change of task, or once in a thousand updates, hardly shows.",
        "",
        "Memory is that of the tensors which a method keeps between steps, and of those alive at once within a step",
        f"beside them, on {middle}, as multiples of the parameters' memory; sums over units are not counted.",
        "In brackets what the class promises at most.",
        "",
        f"A step of backpropagation took, on a shared virtual machine: {'; '.join(bare)}.",
        "",
        "| method | stage | " + " | ".join(networks) + " | keeps | allocates |",
        "|---|---|" + "---:|" * (len(networks) + 2),
    ]
    for name, entry in METHODS.items():
        own = {row["network"]: row for row in costs.filter(method=name).iter_rows(named=True)}
        if not own:
            continue
        cls = entry.load()
        cells = [f"{own[network]['relative']:.2f}" if network in own else "-" for network in networks]
        memory = [f"{own[middle][key]:.2f} ({cls.memory[place]:g})" for place, key in enumerate(("kept", "allocated"))]
        lines.append(f"| {name} | {entry.kind} | " + " | ".join([*cells, *memory]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="for all turns together")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    warnings.simplefilter("ignore", PlasticityWarning)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    costs = measure(options.seconds)
    costs.write_parquet(options.out / "costs.parquet")
    (options.out / "costs.md").write_text(page(costs), encoding="utf-8")


if __name__ == "__main__":
    main()
