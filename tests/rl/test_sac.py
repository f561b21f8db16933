"""Soft actor-critic: losses in NumPy, whole updates beside plain PyTorch, variants, resets, one agent beside others."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import neoteny
from neoteny.envs import MujocoVectorEnv, make_classic
from neoteny.errors import DataError, SettingError
from neoteny.lab.objective import Objective
from neoteny.methods import (
    EMA,
    ContinualBackprop,
    FullReset,
    HareAndTortoise,
    HeadReset,
    PlasticityInjection,
    ReDo,
    ShrinkAndPerturb,
)
from neoteny.nn import SoftActorCritic
from neoteny.nn.soft_actor_critic import CriticEnsemble
from neoteny.optim import Adam
from neoteny.rl import SAC, OneByOne, SACSettings
from neoteny.rl.agents import Iteration
from neoteny.rl.episodes import EpisodeLog
from neoteny.rl.sac_loss import Actor, Critics, Temperature, squashed
from neoteny.rl.training import _Bin

OBS, ACT, B, HIDDEN = 3, 1, 8, [6, 5]
SMALL = {"learning_starts": 8, "segment": 20, "batch_size": B, "capacity": 200}


def pendulums(number: int) -> OneByOne:
    return OneByOne(lambda: make_classic("Pendulum-v1", max_episode_steps=13), number)


def agents_of(seeds=(0,), methods=(), data=None, more=None, strategy="auto", **settings) -> SAC:
    own = SACSettings(**{**SMALL, **settings})
    return SAC(
        pendulums(len(seeds) * own.environments),
        settings=own,
        methods=methods,
        network=lambda: SoftActorCritic(OBS, ACT, HIDDEN, critics=own.critics, **(more or {})),
        seeds=seeds,
        data=data,
        compile=False,
        strategy=strategy,
        precision="float64",
    )


def batch_of(rng, size=B, **more):
    def draw(*shape):
        return torch.from_numpy(rng.standard_normal(shape))

    return {
        "states": draw(size, OBS),
        "actions": draw(size, ACT).tanh(),
        "rewards": draw(size),
        "next_states": draw(size, OBS),
        "discounts": torch.from_numpy(rng.choice([0.0, 0.99], size)),
        "noise": draw(size, ACT),
        "next_noise": draw(size, ACT),
        **more,
    }


# Losses and gradients, in NumPy


def layers(weights, start, x):
    """An MLP with ReLU, of a dict of arrays."""
    for number in (0, 2, 4):
        x = x @ weights[f"{start}.layers.{number}.weight"].T + weights[f"{start}.layers.{number}.bias"]
        x = np.maximum(x, 0) if number < 4 else x
    return x


def policy(weights, states, noise):
    outputs = layers(weights, "actor", states)
    mean, log_std = outputs[:, :ACT], np.clip(outputs[:, ACT:], -10, 2)
    action = np.tanh(mean + np.exp(log_std) * noise)
    density = -(noise**2) / 2 - log_std - np.log(2 * np.pi) / 2 - np.log(1 - action**2)
    return action, density.sum(1)


def values(weights, states, actions, critics=2):
    both = np.concatenate([states, actions], 1)
    return np.concatenate([layers(weights, f"critic.{k}", both) for k in range(critics)], 1)


def critic_loss(weights, fixed, batch):
    action, log_prob = policy(fixed, batch["next_states"], batch["next_noise"])
    following = values(fixed, batch["next_states"], action).min(1) - np.exp(fixed["log_temperature"]) * log_prob
    target = batch["rewards"] + batch["discounts"] * following
    return ((values(weights, batch["states"], batch["actions"]) - target[:, None]) ** 2).mean(0).sum()


def actor_loss(weights, fixed, batch):
    action, log_prob = policy(weights, batch["states"], batch["noise"])
    value = values(fixed, batch["states"], action).min(1)
    return (np.exp(fixed["log_temperature"]) * log_prob - value).mean()


def temperature_loss(weights, fixed, batch):
    _, log_prob = policy(fixed, batch["states"], batch["noise"])
    return np.exp(weights["log_temperature"]) * (-log_prob.mean() + ACT / 2)


class Fixed:
    """The networks of one module as `Forward`."""

    def __init__(self, module):
        self.module, self.parameter, self.knobs = module, module.get_parameter, {}

    def __call__(self, *inputs, network="", slow=None, observed=True):
        return self.module(network, *inputs)


@pytest.mark.parametrize(
    ("phase", "formula", "group"),
    [
        (Critics(), critic_loss, "critic"),
        (Actor(), actor_loss, "actor"),
        (Temperature(target=-ACT / 2), temperature_loss, "log_temperature"),
    ],
)
def test_losses_and_gradients_equal_numpy(phase, formula, group):
    torch.manual_seed(0)
    module = SoftActorCritic(OBS, ACT, HIDDEN, temperature=0.3).double()
    batch = batch_of(np.random.default_rng(0))
    plain = {name: value.numpy() for name, value in batch.items()}
    weights = {name: value.detach().numpy().copy() for name, value in module.named_parameters()}
    batch["entropy"] = -torch.tensor(policy(weights, plain["states"], plain["noise"])[1].mean())
    loss = phase(Fixed(module), batch, None).value
    np.testing.assert_allclose(loss.item(), formula(weights, weights, plain), rtol=1e-12)
    loss.backward()
    rng = np.random.default_rng(1)
    for name in weights:
        found = module.get_parameter(name).grad
        if not name.startswith(group):
            continue
        step = rng.standard_normal(weights[name].shape) * 1e-6  # along one direction
        ends = [formula({**weights, name: weights[name] + sign * step}, weights, plain) for sign in (1, -1)]
        np.testing.assert_allclose((found.numpy() * step).sum() * 2, ends[0] - ends[1], rtol=2e-5, atol=1e-13)


def test_the_density_of_a_squashed_action_integrates_to_one():
    outputs = torch.tensor([0.4, -0.7], dtype=torch.float64)
    noise = torch.linspace(-8, 8, 20_001, dtype=torch.float64).unsqueeze(1)
    action, log_prob = squashed(outputs, noise)
    assert torch.trapezoid(log_prob.exp(), action.squeeze(1)).item() == pytest.approx(1.0, abs=1e-6)


# Whole updates


def plain_sac():
    path = Path(__file__).parents[2] / "bench" / "plain_sac.py"
    spec = importlib.util.spec_from_file_location("plain_sac", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hundred_updates_equal_plain_pytorch():
    agents, batches, plain = agents_of(seeds=(0, 1), segment=60, replay_ratio=2), [], []
    for run in range(2):
        own = {name: value[run] for name, value in agents.learner.weights().items()}
        one = plain_sac().PlainSAC(OBS, ACT, HIDDEN)
        for part, module in (("actor", one.actor.double()), ("critic", one.critics.double())):
            weights = [value for name, value in own.items() if name.startswith(part)]
            for parameter, value in zip(module.parameters(), weights, strict=True):
                parameter.data.copy_(value)
        one.targets.double().load_state_dict(one.critics.state_dict())
        one.log_alpha = torch.zeros((), dtype=torch.float64, requires_grad=True)
        one.start(3e-4)
        plain.append(one)
    draw = agents._batches

    def drawn(count, generators):
        batches.append(draw(count, generators))
        return batches[-1]

    agents._batches = drawn
    agents.iterate()
    assert sum(batch["rewards"].shape[1] for batch in batches) == 104
    carry = agents.learner.strategy.carry()
    for run, one in enumerate(plain):
        for batch in batches:
            for step in range(batch["rewards"].shape[1]):
                one.update({name: value[run, step] for name, value in batch.items()})
        torch.testing.assert_close(carry["tensors"]["log_temperature"][run], one.log_alpha.data)
        sides = [("actor", carry["tensors"], one.actor), ("critic", carry["tensors"], one.critics)]
        for part, found, theirs in [*sides, ("critic", carry["slow"]["target"], one.targets)]:
            ours = [value[run] for name, value in found.items() if name.startswith(part)]
            for value, parameter in zip(ours, theirs.parameters(), strict=True):
                torch.testing.assert_close(value, parameter.data, rtol=1e-6, atol=1e-9)


def test_an_agent_alone_equals_itself_beside_others():
    for extra in ({}, {"environments": 2, "n_step": 3, "critics": 3, "replay_ratio": 2, "actor_every": 3}):
        both, alone = (agents_of(seeds=seeds, **extra) for seeds in ((4, 5), (5,)))
        for _ in range(2):
            one, other = both.iterate(), alone.iterate()
        for name, value in alone.learner.weights().items():
            torch.testing.assert_close(both.learner.weights()[name][1], value[0], rtol=1e-9, atol=1e-12)
        for name, losses in other.losses.items():
            np.testing.assert_allclose(one.losses[name][1], losses[0], rtol=1e-9)


def test_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    options = {"seeds": (0, 1), "reset_every": 40, "methods": FullReset(), "capacity": 50, "actor_every": 3}
    whole, second = agents_of(**options), agents_of(**options)
    for segment in range(4):
        whole.iterate()
        if segment < 2:  # what is saved later is in files that this state does not know
            state = copy.deepcopy(whole.state_dict(tmp_path))
    second.load_state_dict(state, tmp_path)
    for _ in range(2):
        second.iterate()
    for name, value in whole.learner.weights().items():
        assert torch.equal(second.learner.weights()[name], value)
    assert np.array_equal(whole.actors.observations, second.actors.observations)


# Variants


def test_the_subset_of_critics_is_drawn_anew_and_gives_the_least_value():
    agents = agents_of(critics=4, target_critics=2)
    agents.iterate()
    batch = agents._batches(200, agents._generators(9))
    kept = (batch["left_out"] == 0)[0]
    assert (kept.sum(-1) == 2).all()
    shares = kept.float().mean(0)
    assert (shares > 0.35).all() and (shares < 0.65).all()
    module = SoftActorCritic(OBS, ACT, HIDDEN, critics=4).double()
    rng = np.random.default_rng(0)
    own = batch_of(rng, left_out=torch.tensor([0.0, torch.inf, torch.inf, 0.0], dtype=torch.float64))
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    plain = {name: value.numpy() for name, value in own.items()}
    action, log_prob = policy(weights, plain["next_states"], plain["next_noise"])
    least = values(weights, plain["next_states"], action, 4)[:, [0, 3]].min(1)
    target = plain["rewards"] + plain["discounts"] * (least - log_prob)
    found = Critics()(Fixed(module), own, None).metrics["target_value"]
    np.testing.assert_allclose(found, target.mean(), rtol=1e-12)
    without = Critics(entropy=False)(Fixed(module), own, None).metrics["target_value"]
    np.testing.assert_allclose(without, (plain["rewards"] + plain["discounts"] * least).mean(), rtol=1e-12)


def test_the_actor_learns_less_often_where_that_is_asked_for():
    agents = agents_of(actor_every=5, replay_ratio=2)
    agents.iterate()
    steps = {name: int(state["step"]) for name, state in agents.learner.strategy.carry()["optim"].items()}
    assert steps["critic.0.layers.0.weight"] == 24
    assert steps["actor.layers.0.weight"] == steps["log_temperature"] == 4
    assert agents.iterate().losses["temperature"] == pytest.approx(1.0, abs=0.01)  # a mean over its own updates
    assert set(agents_of(actor_every=50).iterate().losses) == {"critic_loss", "value", "target_value"}


def test_what_is_learned_less_often_than_once_an_iteration_is_a_mean_over_its_own_iterations():
    seen = _Bin(1)
    for losses in ({"value": np.ones(1)}, {"value": np.full(1, 3.0), "temperature": np.full(1, 0.5)}):
        seen.add(Iteration(10, EpisodeLog(1, 1).flush(), losses, np.full(1, np.nan)))
    resumed = _Bin(1)
    resumed.load_state_dict(seen.state_dict())
    found = resumed.take()
    assert (found["value"], found["temperature"]) == (2.0, 0.5)


def test_a_temperature_that_is_not_learned_stays():
    own = SACSettings(**SMALL, learned_temperature=False, initial_temperature=0.1)
    agents = SAC(pendulums(1), settings=own, optimizer=Adam(weight_decay=0.5), compile=False)
    agents.iterate()
    assert agents.learner.weights()["log_temperature"].exp().item() == pytest.approx(0.1, rel=1e-6)


def test_dropout_layer_norm_and_the_mean_of_many_critics():
    agents = agents_of(
        critics=3, actor_value="mean", more={"normalisation": "layer", "dropout": 0.1}, methods=ReDo(period=5)
    )
    assert all(np.isfinite(value).all() for value in agents.iterate().losses.values())


def offline(count=60):
    rng = np.random.default_rng(0)
    return {
        "observations": rng.standard_normal((count, OBS)) + 100,
        "actions": rng.uniform(-1, 1, (count, ACT)),
        "rewards": rng.standard_normal(count),
        "next_observations": rng.standard_normal((count, OBS)) + 100,
        "terminals": rng.random(count) < 0.1,
    }


def test_half_of_a_batch_comes_from_the_data():
    agents = agents_of(seeds=(0, 1), data=offline())
    agents.iterate()
    states = agents._batches(3, agents._generators(1))["states"]
    assert states.shape == (2, 3, B, OBS)
    assert (states[:, :, B // 2 :] > 50).all() and (states[:, :, : B // 2] < 50).all()
    with pytest.raises(DataError, match="has no"):
        agents_of(data={})


def test_a_data_set_has_the_environments_actions_and_its_own_order():
    given = offline()
    given["actions"], given["terminals"] = given["actions"] * 2, given["terminals"] & False  # a pendulum's reach to 2
    given["rewards"] = 10.0 ** (np.arange(len(given["rewards"])) % 4)
    agents = agents_of(data=given, environments=2, n_step=2, gamma=0.5)
    met = agents._offline.take(np.array([[4, 5]]), 0.5, steps=2)
    np.testing.assert_allclose(met["actions"][0], given["actions"][4:6] / 2, rtol=1e-6)
    np.testing.assert_allclose(met["rewards"][0].flatten(), [1 + 5, 10 + 50])
    with pytest.raises(DataError, match=r"reach 1\.9\d* times the bounds"):
        agents_of(data={**given, "actions": given["actions"] * 2})
    wrong = {name: np.ones((60, 11)) for name in ("observations", "next_observations")}
    wrong = {**offline(), **wrong, "actions": np.ones((60, 2))}
    with pytest.raises(DataError, match=r"actions have the shape \(60, 2\), these agents need \(60, 3\)"):
        SAC(MujocoVectorEnv("Hopper-v5", 1), settings=SACSettings(**SMALL), data=wrong, compile=False)


@pytest.mark.parametrize("strategy", ["stack", "one-call"])
def test_an_average_is_evaluated_and_changes_no_training(strategy):
    plain, averaged = agents_of(strategy=strategy), agents_of(methods=EMA(mu=0.9), strategy=strategy)
    for agents in (plain, averaged):
        for _ in range(3):
            agents.iterate()
    for name, weights in plain.learner.weights().items():
        torch.testing.assert_close(averaged.learner.weights()[name], weights)
    seen = np.random.default_rng(0).standard_normal((1, 5, OBS))
    assert np.abs(plain.prefer(seen) - averaged.prefer(seen)).max() > 1e-6
    actor = averaged.learner.outputs(torch.from_numpy(seen).to(torch.float64), network="actor")
    expected = averaged._centre + averaged._half * averaged.sample(actor.float().numpy(), None)
    np.testing.assert_allclose(averaged.prefer(seen), expected, rtol=1e-5)


# Resets


def weights_and_targets(agents):
    carry = agents.learner.strategy.carry()
    return {name: value.clone() for name, value in carry["tensors"].items()}, carry["slow"]["target"], carry["optim"]


def test_a_whole_agent_begins_anew_and_keeps_its_buffer():
    agents = agents_of(methods=FullReset())
    agents.iterate()
    before, added = weights_and_targets(agents)[0], agents.buffer.added
    agents.learner.new_task()
    after, slow, optim = weights_and_targets(agents)
    assert agents.buffer.added == added
    for name, value in after.items():
        if not name.endswith("bias"):
            assert not torch.equal(value, before[name]), name
        assert all(not state.any() for state in optim[name].values())
        if name in slow:
            assert torch.equal(slow[name], value)
    assert after["log_temperature"].item() == 0.0


@pytest.mark.parametrize("period", [None, 12])
def test_heads_begin_anew_and_only_their_targets(period):
    agents = agents_of(methods=HeadReset(period=period))
    agents.iterate()  # 12 updates
    if period is None:
        agents.learner.new_task()
    after, slow, _ = weights_and_targets(agents)
    head = "critic.1.layers.4.weight"
    assert torch.equal(slow[head], after[head])  # right after a reset it is a copy
    assert not torch.equal(slow["critic.1.layers.2.weight"], after["critic.1.layers.2.weight"])


def test_shrunk_networks_have_shrunk_targets_and_the_hare_goes_back_to_its_target():
    shrunk = agents_of(methods=ShrinkAndPerturb(when="at_task", shrink=0.5))
    hare = agents_of(methods=HareAndTortoise(tortoise="target"))
    for agents in (shrunk, hare):
        agents.iterate()
        before, old, _ = weights_and_targets(agents)
        old = {name: value.clone() for name, value in old.items()}
        agents.learner.new_task()
        after, slow, _ = weights_and_targets(agents)
        for name, value in slow.items():
            assert torch.equal(value, after[name])
            if agents is hare:
                assert torch.equal(value, old[name])
        same = torch.equal(after["actor.layers.0.weight"], before["actor.layers.0.weight"])
        assert same == (agents is hare)


def test_plasticity_is_injected_into_critics_without_changing_them():
    injection = PlasticityInjection()

    def build():
        networks = SoftActorCritic(OBS, ACT, HIDDEN)
        inputs = torch.zeros(1, OBS + ACT)
        networks["critic"] = CriticEnsemble([neoteny.prepare(one, injection, inputs) for one in networks["critic"]])
        return networks

    own = SACSettings(**SMALL)
    agents = SAC(pendulums(1), settings=own, methods=injection, network=build, compile=False, precision="float64")
    agents.iterate()
    given = torch.randn(1, 5, OBS).double(), torch.randn(1, 5, ACT).double()
    before = agents.learner.outputs(*given, network="critic")
    agents.learner.new_task()
    torch.testing.assert_close(agents.learner.outputs(*given, network="critic"), before)
    tensors, slow, _ = weights_and_targets(agents)
    assert any("injection.frozen" in name for name in slow)
    changed = [name for name in slow if ".injection." in name or ".layers.4." in name]
    assert all(torch.equal(slow[name], tensors[name]) for name in changed)
    agents.iterate()
    assert agents.alive.all()


def test_units_are_replaced_in_actor_and_critics():
    agents = agents_of(methods=ContinualBackprop(replacement_rate=0.05, maturity_threshold=2), actor_every=2)
    agents.iterate()
    agents.iterate()
    assert all(count.min() > 0 for count in agents.learner.replaced().values())
    assert len(agents.learner.replaced()) == 6


def test_resets_come_at_steps_of_the_environment():
    agents, steps = agents_of(methods=FullReset(), reset_every=40, replay_ratio=0.1), []
    agents.learner.new_task = lambda: steps.append(agents.step)
    for _ in range(6):
        agents.iterate()
    assert steps == [40, 80]


def test_priming_learns_from_a_few_transitions():
    agents = agents_of(priming_steps=10, priming_updates=70, learning_starts=15)
    counts, learn = [], agents._learn

    def counted(updates, generators):
        counts.append((agents.actors.steps, updates))
        learn(updates, generators)

    agents._learn = counted
    agents.iterate()
    assert counts[0] == (10, 70) and counts[1:] == [(step, 1) for step in range(16, 21)]


# What is refused


def test_what_is_refused():
    with pytest.raises(SettingError, match="Box of one dimension; this environment's is Discrete"):
        SAC(OneByOne(lambda: gymnasium.make("CartPole-v1"), 1), settings=SACSettings(**SMALL), compile=False)
    with pytest.raises(SettingError, match="capacity = 4 is smaller than batch_size"):
        SACSettings(capacity=4, batch_size=8)
    with pytest.raises(SettingError, match="give priming_steps"):
        SACSettings(priming_updates=5)
    with pytest.raises(SettingError, match="reset_every = 30 is not a multiple of segment = 20"):
        SACSettings(**SMALL, reset_every=30)
    with pytest.raises(SettingError, match="no use for it"):
        SACSettings(normalise_observations=True)
    assert isinstance(agents_of().learner.objective, Objective)


def test_an_agent_that_diverges_ends_alone():
    agents = agents_of(seeds=(0, 1))
    agents.iterate()
    carry = agents.learner.strategy.carry()
    carry["tensors"]["actor.layers.0.weight"][1] = torch.nan
    agents.learner.strategy.load(carry)
    agents.iterate()
    assert agents.alive.tolist() == [True, False]
    before = agents.learner.weights()["critic.0.layers.0.weight"].clone()
    agents.iterate()
    assert not torch.equal(agents.learner.weights()["critic.0.layers.0.weight"][0], before[0])


def test_robots_step_sizes_that_differ_and_inputs_of_every_network():
    own = SACSettings(learning_starts=4, segment=10, batch_size=4, capacity=40)
    agents = SAC(
        MujocoVectorEnv("Hopper-v5", 2),
        settings=own,
        optimizer=Adam(step_size=1e-3),
        varied={"step_size": [1e-3, 0.0]},
        network=lambda: SoftActorCritic(11, 3, [4]),
        compile=False,
    )
    agents.iterate()
    moved = agents.learner.weights()["actor.layers.0.weight"] != agents.learner.initial_weights["actor.layers.0.weight"]
    assert moved[0].any() and not moved[1].any()
    assert set(agents.learner.features(agents.inputs(agents.states))) >= {"actor.layers.0", "critic.0.layers.0"}
