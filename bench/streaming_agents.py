"""What streaming agents cost: beside the physics alone, and beside the plain loop that the papers' code amounts to.

    python bench/streaming.py --sections agents

The sides take turns in one process with one thread; seconds are those of the core, and of each side the best turn
counts. The plain loop has one environment of Gymnasium, two `nn.Sequential`, autograd, and an optimizer that goes
through the parameters one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.distributions import Normal

from neoteny.benchmarks.stream_minatar import StreamMinAtar
from neoteny.benchmarks.stream_mujoco import StreamMujoco
from neoteny.envs import MinAtarGame
from neoteny.nn.minatar import MinAtarNet
from neoteny.optim import ObGD

ASKED = {"HalfCheetah-v5": (1.6, 6.0), "Ant-v5": (1.6, 6.0), "breakout": (None, 5.0)}
"""At most so many times the physics alone, at least so many times as fast as the plain loop."""
STEPS = 1_000
ANT = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}


class PlainObGD:
    """ObGD on the parameters of one network, as an optimizer is usually written."""

    def __init__(self, parameters: Any, kappa: float, decay: float):
        self.parameters, self.kappa, self.decay = list(parameters), kappa, decay
        self.traces = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, delta: float, reset: bool) -> None:
        total = 0.0
        for p, z in zip(self.parameters, self.traces, strict=True):
            z.mul_(self.decay).add_(p.grad)
            total += z.abs().sum().item()
        step = min(1.0, 1.0 / (self.kappa * max(abs(delta), 1.0) * total))
        for p, z in zip(self.parameters, self.traces, strict=True):
            p.add_(z, alpha=step * delta)
            p.grad = None
            if reset:
                z.zero_()


class Moments:
    """Mean and variance so far."""

    def __init__(self, shape: tuple[int, ...]):
        self.mean, self.squares, self.count = np.zeros(shape), np.zeros(shape), 0

    def update(self, x: Any) -> Any:
        self.count += 1
        away = x - self.mean
        self.mean = self.mean + away / self.count
        self.squares = self.squares + away * (x - self.mean)
        return self.squares / (self.count - 1) if self.count > 1 else np.ones_like(self.mean)


class Plain:
    """What both plain loops do with a step."""

    def __init__(self, env: Any, gamma: float = 0.99):
        self.env, self.gamma, self.time = env, gamma, 0
        self.moments, self.rewards, self.sum = Moments(env.observation_space.shape), Moments(()), 0.0
        self.seen = self.see(env.reset(seed=0)[0])

    def see(self, observation: Any) -> torch.Tensor:
        variance = self.moments.update(observation)
        x = (observation - self.moments.mean) / np.sqrt(variance + 1e-8)
        return torch.from_numpy(np.append(x, self.time / 1_000 - 0.5) if self.timed else x).float()

    def scaled(self, reward: float, ended: bool) -> float:
        self.sum = self.gamma * (1 - ended) * self.sum + reward
        return reward / np.sqrt(self.rewards.update(self.sum) + 1e-8)


def body(inputs: int, outputs: int) -> nn.Sequential:
    def norm() -> nn.Module:
        return nn.LayerNorm(128, elementwise_affine=False)

    first, second, last = nn.Linear(inputs, 128), nn.Linear(128, 128), nn.Linear(128, outputs)
    return nn.Sequential(first, norm(), nn.LeakyReLU(), second, norm(), nn.LeakyReLU(), last)


class PlainAC(Plain):
    """Stream AC of 128-128."""

    timed = True

    def __init__(self, robot: str):
        super().__init__(gymnasium.make(robot, **(ANT if robot == "Ant-v5" else {})))
        self.actions = self.env.action_space.shape[0]
        inputs = len(self.seen)
        self.actor, self.critic = body(inputs, 2 * self.actions), body(inputs, 1)
        self.rules = (
            PlainObGD(self.actor.parameters(), 3.0, 0.8 * 0.99),
            PlainObGD(self.critic.parameters(), 2.0, 0.792),
        )

    def turn(self) -> None:
        for _ in range(STEPS):
            mean, width = self.actor(self.seen).chunk(2)
            policy = Normal(mean, nn.functional.softplus(width))
            action = policy.sample()
            raw, reward, terminated, truncated, _ = self.env.step(action.numpy().clip(-1, 1))
            ended = terminated or truncated
            self.time += 1
            reward, reached = self.scaled(float(reward), ended), self.see(raw)
            value = self.critic(self.seen)[0]
            with torch.no_grad():
                delta = reward + self.gamma * (1 - ended) * self.critic(reached)[0].item() - value.item()
            value.backward()
            (policy.log_prob(action).sum() + 0.01 * np.sign(delta) * policy.entropy().sum()).backward()
            for rule in self.rules:
                rule.step(delta, ended)
            self.seen = reached
            if ended:
                self.time = 0
                self.seen = self.see(self.env.reset()[0])


class PlainQ(Plain):
    """Stream Q on a game of MinAtar."""

    timed = False

    def __init__(self, game: str):
        super().__init__(MinAtarGame(game))
        self.actions, self.rng = int(self.env.action_space.n), np.random.default_rng(0)
        self.net = MinAtarNet(len(self.seen) // 100, self.actions)
        self.rule = PlainObGD(self.net.parameters(), 2.0, 0.792)

    def turn(self) -> None:
        for _ in range(STEPS):
            values = self.net(self.seen.unsqueeze(0))[0]
            best = int(values.argmax())
            action = int(self.rng.integers(self.actions)) if self.rng.random() < 0.1 else best
            raw, reward, terminated, truncated, _ = self.env.step(action)
            ended = terminated or truncated
            reward, reached = self.scaled(float(reward), ended), self.see(raw)
            with torch.no_grad():
                following = self.net(reached.unsqueeze(0)).max().item()
            delta = reward + self.gamma * (1 - ended) * following - values[action].item()
            if action != best:
                for z in self.rule.traces:
                    z.zero_()
            values[action].backward()
            self.rule.step(delta, ended)
            self.seen = self.see(self.env.reset()[0]) if ended else reached


class Ours:
    """The benchmark's agent, after a while of learning."""

    def __init__(self, problem: Any):
        self.agents = problem.build_agents((0,), optimizer=ObGD(), compile=True)
        for _ in range(5):
            self.turn()

    def turn(self) -> None:
        self.agents.iterate()


