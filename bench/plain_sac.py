"""Soft actor-critic as one writes it in one file of PyTorch: separate critics, torch's Adam, a loop over parameters.

It is the other side of `bench/replay.py`, and `tests/rl/test_sac.py` holds neoteny's updates to its own.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def mlp(inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.ReLU()]
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class PlainSAC:
    """One agent.

    Args:
        observations: O.
        actions: A.
        hidden: sizes of the hidden layers.
        step_size: of Adam, for all three.
    """

    def __init__(self, observations: int, actions: int, hidden: list[int], step_size: float = 3e-4):
        self.actions = actions
        self.actor = mlp(observations, hidden, 2 * actions)
        self.critics = nn.ModuleList([mlp(observations + actions, hidden, 1) for _ in range(2)])
        self.targets = copy.deepcopy(self.critics)
        self.log_alpha = torch.zeros((), requires_grad=True)
        self.gamma, self.tau, self.aim = 0.99, 0.005, -actions / 2
        self.start(step_size)

    def start(self, step_size: float) -> None:
        """Make the optimizers."""
        self.of_critics = torch.optim.Adam(self.critics.parameters(), step_size)
        self.of_actor = torch.optim.Adam(self.actor.parameters(), step_size)
        self.of_alpha = torch.optim.Adam([self.log_alpha], step_size)

    def act(self, states: torch.Tensor, noise: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """A sample, and the logarithm of its density."""
        mean, log_std = self.actor(states).chunk(2, -1)
        log_std = log_std.clamp(-10, 2)
        noise = torch.randn_like(mean) if noise is None else noise
        raw = mean + log_std.exp() * noise
        log_prob = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        log_prob = log_prob - 2 * (math.log(2) - raw - F.softplus(-2 * raw))
        return raw.tanh(), log_prob.sum(-1)

    def update(self, batch: dict[str, torch.Tensor]) -> None:
        """One update of the critics, the actor, the temperature and the target critics."""
        s, a, r, s2 = (batch[name] for name in ("states", "actions", "rewards", "next_states"))
        with torch.no_grad():
            a2, log_prob = self.act(s2, batch.get("next_noise"))
            both = torch.cat([s2, a2], -1)
            least = torch.min(*(target(both).squeeze(-1) for target in self.targets))
            y = r + batch["discounts"] * (least - self.log_alpha.exp() * log_prob)
        both = torch.cat([s, a], -1)
        loss = torch.stack([F.mse_loss(critic(both).squeeze(-1), y) for critic in self.critics]).sum()
        self.of_critics.zero_grad()
        loss.backward()
        self.of_critics.step()

        for p in self.critics.parameters():
            p.requires_grad_(False)
        action, log_prob = self.act(s, batch.get("noise"))
        both = torch.cat([s, action], -1)
        least = torch.min(*(critic(both).squeeze(-1) for critic in self.critics))
        loss = (self.log_alpha.exp().detach() * log_prob - least).mean()
        self.of_actor.zero_grad()
        loss.backward()
        self.of_actor.step()
        for p in self.critics.parameters():
            p.requires_grad_(True)

        loss = self.log_alpha.exp() * (-log_prob.detach().mean() - self.aim)
        self.of_alpha.zero_grad()
        loss.backward()
        self.of_alpha.step()

        with torch.no_grad():
            for slow, own in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                slow.mul_(1 - self.tau).add_(own, alpha=self.tau)


class PlainBuffer:
    """A ring of transitions in NumPy arrays."""

    def __init__(self, capacity: int, observations: int, actions: int):
        self.states = np.zeros((capacity, observations), np.float32)
        self.next_states = np.zeros((capacity, observations), np.float32)
        self.actions = np.zeros((capacity, actions), np.float32)
        self.rewards = np.zeros(capacity, np.float32)
        self.discounts = np.zeros(capacity, np.float32)
        self.capacity, self.added = capacity, 0

    def add(self, state, action, reward, next_state, terminated) -> None:
        """Write one transition."""
        place = self.added % self.capacity
        self.states[place], self.actions[place], self.rewards[place] = state, action, reward
        self.next_states[place], self.discounts[place] = next_state, 0.99 * (1 - terminated)
        self.added += 1

    def draw(self, size: int) -> dict[str, torch.Tensor]:
        """A batch."""
        rows = np.random.randint(min(self.added, self.capacity), size=size)
        names = ("states", "actions", "rewards", "next_states", "discounts")
        return {name: torch.from_numpy(getattr(self, name)[rows]) for name in names}
