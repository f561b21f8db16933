"""Agents that learn from replay beside a one-file SAC of ordinary PyTorch, on one thread.

    python bench/replay.py                     # every section
    python bench/replay.py --sections update

Sides take turns in one process; the seconds are those of the core, and of each side the best turn counts. `--device
cuda` measures ten agents stacked on a GPU instead (`stacked`).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from plain_sac import PlainBuffer, PlainSAC
from sections import Row, Sections, asked_and_measured, measure, speed

from neoteny.envs import MujocoVectorEnv
from neoteny.nn import SoftActorCritic
from neoteny.rl import SAC, ReplayBuffer, SACSettings

ROBOT, OBSERVATIONS, ACTIONS, HIDDEN, BATCH = "HalfCheetah-v5", 17, 6, 256, 256
ASKED = {"ordinary": 1.5, "products": 1.5, "sampling": 0.05, "memory": 1.05}


def ours(runs: int = 1, ratio: float = 1.0, device: str = "cpu", precision: str = "float32", **options: Any) -> SAC:
    """Agents that learn at once, with transitions in their buffer."""
    settings = SACSettings(replay_ratio=ratio, learning_starts=0, segment=10, capacity=100_000)
    agents = SAC(
        MujocoVectorEnv(ROBOT, runs),
        settings=settings,
        network=lambda: SoftActorCritic(OBSERVATIONS, ACTIONS, [HIDDEN, HIDDEN]),
        seeds=range(runs),
        device=device,
        precision=precision,
        **options,
    )
    rng, shape, no = np.random.default_rng(0), (runs, 10_000), np.zeros((runs, 10_000), bool)
    agents.buffer.add(
        rng.standard_normal((*shape, OBSERVATIONS)),
        rng.uniform(-1, 1, (*shape, ACTIONS)),
        rng.standard_normal(shape),
        rng.standard_normal((*shape, OBSERVATIONS)),
        no,
        no,
    )
    return agents


class Plain:
    """An ordinary loop."""

    def __init__(self):
        self.agent = PlainSAC(OBSERVATIONS, ACTIONS, [HIDDEN, HIDDEN])
        self.buffer = PlainBuffer(100_000, OBSERVATIONS, ACTIONS)
        rng = np.random.default_rng(0)
        for _ in range(10_000):
            row = rng.standard_normal(2 * OBSERVATIONS + ACTIONS + 1)
            s, s2, a, r = np.split(row, [OBSERVATIONS, 2 * OBSERVATIONS, 2 * OBSERVATIONS + ACTIONS])
            self.buffer.add(s, np.tanh(a), r.item(), s2, 0.0)
        self.env = gymnasium.make(ROBOT)
        self.state, _ = self.env.reset(seed=0)

    def steps(self, count: int, ratio: int) -> None:
        """Act and learn."""
        for _ in range(count):
            with torch.no_grad():
                action, _ = self.agent.act(torch.from_numpy(self.state).float().unsqueeze(0))
            after, reward, terminated, truncated, _ = self.env.step(action[0].numpy())
            self.buffer.add(self.state, action[0].numpy(), reward, after, terminated)
            self.state = self.env.reset()[0] if terminated or truncated else after
            for _ in range(ratio):
                self.agent.update(self.buffer.draw(BATCH))


def products() -> Callable[[], None]:
    """The matrix products of an update and nothing else: three of the critics' passes, and the actor's."""
    inputs, hidden = torch.randn(BATCH, OBSERVATIONS + ACTIONS), torch.randn(BATCH, HIDDEN)
    states, one, two = torch.randn(BATCH, OBSERVATIONS), torch.randn(BATCH, 1), torch.randn(BATCH, 2 * ACTIONS)
    first, second, last = torch.randn(HIDDEN, inputs.shape[1]), torch.randn(HIDDEN, HIDDEN), torch.randn(1, HIDDEN)
    own, head = torch.randn(HIDDEN, OBSERVATIONS), torch.randn(2 * ACTIONS, HIDDEN)

    def forward(x: torch.Tensor, w: torch.Tensor, v: torch.Tensor) -> None:
        for a, b in ((x, w), (hidden, second), (hidden, v)):
            torch.mm(a, b.T)

    def backward(x: torch.Tensor, error: torch.Tensor, v: torch.Tensor) -> None:
        for a, b in ((error.T, hidden), (error, v), (hidden.T, hidden), (hidden, second), (hidden.T, x)):
            torch.mm(a, b)

    def through() -> None:  # to the actions, without gradients of the critics' weights
        for a, b in ((one, last), (hidden, second), (hidden, first)):
            torch.mm(a, b)

    def all_of_them() -> None:
        for _ in range(2):  # at the next states and at the states
            forward(states, own, head)
        for _ in range(2):  # critics
            for _ in range(3):  # the target, what was done, what the actor would do
                forward(inputs, first, last)
            backward(inputs, one, last)
            through()
        backward(states, two, head)

    return all_of_them


def best(sides: dict[str, Callable[[], Any]], rounds: int, times: int) -> dict[str, float]:
    """Milliseconds of the core, of each side the best turn."""
    found = dict.fromkeys(sides, float("inf"))
    for name, side in sides.items():
        side()  # compiles
        print(f"# {name} is ready", flush=True)
    for _ in range(rounds):
        for name, side in sides.items():
            begun = time.process_time()
            for _ in range(times):
                side()
            found[name] = min(found[name], (time.process_time() - begun) / times * 1e3)
    return found


def update(rounds: int) -> list[str]:
    """One update, batch included; drawing the batch; the bare products."""
    agents, plain = ours(), Plain()
    generators = agents._generators(0)
    found = best(
        {
            "ordinary PyTorch": lambda: plain.agent.update(plain.buffer.draw(BATCH)),
            "neoteny": lambda: agents._learn(1, generators),
            "drawing a batch": lambda: agents._batches(1, generators),
            "matrix products alone": products(),
        },
        rounds,
        20,
    )
    own = found["neoteny"]
    lines = [f"One update of {HIDDEN}-{HIDDEN}, batch {BATCH}, {ROBOT}:", "", "| side | ms |", "|---|---:|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in found.items()]
    ratios = {
        "ordinary / neoteny": (found["ordinary PyTorch"] / own, f">= {ASKED['ordinary']}"),
        "neoteny / products": (own / found["matrix products alone"], f"<= {ASKED['products']}"),
        "drawing / update": (found["drawing a batch"] / own, f"<= {ASKED['sampling']}"),
    }
    return [*lines, *asked_and_measured(ratios)]


def coarse(rounds: int) -> list[str]:
    """One update with products in bfloat16, beside single precision."""
    sides = {}
    for precision in ("float32", "bfloat16"):
        agents = ours(precision=precision)
        sides[precision] = partial(agents._learn, 1, agents._generators(0))
    found = best(sides, rounds, 20)
    return [f"float32 {found['float32']:.2f} ms, bfloat16 {found['bfloat16']:.2f} ms."]


def end_to_end(rounds: int) -> list[str]:
    """Acting, stepping the robot and learning, with 32 updates a step and with one."""
    lines = ["| updates a step | ordinary, ms a step | neoteny, ms a step | ratio |", "|---:|---:|---:|---:|"]
    for ratio in (32, 1):
        agents, plain = ours(ratio=ratio), Plain()
        sides = {"plain": lambda p=plain, r=ratio: p.steps(10, r), "ours": lambda a=agents: a.iterate()}
        found = best(sides, rounds, 1 if ratio > 1 else 4)
        row = found["plain"] / 10, found["ours"] / 10
        lines.append(f"| {ratio} | {row[0]:.1f} | {row[1]:.1f} | {row[0] / row[1]:.2f} |")
    return [*lines, "", f"Asked at 32: at least {ASKED['ordinary']}."]


def memory(rounds: int) -> list[str]:
    """What a buffer takes once it is full, beside its arrays."""
    before = _resident()
    buffer = ReplayBuffer(1, 1_000_000, OBSERVATIONS, ACTIONS)
    piece, no = np.zeros((1, 10_000, OBSERVATIONS), np.float32), np.zeros((1, 10_000), bool)
    for _ in range(100):
        buffer.add(piece, np.zeros((1, 10_000, ACTIONS)), np.zeros((1, 10_000)), piece, no, no)
    taken = _resident() - before
    share = taken / buffer.bytes
    said = f"{buffer.bytes / 2**20:.0f} MiB of arrays, {taken / 2**20:.0f} MiB taken"
    return [f"A million transitions of {ROBOT}: {said}, {share:.3f} times (asked: at most {ASKED['memory']})."]


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def stacked(device: str, quick: bool) -> Iterator[Row]:
    """Updates a second of ten agents side by side on an accelerator."""
    runs, updates = (2, 2) if quick else (10, 320)
    agents = ours(runs=runs, device=device, compile=not quick)
    work = partial(agents._learn, updates, agents._generators(0))
    yield from speed(f"{runs} agents as one stack", "updates", runs * updates, work, device)


SECTIONS: Sections = {
    "update": ("An update", update),
    "bfloat16": ("An update in bfloat16", coarse),
    "end-to-end": ("A step with its updates", end_to_end),
    "memory": ("Memory of a buffer", memory),
}


if __name__ == "__main__":
    measure(__doc__, "Agents that learn from replay: what an update costs", SECTIONS, stacked)
