"""SAC whose last layers start anew: everything that belongs to them does, nothing else, and a checkpoint keeps it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from examples.running import assert_same, load

pytest.importorskip("gymnasium", reason="needs Gymnasium")
pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")


def named(*networks):
    return [{name: p.detach().clone() for name, p in network.named_parameters()} for network in networks]


def test_what_a_reset_makes_new(tmp_path):
    example = load("head_reset_sac")
    model, resets = example.main(example.Args(total_timesteps=139, reset_every=140, redo=10**6, folder=str(tmp_path)))
    networks = model.actor, model.critic, model.critic_target
    before = named(*networks)
    buffered = model.replay_buffer.observations.copy()
    assert model.log_ent_coef.item() < -0.02
    resets.num_timesteps = 140
    assert resets._on_step()
    actor, critic, target = named(*networks)

    last = {"latent_pi.2", "mu", "log_std"}, {"qf0.2", "qf0.4", "qf1.2", "qf1.4"}
    for network, old, new, layers in zip(networks, before, (actor, critic), last, strict=False):
        for name, parameter in network.named_parameters():
            state, fresh = network.optimizer.state[parameter], name.rpartition(".")[0] in layers
            assert (new[name] != old[name]).all() if fresh else torch.equal(new[name], old[name])
            assert (int(state["step"]) == 0) == fresh and (39 - int(state["step"]) in (0, 39))
            assert bool(state["exp_avg"].any()) != fresh and bool(state["exp_avg_sq"].any()) != fresh
            if fresh:
                assert new[name].abs().max() <= 1 / 8  # as torch draws what 64 units feed
    for name, old in before[2].items():  # its own first layers, the critic's new last ones
        assert torch.equal(target[name], critic[name] if name.rpartition(".")[0] in last[1] else old)
    assert not torch.equal(target["qf0.0.weight"], critic["qf0.0.weight"])
    assert model.log_ent_coef.item() == 0 and not model.ent_coef_optimizer.state
    assert np.array_equal(model.replay_buffer.observations, buffered)


def test_stopped_and_resumed_is_never_stopped(tmp_path):
    example = load("head_reset_sac")
    args = {"reset_every": 80, "redo": 30, "folder": str(tmp_path)}
    model, resets = example.main(example.Args(total_timesteps=200, **args))
    again, restored = example.build(example.Args(resume=True, **args))
    for one, callback in ((model, resets), (again, restored)):  # the environment's state is in no checkpoint
        one.set_random_seed(5)
        one.set_env(one.get_env(), force_reset=True)
        one.learn(60, callback, reset_num_timesteps=False)
    for plasticity, reference in ((restored.actor, resets.actor), (restored.critic, resets.critic)):
        assert (reference.updates, reference.tasks) == (160, 3)  # updates after the first 100 steps, at 80, 160 and 240
        assert_same(plasticity.state_dict(), reference.state_dict())
    assert sum(layer["units_replaced"] for layer in resets.critic.counters()["redo"].values()) > 0
    assert_same(dict(again.policy.state_dict()), dict(model.policy.state_dict()))
    assert torch.equal(again.log_ent_coef, model.log_ent_coef) and model.log_ent_coef.item() != 0