class Physics:
    """The environment alone: the steps of the agent's next turn, with the same actions from the same state."""

    def __init__(self, problem: Any, ours: Ours):
        self.environments = problem.build_environments((0,))
        self.environments.reset(seed=[0])
        inner = ours.agents.environments
        self.state, self.actions, step = inner.state(), [], inner.step_arrays
        inner.step_arrays = lambda actions: (self.actions.append(actions.copy()), step(actions))[1]
        ours.turn()
        inner.step_arrays = step

    def turn(self) -> None:
        self.environments.load_state(self.state)
        for action in self.actions:
            self.environments.step_arrays(action)


CASES: dict[str, tuple[Any, Callable[[str], Plain]]] = {
    "HalfCheetah-v5": (StreamMujoco(robot="HalfCheetah-v5", segment=STEPS), PlainAC),
    "Ant-v5": (StreamMujoco(robot="Ant-v5", segment=STEPS), PlainAC),
    "breakout": (StreamMinAtar(game="breakout", segment=STEPS), PlainQ),
}


def agents(rounds: int) -> list[str]:
    """Microseconds a step: the environment alone, ours, and the plain loop."""
    head = ("task", "environment alone", "ours", "of the environment's", "asked", "plain loop", "times ours", "asked")
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name, (problem, plain) in CASES.items():
        ours = Ours(problem)
        sides = [Physics(problem, ours), ours, plain(name)]
        best = [float("inf")] * 3
        for _ in range(rounds):
            for number, side in enumerate(sides):
                begun = time.process_time()
                side.turn()
                best[number] = min(best[number], (time.process_time() - begun) / STEPS * 1e6)
        most, least = ASKED[name]
        row = [f"{best[0]:.1f}", f"{best[1]:.1f}", f"{best[1] / best[0]:.2f}", f"{most:g}" if most else ""]
        row += [f"{best[2]:.0f}", f"{best[2] / best[1]:.1f}", f"{least:g}"]
        lines.append("| " + " | ".join([name, *row]) + " |")
        print(lines[-1], flush=True)
    return lines
