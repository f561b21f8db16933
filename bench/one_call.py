"""What a learner pays that acts between its steps: `act` on an observation, then `learn` from one example.

`make bench` prints a row for each optimizer, with and without continual backpropagation: microseconds of the core for a
call of each, through the strategy made for it and through those made for many steps a call. All take turns in one
process with one thread; the best turn and the median turn count. One run, 27-64-64-8.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import ContinualBackprop
from neoteny.nn import MLP
from neoteny.optim import SGD, Adam
from neoteny.optim.base import Optimizer

OPTIMIZERS: dict[str, Optimizer] = {"SGD": SGD(step_size=0.003), "Adam": Adam(step_size=0.001)}
COLUMNS = ("optimizer", "method", "strategy", "learn us", "act us", "both us", "median us", "compile s")
INPUTS, OUTPUTS = torch.rand(1, 400, 1, 27), torch.randn(1, 400, 1, 8)


class Side:
    """One learner, and the two calls that a step of it is made of."""

    def __init__(self, strategy: str, optimizer: Optimizer, cbp: bool):
        methods = (ContinualBackprop(utility="adaptable_contribution"),) if cbp else ()
        self.learner = Learner(
            lambda: MLP(27, [64, 64], 8),
            INPUTS[0, 0],
            loss="mse",
            optimizer=optimizer,
            methods=methods,
            strategy=strategy,
            unroll=1,
        )
        self.one = strategy == "one-call"
        self.turns: list[tuple[float, float]] = []

    def turn(self, steps: int) -> None:
        """Some steps: first all that are learned from, then as many actions, each timed as a whole."""
        span = [min(steps, INPUTS.shape[1])] * 1
        ways = slice(0, span[0])
        if self.one:
            batches = [examples(x[None], y[None]) for x, y in zip(INPUTS[0, ways], OUTPUTS[0, ways], strict=True)]
            learn: Callable[..., object] = self.learner.learn
            act: Callable[..., object] = self.learner.act
        else:
            batches = [examples(x[None, None], y[None, None]) for x, y in zip(INPUTS[0], OUTPUTS[0], strict=True)]
            learn, act = self.learner.advance, self.learner.outputs
        seen = [x[None] for x in INPUTS[0, ways]]
        begun = time.process_time()
        for batch in batches[: span[0]]:
            learn(batch)
        between = time.process_time()
        for x in seen:
            act(x)
        ended = time.process_time()
        self.turns.append(((between - begun) / span[0] * 1e6, (ended - between) / span[0] * 1e6))


def main() -> None:
    """Measure and print; with `--out`, also write the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--strategies", default="stack,loop,rank-one,one-call")
    parser.add_argument("--optimizers", default="SGD,Adam")
    parser.add_argument("--out", type=Path, help="where to write the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(*COLUMNS, title=f"act and learn once, one thread, torch {torch.__version__}")
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|" + "---:|" * (len(COLUMNS) - 3)]
    for name in options.optimizers.split(","):
        for cbp in (False, True):
            sides = {}
            for strategy in options.strategies.split(","):
                try:
                    sides[strategy] = Side(strategy, OPTIMIZERS[name], cbp)
                except SettingError:
                    continue  # rank-one takes SGD alone
                sides[strategy].turn(400)
                sides[strategy].turns.clear()
            for _ in range(options.rounds):
                for side in sides.values():
                    side.turn(400)
            for strategy, side in sides.items():
                learn, act = (min(turn[part] for turn in side.turns) for part in (0, 1))
                both = [sum(turn) for turn in side.turns]
                row = [name, "cbp" if cbp else "backprop", strategy, *(f"{v:.1f}" for v in (learn, act, min(both)))]
                row += [f"{statistics.median(both):.1f}", f"{side.learner.describe()['compile_seconds']:.0f}"]
                table.add_row(*row)
                lines.append("| " + " | ".join(row) + " |")
    Console().print(table)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
