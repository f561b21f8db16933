"""PPO for continuous actions in a single file, like CleanRL's; needs `pip install gymnasium`.

Schulman, Wolski, Dhariwal, Radford & Klimov, "Proximal policy optimization algorithms", 2017; generalised advantages:
Schulman, Moritz, Levine, Jordan & Abbeel, ICLR 2016.

python examples/cleanrl_ppo.py --env-id Pendulum-v1
python examples/cleanrl_ppo.py --env-id Pendulum-v1 --plastic  # with neoteny: see cleanrl_ppo.diff
"""

from collections import deque
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import nn
from torch.distributions import Normal

import neoteny


@dataclass
class Args:
    """The options of the command line."""

    env_id: str = "Pendulum-v1"
    seed: int = 0
    total_timesteps: int = 50_000
    num_envs: int = 8
    num_steps: int = 256  # of each environment between two updates
    learning_rate: float = 1e-3
    anneal_lr: bool = False
    gamma: float = 0.9
    gae_lambda: float = 0.95
    update_epochs: int = 10
    num_minibatches: int = 32
    clip_coef: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    plastic: bool = False  # neoteny: replace units of least utility
    replacement_rate: float = 1e-4  # neoteny: share of units replaced in an update
    maturity_threshold: int = 1000  # neoteny: updates before a new unit can be replaced


def layer(inputs, outputs, gain=2**0.5):
    """A linear layer with orthogonal weights and zero biases."""
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


class Agent(nn.Module):
    """A Gaussian policy, and a critic with layers of its own."""

    def __init__(self, observations, actions):
        super().__init__()
        self.critic = nn.Sequential(layer(observations, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, 1.0))
        self.actor_mean = nn.Sequential(
            layer(observations, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, actions, 0.01)
        )
        self.actor_logstd = nn.Parameter(torch.zeros(1, actions))

    def get_value(self, x):
        """V(x), `[batch]`."""
        return self.critic(x).squeeze(-1)

    def get_action_and_value(self, x, action=None):
        """The action (drawn if none is given), its log-probability, the policy's entropy, and V(x)."""
        policy = Normal(self.actor_mean(x), self.actor_logstd.exp())
        action = policy.sample() if action is None else action
        return action, policy.log_prob(action).sum(-1), policy.entropy().sum(-1), self.get_value(x)

    forward = get_action_and_value  # neoteny: shows which layer feeds which


def make_env(args):
    """Environments side by side. A reset happens in the step that ends an episode, so no transition holds one."""

    def one():
        env = gym.wrappers.FlattenObservation(gym.make(args.env_id))
        env = gym.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))
        return gym.wrappers.ClipAction(env)

    return gym.vector.SyncVectorEnv([one] * args.num_envs, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)


def estimate_advantages(rewards, dones, values, following, gamma, lambda_):
    """Σ (γλ)^k δ up to the end of the episode, with δ = r + γ V(next) - V; `following` is V after the last step."""
    advantages, advantage = torch.zeros_like(rewards), torch.zeros_like(following)
    for step in reversed(range(len(rewards))):
        goes_on = 1 - dones[step]
        error = rewards[step] + gamma * goes_on * following - values[step]
        advantage = error + gamma * lambda_ * goes_on * advantage
        advantages[step], following = advantage, values[step]
    return advantages


def main(args):
    """Train; returns the agent, its optimizer and the returns of all episodes."""
    torch.manual_seed(args.seed)
    envs = make_env(args)
    observation, _ = envs.reset(seed=args.seed)
    observation = torch.as_tensor(observation, dtype=torch.float32)
    shape = (args.num_steps, args.num_envs)
    observations = torch.zeros(*shape, observation.shape[1])
    actions = torch.zeros(*shape, envs.single_action_space.shape[0])
    logprobs, rewards, dones, values = (torch.zeros(shape) for _ in range(4))

    agent = Agent(observation.shape[1], actions.shape[2])
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    if args.plastic:
        rate, maturity = args.replacement_rate, args.maturity_threshold
        cbp = neoteny.ContinualBackprop(replacement_rate=rate, maturity_threshold=maturity)
        plasticity = neoteny.attach(agent, optimizer, cbp, example_inputs=observation)

    running, returns, recent = np.zeros(args.num_envs), [], deque(maxlen=40)
    iterations = args.total_timesteps // (args.num_envs * args.num_steps)
    for iteration in range(iterations):
        if args.anneal_lr:
            optimizer.param_groups[0]["lr"] = args.learning_rate * (1 - iteration / iterations)

        for step in range(args.num_steps):
            with torch.no_grad():
                action, logprob, _, value = agent.get_action_and_value(observation)
            observations[step], actions[step], logprobs[step], values[step] = observation, action, logprob, value
            observation, reward, terminated, truncated, infos = envs.step(action.numpy())
            observation = torch.as_tensor(observation, dtype=torch.float32)
            done = terminated | truncated
            running += reward
            returns += running[done].tolist()
            recent.extend(running[done])
            running[done] = 0
            rewards[step], dones[step] = torch.as_tensor(reward), torch.as_tensor(done)
            for k in np.flatnonzero(truncated & ~terminated):  # a time-out ends the episode, not the value
                last = torch.as_tensor(infos["final_obs"][k], dtype=torch.float32)
                with torch.no_grad():
                    rewards[step, k] += args.gamma * agent.get_value(last)

        with torch.no_grad():
            following = agent.get_value(observation)
        advantages = estimate_advantages(rewards, dones, values, following, args.gamma, args.gae_lambda)
        targets = advantages + values

        batch = [tensor.flatten(0, 1) for tensor in (observations, actions, logprobs, advantages, targets)]
        for _ in range(args.update_epochs):
            for rows in torch.randperm(len(batch[0])).chunk(args.num_minibatches):
                x, a, before, gain, target = (tensor[rows] for tensor in batch)
                _, logprob, entropy, value = agent.get_action_and_value(x, a)
                ratio = (logprob - before).exp()
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
                loss = -torch.min(ratio * gain, clipped * gain).mean() - args.ent_coef * entropy.mean()
                loss = loss + args.vf_coef * (value - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()

        if recent:
            print(f"{(iteration + 1) * args.num_envs * args.num_steps} steps: return {np.mean(recent):.1f}")

    envs.close()
    if args.plastic:
        print(plasticity.counters())
    return agent, optimizer, returns


if __name__ == "__main__":
    main(tyro.cli(Args))
