"""Make the table of architectures: which units are found in each, and what continual backpropagation costs there.

    python docs/evidence/architectures.py              # all, a few minutes on one core
    python docs/evidence/architectures.py GPT ResNet   # print the rows whose names begin so, and write nothing

`make architectures` calls it. The architectures are those of the tests, at the widths and batches that they name.
"""

from __future__ import annotations

import argparse
import copy
import platform
import re
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import neoteny
from architectures.architecture import Architecture
from architectures.checks import output_of
from architectures.table import ARCHITECTURES
from neoteny.units import Network, find

HERE = Path(__file__).parent
TURNS, SECONDS = 7, 0.3
COLUMNS = (
    "architecture", "parameters", "layers", "units", "function-preserving", "more with `residual_stream=True`",
    "left out even then, and why", "found in", "step", "with CBP",
)  # fmt: skip
HEAD = """# Architectures

Every architecture of the tests at a width one might use: the unit layers that `neoteny.attach` finds, whether a newborn there contributes nothing
(all its consumers are known and zeroed), what `residual_stream=True` adds, and what is left out even then. For each the tests build a tiny one, reset units,
and hold every changed entry against the network's own output.

*With CBP* is what continual backpropagation adds to a training step (forward, backward, AdamW). Its settings are the default ones, except that units are
mature from the start so that replacements fall into the measurement. Both take turns in one process on one thread; the best of {turns} turns counts on either
side. The cost is much the same in every layer, so it shows where a step is short: batches here are small. Several per cent either way, more where a step is short, are noise of a shared
machine. A module name with `*` stands for all numbers.

"""  # noqa: E501


def row(name: str, architecture: Architecture) -> tuple[str, ...]:
    """One line of the table."""
    torch.manual_seed(0)
    width, length = architecture.wide
    net, inputs = architecture.build(width, length), architecture.inputs(architecture.batch, length)
    began = time.perf_counter()
    network = find(net, inputs, only_preserving=False)
    took = time.perf_counter() - began
    more = find(net, inputs, residual_stream=True, only_preserving=False)
    streams = [layer for layer in more.layers if layer.stream]
    bare, attached = steps(net, inputs, network)
    return (
        name,
        f"{sum(p.numel() for p in net.parameters()):,}",
        str(len(network.layers)),
        f"{sum(layer.size for layer in network.layers):,}",
        preserving(network),
        ", ".join(f"{count} x {size}" for size, count in Counter(layer.size for layer in streams).items()) or "-",
        "; ".join(left_out(more.skipped)) or "-",
        f"{took:.2f} s",
        f"{1000 * bare:.1f} ms",
        f"{1000 * (attached - bare):+.1f} ms, {100 * (attached / bare - 1):+.0f} %",
    )


def preserving(network: Network) -> str:
    """How many of the layers are, and which norm makes a newborn felt all the same."""
    count = sum(layer.preserving for layer in network.layers)
    told = "all" if count == len(network.layers) else f"{count} of {len(network.layers)}"
    coupled = sum(bool(layer.coupled) for layer in network.layers)
    return f"{told}; {coupled} before a norm over channels" if coupled else told


def left_out(skipped: Mapping[str, str]) -> list[str]:
    """Modules with the same reason together, their numbers as `*` where several differ in nothing else."""
    alike = Counter(re.sub(r"\d+", "*", name) for name in skipped)
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, reason in skipped.items():
        pattern = re.sub(r"\d+", "*", name)
        several = alike[pattern] > 1
        said = reasons[re.sub(r"(?<=[.'])\d+(?=[.'])", "*", reason) if several else reason]
        shown = f"`{pattern if several else name}`"
        if shown not in said:
            said.append(shown)
    return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def steps(net: nn.Module, inputs: object, network: Network) -> tuple[float, float]:
    """Seconds of a training step without and with continual backpropagation, the best of several turns of each."""
    cbp = neoteny.ContinualBackprop(maturity_threshold=0)
    sides = [step_of(copy.deepcopy(net), inputs, method, network) for method in (None, cbp)]
    for side in sides:
        side()
    began = time.perf_counter()
    sides[0]()
    count = max(3, round(SECONDS / (time.perf_counter() - began)))
    best = [float("inf")] * 2
    for _ in range(TURNS):
        for number, side in enumerate(sides):
            began = time.perf_counter()
            for _ in range(count):
                side()
            best[number] = min(best[number], (time.perf_counter() - began) / count)
    return best[0], best[1]


def step_of(net: nn.Module, inputs: object, method: neoteny.ContinualBackprop | None, network: Network) -> Callable:
    """One training step of a network as a function."""
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad])
    if method is not None:
        neoteny.attach(net, optimizer, method, units=network)

    def step() -> None:
        optimizer.zero_grad()
        output_of(net, inputs).square().mean().backward()
        optimizer.step()

    return step


def main() -> None:
    """Print the rows asked for, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    asked = parser.parse_args().names
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for name, architecture in ARCHITECTURES.items():
        if asked and not name.startswith(tuple(asked)):
            continue
        if architecture.needs and find_spec(architecture.needs) is None:
            raise SystemExit(f"{name} needs the package {architecture.needs}; pip install {architecture.needs}.")
        rows.append("| " + " | ".join(row(name, architecture)) + " |")
        print(rows[-1], flush=True)
    if not asked:
        table = [f"| {' | '.join(COLUMNS)} |", "|---|---:|---:|---:|---|---|---|---:|---:|---:|", *rows]
        made = f"Made by `make architectures` with torch {torch.__version__} on {platform.machine()}, {len(rows)} rows."
        text = HEAD.format(turns=TURNS) + "\n".join(table) + f"\n\n{made}\n"
        (HERE / "architectures.md").write_text(text, encoding="utf-8")
        print(HERE / "architectures.md")


if __name__ == "__main__":
    main()
