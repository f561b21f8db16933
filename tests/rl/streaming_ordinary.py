"""Streaming agents as one plain loop each: a network, autograd, an environment of Gymnasium, in double precision.

Only the lots are neoteny's: initial weights, resets, and what is drawn for actions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from neoteny.seeds import ENVIRONMENT, generator


class Net(nn.Module):
    """Linear layers with a plain norm and leaky ReLU between; `weights` by name, as `layers.N.weight`."""

    def __init__(self, weights):
        super().__init__()
        self.w = nn.ParameterDict({name.replace(".", "_"): nn.Parameter(v.clone()) for name, v in weights.items()})
        self.numbers = sorted({int(name.split(".")[1]) for name in weights})

    def forward(self, x):
        for k in self.numbers:
            x = self.w[f"layers_{k}_weight"] @ x + self.w[f"layers_{k}_bias"]
            if k != self.numbers[-1]:
                x = x - x.mean()
                x = x / torch.sqrt((x * x).mean() + 1e-5)
                x = torch.where(x > 0, x, 0.01 * x)
        return x


class ObGD:
    def __init__(self, net, kappa):
        self.params, self.kappa = list(net.parameters()), kappa
        self.z = [torch.zeros_like(p) for p in self.params]

    def step(self, value, delta, decay, reset):
        grads = torch.autograd.grad(value, self.params)
        self.z = [decay * z + g for z, g in zip(self.z, grads, strict=True)]
        bound = self.kappa * max(abs(delta), 1.0) * sum(z.abs().sum().item() for z in self.z)
        with torch.no_grad():
            for p, z in zip(self.params, self.z, strict=True):
                p += min(1.0, 1.0 / bound) * delta * z
        if reset:
            self.z = [torch.zeros_like(z) for z in self.z]


class Norm:
    """Of a stream of vectors, from all of them: not a running rule."""

    def __init__(self):
        self.rows = []

    def __call__(self, x):
        self.rows.append(np.asarray(np.float64(x)))
        rows = np.array(self.rows)
        variance = rows.var(0, ddof=1) if len(rows) > 1 else np.ones_like(rows[0])
        return (rows[-1] - rows.mean(0)) / np.sqrt(variance + 1e-8)


class Scale:
    def __init__(self, gamma, about):
        self.gamma, self.about, self.u = gamma, about, [0.0]

    def __call__(self, reward, ended):
        self.u.append(self.gamma * (1 - ended) * self.u[-1] + reward)
        u = np.array(self.u[1:])
        moment = 1.0
        if len(u) > 1:
            moment = (u * u).mean() if self.about == "zero" else u.var(ddof=1)
        return reward / math.sqrt(moment + 1e-8)


class Loop:
    """What the three learners have in common."""

    def __init__(self, env, seed, settings, drawn, limit=None):
        self.env, self.s, self.limit = env, settings, limit
        self.norm, self.scale = Norm(), Scale(settings.gamma, settings.reward_moment)
        self.drawn = lambda segment: drawn(generator(seed, ENVIRONMENT, 1, segment + 1), segment)
        lot = int(generator(seed, ENVIRONMENT, 2).integers(2**31, size=1)[0])
        self.time, self.ended = 0, 0
        self.seen = self.see(env.reset(seed=lot)[0])
        self.act(self.seen, self.drawn(-1)[0])

    def see(self, observation):
        x = self.norm(observation)
        if self.s.time_input:
            x = np.append(x, self.time / self.limit - 0.5)
        return torch.from_numpy(x)

    def run(self, steps):
        for t in range(steps):
            if t % self.s.segment == 0:
                lots = self.drawn(t // self.s.segment)
            raw, reward, terminated, truncated, _ = self.env.step(self.given)
            ended = terminated or truncated
            self.time += 1
            self.terminated = terminated
            reward = self.scale(float(reward), ended)
            over = terminated if self.s.bootstrap_timeouts else ended
            self.learn(reward, self.see(raw), 0.0 if over else self.s.gamma, ended, lots[t % self.s.segment])
            self.ended += ended


class AC(Loop):
    def __init__(self, weights, *rest, **more):
        self.actor, self.critic = (
            Net({name.partition(".")[2]: w for name, w in weights.items() if name.startswith(part)})
            for part in ("actor", "critic")
        )
        self.rules = ObGD(self.actor, 3.0), ObGD(self.critic, 2.0)
        super().__init__(*rest, **more)

    def policy(self, x):
        mean, width = self.actor(x).chunk(2)
        return torch.distributions.Normal(mean, torch.nn.functional.softplus(width))

    def act(self, x, noise):
        with torch.no_grad():
            policy = self.policy(x)
            self.action = policy.mean + policy.stddev * torch.from_numpy(np.float64(noise))
        self.given = np.clip(self.action.numpy(), -1, 1)

    def learn(self, reward, reached, gamma, ended, noise):
        value, after = self.critic(self.seen)[0], self.critic(reached)[0].item()
        delta = reward + gamma * after - value.item()
        policy = self.policy(self.seen)
        log_prob, entropy = policy.log_prob(self.action).sum(), policy.entropy().sum()
        decay = self.s.gamma * self.s.trace_lambda
        self.rules[0].step(log_prob + self.s.entropy * np.sign(delta) * entropy, delta, decay, ended)
        self.rules[1].step(value, delta, decay, ended)
        self.seen = reached
        if ended:
            self.time = 0
            self.seen = self.see(self.env.reset()[0])
        self.act(self.seen, noise)


class AVG(Loop):
    """With torch.optim.Adam; `sigma` from the lists of all rewards, discounts and returns so far."""

    def __init__(self, weights, *rest, rates, **more):
        self.actor, self.critic = (
            {name.partition(".")[2]: nn.Parameter(w.clone()) for name, w in weights.items() if name.startswith(part)}
            for part in ("actor", "critic")
        )
        nets = (self.actor, self.critic)
        self.rules = [torch.optim.Adam(n.values(), lr=r, betas=(0.0, 0.999)) for n, r in zip(nets, rates, strict=True)]
        self.soft, self.discounts, self.squared, self.sum = [], [], [], 0.0
        super().__init__(*rest, **more)
        self.scale = lambda reward, ended: reward

    @staticmethod
    def net(w, x):
        for k in (0, 2):
            x = torch.nn.functional.leaky_relu(w[f"layers.{k}.weight"] @ x + w[f"layers.{k}.bias"])
        x = x / torch.linalg.vector_norm(x) if x.any() else x * 0
        return w["layers.5.weight"] @ x + w["layers.5.bias"]

    def policy(self, x, noise):
        mean, log_std = self.net(self.actor, x).chunk(2)
        normal = torch.distributions.Normal(mean, log_std.exp())
        free = mean + log_std.exp() * torch.from_numpy(np.float64(noise))
        likely = normal.log_prob(free) - torch.log1p(-(free.tanh() ** 2))
        return free.tanh(), likely.sum()

    def act(self, x, noise):
        self.action, self.likely = self.policy(x, noise[: len(noise) // 2])
        self.given = self.action.detach().numpy()

    def sigma(self, reward, ends):
        self.soft.append(reward - self.s.entropy * self.likely.item())
        self.discounts.append(0.0 if ends else self.s.gamma)
        self.sum += self.soft[-1]
        if ends:
            self.squared.append(self.sum**2)
            self.sum = 0.0
        if not self.squared:
            return 1.0
        spread = np.var(self.soft, ddof=1) + np.var(self.discounts, ddof=1) * np.mean(self.squared)
        return math.sqrt(spread + 1e-8)

    def learn(self, reward, reached, gamma, ended, noise):
        sigma = self.sigma(reward, ended if self.s.returns == "episode" else self.terminated)
        with torch.no_grad():
            planned, likely = self.policy(reached, noise[len(noise) // 2 :])
            after = self.net(self.critic, torch.cat([reached, planned])) - self.s.entropy * likely
        error = reward + gamma * after - self.net(self.critic, torch.cat([self.seen, self.action.detach()]))
        loss = self.s.entropy * self.likely - self.net(self.critic, torch.cat([self.seen, self.action]))[0]
        gradients = [
            torch.autograd.grad(loss, list(self.actor.values())),
            torch.autograd.grad((error[0] / sigma) ** 2, list(self.critic.values())),
        ]
        for net, own, rule in zip((self.actor, self.critic), gradients, self.rules, strict=True):
            for p, g in zip(net.values(), own, strict=True):
                p.grad = g
            rule.step()
        self.seen = reached
        if ended:
            self.seen = self.see(self.env.reset()[0])
        self.act(self.seen, noise)


class Values(Loop):
    def __init__(self, weights, *rest, **more):
        self.net = Net(weights)
        self.rule = ObGD(self.net, 2.0)
        self.cuts = 0
        super().__init__(*rest, **more)

    def choose(self, x, lot):
        with torch.no_grad():
            return int(self.net(x).argmax()) if lot < 0 else int(lot)

    def act(self, x, lot):
        self.given = self.choose(x, lot[0])


class Q(Values):
    def learn(self, reward, reached, gamma, ended, lot):
        values = self.net(self.seen)
        delta = reward + gamma * self.net(reached).max().item() - values[self.given].item()
        greedy = self.given == int(values.argmax())
        self.cuts += not greedy
        decay, reset = self.s.gamma * self.s.trace_lambda, ended
        if not greedy:
            decay, reset = (0.0, ended) if self.s.cut == "before" else (decay, True)
        self.rule.step(values[self.given], delta, decay, reset)
        self.seen = self.see(self.env.reset()[0]) if ended else reached
        self.act(self.seen, lot)


class SARSA(Values):
    def learn(self, reward, reached, gamma, ended, lot):
        values, planned = self.net(self.seen), self.choose(reached, lot[0])
        delta = reward + gamma * self.net(reached)[planned].item() - values[self.given].item()
        self.rule.step(values[self.given], delta, self.s.gamma * self.s.trace_lambda, ended)
        self.given = planned
        self.seen = reached
        if ended:
            self.seen = self.see(self.env.reset()[0])
            if self.s.first_action == "own":
                self.act(self.seen, lot)
