"""What attaching a method costs: the same loop bare and attached, side by side, in one process with one thread.

`make bench` prints a row for each network and optimizer: milliseconds of a training step, the ratio, and what stays
allocated between steps. The two loops take turns and each one's best turn counts, so that a busy machine disturbs both
alike. Continual backpropagation has its default settings and the state that it would have after 10,000 updates: all
units are mature, replacements happen, and there are the usual young units, whose bias correction differs.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from models import GPT, resnet18

import neoteny
from neoteny import Plasticity
from neoteny.methods import ContinualBackprop

UPDATES = 10_000
ALLOWED = 3.0  # per cent of a step
COLUMNS = ("network", "optimizer", "units", "bare ms", "attached ms", "overhead", "state", "with index maps")
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, 0.01, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, 1e-4),
}


def cases() -> dict[str, tuple[Callable[[], nn.Module], Tensor, Tensor]]:
    """Networks with a batch each."""
    return {
        "ResNet-18, 128 images": (resnet18, torch.randn(128, 3, 32, 32), torch.randint(100, (128,))),
        "GPT, 8 x 128 tokens": (GPT, torch.randint(256, (8, 128)), torch.randint(256, (8, 128))),
    }


class Loop:
    """A network, its optimizer and a batch, in training."""

    def __init__(self, make: Callable[[], nn.Module], x: Tensor, y: Tensor, optimizer: str):
        torch.manual_seed(0)
        self.model, self.x, self.y = make(), x, y
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())

    def turn(self, steps: int) -> float:
        """Seconds of a step, of the one core that it uses."""
        start = time.process_time()
        for _ in range(steps):
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(self.x).flatten(0, -2), self.y.flatten()).backward()
            self.optimizer.step()
        return (time.process_time() - start) / steps


def attach(loop: Loop) -> Plasticity:
    """Attach with default settings, and go to the state after `UPDATES` updates."""
    plasticity = neoteny.attach(loop.model, loop.optimizer, ContinualBackprop(), loop.x[:1, :16])
    clock, state = plasticity._clocks["cbp"], plasticity._state["cbp"]
    assert clock is not None
    due = clock.take(UPDATES)
    for number, layer in enumerate(plasticity.units.layers):
        since = torch.full((layer.size,), UPDATES, dtype=torch.int32)
        for unit, update in enumerate(due[:, number].nonzero()[0][-layer.size :][::-1]):
            since[unit] = UPDATES - 1 - int(update)
            plasticity._adam.now = int(update) - UPDATES
            plasticity._adam.restart(layer.name, 1)
        state[f"{layer.name}/age"].copy_(since)
        state[f"{layer.name}/share"].fill_(1.0)
        plasticity._since[layer.name].copy_(since)
    plasticity._adam.now = 0
    for layer in plasticity._adam.young.values():  # the oldest first
        layer.extend(sorted(layer.popleft() for _ in range(len(layer))))
    for optimizer_state in loop.optimizer.state.values():
        if "step" in optimizer_state:
            optimizer_state["step"].fill_(UPDATES)
    return plasticity


def tensors() -> dict[int, int]:
    """Bytes of all memory that tensors hold, by address."""
    gc.collect()
    found = [item for item in gc.get_objects() if type(item) in (Tensor, nn.Parameter)]
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in found}


def kept(plasticity: Plasticity) -> int:
    """Bytes of what the methods keep from step to step: state, ages and sums."""
    watch = plasticity._watch
    assert watch is not None
    state = [*plasticity._state["cbp"].values(), *plasticity._since.values()]
    sums = [value for layer in watch._layers.values() for value in (layer.open, layer.used)]
    return sum(value.nbytes for value in state + sums)


def measure(make: Callable[[], nn.Module], x: Tensor, y: Tensor, optimizer: str, rounds: int, steps: int) -> list[str]:
    """One row of the table, without its name."""
    bare, attached = (Loop(make, x, y, optimizer) for _ in range(2))
    for loop in (bare, attached):
        loop.turn(1)
    before = tensors()
    plasticity = attach(attached)
    attached.turn(2)
    bare.turn(1)
    more = sum(size for address, size in tensors().items() if address not in before)
    grads = 0  # made anew in every step
    for p in (*bare.model.parameters(), *attached.model.parameters()):
        if p.grad is not None and p.grad.untyped_storage().data_ptr() not in before:
            grads += p.grad.untyped_storage().nbytes()
    best = [float("inf")] * 2
    for _ in range(rounds):
        for side, loop in enumerate((bare, attached)):
            best[side] = min(best[side], loop.turn(steps))
    size = sum(p.nbytes for p in attached.model.parameters())
    return [
        str(sum(layer.size for layer in plasticity.units.layers)),
        f"{best[0] * 1e3:,.1f}",
        f"{best[1] * 1e3:,.1f}",
        f"{(best[1] / best[0] - 1) * 100:+.2f} %",
        f"{kept(plasticity) / size * 100:.2f} %",
        f"{(more - grads) / size * 100:.2f} %",
    ]


def keep_memory() -> None:
    """Make the C library keep freed memory: else one loop or the other, by chance, pays for getting pages again."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            libc.mallopt(parameter, 2**30)


def main() -> None:
    """Measure and print; with `--out`, also write the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="networks whose names hold this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="steps a turn; by default what takes about two seconds")
    parser.add_argument("--out", type=Path, help="where to write the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    table = Table(*COLUMNS, title=f"one training step, one thread, torch {torch.__version__}")
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    for name, (make, x, y) in cases().items():
        if options.only not in name:
            continue
        for optimizer in OPTIMIZERS:
            steps = options.steps or (1 if name.startswith("ResNet") else 5)
            row = [name, optimizer, *measure(make, x, y, optimizer, options.rounds, steps)]
            table.add_row(*row)
            lines.append("| " + " | ".join(row) + " |")
    Console().print(table)
    if options.out:
        options.out.write_text(PAGE + "\n".join(lines) + "\n")


PAGE = f"""# The overhead of continual backpropagation

`make bench`: the same training loop bare and with `neoteny.attach(model, optimizer, neoteny.ContinualBackprop(), x)`,
default settings, taking turns in one process with one thread; the best turn counts on either side, in seconds of the
core. The attached loop stands where it would after {UPDATES:,} updates, with its young units. Asked for are at most
{ALLOWED:g} % of a step, and 1 % of the parameters' memory beside one activation summary a layer. "State" is what the
methods keep from step to step, those summaries included; "with index maps" adds where each unit's entries lie. Absolute
times are those of a shared virtual machine.

"""


if __name__ == "__main__":
    main()
