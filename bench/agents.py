"""Agents: our PPO against the one-file PPO that a good user of PyTorch and Gymnasium would write.

`make bench` runs it with the Nature paper's settings on Gymnasium's ant (27 observed values), actor and critic of
256-256. Both take turns in one process, and the best turn counts. The ordinary loop has one environment from
`gymnasium.make`, an `nn.Module`, `torch.optim.Adam(fused=True)` and nothing that it does not need.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from sections import Row

from neoteny.envs import MujocoVectorEnv
from neoteny.methods import L2, ContinualBackprop
from neoteny.optim import Adam
from neoteny.rl import PPO, PPOSettings

STEPS, EPOCHS, BATCH = 2_048, 10, 128
COLUMNS = (
    *("case", "physics", "policy", "update", "a step", "ordinary loop", "ratio", "update alone"),
    *("MuJoCo alone", "products alone"),
)
ANT = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}


class Agent(nn.Module):
    """Actor and critic of the ordinary loop."""

    def __init__(self, observations: int, actions: int, hidden: int):
        super().__init__()
        sizes = (observations, hidden, hidden)
        self.actor = nn.Sequential(*self._body(sizes), nn.Linear(hidden, actions))
        self.critic = nn.Sequential(*self._body(sizes), nn.Linear(hidden, 1))
        self.log_std = nn.Parameter(torch.zeros(actions))

    @staticmethod
    def _body(sizes: tuple[int, ...]) -> list[nn.Module]:
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        return [module for layer in layers for module in (layer, nn.ReLU())]


class Ordinary:
    """PPO of one agent in one environment, as one writes it, on preallocated tensors."""

    def __init__(self, hidden: int = 256):
        self.env = gymnasium.make("Ant-v5", **ANT)
        observations, actions = self.env.observation_space.shape[0], self.env.action_space.shape[0]
        self.agent = Agent(observations, actions, hidden)
        self.optimizer = torch.optim.Adam(self.agent.parameters(), 1e-4, betas=(0.99, 0.99), fused=True)
        self.states = torch.zeros(STEPS + 1, observations)
        self.actions, self.log_probs = torch.zeros(STEPS, actions), torch.zeros(STEPS)
        self.values, self.rewards, self.ends = torch.zeros(STEPS + 1), torch.zeros(STEPS), torch.zeros(STEPS)
        self.seen, _ = self.env.reset(seed=0)

    def collect(self) -> None:
        with torch.no_grad():
            for t in range(STEPS):
                state = torch.as_tensor(self.seen, dtype=torch.float32)
                mean, std = self.agent.actor(state), self.agent.log_std.exp()
                action = torch.normal(mean, std)
                self.states[t], self.actions[t] = state, action
                self.log_probs[t] = (-0.5 * ((action - mean) / std).square() - std.log() - 0.9189385).sum()
                self.values[t] = self.agent.critic(state)
                self.seen, reward, terminated, truncated, _ = self.env.step(action.numpy())
                self.rewards[t], self.ends[t] = float(reward), float(terminated or truncated)
                if terminated or truncated:
                    self.seen, _ = self.env.reset()
            self.values[STEPS] = self.agent.critic(torch.as_tensor(self.seen, dtype=torch.float32))

    def update(self) -> None:
        with torch.no_grad():
            advantages, last = torch.zeros(STEPS), 0.0
            going, values, rewards = (1 - self.ends).tolist(), self.values.tolist(), self.rewards.tolist()
            for t in reversed(range(STEPS)):
                last = rewards[t] + 0.99 * values[t + 1] * going[t] - values[t] + 0.99 * 0.95 * going[t] * last
                advantages[t] = last
            returns = advantages + self.values[:-1]
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        agent = self.agent
        for _ in range(EPOCHS):
            for rows in torch.randperm(STEPS).split(BATCH):
                states, actions, own = self.states[rows], self.actions[rows], advantages[rows]
                scaled = (actions - agent.actor(states)) * (-agent.log_std).exp()
                log_probs = (-0.5 * scaled.square() - agent.log_std - 0.9189385).sum(-1)
                ratio = (log_probs - self.log_probs[rows]).exp()
                policy = -torch.minimum(ratio * own, ratio.clamp(0.8, 1.2) * own).mean()
                loss = policy + (returns[rows] - agent.critic(states).squeeze(-1)).square().mean()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()


def ours(
    agents: int,
    threads: int,
    hidden: int = 256,
    precision: str = "float32",
    replacing: bool = False,
    settings: PPOSettings | None = None,
    **options: Any,
) -> PPO:
    environments = MujocoVectorEnv("Ant-v5", agents, threads=threads, observation="paper")
    cbp = ContinualBackprop(replacement_rate=1e-4, maturity_threshold=10_000, replacement="drawn")
    return PPO(
        environments,
        settings=settings,
        hidden=(hidden, hidden),
        optimizer=Adam(step_size=1e-4, betas=(0.99, 0.99)),
        methods=[L2(strength=1e-4), cbp] if replacing else [],
        precision=precision,
        **options,
    )


def physics(agents: int, threads: int, steps: int = 500) -> float:
    """Microseconds of MuJoCo alone for a step of one agent."""
    environments = MujocoVectorEnv("Ant-v5", agents, threads=threads, observation="paper")
    environments.reset(seed=0)
    actions = np.random.default_rng(0).standard_normal((steps, agents, 8))
    frames, batch = environments._robot.frame_skip, environments._batch
    begun = time.perf_counter()
    for action in actions:
        environments._robot.ctrl[...] = action
        batch.step(nstep=frames)
    return (time.perf_counter() - begun) / steps / agents * 1e6


def products(hidden: int, updates: int = 40) -> float:
    """Microseconds, for a step of one agent, of the matrix products of its updates alone, one after the other."""
    pairs = []
    for outputs in (8, 1):
        sizes = (27, hidden, hidden, outputs)
        pairs += [(torch.randn(BATCH, a), torch.randn(a, b), torch.randn(BATCH, b), a > 27) for a, b in pairwise(sizes)]

    def update() -> None:
        for x, weight, delta, inner in pairs:
            torch.mm(x, weight)
            torch.mm(x.T, delta)
            if inner:
                torch.mm(delta, weight.T)

    update()
    begun = time.perf_counter()
    for _ in range(updates):
        update()
    return (time.perf_counter() - begun) / updates * (EPOCHS * STEPS // BATCH) / STEPS * 1e6


def ordinary_turn(loop: Ordinary) -> dict[str, float]:
    begun = time.perf_counter()
    loop.collect()
    middle = time.perf_counter()
    loop.update()
    return {"collect": (middle - begun) / STEPS * 1e6, "update": (time.perf_counter() - middle) / STEPS * 1e6}


def our_turn(agents: PPO) -> dict[str, float]:
    before = dict(agents.seconds)
    agents.iterate()
    each = STEPS * agents.agents
    return {name: (value - before[name]) / each * 1e6 for name, value in agents.seconds.items()}


def stacked(device: str, quick: bool) -> Iterator[Row]:
    """Ten agents as one stack, whose robots all cores step: updates alone, and everything."""
    count, steps = (2, 64) if quick else (10, STEPS)
    settings = PPOSettings(rollout_steps=steps, batch_size=32 if quick else BATCH, epochs=1 if quick else EPOCHS)
    agents = ours(count, 1 if quick else os.cpu_count() or 1, settings=settings, device=device, compile=not quick)
    begun = time.perf_counter()
    agents.iterate()
    yield Row(
        f"{count} agents as one stack: seconds of the first iteration, which compiles", time.perf_counter() - begun
    )
    turns = []
    for _ in range(1 if quick else 3):
        before, begun = agents.seconds["update"], time.perf_counter()
        agents.iterate()
        turns.append((time.perf_counter() - begun, agents.seconds["update"] - before))
    whole, updating = map(min, zip(*turns, strict=True))
    yield Row(f"{count} agents as one stack: updates a second", count * settings.updates / updating)
    yield Row("steps a second, physics, policy and updates together", count * steps / whole)
    yield Row("share of updates in that time", updating / whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = {
        "1 agent, 1 thread": (1, 1, 256, "float32", False),
        "1 agent, 1 thread, CBP and L2": (1, 1, 256, "float32", True),
        "1 agent, 1 thread, bfloat16": (1, 1, 256, "bfloat16", False),
        "8 agents, 2 threads": (8, 2, 256, "float32", False),
        "8 agents, 2 threads, CBP and L2": (8, 2, 256, "float32", True),
        "8 agents, 2 threads, bfloat16": (8, 2, 256, "bfloat16", False),
        "1 agent, 1 thread, 64-64": (1, 1, 64, "float32", False),
        "8 agents, 2 threads, 64-64": (8, 2, 64, "float32", False),
    }
    torch.set_num_threads(1)
    loops = {hidden: Ordinary(hidden) for hidden in (256, 64)}
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for name, (agents, threads, hidden, precision, replacing) in cases.items():
        torch.set_num_threads(threads)
        mine, loop = ours(agents, threads, hidden, precision, replacing), loops[hidden]
        our_turn(mine)  # compiles
        best, other = {}, {}
        for _ in range(options.rounds):
            torch.set_num_threads(threads)
            turn = our_turn(mine)
            best = turn if not best or sum(turn.values()) < sum(best.values()) else best
            torch.set_num_threads(1)
            turn = ordinary_turn(loop)
            other = turn if not other or sum(turn.values()) < sum(other.values()) else other
        total, ordinary = sum(best.values()), sum(other.values())
        shares = " | ".join(f"{best[part]:.0f} us ({100 * best[part] / total:.0f} %)" for part in best)
        floor = physics(agents, threads)
        torch.set_num_threads(1)
        bare = products(hidden) / threads
        lines.append(
            f"| {name} | {shares} | {total:.0f} us, {1e6 / total:,.0f}/s | {ordinary:.0f} us "
            f"({other['collect']:.0f} + {other['update']:.0f}) | **{ordinary / total:.2f}** | "
            f"{other['update'] / best['update']:.1f} | {floor:.0f} us, {total / floor:.2f} times that | {bare:.0f} us |"
        )
        print(lines[-1], flush=True)
    if options.out:
        text = (
            "# Agents: speed\n\n"
            + " ".join((__doc__ or "").split("\n\n", 1)[1].split())
            + (
                "\n\nMicroseconds for one step in one agent's environment, updates included, best of "
                f"{options.rounds} turns; 8 agents: the machine's time divided by all their steps. The ratio is the "
                "ordinary loop's time to ours; `update alone` compares the phases of updates. `products alone` "
                "are the matrix products of one agent's updates in float32 with nothing around them (on two threads, "
                "half of their time): no exact update in float32 can take less.\n\n" + "\n".join(lines) + "\n"
            )
        )
        options.out.write_text(text)


if __name__ == "__main__":
    main()
