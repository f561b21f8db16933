"""Training in stages: what a step costs beside an ordinary loop, and where its time goes, for four networks.

    python bench/stages.py --network mlp        # one after the other: mlp, resnet18, vit, vgg16, stack
    python bench/stages.py --page               # the page from what was measured

One run, one thread, CPU time, on made-up images of the real ones' sizes. Each network is compared with the loop that a
good user of PyTorch would write, in the same process and in turns: AdamW, gradients clipped, the same batches, and the
same losses. The networks for images have sizes for two cores; the multi-layer perceptron has the paper's.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from neoteny import data
from neoteny.benchmarks.staged import DATA
from neoteny.lab.config import resolve
from neoteny.lab.execution import Execution
from neoteny.lab.objective import examples
from neoteny.lab.supervised import Supervised

PAGE = Path(__file__).parents[1] / "docs" / "evidence" / "stages.md"
NUMBERS = PAGE.with_suffix(".json")
ROUNDS, STACK = 5, 30
SIZES: dict[str, dict[str, Any]] = {
    "mlp": {"data": "mnist", "network": "mlp", "hidden": (512, 256), "batch_size": 256},
    "resnet18": {"data": "cifar10", "network": "resnet18", "width": 16, "hidden": (128,), "batch_size": 128},
    "vit": {"data": "cifar100", "network": "vit", "width": 64, "depth": 4, "batch_size": 128},
    "vgg16": {"data": "cifar10", "network": "vgg16", "width": 16, "hidden": (256, 256), "batch_size": 128},
}
STEPS = {"mlp": 24, "resnet18": 2, "vit": 4, "vgg16": 2}
SMALL = {"side": 14, "hidden": (128, 64), "batch_size": 64, "images": 6_000}
TINY = {"side": 7, "hidden": (32, 32), "batch_size": 16, "images": 600, "normalisation": "none"}


def best(work: Callable[[], object], rounds: int = 1) -> float:
    """CPU seconds of the fastest of several turns: with one thread, what else runs on the core matters little."""
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def made_up(name: str, data_dir: object = None) -> data.Labelled:
    """Noise of a data set's size of images, few of them."""
    about, rng = DATA[name], np.random.default_rng(0)
    shape = about.colours, about.side, about.side
    train, test = (rng.integers(0, 256, (count, *shape), dtype=np.uint8) for count in (6_000, 300))
    return data.Labelled(train, np.arange(len(train)) % about.classes, test, np.arange(len(test)) % about.classes)


def prepared(settings: dict[str, Any], method: str = "backprop", runs: int = 1, compile: bool = True) -> Supervised:
    """A stack before its first step."""
    chosen = {"images": 6_000, **settings}
    config = resolve("generalisability", method=method, runs=runs, scale="paper", settings=chosen)
    return Supervised(config, Execution(device="cpu", compile=compile))


