"""Stable-Baselines3: one optimizer of PPO's policy, one each of SAC's actor and critic, targets that nobody watches."""

from __future__ import annotations

import numpy as np
import pytest

import neoteny
from examples.running import assert_never_stopped, assert_same, load, replaced
from neoteny import PlasticityWarning

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


@pytest.mark.parametrize("name, steps", [("ppo", 512), ("sac", 140)])
def test_at_rate_0_training_is_what_it_is_without(name, steps, monkeypatch, tmp_path):
    example = load(f"stable_baselines3_{name}")
    method = neoteny.ContinualBackprop
    monkeypatch.setattr(neoteny, "ContinualBackprop", lambda replacement_rate: method(replacement_rate=0.0))

    def trained():
        model = example.build(*(() if name == "ppo" else (tmp_path, False)))[0]
        model.learn(steps)
        return dict(model.policy.state_dict())

    with pytest.warns(PlasticityWarning, match="Nothing will ever happen"):
        attached = trained()
    monkeypatch.setattr(neoteny, "attach", lambda *args, **kwargs: None)
    assert_same(attached, trained())


def test_nobody_watches_the_target_networks(tmp_path):
    model, _, critic = load("stable_baselines3_sac").build(tmp_path, resume=False)
    assert any(module._forward_pre_hooks for module in model.critic.modules())
    for module in model.critic_target.modules():
        assert not (module._forward_pre_hooks or module._forward_hooks)
    assert [layer.name for layer in critic.units.layers] == ["qf0.0", "qf0.2", "qf1.0", "qf1.2"]


class Noise(gymnasium.Env):
    """Observations drawn from their space, whatever is done."""

    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, True, {}


def attached_to_ppo(policy, space, **policy_kwargs):
    model = sb3.PPO(policy, Noise(space), n_steps=4, batch_size=4, device="cpu", policy_kwargs=policy_kwargs)
    observation, _ = model.policy.obs_to_tensor(space.sample())
    plasticity = neoteny.attach(model.policy, model.policy.optimizer, neoteny.ContinualBackprop(), (observation,))
    return {layer.name: {part.name for part in layer.outgoing} for layer in plasticity.units.layers}


@pytest.mark.parametrize("shared", [True, False])
def test_a_features_extractor_is_read_by_whom_it_feeds(shared):
    images = gymnasium.spaces.Box(0, 255, (1, 36, 36), np.uint8)
    settings = {"share_features_extractor": shared, "features_extractor_kwargs": {"features_dim": 8}}
    readers = attached_to_ppo("CnnPolicy", images, **settings)
    both = {"action_net.weight", "value_net.weight"}
    assert readers["features_extractor.linear.0"] == (both if shared else {"action_net.weight"})
    if not shared:
        assert readers["vf_features_extractor.linear.0"] == {"value_net.weight"}


def test_observations_that_are_a_dict():
    space = gymnasium.spaces.Dict(a=gymnasium.spaces.Box(-1, 1, (3,)), b=gymnasium.spaces.Box(-1, 1, (2,)))
    assert list(attached_to_ppo("MultiInputPolicy", space)) == [
        "mlp_extractor.policy_net.0",
        "mlp_extractor.policy_net.2",
        "mlp_extractor.value_net.0",
        "mlp_extractor.value_net.2",
    ]
