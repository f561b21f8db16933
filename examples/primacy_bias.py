"""Did your agent learn too much from its first experience? Two looks at its network; needs `pip install gymnasium`.

Two Q-networks learn from the same random steps in CartPole. One is primed: it first makes many updates on the first
hundred transitions (Nikishin, Schwarzer, D'Oro, Bacon & Courville, "The primacy bias in deep reinforcement learning",
ICML 2022). Then both learn from all of them. `look` is what to copy: it needs a network and states from your replay
buffer, and changes nothing.

python examples/primacy_bias.py
"""

import copy
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import nn

import neoteny


@dataclass
class Args:
    """The options of the command line."""

    seed: int = 0
    transitions: int = 2_000
    first: int = 100  # transitions that the primed network learns from at first
    priming: int = 10_000  # updates on them
    updates: int = 2_000  # updates on all transitions, of both networks
    batch_size: int = 64
    learning_rate: float = 1e-3
    gamma: float = 0.99


# [look]
def look(q, states):
    """How fit a network is: its units on these states, and how fast it learns beside a new one of its kind."""
    report = neoteny.diagnose(
        q, states, trainability={"optimizer": lambda parameters: torch.optim.Adam(parameters, 1e-3)}
    )
    print(report)
    return report.trainability
    # [looked]


def collect(args):
    """Random steps: states, actions, rewards, next states and ends."""
    env, random = gym.make("CartPole-v1"), np.random.default_rng(args.seed)
    state, _ = env.reset(seed=args.seed)
    rows = []
    for _ in range(args.transitions):
        action = int(random.integers(2))
        following, reward, terminated, truncated, _ = env.step(action)
        rows.append((state, action, reward, following, terminated))
        state = env.reset()[0] if terminated or truncated else following
    states, actions, rewards, following, ends = map(np.array, zip(*rows, strict=True))
    return (
        torch.from_numpy(states), torch.from_numpy(actions), torch.from_numpy(rewards).float(),
        torch.from_numpy(following), torch.from_numpy(ends),
    )  # fmt: skip


def learn(q, data, updates, args):
    """Q-learning from a data set, with a target network that is copied every hundred updates."""
    optimizer = torch.optim.Adam(q.parameters(), lr=args.learning_rate)
    target, order = copy.deepcopy(q), torch.Generator().manual_seed(args.seed)
    for update in range(updates):
        rows = torch.randint(len(data[0]), (args.batch_size,), generator=order)
        x, a, r, y, end = (column[rows] for column in data)
        with torch.no_grad():
            value = r + args.gamma * ~end * target(y).max(1).values
        loss = nn.functional.smooth_l1_loss(q(x).gather(1, a[:, None]).squeeze(1), value)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 100 == 99:
            target.load_state_dict(q.state_dict())


def main(args):
    """Train both networks and look at them; returns what was found of the plain and of the primed one."""
    torch.manual_seed(args.seed)
    data = collect(args)
    plain = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    primed = copy.deepcopy(plain)
    learn(primed, [column[: args.first] for column in data], args.priming, args)
    found = []
    for name, q in (("plain", plain), ("primed", primed)):
        learn(q, data, args.updates, args)
        print(f"\n{name}:")
        found.append(look(q, data[0][-500:]))
    return found


if __name__ == "__main__":
    main(tyro.cli(Args))
