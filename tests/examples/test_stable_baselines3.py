"""Stable-Baselines3: one optimizer of PPO's policy, one each of SAC's actor and critic, targets that nobody watches."""

from __future__ import annotations

import pytest

from examples.running import assert_never_stopped, load, replaced

gymnasium = pytest.importorskip("gymnasium", reason="needs Gymnasium")
sb3 = pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")


def go_on(model, steps):
    """Learn on, in an environment that starts anew: its state is in no checkpoint of Stable-Baselines3."""
    model.set_random_seed(5)
    model.set_env(model.get_env(), force_reset=True)
    model.learn(steps, reset_num_timesteps=False)


def test_ppo_stopped_and_resumed_is_never_stopped(tmp_path):
    example = load("stable_baselines3_ppo")
    model, plasticity = example.main(1024, tmp_path)
    assert all(replaced(plasticity))
    again, restored = example.build(tmp_path / "ppo.zip")
    go_on(model, 512)
    go_on(again, 512)
    assert plasticity.updates == 240  # of 6 rollouts of 256 steps, 10 epochs of 4 batches each
    assert_never_stopped((again.policy, restored), (model.policy, plasticity))


def test_sac_stopped_and_resumed_is_never_stopped(tmp_path):
    example = load("stable_baselines3_sac")
    model, *attached = example.main(300, tmp_path)
    again, *restored = example.build(tmp_path, resume=True)
    go_on(model, 50)
    go_on(again, 50)
    assert [plasticity.updates for plasticity in attached] == [250, 250]  # one a step, after the first 100
    for plasticity, reference in zip(restored, attached, strict=True):
        assert_never_stopped((again.policy, plasticity), (model.policy, reference))


def test_nobody_watches_the_target_networks(tmp_path):
    model, _, critic = load("stable_baselines3_sac").build(tmp_path, resume=False)
    assert any(module._forward_pre_hooks for module in model.critic.modules())
    for module in model.critic_target.modules():
        assert not (module._forward_pre_hooks or module._forward_hooks)
    assert [layer.name for layer in critic.units.layers] == ["qf0.0", "qf0.2", "qf1.0", "qf1.2"]
