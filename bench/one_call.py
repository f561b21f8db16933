"""What acting between steps costs a learner: an action for one observation, then one step on one example.

`make bench` prints a row for each optimizer, method and strategy: microseconds of the core for either call, of the best
turn, and for both, of the best turn and of the median one. The strategies take turns in one process with one thread.
`one-call` learns by `Learner.learn` and acts by `Learner.act`; the others, made for many steps a call, by
`Learner.advance` and `Learner.outputs`. One run of a 27-64-64-8 network.
"""

from __future__ import annotations

import argparse
import statistics
import time
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

ASKED = 60.0  # microseconds for both calls
STEPS = 400  # in a turn
OPTIMIZERS: dict[str, Optimizer] = {"SGD": SGD(step_size=0.003), "Adam": Adam(step_size=0.001)}
COLUMNS = ("optimizer", "method", "strategy", "learn us", "act us", "both us", "median us", "compile s")
X, Y = torch.rand(1, STEPS, 1, 27), torch.randn(1, STEPS, 1, 8)


class Side:
    """One learner, and the two calls that its steps are made of."""

    def __init__(self, strategy: str, optimizer: Optimizer, cbp: bool):
        self.learner = Learner(
            lambda: MLP(27, [64, 64], 8),
            X[0, 0],
            loss="mse",
            optimizer=optimizer,
            methods=(ContinualBackprop(utility="adaptable_contribution"),) if cbp else (),
            strategy=strategy,
            unroll=1,
        )
        self.seen = [X[:, step] for step in range(STEPS)]
        if strategy == "one-call":
            self.learn, self.act = self.learner.learn, self.learner.act
            self.batches = [examples(X[:, step], Y[:, step]) for step in range(STEPS)]
        else:
            self.learn, self.act = self.learner.advance, self.learner.outputs
            self.batches = [examples(X[:, step : step + 1], Y[:, step : step + 1]) for step in range(STEPS)]
        self.turn()  # compiles, and the first units become mature
        self.turns: list[tuple[float, float]] = []

    def turn(self) -> tuple[float, float]:
        """Microseconds of the core for a call of each."""
        begun = time.process_time()
        for batch in self.batches:
            self.learn(batch)
        between = time.process_time()
        for x in self.seen:
            self.act(x)
        ended = time.process_time()
        return (between - begun) / STEPS * 1e6, (ended - between) / STEPS * 1e6


def sides(strategies: list[str], optimizer: Optimizer, cbp: bool) -> dict[str, Side]:
    """A side for each strategy that takes the optimizer."""
    found = {}
    for strategy in strategies:
        try:
            found[strategy] = Side(strategy, optimizer, cbp)
        except SettingError:
            continue
    return found


def main() -> None:
    """Measure and print; with `--out`, also write the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--strategies", default="stack,loop,rank-one,one-call")
    parser.add_argument("--optimizers", default=",".join(OPTIMIZERS))
    parser.add_argument("--out", type=Path, help="where to write the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=110)
    table = Table(*COLUMNS, title=f"act and learn once (asked: {ASKED:g} us), one thread, torch {torch.__version__}")
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|" + "---:|" * (len(COLUMNS) - 3)]
    for name in options.optimizers.split(","):
        for method in ("backprop", "cbp"):
            found = sides(options.strategies.split(","), OPTIMIZERS[name], method == "cbp")
            for _ in range(options.rounds):
                for side in found.values():
                    side.turns.append(side.turn())
            for strategy, side in found.items():
                both = [sum(turn) for turn in side.turns]
                times = (*(min(part) for part in zip(*side.turns, strict=True)), min(both), statistics.median(both))
                seconds = side.learner.describe()["compile_seconds"]
                row = [name, method, strategy, *(f"{value:.1f}" for value in times), f"{seconds:.0f}"]
                table.add_row(*row)
                lines.append("| " + " | ".join(row) + " |")
                console.print("  ".join(row), style="dim")
    console.print(table)
    if options.out:
        options.out.write_text(PAGE + "\n".join(lines) + "\n")


PAGE = f"""# One call a step

`make bench`: what a learner pays that acts between its steps: an action for one observation, then one step on one
example, one run of a 27-64-64-8 network. Microseconds of the core for either call, of the best turn, and for both, of
the best turn and of the median one. The strategies take turns in one process with one thread. `one-call` learns by
`Learner.learn` and acts by `Learner.act`; the others, made for many steps a call, by `Learner.advance` and
`Learner.outputs`. Asked for are at most {ASKED:g} us for both calls. Absolute times are those of a shared virtual
machine; compiling is timed by the clock on the wall, and takes less where a graph is in TorchInductor's cache.

"""


if __name__ == "__main__":
    main()
