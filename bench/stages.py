"""Training in stages: what a step costs beside an ordinary loop, and where its time goes, for four networks.

    python bench/stages.py --network mlp        # one after the other: mlp, resnet18, vit, vgg16, stack
    python bench/stages.py --page               # the page from what was measured

One run, one thread, CPU time, on made-up images of the real ones' sizes. Each network is compared with the loop that a
good user of PyTorch would write, in the same process and in turns: AdamW, gradients clipped, the same batches, and the
same losses. The networks for images have sizes for two cores; the multi-layer perceptron has the paper's. Stacks of
small ones are compared with single runs, with that loop, and with the matrix products of a step alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from neoteny import data
from neoteny.benchmarks.staged import DATA, StagedBenchmark
from neoteny.lab.execution import Execution
from neoteny.lab.objective import examples
from neoteny.lab.resolving import resolve
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


def made_up(name: str, data_dir: object = None) -> data.Labelled:
    """Noise of a data set's size, with few images to test with."""
    about, rng = DATA[name], np.random.default_rng(0)
    shape = about.colours, about.side, about.side
    train, test = (rng.integers(0, 256, (count, *shape), dtype=np.uint8) for count in (about.train, 300))
    return data.Labelled(train, np.arange(len(train)) % about.classes, test, np.arange(len(test)) % about.classes)


def prepared(settings: dict[str, Any], method: str = "backprop", runs: int = 1, compile: bool = True) -> Supervised:
    """A stack before its first step."""
    config = resolve("generalisability", method=method, runs=runs, scale="paper", settings=settings)
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


def initial(training: Supervised) -> nn.Module:
    """The network that the first run begins with."""
    own = training.config.problem.build_network()
    own.load_state_dict({**own.state_dict(), **{k: v[0] for k, v in training.learner.initial_weights.items()}})
    return own


def in_turns(work: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of the fastest of several turns of each."""
    times: dict[str, list[float]] = {key: [] for key in work}
    for _ in range(ROUNDS):
        for key, do in work.items():
            begun = time.process_time()
            do()
            times[key].append(time.process_time() - begun)
    return {key: min(found) for key, found in times.items()}


def without_dropout(settings: dict[str, Any]) -> Supervised:
    """The same uncompiled, with dropout that drops nothing: what it drops is drawn in another way than torch's."""
    build = StagedBenchmark.build_network

    def still(problem: StagedBenchmark) -> nn.Module:
        own = build(problem)
        for module in own.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return own

    with patch.object(StagedBenchmark, "build_network", still):
        return prepared(settings, compile=False)


def network(name: str, compile: bool) -> dict[str, float]:
    """Milliseconds a step, and the parts that data, augmentation and Hare & Tortoise take."""
    steps, settings = STEPS[name], SIZES[name]
    plain, hare = (prepared(settings, method, compile=compile) for method in ("backprop", "hare-and-tortoise"))
    moved = prepared({**settings, "augment": True}, compile=compile)
    own = initial(plain)
    dropping = any(isinstance(module, nn.Dropout) for module in own.modules())
    compared = without_dropout(settings) if dropping else plain
    for stack in {id(each): each for each in (plain, hare, compared)}.values():
        stack.learner.scale_step_size(1.0)
    x, y = plain._stream.next(steps)
    ours = float(compared.learner.advance(examples(x, y))["loss"]) / steps
    theirs = copy.deepcopy(own)
    for module in theirs.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    difference = abs(ours - Ordinary(theirs).steps(x[0], y[0]))
    ordinary = Ordinary(own)
    ordinary.steps(x[0], y[0])
    for stack in (plain, hare):
        stack.learner.advance(examples(x, y))
    times = in_turns(
        {
            "ordinary": lambda: ordinary.steps(x[0], y[0]),
            "ours": lambda: float(plain.learner.advance(examples(x, y))["loss"]),
            "hare": lambda: float(hare.learner.advance(examples(x, y))["loss"]),
            "data": lambda: plain._stream.next(steps),
            "augmented": lambda: moved._stream.next(steps),
        }
    )
    one = {key: 1e3 * seconds / steps for key, seconds in times.items()}
    return {**one, "difference": difference, "parameters": sum(p.numel() for p in own.parameters())}


def products(settings: dict[str, Any], steps: int) -> Callable[[], None]:
    """Nothing but the matrix products of a stack's steps, forwards and backwards."""
    sizes, batch = [settings["side"] ** 2, *settings["hidden"], 10], settings["batch_size"]
    layers = [
        (torch.rand(STACK, batch, i), torch.rand(STACK, o, i), torch.rand(STACK, batch, o)) for i, o in pairwise(sizes)
    ]

    def work() -> None:
        for _ in range(steps):
            for number, (x, weight, gradient) in enumerate(layers):
                _ = x @ weight.mT, gradient.mT @ x
                if number:
                    _ = gradient @ weight

    return work


def stack(compile: bool) -> dict[str, float]:
    """Run-steps a second of a stack, beside single runs, the ordinary loop and products alone, for two sizes."""
    found = {}
    for name, settings, steps in (("small", SMALL, 16), ("tiny", TINY, 128)):
        work: dict[str, Callable[[], object]] = {"products": products(settings, steps)}
        for runs in (1, STACK):
            training = prepared(settings, runs=runs, compile=compile)
            training.learner.scale_step_size(1.0)
            x, y = training._stream.next(steps)
            training.learner.advance(examples(x, y))
            work[str(runs)] = lambda t=training, b=(x, y): float(t.learner.advance(examples(*b))["loss"].sum())
            ordinary = Ordinary(initial(training))
            work["ordinary"] = lambda o=ordinary, x=x[0], y=y[0]: o.steps(x, y)
        counts = {"products": STACK, str(STACK): STACK}
        found |= {f"{name} {key}": counts.get(key, 1) * steps / seconds for key, seconds in in_turns(work).items()}
    return found


def page() -> str:
    """What was measured."""
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8"))
    lines = [
        "# Speed of training in stages",
        "`bench/stages.py`: one run, one thread, CPU time, made-up images of the real ones' sizes and number. The "
        "ordinary loop is AdamW with clipped gradients, on the same batches, in the same process and in turns. Asked: "
        "not slower than it, data with augmentation under 5 % of a step, Hare & Tortoise at most 3 %. Losses are "
        "compared without dropout, whose draws differ.",
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
            f"Run-steps a second of {STACK} multi-layer perceptrons on one core. Asked: the stack 8 times as many as "
            "runs one after the other. A stack saves calls and no arithmetic, and a run by itself is compiled, too: "
            "how many times as fast a stack could be at most, its matrix products alone say (last column)."
        )
        lines.append(
            "| networks | ordinary loop | one run | stack | products alone | stack / ordinary loop | stack / one run | "
            "products / one run |\n|---|---:|---:|---:|---:|---:|---:|---:|"
        )
        for name, settings in (("small", SMALL), ("tiny", TINY)):
            rates = {key: numbers["stack"][f"{name} {key}"] for key in ("ordinary", "1", str(STACK), "products")}
            said = f"{settings['side']}x{settings['side']}, hidden {settings['hidden']}, batch {settings['batch_size']}"
            one, many = rates["1"], rates[str(STACK)]
            shares = (many / rates["ordinary"], many / one, rates["products"] / one)
            row = (said, *(f"{rate:,.0f}" for rate in rates.values()), *(f"{share:.1f}" for share in shares))
            lines[-1] += "\n| " + " | ".join(row) + " |"
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
