"""A small transformer learns to continue texts; in each task the text is another one, written in another code.

    python examples/character_stream.py                            # every system and seed; goes on where it stopped
    python examples/character_stream.py --systems cbp --seeds 1 --tasks 8

A task is the source code of one package of Python's standard library with randomly permuted characters. So no task is
like an earlier one, and all tasks of one package are equally hard. A network that stays able to learn reaches the same
loss at the end of each of them.
"""

import argparse
import functools
import json
import sysconfig
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import neoteny

PACKAGES = ("asyncio", "email", "unittest", "xml", "http", "importlib", "multiprocessing", "ctypes")
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
CONTEXT, BATCH, STEP_SIZE = 64, 8, 3e-3
LAST = 0.2  # share of a task's steps whose losses count as the loss at its end

CBP = neoteny.ContinualBackprop(replacement_rate=0.02, maturity_threshold=50, replacement="accumulate")
SYSTEMS = {  # arguments of `neoteny.attach`
    "backprop": {},
    "cbp": {"methods": CBP},
    "cbp-stream": {"methods": CBP, "residual_stream": True},
    "cbp-random": {"methods": replace(CBP, utility="random")},  # replaces units at random
    "restart": {},  # a new network in every task: what a network without earlier tasks learns
    "l2": {"methods": neoteny.L2(strength=1.0, decoupled=True)},
}


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.qkv, self.project = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x):  # noqa: D102
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.relu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Predicts the next character at every position."""

    def __init__(self, width=64, layers=2, heads=4):
        super().__init__()
        self.character, self.position = nn.Embedding(len(CHARACTERS), width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, len(CHARACTERS))

    def forward(self, x):  # noqa: D102
        x = self.character(x) + self.position(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(x)))


@functools.cache
def read(package):
    """The source code of a package of the standard library, its characters as numbers."""
    number = {character: i for i, character in enumerate(CHARACTERS)}
    files = sorted(Path(sysconfig.get_path("stdlib"), package).rglob("*.py"))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    return torch.tensor([number[character] for character in text if character in number])


def task(texts, number, seed):
    """The text of a task in its own code; every eight tasks have all packages, in a new order."""
    cycle = torch.Generator().manual_seed(1_000_003 * seed + number // len(texts))
    text = texts[torch.randperm(len(texts), generator=cycle)[number % len(texts)]]
    return torch.randperm(len(CHARACTERS), generator=torch.Generator().manual_seed(1_000_003 * seed - 1 - number))[text]


def new(system):
    """A network and its optimizer, with the system's methods attached."""
    model = Transformer()
    optimizer = torch.optim.Adam(model.parameters(), lr=STEP_SIZE)
    if SYSTEMS[system]:
        neoteny.attach(model, optimizer, example_inputs=torch.zeros(1, CONTEXT, dtype=torch.long), **SYSTEMS[system])
    return model, optimizer


def train(system, seed, tasks, steps, folder):
    """One run; writes and returns the loss at the end of each task."""
    texts = [read(package) for package in PACKAGES]
    torch.manual_seed(seed)
    model, optimizer = new(system)
    losses, path = [], folder / f"{system}-{seed}.pt"
    if path.exists():
        checkpoint = torch.load(path)
        losses = checkpoint["losses"]
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
    for number in range(len(losses), tasks):
        if system == "restart" and number:
            torch.manual_seed(1_000 * seed + number)
            model, optimizer = new(system)
        text = task(texts, number, seed)
        draw = torch.Generator().manual_seed(1_000_003 * seed + number)
        seen = []
        for _ in range(steps):
            start = torch.randint(len(text) - CONTEXT, (BATCH, 1), generator=draw)
            x = text[start + torch.arange(CONTEXT + 1)]
            loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.detach())
        losses.append(torch.stack(seen[-max(1, round(LAST * steps)) :]).mean().item())
        save({"losses": losses, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        print(f"{system}, seed {seed}, task {number + 1} of {tasks}: {losses[-1]:.3f} nats a character", flush=True)
    return losses[:tasks]


def save(checkpoint, path):
    """Write a checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def main(arguments=None):
    """Run every system with every seed, and write the losses into one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100, help="in each task")
    parser.add_argument("--folder", type=Path, default=Path("runs/character-stream"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = {}
    for seed in range(options.seeds):
        for system in options.systems:
            run = train(system, seed, options.tasks, options.steps, options.folder)
            found.setdefault(system, []).append(run)
    (options.folder / "losses.json").write_text(json.dumps({"steps": options.steps, "losses": found}))
    for system, runs in found.items():
        ends = torch.tensor(runs).mean(0)
        print(f"{system}: {ends[: len(PACKAGES)].mean():.3f} at first, {ends[-len(PACKAGES) :].mean():.3f} at last")
    return found


if __name__ == "__main__":
    main()
