"""A small DQN on CartPole, with ReDo and resets of its head; needs `pip install gymnasium`.

Mnih et al., Nature 518, 2015. ReDo: Sokar, Agarwal, Castro & Evci, ICML 2023. Resets: Nikishin, Schwarzer, D'Oro, Bacon
& Courville, "The primacy bias in deep reinforcement learning", ICML 2022. The replay buffer is kept, so the agent soon
learns again.

python examples/redo_dqn.py                          # with both
python examples/redo_dqn.py --redo 0 --head-reset 0  # an ordinary run
"""

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
    total_timesteps: int = 8_000
    learning_starts: int = 500
    train_every: int = 2
    batch_size: int = 64
    learning_rate: float = 1e-3
    gamma: float = 0.98
    target_every: int = 100  # updates between two copies of the network into its target
    explore: float = 0.1
    redo: int = 500  # updates between two resets of dormant units; 0: never
    tau: float = 0.025  # units below this share of their layer's mean activity are dormant
    head_reset: int = 2000  # updates between two resets of the last layer; 0: never


class Replay:
    """All transitions, in the order in which they came."""

    def __init__(self, size, observations, seed):
        self.observations, self.following = (np.zeros((size, observations), np.float32) for _ in range(2))
        self.actions, self.rewards, self.ends = (
            np.zeros(size, np.int64),
            np.zeros(size, np.float32),
            np.zeros(size, bool),
        )
        self.count, self.random = 0, np.random.default_rng(seed)

    def add(self, observation, action, reward, following, end):
        """Add a transition; `end`: the episode terminated (a time-out does not count)."""
        row = self.count
        self.observations[row], self.actions[row], self.rewards[row] = observation, action, reward
        self.following[row], self.ends[row] = following, end
        self.count += 1

    def sample(self, batch):
        """A batch drawn with replacement."""
        rows = self.random.integers(self.count, size=batch)
        columns = self.observations, self.actions, self.rewards, self.following, self.ends
        return tuple(torch.from_numpy(column[rows]) for column in columns)


def network(observations=4, actions=2):
    """Q(observation, .)."""
    return nn.Sequential(nn.Linear(observations, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, actions))


def attach(q, optimizer, args):
    """Attach the methods to `q`; None if there are none."""
    # [attach]
    methods = []
    if args.redo:
        methods.append(neoteny.ReDo(tau=args.tau, period=args.redo))
    if args.head_reset:
        methods.append(neoteny.HeadReset(period=args.head_reset))
    return neoteny.attach(q, optimizer, methods, example_inputs=torch.zeros(1, 4)) if methods else None
    # [attached]


def main(args, watch=None):
    """Train; returns the network, what neoteny attached, and the returns. Calls `watch(update, q, target)` if given."""
    torch.manual_seed(args.seed)
    random = np.random.default_rng(args.seed)
    env = gym.make("CartPole-v1")
    replay = Replay(args.total_timesteps, 4, args.seed)
    q, target = network(), network()
    target.load_state_dict(q.state_dict())
    optimizer = torch.optim.Adam(q.parameters(), lr=args.learning_rate)
    plasticity = attach(q, optimizer, args)

    updates, returns, total = 0, [], 0.0
    observation, _ = env.reset(seed=args.seed)
    for step in range(args.total_timesteps):
        if step < args.learning_starts or random.random() < args.explore:
            action = int(random.integers(2))
        else:
            with torch.no_grad():
                action = int(q(torch.from_numpy(observation)).argmax())
        following, reward, terminated, truncated, _ = env.step(action)
        replay.add(observation, action, reward, following, terminated)
        observation, total = following, total + float(reward)
        if terminated or truncated:
            returns.append(total)
            observation, total = env.reset()[0], 0.0

        if step >= args.learning_starts and step % args.train_every == 0:
            x, a, r, y, end = replay.sample(args.batch_size)
            with torch.no_grad():
                value = r + args.gamma * ~end * target(y).max(1).values
            loss = nn.functional.smooth_l1_loss(q(x).gather(1, a[:, None]).squeeze(1), value)
            optimizer.zero_grad()
            loss.backward()
            # [target]
            optimizer.step()  # a reset that is due happens here
            updates += 1
            if updates % args.target_every == 0:  # divides the period of resets: the target is reset as well
                target.load_state_dict(q.state_dict())
            # [targeted]
            if watch is not None:
                watch(updates, q, target)
        if (step + 1) % 1000 == 0:
            print(f"{step + 1} steps: return {np.mean(returns[-10:]):.0f}")

    if plasticity is not None:
        print(plasticity.counters())
    return q, plasticity, returns


if __name__ == "__main__":
    main(tyro.cli(Args))
