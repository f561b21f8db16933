"""The image benchmarks at their paper's settings: what a step costs, and where its time goes.

`make bench` runs it: one run, one thread, real images if they are here, else made-up ones of the same sizes. Continual
ImageNet is compared with the loop that a good user of PyTorch would write: in the same process, in turns, on the same
batches, in seconds of the core, and with the same losses. Stacks of runs on a GPU are a part of `bench/gpu.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from sections import Row, fastest, speed

from neoteny import data
from neoteny.errors import DataError
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution
from neoteny.lab.measuring import measure
from neoteny.lab.objective import examples
from neoteny.lab.resolving import resolve
from neoteny.lab.supervised import Supervised

IMAGENET, CIFAR = "continual-imagenet", "incremental-cifar100"
ROUNDS = 5


def have_data() -> str:
    """Use the real data that NEOTENY_DATA has, else noise of the same sizes; returns which."""
    if os.environ.get("NEOTENY_DATA"):  # else they might be downloaded
        with suppress(DataError):
            data.cifar100()
            return data.imagenet32().source
    rng = np.random.default_rng(0)
    classes = tuple(rng.integers(0, 256, (6, 700, 3, 32, 32), dtype=np.uint8))
    images, labels = rng.integers(0, 256, (50_000, 3, 32, 32), dtype=np.uint8), np.arange(50_000) % 100
    data.imagenet32 = lambda data_dir=None: data.ImageClasses(classes, "noise")
    data.cifar100 = lambda data_dir=None, train=True: (images, labels) if train else (images[:10_000], labels[:10_000])
    return "made-up images"


def prepared(config: RunConfig, device: str = "cpu", strategy: str = "auto", compile: bool = True) -> Supervised:
    """A run before its first step."""
    return Supervised(config, Execution(device=device, strategy=strategy, compile=compile))


class Ordinary:
    """A user's own loop over one network."""

    def __init__(self, network: nn.Module, step_size: float, momentum: float):
        self.network = network.train()
        self.optimizer = torch.optim.SGD(network.parameters(), step_size, momentum=momentum)

    def steps(self, x: Tensor, y: Tensor) -> float:
        total = torch.zeros(())
        for batch, labels in zip(x, y, strict=True):
            loss = F.cross_entropy(self.network(batch), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return total.item()


def product_rate() -> float:
    """FLOP/s of one thread's plain matrix product."""
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    return 2 * 1024**3 / fastest(lambda: a @ b, rounds=20)


def step_flops(network: nn.Module, x: Tensor, y: Tensor) -> int:
    """FLOPs of one step's products and convolutions, forwards and backwards."""
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(network(x), y).backward()
    return counter.get_total_flops()


def continual_imagenet(steps: int, compile: bool) -> list[str]:
    """Ours against the ordinary loop, its share of a plain product's rate, data, CBP and bf16."""
    config = resolve(IMAGENET, runs=1, scale="paper", settings={"pixels": "imagenet"})
    training = prepared(config, compile=compile)
    learner, stream = training._learner, training._stream
    network = config.problem.build_network()
    network.load_state_dict({name: value[0] for name, value in learner.initial_weights.items()})
    ordinary = Ordinary(network, config.problem.step_size, config.problem.optimizer.momentum)

    x, y = stream.next(steps)
    fine = float(learner.advance(examples(x, y))["loss"]) / steps
    compared = abs(ordinary.steps(x[0], y[0]) / steps - fine)
    others = {}
    for name, chosen in {
        "cbp": resolve(IMAGENET, method="cbp", runs=1, scale="paper", settings={"pixels": "imagenet"}),
        "bfloat16": resolve(IMAGENET, runs=1, scale="paper", settings={"pixels": "imagenet", "precision": "bfloat16"}),
    }.items():
        others[name] = prepared(chosen, compile=compile)._learner
        coarse = float(others[name].advance(examples(x, y))["loss"]) / steps
        if name == "bfloat16":
            effect = abs(coarse - fine)
    times: dict[str, list[float]] = {name: [] for name in ("ordinary", "ours", "data", *others)}
    for _ in range(ROUNDS):
        times["ordinary"].append(fastest(lambda: ordinary.steps(x[0], y[0]), rounds=1))
        times["ours"].append(fastest(lambda: float(learner.advance(examples(x, y))["loss"]), rounds=1))
        times["data"].append(fastest(lambda: stream.next(steps), rounds=1))
        for name, own in others.items():
            times[name].append(fastest(lambda own=own: float(own.advance(examples(x, y))["loss"]), rounds=1))
    one = {name: min(found) / steps for name, found in times.items()}
    rate = step_flops(network, x[0, 0], y[0, 0]) / one["ours"]
    return [
        "| Continual ImageNet, batch 100, one run, one thread | measured | asked |",
        "|---|---:|---:|",
        f"| ordinary loop, ms a step | {one['ordinary'] * 1e3:.1f} | |",
        f"| neoteny, ms a step | {one['ours'] * 1e3:.1f} | |",
        f"| ratio | {one['ordinary'] / one['ours']:.2f} | 1 |",
        f"| difference of the mean loss of {steps} steps | {compared:.1e} | float tolerance |",
        f"| share of a plain matrix product's FLOP/s | {rate / product_rate():.0%} | |",
        f"| data, share of a step | {one['data'] / one['ours']:.1%} | 5% |",
        f"| continual backpropagation over backprop | {one['cbp'] / one['ours'] - 1:+.1%} | 3% |",
        f"| bfloat16, ms a step | {one['bfloat16'] * 1e3:.1f} | |",
        f"| bfloat16, difference of the mean loss of {steps} steps | {effect:.1e} | |",
    ]


def incremental_cifar100(steps: int, compile: bool) -> list[str]:
    """What data, augmentation and measures take of class-incremental CIFAR-100."""
    config = resolve(CIFAR, runs=1, scale="paper")
    training = prepared(config, compile=compile)
    learner, stream, problem = training._learner, training._stream, config.problem
    x, y = stream.next(steps)
    learner.advance(examples(x, y))
    step = fastest(lambda: float(learner.advance(examples(x, y))["loss"])) / steps
    prepare = fastest(lambda: stream.next(steps), rounds=ROUNDS) / steps
    probe = stream.probe(problem.probe_size)
    look = fastest(lambda: measure(type(problem).MEASURES, learner, probe), rounds=2)
    line = problem.timeline()
    looked = look * len(line.looks) / (step * line.steps)
    return [
        "| Class-incremental CIFAR-100, ResNet-18, batch 90, one run, one thread | measured | asked |",
        "|---|---:|---:|",
        f"| neoteny, ms a step | {step * 1e3:.0f} | |",
        f"| data and augmentation, share of a step | {prepare / step:.2%} | 5% |",
        f"| measures, share of a run | {looked:.3%} | 2% |",
    ]


def turn(training: Supervised, steps: int) -> None:
    """Steps of every run, data and augmentation included."""
    training.learner.advance(examples(*training._stream.next(steps)))


def stacked(config: RunConfig, steps: int, alone: int, device: str, compile: bool) -> Iterator[Row]:
    """A stack of runs against the same runs one after the other, and how long the whole would take.

    Args:
        config: of the stack.
        steps: of each run in a turn.
        alone: how many runs are trained one after the other.
        device: where.
        compile: whether steps are compiled.
    """
    rates = []
    for what, strategy, count in (
        (f"{config.runs} runs as one stack", "stack", config.runs),
        ("one run after the other", "loop", alone),
    ):
        own = replace(config, runs=count, seeds=config.seeds[:count])
        work = partial(turn, prepared(own, device, strategy, compile), steps)
        rates.append((yield from speed(what, "run-steps", count * steps, work, device)))
        del work  # and the memory of its runs
    yield Row("ratio", rates[0] / rates[1], "8")
    hours = config.runs * config.problem.steps / rates[0] / 3600
    yield Row(f"{config.runs} runs of {config.problem.steps:,} steps: hours of training", hours)


def imagenet(device: str, quick: bool) -> Iterator[Row]:
    """Continual backpropagation in the 5,000 tasks of the paper's Fig. 1c."""
    yield Row("images", have_data())
    sizes = {"runs": 3, "scale": "tiny"} if quick else {"runs": 30, "scale": "paper", "settings": {"tasks": 5_000}}
    config = resolve(IMAGENET, method="cbp", **sizes)
    yield from stacked(config, 1 if quick else 24, 1 if quick else 3, device, compile=not quick)


def cifar(device: str, quick: bool) -> Iterator[Row]:
    """The base system of class-incremental CIFAR-100, ResNet-18."""
    yield Row("images", have_data())
    config = resolve(CIFAR, **({"runs": 2, "scale": "tiny"} if quick else {"runs": 30, "scale": "paper"}))
    yield from stacked(config, 1 if quick else 4, 1 if quick else 2, device, compile=not quick)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=24, help="steps a turn")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave the steps uncompiled")
    parser.add_argument("--out", type=Path, help="write the tables as Markdown to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = have_data()
    tables = [
        continual_imagenet(options.steps, options.compile),
        incremental_cifar100(max(options.steps // 12, 1), options.compile),
    ]
    text = "\n\n".join("\n".join(lines) for lines in tables) + "\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(
            "# Speed of the image benchmarks\n\n`make bench` (`bench/epochs.py`), at the paper's settings; "
            f"{source}; torch {torch.__version__}.\n\n" + text
        )


if __name__ == "__main__":
    main()
