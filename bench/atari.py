"""An update of an agent that learns from pixels beside a one-file loop of ordinary PyTorch, on one thread.

    python bench/atari.py                      # every section
    python bench/atari.py --sections update

Sides take turns in one process; the seconds are those of the core, and of each side the best turn counts. `--device
cuda` measures five agents stacked on a GPU instead, and says how long 26 games would take there (`stacked`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from plain_pixels import Network, PlainPixels, nature, shifted
from replay import best
from sections import Row, Sections, asked_and_measured, measure, speed

from neoteny.benchmarks.atari_100k import Atari100k
from neoteny.rl import OneByOne, PixelDQN, PixelSettings
from neoteny.rl.pixel_settings import BBF, DRQ, SPR

SHAPE, ACTIONS, BATCH, HELD = (4, 84, 84), 6, 32, 2_000
ASKED = {"ordinary": 1.3, "sampling": 0.1}
GAMES, SEEDS, STEPS = 26, 5, 100_000


class Noise(gymnasium.Env):
    """Pictures without a meaning."""

    observation_space = gymnasium.spaces.Box(0, 255, SHAPE, np.uint8)
    action_space = gymnasium.spaces.Discrete(ACTIONS)

    def reset(self, *, seed: int | None = None, options: Any = None):
        """An image."""
        self._rng = np.random.default_rng(seed)
        return self._rng.integers(0, 256, SHAPE, dtype=np.uint8), {}

    def step(self, action: Any):
        """Another one."""
        return self._rng.integers(0, 256, SHAPE, dtype=np.uint8), 1.0, False, False, {}


def ours(
    runs: int = 1,
    device: str = "cpu",
    precision: str = "float32",
    compile: bool = True,
    held: int = HELD,
    **settings: Any,
) -> PixelDQN:
    """Agents that learn at once, with transitions in their buffer."""
    own = PixelSettings(**{**settings, "learning_starts": 0, "segment": 10, "capacity": held, "storage": "uint8"})
    agents = PixelDQN(
        OneByOne(Noise, runs),
        settings=own,
        seeds=range(runs),
        total=STEPS,
        device=device,
        precision=precision,
        compile=compile,
    )
    rng, half = np.random.default_rng(0), (runs, held // 2)
    none = np.zeros(half, bool)
    for _ in range(2):
        seen = rng.integers(0, 256, (*half, int(np.prod(SHAPE))), dtype=np.uint8)
        agents.buffer.add(seen, rng.integers(ACTIONS, size=half), rng.standard_normal(half), seen, none, none)
        agents._remember(held // 2)
    return agents


class Plain:
    """An ordinary agent with its buffer; `tuned`: channels last and one fused call of Adam."""

    def __init__(self, tuned: bool):
        torch.manual_seed(0)
        network = Network(nature(SHAPE[0], [32, 64, 64]), 64, 3_136, 512, ACTIONS, 0, 0)
        self.format = torch.channels_last if tuned else torch.contiguous_format
        self.agent = PlainPixels(network.to(memory_format=self.format), fused=tuned)
        self.agent.target.to(memory_format=self.format)
        rng = np.random.default_rng(0)
        self.states, self.next_states = (rng.integers(0, 256, (HELD, *SHAPE), dtype=np.uint8) for _ in range(2))
        self.actions, self.rewards = rng.integers(ACTIONS, size=HELD), rng.standard_normal(HELD).astype(np.float32)

    def draw(self) -> dict[str, torch.Tensor]:
        """A batch."""
        rows = np.random.randint(HELD, size=BATCH)
        names = ("states", "next_states", "actions", "rewards")
        batch = {name: torch.from_numpy(getattr(self, name)[rows]) for name in names}
        return {**batch, "discounts": torch.full((BATCH,), 0.9)}

    def update(self) -> None:
        """One update."""
        batch = self.draw()
        for name in ("states", "next_states"):
            batch[name] = shifted(batch[name], 4, 0.05).contiguous(memory_format=self.format)
        self.agent.update(batch)


def update(rounds: int) -> list[str]:
    """One update, batch included; drawing the batch and shifting its images."""
    agents, kept = ours(**DRQ), ours(**DRQ, tau=0.005)
    generators = agents._generators(0)
    found = best(
        {
            "ordinary PyTorch": Plain(False).update,
            "ordinary PyTorch, channels last, fused Adam": Plain(True).update,
            "neoteny": lambda: agents._learn(1, generators),
            "neoteny, with a target network": lambda: kept._learn(1, generators),
            "drawing and shifting a batch": lambda: agents._batches(1, generators),
        },
        rounds,
        3,
    )
    own, tuned = found["neoteny"], found["ordinary PyTorch, channels last, fused Adam"]
    lines = [f"One update of DrQ(eps)'s network, {BATCH} stacks of 4 x 84 x 84:", "", "| side | ms |", "|---|---:|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in found.items()]
    ratios = {
        "ordinary / neoteny": (found["ordinary PyTorch"] / own, f">= {ASKED['ordinary']}"),
        "the tuned one / neoteny": (tuned / own, ""),
        "the tuned one / neoteny with a target network": (tuned / found["neoteny, with a target network"], ""),
        "drawing and shifting / update": (found["drawing and shifting a batch"] / own, f"<= {ASKED['sampling']}"),
    }
    return [*lines, *asked_and_measured(ratios)]


def coarse(rounds: int) -> list[str]:
    """One update with products and convolutions in bfloat16, beside single precision."""
    sides = {}
    for precision in ("float32", "bfloat16"):
        agents = ours(precision=precision, **DRQ)
        sides[precision] = partial(agents._learn, 1, agents._generators(0))
    found = best(sides, rounds, 3)
    return [f"float32 {found['float32']:.2f} ms, bfloat16 {found['bfloat16']:.2f} ms."]


def others(rounds: int) -> list[str]:
    """One update of each agent at its published size, and what a run, a game and the table take of one core."""
    lines = ["| agent | ms | a run: core-hours | 26 games, 5 seeds: core-days |", "|---|---:|---:|---:|"]
    for name, settings in (("DrQ(eps)", DRQ), ("SPR", SPR), ("BBF", BBF)):
        agents = ours(**settings)
        found = best({name: partial(agents._learn, 1, agents._generators(0))}, rounds, 1)[name]
        hours = found / 3.6e6 * STEPS * Atari100k.replay_ratio
        lines.append(f"| {name} | {found:.0f} | {hours:.1f} | {hours * GAMES * SEEDS / 24:.0f} |")
    return [*lines, "", "Of updates alone, two for each of 100,000 steps."]


def stacked(device: str, quick: bool) -> Iterator[Row]:
    """Updates a second of five agents side by side on an accelerator, and the hours of updates of a table of games."""
    runs, updates = (2, 1) if quick else (SEEDS, 32)
    tiny = {"compile": False, "held": 64, "batch_size": 2, "width": 0.25, "hidden": (16,)} if quick else {}
    for precision in ("float32", "bfloat16"):
        for name, settings in (("DrQ(eps)", DRQ), ("SPR", SPR), ("BBF", BBF)):
            agents = ours(runs, device, precision, **{**settings, **tiny})
            work, what = partial(agents._learn, updates, agents._generators(0)), f"{name}, {runs} agents, {precision}"
            rate = yield from speed(what, "updates", runs * updates, work, device)
            hours = GAMES * SEEDS * STEPS * Atari100k.replay_ratio / rate / 3600
            yield Row(f"{what}: hours of updates, {GAMES} games, {SEEDS} seeds", hours)


SECTIONS: Sections = {
    "update": ("An update", update),
    "bfloat16": ("An update in bfloat16", coarse),
    "others": ("All agents at their published sizes", others),
}


if __name__ == "__main__":
    measure(__doc__, "Agents that learn from pixels: what an update costs", SECTIONS, stacked)
