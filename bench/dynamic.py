"""What dynamic learning costs: its levels beside SGD, one example a step, one thread; and over four sizes of network.

    python bench/dynamic.py
    python bench/dynamic.py --rounds 3 --out costs.md

Sides take turns in one process; the seconds are those of the core, and of each side the best turn counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from streaming import images, numbers
from torch import Tensor

from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import UPGD, ContinualBackprop, Dynamic, Fringe
from neoteny.methods.base import Method
from neoteny.nn import MLP
from neoteny.optim import IDBD, SGD, Autostep
from neoteny.optim.base import Optimizer

ASKED = 3.0
"""The step of the whole as a multiple of SGD's, at most."""
Sides = dict[str, tuple[Optimizer, tuple[Method, ...]]]
Data = Callable[[int, int], tuple[Tensor, Tensor]]

_CBP = ContinualBackprop(replacement_rate=1e-4)
SIDES: Sides = {
    "SGD": (SGD(step_size=0.003), ()),
    "SGD, continual backpropagation": (SGD(step_size=0.003), (_CBP,)),
    "SGD, UPGD": (SGD(step_size=0.003), (UPGD(),)),
    "Autostep": (Autostep(step_size=0.003), ()),
    "Autostep, continual backpropagation": (Autostep(step_size=0.003), (_CBP,)),
    "SGD, fringe": (SGD(step_size=0.003), (Fringe(),)),
    "Autostep, fringe": (Autostep(step_size=0.003), (Fringe(),)),
    "IDBD": (IDBD(step_size=0.003, theta=0.05), ()),
    "dynamic with IDBD": (IDBD(step_size=0.003, theta=0.05), (Dynamic(),)),
    "dynamic: Autostep, fringe, centred inputs": (Autostep(step_size=0.003), (Dynamic(),)),
}
NETWORKS: dict[str, tuple[Callable[[], MLP], Data, str, int, int]] = {
    "784-100x3-10, 1 run": (lambda: MLP(784, [100] * 3, 10), images, "cross_entropy", 1, 256),
    "20-40-1, 30 runs": (lambda: MLP(20, [40], 1), numbers, "mse", 30, 4096),
}
WIDTHS = (50, 100, 200, 400)
WORDS = """\
Where the time goes, from clocks inside the kernels and from their instructions:

- **784-100x3-10.** Centred inputs are seldom 0, so what SGD and Autostep alone skip for pixels of 0 cannot be
  skipped. But a unit without an error changes nothing, not even in Autostep's state, and with ReLU that is about
  every second one. The first layer's weights with their states are 1.3 MB, in the second cache. Autostep bounds a
  step by a sum over all weights, so it visits them twice: 44 bytes a weight with the forward product, 1.7 MB a step.
  The first visit takes about a quarter of the time, the second a third, the layers above 30 %, forward products a
  tenth. IDBD visits weights once, and computes an exponential for each.
- **20-40-1.** Runs fill vectors, and a weight's time is the same in the first cache and in the second: arithmetic
  decides. Autostep takes about 25 vector operations and a division for a weight, SGD three. Where no lane can reach
  the bound, which is known beforehand, one visit does. Of what the fringe adds, about a third is spent outside the
  kernel, on when units are due and on drawing their weights. Inputs are centred by a bias of the kernel's own, which
  costs next to nothing.
"""


class Side:
    """A learner and the data of a turn."""

    def __init__(
        self, network: tuple[Callable[[], MLP], Data, str, int, int], optimizer: Optimizer, methods: tuple[Method, ...]
    ):
        build, data, loss, runs, steps = network
        x, y = data(steps, runs)
        self.learner = Learner(build, x[0, 0], loss=loss, optimizer=optimizer, methods=methods, seeds=range(runs))
        self.batch, self.steps, self.best = examples(x, y), steps * runs, float("inf")
        for _ in range(2):
            self.learner.advance(self.batch)  # compiles, also the steps in which units are replaced

    def turn(self) -> None:
        """Train once over the data."""
        begun = time.process_time()
        self.learner.advance(self.batch)
        self.best = min(self.best, (time.process_time() - begun) / self.steps * 1e6)


def beside(rounds: int) -> list[str]:
    """Microseconds of a run-step, and as a multiple of SGD's."""
    lines = ["| network | learner | strategy | us a step | of SGD's |", "|---|---|---|---:|---:|"]
    for network, given in NETWORKS.items():
        sides = {name: Side(given, *side) for name, side in SIDES.items()}
        for _ in range(rounds):
            for side in sides.values():
                side.turn()
        for name, side in sides.items():
            strategy, ratio = side.learner.describe()["strategy"], side.best / sides["SGD"].best
            lines.append(f"| {network} | {name} | {strategy} | {side.best:.3g} | {ratio:.2f} |")
            print(lines[-1], flush=True)
    return lines


def weights(rounds: int) -> list[str]:
    """The whole's step against the number of weights."""
    name, (optimizer, methods) = list(SIDES.items())[-1]
    lines = [f"| hidden units of 784-n-n-n-10, {name} | weights | us a step | ns a weight |", "|---:|---:|---:|---:|"]
    sides = {}
    for width in WIDTHS:
        network = (lambda width=width: MLP(784, [width] * 3, 10), images, "cross_entropy", 1, 128)
        sides[width] = Side(network, optimizer, methods)
    for _ in range(rounds):
        for side in sides.values():
            side.turn()
    for width, side in sides.items():
        count = side.learner.describe()["parameters"]
        lines.append(f"| {width} | {count:,} | {side.best:.1f} | {side.best / count * 1e3:.2f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure and print; with `--out`, also write the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="where to write the tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"Beside SGD (asked: at most {ASKED:g} times its step)")
    tables = ["\n".join(beside(options.rounds)), "\n".join(weights(options.rounds))]
    if options.out:
        page = ["# What dynamic learning costs", *tables, WORDS]
        options.out.write_text("\n\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
