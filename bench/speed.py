"""Speed side by side: neoteny's learner against an ordinary PyTorch loop, in one process, one thread each.

`make bench` prints one row for each case: microseconds of a run-step in both loops, their ratio, the ratio asked for,
and what compiling took. The two sides take turns, and each side's best round counts, so that a busy machine disturbs
both alike. A run-step is one whole training step of one run with its loss recorded.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from ordinary import OrdinaryCBP, train

from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import ContinualBackprop
from neoteny.nn import MLP, ContinualImageNetNet
from neoteny.optim import SGD


@dataclass(frozen=True)
class Case:
    """One row: a network, its data, how many runs, and the ratio that the project asks for."""

    name: str
    network: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    runs: int
    cbp: bool
    asked: float
    steps: int
    ordinary_steps: int
    step_size: float = 0.003
    momentum: float = 0.0
    strategy: str = "auto"
    rate: float = 1e-4
    """replacement rate of continual backpropagation, the benchmark's own"""

    def data(self, runs: int, steps: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1)
        x = torch.rand(runs, steps, *self.shape, generator=generator)
        size = (runs, steps, self.shape[0])
        if self.classes:
            return x, torch.randint(0, self.classes, size, generator=generator)
        return x, torch.randn(*size, 1, generator=generator)


def tiny() -> nn.Module:
    return MLP(20, [5], 1)


def middle() -> nn.Module:
    return MLP(784, [100] * 3, 10)


def wide() -> nn.Module:
    return MLP(784, [2000] * 3, 10)


def cases() -> list[Case]:
    rows = []
    for runs, asked, asked_cbp in ((30, 150, 200), (100, 500, 700)):
        for cbp, ratio in ((False, asked), (True, asked_cbp)):
            rows.append(Case(f"20-5-1, {runs} runs", tiny, (1, 20), 0, runs, cbp, ratio, 16_000, 2_000, 0.01))
    for cbp, ratio in ((False, 15), (True, 25)):
        rows.append(Case("784-100x3-10, 30 runs", middle, (1, 784), 10, 30, cbp, ratio, 480, 1_500, rate=1e-5))
    for cbp, ratio in ((False, 2.5), (True, 0)):
        rows.append(Case("784-2000x3-10, 1 run", wide, (1, 784), 10, 1, cbp, ratio, 96, 96, rate=1e-5))
    for cbp in (False, True):
        rows.append(
            Case(
                "Continual ImageNet", ContinualImageNetNet, (100, 3, 32, 32), 2, 1, cbp, 1, 24, 24, 0.01, 0.9, rate=3e-4
            )
        )
    return rows


def layers_of(net: nn.Module) -> nn.Sequential:
    """The ordinary user's network: the same layers in one `nn.Sequential`."""
    return nn.Sequential(*(m for m in net.modules() if not list(m.children())))


def measure(case: Case, rounds: int) -> tuple[float, float, Learner]:
    """Best microseconds of a run-step of (ordinary, ours), taking turns."""
    x, y = case.data(case.runs, case.steps)
    methods = (ContinualBackprop(replacement_rate=case.rate, utility="adaptable_contribution"),) if case.cbp else ()
    learner = Learner(
        case.network,
        x[0, 0],
        loss="cross_entropy" if case.classes else "mse",
        optimizer=SGD(step_size=case.step_size, momentum=case.momentum),
        methods=methods,
        seeds=range(case.runs),
        strategy=case.strategy,
    )
    torch.manual_seed(0)
    net = layers_of(case.network())
    net.train()
    cbp = OrdinaryCBP(net, case.rate) if case.cbp else None
    x0, y0 = case.data(1, case.ordinary_steps)
    train(net, x0[0][:20], y0[0][:20], case.step_size, case.momentum, cbp)
    # twice: the second call also compiles the graphs with replacements
    learner.advance(examples(x, y))
    learner.advance(examples(x, y))
    ordinary, ours = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        train(net, x0[0], y0[0], case.step_size, case.momentum, cbp)
        ordinary.append((time.perf_counter() - begun) / case.ordinary_steps)
        begun = time.perf_counter()
        sums = learner.advance(examples(x, y))
        float(sums["loss"].sum())
        ours.append((time.perf_counter() - begun) / case.steps / case.runs)
    return min(ordinary) * 1e6, min(ours) * 1e6, learner


def copy_bandwidth() -> float:
    """Bytes a second that one thread moves through memory (read and write of a large in-place product)."""
    data = torch.ones(2**26)
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        data.mul_(1.0)
        best = min(best, time.perf_counter() - begun)
    return 8 * data.numel() / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the table as Markdown to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=130)
    lines = [
        "| case | method | ordinary us | neoteny us | ratio | asked | strategy | compile s | CBP over backprop |",
        "|---|---|---:|---:|---:|---:|---|---:|---:|",
    ]
    table = Table(title=f"one run-step, {platform.processor() or platform.machine()}, torch {torch.__version__}")
    for column in lines[0].strip("| ").split(" | "):
        table.add_column(column, justify="left" if column in ("case", "method", "strategy") else "right")
    previous: float | None = None
    for case in cases():
        if options.only not in case.name:
            continue
        ordinary, ours, learner = measure(case, options.rounds)
        about = learner.describe()
        cost = f"{(ours / previous - 1) * 100:+.0f} %" if case.cbp and previous else ""
        row = [
            case.name,
            "cbp" if case.cbp else "backprop",
            f"{ordinary:,.1f}",
            f"{ours:,.3f}" if ours < 1 else f"{ours:,.2f}",
            f"{ordinary / ours:,.1f}",
            f"{case.asked:g}" if case.asked else "",
            f"{about['strategy']} x{about['unroll']}",
            f"{about['compile_seconds']:.0f}",
            cost,
        ]
        table.add_row(*row)
        lines.append("| " + " | ".join(row) + " |")
        console.print("  ".join(row), style="dim")
        if "2000" in case.name and not case.cbp:
            # unavoidable: each weight is read once forward, and read and written once backward
            traffic = 3 * 4 * about["parameters"] / (ours * 1e-6)
            share = f"traffic {traffic / 1e9:.1f} GB/s = {traffic / copy_bandwidth() * 100:.0f} % of memory bandwidth"
            lines.append(f"| | {share} | | | | | | | |")
            console.print(share, style="dim")
        if "100 runs" in case.name:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            peak = f"peak memory of the process so far {peak:.2f} GiB"
            lines.append(f"| | {peak} | | | | | | | |")
            console.print(peak, style="dim")
        previous = None if case.cbp else ours
        del learner
    console.print(table)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