class Ordinary:
    """A user's own loop over one network."""

    def __init__(self, network: nn.Module):
        self.network = network.train()
        self.optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-4)

    def steps(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Train on batches; the mean loss."""
        total = torch.zeros(())
        for batch, labels in zip(x, y, strict=True):
            loss = F.cross_entropy(self.network(batch), labels)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 0.5)
            self.optimizer.step()
            total += loss.detach()
        return total.item() / len(x)


def network(name: str, compile: bool) -> dict[str, float]:
    """Milliseconds a step, and the parts that data, augmentation and Hare & Tortoise take."""
    steps, settings = STEPS[name], SIZES[name]
    plain, hare = (prepared(settings, method, compile=compile) for method in ("backprop", "hare-and-tortoise"))
    moved = prepared({**settings, "augment": True}, compile=compile)
    learner, problem = plain.learner, plain.config.problem
    own = problem.build_network()
    first = {key: value[0] for key, value in learner.initial_weights.items()}
    own.load_state_dict({**own.state_dict(), **first})
    ordinary = Ordinary(copy.deepcopy(own))
    for stack in (plain, hare):
        stack.learner.scale_step_size(1.0)
    x, y = plain._stream.next(steps)
    ours = float(learner.advance(examples(x, y))["loss"]) / steps
    difference = abs(ours - ordinary.steps(x[0], y[0]))
    hare.learner.advance(examples(x, y))
    work = {
        "ordinary": lambda: ordinary.steps(x[0], y[0]),
        "ours": lambda: float(learner.advance(examples(x, y))["loss"]),
        "hare": lambda: float(hare.learner.advance(examples(x, y))["loss"]),
        "data": lambda: plain._stream.next(steps),
        "augmented": lambda: moved._stream.next(steps),
    }
    times: dict[str, list[float]] = {key: [] for key in work}
    for _ in range(ROUNDS):
        for key, do in work.items():
            times[key].append(best(do))
    one = {key: 1e3 * min(found) / steps for key, found in times.items()}
    return {**one, "difference": difference, "parameters": sum(p.numel() for p in own.parameters())}


def stack(compile: bool) -> dict[str, float]:
    """Run-steps a second of a stack, beside the same runs one by one, for two sizes."""
    found = {}
    for name, settings, steps in (("small", SMALL, 16), ("tiny", TINY, 128)):
        for runs in (1, STACK):
            training = prepared(settings, runs=runs, compile=compile)
            x, y = training._stream.next(steps)
            training.learner.advance(examples(x, y))
            seconds = best(lambda t=training, b=(x, y): float(t.learner.advance(examples(*b))["loss"].sum()), ROUNDS)
            found[f"{name} {runs}"] = runs * steps / seconds
    return found


def page() -> str:
    """What was measured."""
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8"))
    lines = [
        "# Speed of training in stages",
        "`bench/stages.py`: one run, one thread, CPU time beside other work on the core, made-up images of the real "
        "ones' sizes. The ordinary loop is AdamW with clipped gradients, on the same batches, in the same process and "
        "in turns. Asked: not slower than it, data with augmentation under 5 % of a step, Hare & Tortoise at most 3 %.",
        "| network | weights | ordinary loop, ms a step | neoteny, ms a step | ratio | data alone | "
        "data and augmentation | Hare & Tortoise | difference of the mean loss |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, settings in SIZES.items():
        own = numbers.get(name)
        if own:
            said = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "network")
            cells = (f"{own['ordinary']:.1f}", f"{own['ours']:.1f}", f"{own['ordinary'] / own['ours']:.2f}")
            parts = ("data", "augmented")
            shares = [f"{own[part] / own['ours']:.1%}" if part in own else "not measured" for part in parts]
            shares.append(f"{own['hare'] / own['ours'] - 1:+.1%}")
            row = (f"{name} ({said})", f"{own['parameters']:,.0f}", *cells, *shares, f"{own['difference']:.1e}")
            lines[-1] += "\n| " + " | ".join(row) + " |"
    if "stack" in numbers:
        lines.append(
            "| multi-layer perceptrons | one run, steps a second | 30 runs, run-steps a second | ratio, asked 8 |"
        )
        lines[-1] += "\n|---|---:|---:|---:|"
        for name, settings in (("small", SMALL), ("tiny", TINY)):
            one, many = (numbers["stack"][f"{name} {runs}"] for runs in (1, STACK))
            said = f"{settings['side']}x{settings['side']}, hidden {settings['hidden']}, batch {settings['batch_size']}"
            lines[-1] += f"\n| {said} | {one:,.0f} | {many:,.0f} | {many / one:.1f} |"
    missing = [name for name in (*SIZES, "stack") if name not in numbers]
    if missing:
        lines.append(f"Not yet measured: {', '.join(missing)}.")
    return "\n\n".join(lines) + f"\n\ntorch {torch.__version__}.\n"


def main() -> None:
    """Measure one part, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=[*SIZES, "stack"])
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave the steps uncompiled")
    parser.add_argument("--page", action="store_true", help="write the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data.labelled = made_up
    if options.network:
        found = stack(options.compile) if options.network == "stack" else network(options.network, options.compile)
        before = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.exists() else {}
        text = json.dumps({**before, options.network: found}, indent=1)
        NUMBERS.write_text(text + "\n", encoding="utf-8")
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if options.page:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
