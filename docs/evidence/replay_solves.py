"""Agents that learn from replay solve what such agents are known to solve, above stated returns.

    python docs/evidence/replay_solves.py                    # Pendulum by SAC, CartPole by DQN, MinAtar's Breakout by
                                                             # DQN in 100,000 steps: a quarter of an hour of one core
    python docs/evidence/replay_solves.py --only pendulum    # one of them

It writes `replay_solves.md` beside this file, a row for each problem that was run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neoteny.envs import MinAtarGame, make_classic
from neoteny.nn import MLP, MinAtarNet, SoftActorCritic
from neoteny.optim import Adam
from neoteny.rl import DQN, SAC, DQNSettings, OneByOne, SACSettings
from neoteny.rl.evaluation import evaluate

HERE = Path(__file__).parent
SEEDS, EPISODES = (0, 1, 2), 10


@dataclass(frozen=True)
class Problem:
    """What is solved.

    Args:
        title: for the table.
        steps: of each agent.
        above: the return that the mean over the agents is to exceed.
        make: makes an environment.
        agents: makes agents in their environments.
    """

    title: str
    steps: int
    above: float
    make: Callable[[], Any]
    agents: Callable[[OneByOne, int], Any]


def pendulum(environments: OneByOne, steps: int, precision: str = "float32") -> SAC:
    """Small networks, and an update a step."""
    return SAC(
        environments,
        settings=SACSettings(learning_starts=500, segment=500, batch_size=128, capacity=steps),
        network=lambda: SoftActorCritic(3, 1, [64, 64]),
        optimizer=Adam(step_size=1e-3),
        seeds=SEEDS,
        total=steps,
        precision=precision,
    )


def cart_pole(environments: OneByOne, steps: int) -> DQN:
    """Double DQN with returns of three steps, and a target that follows; settled on seeds 100 to 102."""
    settings = DQNSettings(
        learning_starts=1_000,
        segment=1_000,
        batch_size=64,
        capacity=steps,
        n_step=3,
        tau=0.005,
        double=True,
        exploration_steps=3_000,
        last_epsilon=0.05,
    )
    return DQN(
        environments,
        settings=settings,
        network=lambda: MLP(4, [128, 128], 2),
        optimizer=Adam(step_size=1e-3),
        seeds=SEEDS,
        total=steps,
    )


def breakout(environments: OneByOne, steps: int) -> DQN:
    """Double DQN with two updates a step, as in `minatar-100k-v1`."""
    settings = DQNSettings(
        learning_starts=1_000,
        replay_ratio=2.0,
        tau=0.005,
        exploration_steps=20_000,
        last_epsilon=0.01,
        storage="bits",
        double=True,
    )
    return DQN(
        environments,
        settings=settings,
        network=lambda: MinAtarNet(4, 3, 128, "relu", "kaiming_uniform", None),
        optimizer=Adam(step_size=3e-4),
        seeds=SEEDS,
        total=steps,
    )


PROBLEMS = {
    "pendulum": Problem("Pendulum-v1, SAC", 10_000, -200.0, lambda: make_classic("Pendulum-v1"), pendulum),
    "pendulum-bfloat16": Problem(
        "Pendulum-v1, SAC, products in bfloat16",
        10_000,
        -200.0,
        lambda: make_classic("Pendulum-v1"),
        partial(pendulum, precision="bfloat16"),
    ),
    "cart-pole": Problem("CartPole-v1, DQN", 40_000, 450.0, lambda: make_classic("CartPole-v1"), cart_pole),
    "breakout": Problem(
        "MinAtar's Breakout, DQN",
        100_000,
        8.0,
        lambda: MinAtarGame("breakout", max_episode_steps=2_500),
        breakout,
    ),
}


def solve(problem: Problem) -> str:
    """Train, evaluate, and give a row of the table."""
    agents = problem.agents(OneByOne(problem.make, len(SEEDS)), problem.steps)
    games, begun, found = OneByOne(problem.make, len(SEEDS) * EPISODES), time.process_time(), np.zeros(len(SEEDS))
    while agents.step < problem.steps:
        agents.iterate()
        if agents.step % (problem.steps // 10) == 0:
            found = evaluate(agents.prefer, games, agents.seeds, agents.step).mean(1)
            print(f"{problem.title}: {agents.step:,} steps, {found.round(1).tolist()}", flush=True)
    seconds = time.process_time() - begun
    verdict = "yes" if found.mean() > problem.above else "no"
    each = ", ".join(f"{value:.1f}" for value in found)
    return (
        f"| {problem.title} | {problem.steps:,} | {each} | {found.mean():.1f} | {problem.above:g} | {verdict} | "
        f"{seconds:.0f} |"
    )


def main() -> None:
    """Solve, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PROBLEMS, nargs="+", default=list(PROBLEMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "replay_solves.md"
    head = [
        "# What agents that learn from replay solve",
        "",
        f"Three seeds each; returns are means of {EPISODES} episodes after training, by the preferred actions.",
        "`python docs/evidence/replay_solves.py`.",
        "",
        "| problem | steps | returns | mean | to exceed | solved | seconds of a core |",
        "|---|---:|---|---:|---:|---|---:|",
    ]
    known = path.read_text(encoding="utf-8").splitlines()[len(head) :] if path.exists() else []
    for name in options.only:
        row = solve(PROBLEMS[name])
        known = [line for line in known if not line.startswith(f"| {PROBLEMS[name].title} |")] + [row]
        path.write_text("\n".join([*head, *known]) + "\n", encoding="utf-8")
        print(row)


if __name__ == "__main__":
    main()
