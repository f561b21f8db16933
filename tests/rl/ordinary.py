"""An ordinary agent: one network, one optimizer and Gymnasium's single environments, in one plain loop.

What `neoteny.rl.PPO` computes on the runs axis is computed here as it is usually written. Only the lots are neoteny's:
initial weights, resets, noise and permutations.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.distributions import Normal

from neoteny.seeds import DATA, ENVIRONMENT, generator


class Network(nn.Module):
    def __init__(self, weights):
        super().__init__()
        for part in ("actor", "critic"):
            sizes = [weights[f"{part}.layers.{k}.weight"] for k in (0, 2, 4)]
            first, second, last = (nn.Linear(w.shape[1], w.shape[0]) for w in sizes)
            body = nn.Module()
            body.layers = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
            setattr(self, part, body)
        self.log_std = nn.Parameter(torch.zeros_like(weights["log_std"]))
        self.load_state_dict(weights)

    def distribution(self, x):
        return Normal(self.actor.layers(x), self.log_std.exp())

    def value(self, x):
        return self.critic.layers(x).squeeze(-1)


def normal_form(values):
    return (values - values.mean()) / (values.std() + 1e-8)


def advantages_of(rewards, values, following, ended, s):
    """Backwards in time; `following` is the value of what came next, 0 where nothing did."""
    advantages, last = torch.zeros(len(rewards), dtype=torch.float64), 0.0
    for t in reversed(range(len(rewards))):
        last = 0.0 if ended[t] else last
        last = rewards[t] + s.gamma * following[t] - values[t] + s.gamma * s.gae_lambda * last
        advantages[t] = last
    return advantages


class Agent:
    """One agent; `make` makes an environment, `weights` are the first ones, `adam` are arguments of torch's Adam."""

    def __init__(self, make, seed, weights, settings, total=None, **adam):
        self.seed, self.s, self.total, self.iteration = seed, settings, total, 0
        self.network = Network(weights)
        self.step_size = adam["lr"]
        self.optimizer = torch.optim.Adam(self.network.parameters(), **adam)
        self.environments = [make() for _ in range(settings.environments)]
        lots = generator(seed, ENVIRONMENT, 2).integers(2**31, size=settings.environments)
        self.seen = [env.reset(seed=int(lot))[0] for env, lot in zip(self.environments, lots, strict=True)]
        self.returns, self.lengths = [0.0] * len(lots), [0] * len(lots)
        self.episodes: list[tuple[int, float, int]] = []

    def iterate(self):
        s, net = self.s, self.network
        noise = generator(self.seed, ENVIRONMENT, 1, self.iteration).standard_normal(
            (s.rollout_steps, s.environments, len(net.log_std))
        )
        noise = torch.from_numpy(noise.astype(np.float32))
        rows = []
        with torch.no_grad():
            for number in range(s.environments):
                rows.append(self.collect(number, noise[:, number]))
        states, actions, old, advantages, returns = (
            torch.stack(column, dim=1).flatten(0, 1)
            for column in zip(*rows, strict=True)  # in order of time
        )
        if s.normalise_advantages == "batch":
            advantages = normal_form(advantages)
        if s.anneal_step_size:
            for group in self.optimizer.param_groups:
                group["lr"] = self.step_size * (1 - self.iteration * s.iteration_steps / self.total)
        for epoch in range(s.epochs):
            order = torch.from_numpy(generator(self.seed, DATA, self.iteration, epoch).permutation(s.iteration_steps))
            for chosen in order.split(s.batch_size):
                a = advantages[chosen].float()
                if s.normalise_advantages == "minibatch":
                    a = normal_form(a)
                policy = net.distribution(states[chosen])
                ratio = (policy.log_prob(actions[chosen]).sum(-1) - old[chosen]).exp()
                surrogate = torch.min(ratio * a, ratio.clamp(1 - s.clip_coef, 1 + s.clip_coef) * a).mean()
                value_loss = (returns[chosen].float() - net.value(states[chosen])).pow(2).mean()
                entropy = policy.entropy().sum(-1).mean()
                self.optimizer.zero_grad()
                (-surrogate + s.vf_coef * value_loss - s.ent_coef * entropy).backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), s.max_grad_norm)
                self.optimizer.step()
        self.iteration += 1

    def collect(self, number, noise):
        s, net, env = self.s, self.network, self.environments[number]
        low, high = env.action_space.low, env.action_space.high
        states, actions, old, rewards, values, following, ended = [], [], [], [], [], [], []
        for t in range(s.rollout_steps):
            state = torch.from_numpy(np.asarray(self.seen[number], dtype=np.float32))
            policy = net.distribution(state)
            action = policy.mean + policy.stddev * noise[t]
            given = action.numpy()
            after, reward, terminated, truncated, _ = env.step(np.clip(given, low, high) if s.clip_actions else given)
            states.append(state)
            actions.append(action)
            old.append(policy.log_prob(action).sum())
            values.append(net.value(state))
            rewards.append(float(reward))
            ended.append(terminated or truncated)
            goes_on = not ended[-1] or (truncated and not terminated and s.bootstrap_timeouts)
            beyond = net.value(torch.from_numpy(np.asarray(after, dtype=np.float32)))
            following.append(beyond if goes_on else torch.zeros(()))
            self.returns[number] += float(reward)
            self.lengths[number] += 1
            if ended[-1]:
                step = self.iteration * s.iteration_steps + (t + 1) * s.environments
                self.episodes.append((step, self.returns[number], self.lengths[number]))
                self.returns[number], self.lengths[number] = 0.0, 0
                after = env.reset()[0]
            self.seen[number] = after
        values = torch.stack(values).double()
        advantages = advantages_of(
            torch.tensor(rewards, dtype=torch.float64), values, torch.stack(following).double(), ended, s
        )
        return torch.stack(states), torch.stack(actions), torch.stack(old), advantages, advantages + values


def hopper(**settings):
    return lambda: gymnasium.make("Hopper-v5", **settings)
