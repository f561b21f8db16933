"""Whole iterations against an ordinary loop; stacks against single agents; methods, failures, checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.envs import MujocoVectorEnv
from neoteny.methods.l2 import L2
from neoteny.optim import Adam
from neoteny.rl import PPO, PPOSettings
from rl.ordinary import Agent, hopper

SHORT = PPOSettings(rollout_steps=96, epochs=2, batch_size=32)
USUAL = {
    "environments": 2,
    "bootstrap_timeouts": True,
    "normalise_advantages": "minibatch",
    "gradient_norm": 0.5,
    "entropy_weight": 0.01,
    "value_weight": 0.5,
    "clip": 0.02,
    "clip_actions": True,
    "anneal_step_size": True,
}


def settings(**other):
    return PPOSettings(**{"rollout_steps": 96, "epochs": 2, "batch_size": 32, **other})


def hoppers(number, **options):
    return MujocoVectorEnv("Hopper-v5", number, max_episode_steps=25, **options)


def agents(seeds=(4, 9), s=SHORT, **options):
    environments = options.pop("environments", None) or hoppers(len(seeds) * s.environments)
    options = {"hidden": (16, 16), "optimizer": Adam(step_size=1e-3), "compile": False, **options}
    return PPO(environments, seeds=seeds, settings=s, **options)


def weights_of(ppo, agent):
    return {name: value[agent].clone() for name, value in ppo.learner.weights().items()}


def require_close(mine, theirs, atol=1e-6):
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("other", [{}, USUAL, {"normalise_advantages": "none"}], ids=["paper", "usual", "plain"])
def test_agents_are_ordinary_agents(other):
    """Three iterations of two agents beside each other, and each of them in a loop of the usual kind.

    Weights move by 1e-2 and agree to 1e-6; episodes end at the same steps with the same returns.
    """
    s = settings(**other)
    decay, betas = 0.05, (0.99, 0.99)
    ppo = agents(s=s, methods=[L2(strength=decay)], optimizer=Adam(step_size=1e-3, betas=betas), total=1_000)
    ordinary = [
        Agent(
            hopper(max_episode_steps=25), seed, weights_of(ppo, k), s, 1_000, lr=1e-3, betas=betas, weight_decay=decay
        )
        for k, seed in enumerate(ppo.seeds)
    ]
    made = [ppo.iterate() for _ in range(3)]
    for k, agent in enumerate(ordinary):
        for _ in range(3):
            agent.iterate()
        require_close(weights_of(ppo, k), dict(agent.network.named_parameters()))
        moved = max((ppo.learner.initial_weights[n][k] - w).abs().max() for n, w in weights_of(ppo, k).items())
        assert moved > 0.01
        found = [
            (int(step), float(total), int(length))
            for it in made
            for of, step, total, length in zip(
                it.episodes.agent, it.episodes.step, it.episodes.total, it.episodes.length, strict=True
            )
            if of == k
        ]
        expected = sorted(agent.episodes)
        assert [(step, length) for step, _, length in sorted(found)] == [(step, n) for step, _, n in expected]
        assert len(expected) > 8 and 25 in [length for *_, length in expected]  # falls and time-outs
        np.testing.assert_allclose([r for _, r, _ in sorted(found)], [r for _, r, _ in expected], rtol=1e-5)
    assert [it.step for it in made] == [s.batch, 2 * s.batch, 3 * s.batch]
