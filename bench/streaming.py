"""What streaming costs: optimizers with a step size for each weight beside SGD, one example a step, one thread.

    python bench/streaming.py                        # every section
    python bench/streaming.py --sections optimizers

Sides take turns in one process; the seconds are those of the core, and of each side the best turn counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from linear_learners import swift_td
from streaming_agents import agents
from torch import Tensor

from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import ContinualBackprop
from neoteny.methods.base import Method
from neoteny.nn import MLP
from neoteny.optim import IDBD, SGD, Adam, Autostep, MetaOptimize
from neoteny.optim.base import Optimizer

ASKED = 2.5
"""Autostep's step as a multiple of SGD's, at most."""
RULES: dict[str, Optimizer] = {
    "SGD": SGD(step_size=0.003),
    "Adam": Adam(step_size=0.001),
    "IDBD": IDBD(step_size=0.003),
    "Autostep": Autostep(step_size=0.003),
    "MetaOptimize": MetaOptimize(base="sgd", meta="adamw", blocks="weight"),
}


def images(steps: int, runs: int) -> tuple[Tensor, Tensor]:
    """Inputs as sparse as MNIST's, of which four fifths are 0, and labels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(runs, steps, 1, 784, generator=generator)
    return x * (x > 0.8), torch.randint(0, 10, (runs, steps, 1), generator=generator)


def numbers(steps: int, runs: int) -> tuple[Tensor, Tensor]:
    """Inputs and a target each, for networks of one output."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(runs, steps, 1, 20, generator=generator), torch.randn(runs, steps, 1, 1, generator=generator)


NETWORKS = {
    "784-100x3-10, 1 run": (lambda: MLP(784, [100] * 3, 10), images, "cross_entropy", 1, 256),
    "20-5-1, 30 runs": (lambda: MLP(20, [5], 1), numbers, "mse", 30, 8192),
    "20-40-1, 30 runs": (lambda: MLP(20, [40], 1), numbers, "mse", 30, 2048),
}
CBP = (ContinualBackprop(replacement_rate=1e-4, maturity_threshold=100),)


class Side:
    """One learner and the steps of a turn."""

    def __init__(
        self,
        build: Callable[[], MLP],
        data: Callable[[int, int], tuple[Tensor, Tensor]],
        loss: str,
        runs: int,
        steps: int,
        rule: Optimizer,
        strategy: str = "auto",
        methods: Sequence[Method] = (),
    ):
        x, y = data(steps, runs)
        self.learner = Learner(
            build, x[0, 0], loss=loss, optimizer=rule, seeds=range(runs), strategy=strategy, methods=methods
        )
        self.batch, self.steps, self.best = examples(x, y), steps * runs, float("inf")
        for _ in range(2):
            self.learner.advance(self.batch)  # compiles

    def turn(self) -> None:
        """Train once over the data."""
        begun = time.process_time()
        self.learner.advance(self.batch)
        self.best = min(self.best, (time.process_time() - begun) / self.steps * 1e6)


def optimizers(rounds: int) -> list[str]:
    """Microseconds of a run-step under each rule, and as a multiple of SGD's; asked for is Autostep's."""
    lines = ["| network | optimizer | strategy | us a step | of SGD's |", "|---|---|---|---:|---:|"]
    for network, given in NETWORKS.items():
        sides = {name: Side(*given, rule) for name, rule in RULES.items()}
        for name in ("SGD", "IDBD", "Autostep"):
            sides[f"{name} + CBP"] = Side(*given, RULES[name], methods=CBP)
        general = sides["Adam"].learner.describe()["strategy"]  # what runs without a kernel made for SGD
        sides["SGD, by the general strategy"] = Side(*given, RULES["SGD"], general)
        for _ in range(rounds):
            for side in sides.values():
                side.turn()
        for name, side in sides.items():
            strategy = side.learner.describe()["strategy"]
            ratio = side.best / sides["SGD"].best
            lines.append(f"| {network} | {name} | {strategy} | {side.best:.3g} | {ratio:.2f} |")
            print(lines[-1], flush=True)
    return lines


def weights(rounds: int) -> list[str]:
    """Autostep's step against the number of weights, and against the time that its memory traffic takes at least."""
    lines = [
        "| hidden units | weights | of them visited | us a step | ns a visited weight | of the traffic's time |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    sides = {}
    for width in (50, 100, 200, 400):
        given = (lambda width=width: MLP(784, [width] * 3, 10), images, "cross_entropy", 1, 128)
        sides[width] = Side(*given, RULES["Autostep"])
    moved = traffic()
    for _ in range(rounds):
        for side in sides.values():
            side.turn()
    for side in sides.values():
        count = visited(side.learner, side.batch["inputs"][:, :, 0])
        # of each weight that is visited four numbers (itself, alpha, h, v) are read and written
        least = 8 * 4 * count / moved * 1e6
        width, all_of_them = side.learner.network.layers[0].size, side.learner.describe()["parameters"]
        row = f"| {width} | {all_of_them:,} | {count:,.0f} | {side.best:.1f} | {side.best / count * 1e3:.2f} "
        lines.append(row + f"| {side.best / least:.1f} |")
        print(lines[-1], flush=True)
    return lines


def visited(learner: Learner, x: Tensor) -> float:
    """How many weights an example changes on average: those whose inputs are not 0."""
    inputs = [x, *learner.features(x).values()]
    weights = [value for name, value in learner.weights().items() if name.endswith("weight")]
    return sum(float((own != 0).sum() / x.shape[1]) * w.shape[1] for own, w in zip(inputs, weights, strict=True))


def traffic() -> float:
    """Bytes a second that a copy moves, reads and writes together, for tensors of a megabyte."""
    a, b, best = torch.zeros(2**18), torch.zeros(2**18), float("inf")
    for _ in range(50):
        begun = time.process_time()
        for _ in range(20):
            b.copy_(a)
        best = min(best, time.process_time() - begun)
    return 20 * 2 * a.numel() * 4 / best


SECTIONS: dict[str, tuple[str, Callable[[int], Sequence[str]]]] = {
    "optimizers": (f"Optimizers beside SGD (asked: Autostep at most {ASKED:g} times SGD)", optimizers),
    "weights": ("Autostep against the number of weights", weights),
    "swift-td": ("SwiftTD on 1,000 sparse active features, beside the published package (asked: as fast)", swift_td),
    "agents": ("Streaming agents beside the environment alone and a plain loop", agents),
}


def main() -> None:
    """Measure and print; with `--out`, also write the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--out", type=Path, help="where to write the tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = ["# What streaming costs", PAGE]
    for name in options.sections.split(","):
        title, section = SECTIONS[name]
        print(title)
        text += [f"## {title}", "\n".join(section(options.rounds))]
    if options.out:
        options.out.write_text("\n\n".join(text) + "\n", encoding="utf-8")


PAGE = """`python bench/streaming.py`: one example a step, one thread. Sides take turns in one process; the seconds are
those of the core, and of each side the best turn counts. Absolute times are those of a shared virtual machine."""


if __name__ == "__main__":
    main()
