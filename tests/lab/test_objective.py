"""Objectives of several phases: against ordinary PyTorch loops, and what they refuse."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_map

from neoteny import compiling
from neoteny.errors import NetworkError, SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import Evaluation, Objective, Phase, Slow, examples
from neoteny.methods import L2, ContinualBackprop, FullReset, HeadReset, SelfDistillation, WithLayerNorm
from neoteny.nn.networks import Networks
from neoteny.optim import SGD, Adam, TraceSGD
from neoteny.optim.signals import SIGNALS
from neoteny.units.joining import find_each

S, A, B, STEPS = 5, 2, 6, 24
GAMMA, ENTROPY = 0.9, -float(A)
WIDTH = 7


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, outputs)
    )


class Twins(nn.Module):
    """Two critics of states and actions, [B, 2]."""

    def __init__(self):
        super().__init__()
        self.one, self.two = mlp(S + A, 1), mlp(S + A, 1)

    def forward(self, states, actions):
        both = torch.cat([states, actions], -1)
        return torch.cat([self.one(both), self.two(both)], -1)


def agent() -> Networks:
    networks = Networks({"actor": mlp(S, 2 * A), "critic": Twins()})
    networks.log_alpha = nn.Parameter(torch.tensor(-0.5))
    return networks.double()


EXAMPLE = {
    "actor": torch.zeros(B, S, dtype=torch.float64),
    "critic": (torch.zeros(B, S, dtype=torch.float64), torch.zeros(B, A, dtype=torch.float64)),
}


def act(outputs, noise):
    """A squashed Gaussian's action and its log-probability, of reparametrised noise."""
    mean, log_std = outputs.chunk(2, -1)
    log_std = log_std.clamp(-5, 2)
    raw = mean + log_std.exp() * noise
    log_prob = (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
    return raw.tanh(), log_prob - (2 * (math.log(2) - raw - F.softplus(-2 * raw))).sum(-1)


def critic(forward, batch, key):
    action, log_prob = act(forward(batch["after"], network="actor"), batch["noise"][0])
    future = forward(batch["after"], action, network="critic", slow="target").min(-1).values
    alpha = forward.parameter("log_alpha").exp()
    target = (batch["rewards"] + GAMMA * (future - alpha * log_prob)).detach()
    values = forward(batch["states"], batch["actions"], network="critic")
    loss = (values - target.unsqueeze(-1)).square().sum(-1).mean()
    return Evaluation(loss, {"value": values.mean()})


def actor(forward, batch, key):
    action, log_prob = act(forward(batch["states"], network="actor"), batch["noise"][1])
    value = forward(batch["states"], action, network="critic").min(-1).values
    return Evaluation((forward.parameter("log_alpha").exp() * log_prob - value).mean(), {"entropy": -log_prob.mean()})


def temperature(forward, batch, key):
    _, log_prob = act(forward(batch["states"], network="actor"), batch["noise"][1])
    return Evaluation(-(forward.parameter("log_alpha").exp() * (log_prob.detach() + ENTROPY)).mean())


def soft_actor_critic(**options) -> Objective:
    return Objective(
        phases=(
            Phase(
                name="critic",
                evaluate=critic,
                group=("critic.",),
                optimizer=Adam(step_size=3e-3),
                metrics=("value",),
            ),
            Phase(
                name="actor", evaluate=actor, group=("actor.",), optimizer=Adam(step_size=1e-2), metrics=("entropy",)
            ),
            Phase(name="alpha", evaluate=temperature, group=("log_alpha",), optimizer=SGD(step_size=0.05)),
        ),
        slow={"target": Slow(of=("critic.",), rate=0.1)},
        **options,
    )


def transitions(runs: int = 1, steps: int = STEPS):
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(runs, steps, *shape, generator=generator, dtype=torch.float64)

    return {
        "states": draw(B, S),
        "after": draw(B, S),
        "actions": draw(B, A).tanh(),
        "rewards": draw(B),
        "noise": (draw(B, A), draw(B, A)),  # a batch is a pytree
    }


def learner(
    methods=(), objective=None, build=agent, example=EXAMPLE, seeds=(0, 1), strategy="stack", **more
) -> Learner:
    return Learner(
        build,
        example,
        objective=objective or soft_actor_critic(),
        methods=methods,
        seeds=seeds,
        strategy=strategy,
        **{"compile": False, **more},
    )


def ordinary(networks: Networks, batches, run: int) -> list[list[float]]:
    """The same with torch's optimizers, one phase after the other."""
    target = copy.deepcopy(networks["critic"])
    optimizers = [
        torch.optim.Adam(networks["critic"].parameters(), 3e-3),
        torch.optim.Adam(networks["actor"].parameters(), 1e-2),
        torch.optim.SGD([networks.log_alpha], 0.05),
    ]
    losses = []
    for step in range(STEPS):
        batch = tree_map(lambda leaf, step=step: leaf[run, step], batches)

        def forward(*inputs, network, slow=None):
            return target(*inputs) if slow else networks(network, *inputs)

        forward.parameter = networks.get_parameter
        row = []
        for optimizer, phase in zip(optimizers, (critic, actor, temperature), strict=True):
            networks.zero_grad()
            value = phase(forward, batch, None).value
            value.backward()
            optimizer.step()
            row.append(value.item())
        losses.append(row)
        with torch.no_grad():
            for slow, own in zip(target.parameters(), networks["critic"].parameters(), strict=True):
                slow.lerp_(own, 0.1)
    return losses


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_critic_actor_and_temperature_equal_the_ordinary_loop(strategy):
    batches, ours = transitions(2), learner(strategy=strategy)
    begun = [agent() for _ in ours.seeds]
    for run, networks in enumerate(begun):
        networks.load_state_dict({name: value[run] for name, value in ours.weights().items()})
    sums = [ours.advance(tree_map(lambda leaf, s=s: leaf[:, s : s + 1], batches)) for s in range(STEPS)]
    assert list(sums[0]) == ["critic_loss", "value", "actor_loss", "entropy", "alpha_loss"]
    for run, networks in enumerate(begun):
        losses = ordinary(networks, batches, run)
        for column, name in enumerate(("critic_loss", "actor_loss", "alpha_loss")):
            found = [each[name][run].item() for each in sums]
            np.testing.assert_allclose(found, [row[column] for row in losses], rtol=1e-7)
        for name, value in networks.state_dict().items():
            torch.testing.assert_close(ours.weights()[name][run], value, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.skipif(compiling.compiler() is None, reason="compiling needs a C++ compiler")
def test_compiled_phases_equal_uncompiled_ones():
    def small():  # graphs of few layers compile sooner
        networks = agent()
        networks["actor"] = nn.Linear(S, 2 * A).double()
        networks["critic"].one, networks["critic"].two = (nn.Linear(S + A, 1).double() for _ in range(2))
        return networks

    batches = transitions(1)
    both = ({"compile": on, "unroll": 1, "strategy": "loop", "seeds": (0,)} for on in (False, True))
    plain, compiled = (learner((L2(strength=1e-2),), build=small, **options) for options in both)
    for each in (plain, compiled):
        each.advance(batches)
    for name, value in plain.weights().items():
        torch.testing.assert_close(compiled.weights()[name], value, rtol=1e-6, atol=1e-9)


def test_slow_tensors_and_several_optimizers_are_saved_and_restored():
    batches = transitions(2)
    whole, first, second = (
        learner((ContinualBackprop(replacement_rate=0.05, maturity_threshold=3),)) for _ in range(3)
    )
    whole.advance(batches)
    first.advance(tree_map(lambda leaf: leaf[:, :10], batches))
    second.load_state_dict(first.state_dict())
    second.advance(tree_map(lambda leaf: leaf[:, 10:], batches))
    for ours, theirs in zip(
        *(torch.utils._pytree.tree_leaves(e.strategy.carry()) for e in (whole, second)), strict=True
    ):
        assert torch.equal(ours, theirs)
    slow = whole.strategy.carry()["slow"]["target"]
    assert all(name.startswith("critic.") for name in slow)
    assert not torch.equal(slow["critic.one.0.weight"], whole.weights()["critic.one.0.weight"])


@pytest.mark.parametrize(("rate", "every"), [(1.0, 5), (0.25, 1), (0.5, 3)])
def test_slow_tensors_follow_their_rule(rate, every):
    objective = Objective(
        phases=soft_actor_critic().phases, slow={"target": Slow(of=("critic.",), rate=rate, every=every)}
    )
    ours, name, batches = learner(objective=objective, seeds=(0,)), "critic.two.4.bias", transitions()
    expected = ours.weights()[name].clone()
    for step in range(12):
        ours.advance(tree_map(lambda leaf, s=step: leaf[:, s : s + 1], batches))
        if (step + 1) % every == 0:
            expected = expected + rate * (ours.weights()[name] - expected)
        torch.testing.assert_close(ours.strategy.carry()["slow"]["target"][name], expected)


def test_the_step_size_of_a_phase_may_differ_between_runs_and_change_over_time():
    batches = transitions(2)
    varied = learner(varied={"actor.optimizer.step_size": [1e-2, 1e-4]}, rated=True, seeds=(0, 0))
    varied.advance(tree_map(lambda leaf: leaf[:1, :3].expand(2, *leaf[:1, :3].shape[1:]), batches))
    moved = [
        (varied.weights()["actor.0.weight"] - varied.initial_weights["actor.0.weight"])[run].abs().max()
        for run in (0, 1)
    ]
    assert moved[0] > 20 * moved[1] > 0
    before = varied.weights()["critic.one.0.weight"].clone()
    varied.scale_step_size(0.0)
    varied.advance(tree_map(lambda leaf: leaf[:, :3], batches))
    assert torch.equal(varied.weights()["critic.one.0.weight"], before)


# Methods and units


def test_a_regulariser_acts_once_on_each_parameter():
    strength, batches = 0.1, transitions()
    objective = Objective(
        phases=tuple(
            Phase(
                name=phase.name,
                evaluate=phase.evaluate,
                group=phase.group,
                metrics=phase.metrics,
                optimizer=SGD(step_size=0.1),
            )
            for phase in soft_actor_critic().phases
        ),
        slow=soft_actor_critic().slow,
    )
    bare, pulled = (learner(methods, objective, seeds=(0,)) for methods in ((), (L2(strength=strength),)))
    one = tree_map(lambda leaf: leaf[:, :1], batches)
    bare.advance(one)
    pulled.advance(one)
    # of the first phase, whose gradient does not depend on what the others have become
    for name in ("critic.one.0.weight", "critic.two.4.bias"):
        expected = bare.weights()[name] - 0.1 * strength * bare.initial_weights[name]
        torch.testing.assert_close(pulled.weights()[name], expected)


def test_units_are_those_of_each_network_and_outputs_are_none():
    found = learner(seeds=(0,)).network
    assert [layer.name for layer in found.layers] == [
        "actor.0",
        "actor.2",
        "critic.one.0",
        "critic.one.2",
        "critic.two.0",
        "critic.two.2",
    ]
    assert {"actor.4.weight", "critic.one.4.weight", "critic.two.4.weight"} <= set(found.head)


def test_units_are_judged_by_the_phase_that_trains_them():
    """The critic is called three times in a step; only the activations in its own loss count."""
    batches = transitions()
    ours = learner((ContinualBackprop(replacement_rate=1e-9, decay_rate=0.0, utility="contribution"),), seeds=(0,))
    before = {name: value[0].clone() for name, value in ours.weights().items()}
    ours.advance(tree_map(lambda leaf: leaf[:, :1], batches))
    state = ours.strategy.carry()["methods"][0]
    inputs = torch.cat([batches["states"][0, 0], batches["actions"][0, 0]], -1)
    h = torch.tanh(inputs @ before["critic.one.0.weight"].T + before["critic.one.0.bias"])
    outgoing = ours.weights()["critic.one.2.weight"][0].abs().sum(0)
    torch.testing.assert_close(state["critic.one.0/utility"][0].double(), h.abs().mean(0) * outgoing)


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_networks_are_looked_at_one_by_one(strategy):
    ours = learner(strategy=strategy)
    states, actions = torch.randn(2, 4, S, dtype=torch.float64), torch.randn(2, 4, A, dtype=torch.float64)
    features = ours.features({"actor": states, "critic": (states, actions)})
    values = ours.outputs(states, actions, network="critic")
    for run in range(2):
        networks = agent()
        networks.load_state_dict({name: value[run] for name, value in ours.weights().items()})
        torch.testing.assert_close(values[run], networks("critic", states[run], actions[run]))
        hidden = torch.tanh(networks["actor"][0](states[run]))
        torch.testing.assert_close(features["actor.0"][run].squeeze(-1), hidden)
    assert set(features) == {layer.name for layer in ours.network.layers}


def test_units_are_made_new_in_every_network():
    ours = learner((ContinualBackprop(replacement_rate=0.1, maturity_threshold=3),), seeds=(0,))
    ours.advance(transitions())
    assert all(count.min() > 0 for count in ours.replaced().values())
    assert len(ours.replaced()) == 6


class Shared(nn.Module):
    def __init__(self, encoder, outputs):
        super().__init__()
        self.encoder, self.head = encoder, mlp(WIDTH, outputs)

    def forward(self, states):
        return self.head(torch.relu(self.encoder(states)))


def sharing() -> Networks:
    encoder = nn.Linear(S, WIDTH)
    return Networks({"actor": Shared(encoder, A), "critic": Shared(encoder, 1)})


def test_a_shared_encoders_units_are_read_by_both_networks():
    networks, states = sharing(), torch.randn(B, S)
    found = find_each(networks, {"actor": states, "critic": states})
    encoder = found.layers[0]
    assert encoder.name == "actor.encoder"
    assert {slices.name for slices in encoder.outgoing} == {"actor.head.0.weight", "critic.head.0.weight"}
    assert len({layer.name for layer in found.layers}) == len(found.layers) == 5
    with torch.no_grad():
        for slices in encoder.outgoing:
            networks.get_parameter(slices.name)[:, 3] = 0
        before = [networks(name, states) for name in networks]
        networks.get_parameter("actor.encoder.weight")[3] += 1
        for name, output in zip(networks, before, strict=True):
            torch.testing.assert_close(networks(name, states), output)


def test_units_that_are_one_networks_output_are_not_made_new():
    """If the encoder's output is the first network's output, a new unit would change it."""
    encoder = nn.Sequential(nn.Linear(S, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
    networks = Networks({"encoder": encoder, "critic": Shared(encoder, 1)})
    found = find_each(networks, {"encoder": torch.zeros(B, S), "critic": torch.zeros(B, S)})
    assert [layer.name for layer in found.layers] == ["encoder.0", "critic.head.0", "critic.head.2"]
    assert "another network shares the layer" in found.skipped["encoder.2"]


def test_a_heads_weights_that_another_module_has_too_are_known():
    """A reset of the head would reset that module as well, so it is refused."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.middle, self.last = nn.Linear(S, WIDTH), nn.Linear(WIDTH, S), nn.Linear(S, WIDTH)
            self.last.weight = self.first.weight

        def forward(self, states):
            return self.last(torch.relu(self.middle(torch.relu(self.first(states)))))

    networks, states = Networks({"actor": Tied(), "critic": mlp(S, 1)}), torch.zeros(B, S)
    found = find_each(networks, {"actor": states, "critic": states}, allow_none=True)
    assert found.shared == {"actor.first.weight": "actor.last.weight"}
    with pytest.raises(NetworkError, match="as well, so a reset of the head"):
        HeadReset().init(found, {})


def test_networks_without_hidden_units_are_refused_where_methods_need_some():
    class Linear(nn.Linear):
        def forward(self, states, actions):
            return super().forward(torch.cat([states, actions], -1))

    def build():
        return Networks({"actor": nn.Linear(S, 2 * A), "critic": Linear(S + A, 2)}).double()

    objective = replace(soft_actor_critic(), phases=soft_actor_critic().phases[:2])
    with pytest.raises(NetworkError, match="None of actor, critic has hidden units"):
        learner((ContinualBackprop(),), objective, build)


def test_a_full_reset_starts_every_phases_optimizer_anew():
    ours = learner((FullReset(),), seeds=(0,))
    ours.advance(transitions())
    ours.new_task()
    for name in ("critic.one.0.weight", "actor.0.weight"):
        state = ours.strategy.carry()["optim"][name]
        assert all(not value.any() for value in state.values())


# Signals


def td(forward, batch, key):
    """TD(lambda): the optimizer follows the trace of the prediction's gradients, scaled by the TD error."""
    value = forward(batch["states"]).squeeze()
    after = forward(batch["after"], observed=False).squeeze().detach()
    error = batch["rewards"].squeeze() + GAMMA * after * ~batch["ended"].squeeze() - value.detach()
    decay = torch.as_tensor(GAMMA * 0.8, dtype=value.dtype)
    signals = {"delta": error, "trace_decay": decay, "ended": batch["ended"].squeeze()}
    return Evaluation(value, {"td_error": error}, signals)


def test_an_optimizer_reads_signals_for_its_traces():
    steps, alpha = 40, 0.02
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, steps + 1, 4))
    rewards, ended = rng.standard_normal((2, steps)), rng.random((2, steps)) < 0.2
    phase = Phase(evaluate=td, optimizer=TraceSGD(step_size=alpha), metrics=("td_error",), signals=SIGNALS)
    ours = Learner(
        lambda: nn.Linear(4, 1, bias=False).double(),
        torch.zeros(1, 4, dtype=torch.float64),
        objective=Objective(phases=(phase,), inputs="states"),
        seeds=(0, 1),
        strategy="stack",
        compile=False,
    )
    weights = ours.weights()["weight"].numpy().copy()
    batches = {
        "states": features[:, :-1, None],
        "after": features[:, 1:, None],
        "rewards": rewards[..., None],
        "ended": ended[..., None],
    }
    ours.advance({name: torch.from_numpy(value) for name, value in batches.items()})
    for run in range(2):
        w, trace = weights[run, 0], np.zeros(4)
        for t in range(steps):
            x, after = features[run, t], features[run, t + 1]
            error = rewards[run, t] + GAMMA * (0.0 if ended[run, t] else w @ after) - w @ x
            trace = GAMMA * 0.8 * trace + x
            w = w + alpha * error * trace
            if ended[run, t]:
                trace = np.zeros(4)
        np.testing.assert_allclose(ours.weights()["weight"][run, 0].numpy(), w, rtol=1e-10)


def test_an_optimizer_without_its_signals_is_refused():
    with pytest.raises(SettingError, match="TraceSGD reads the signal 'trace_decay'"):
        Phase(evaluate=td, optimizer=TraceSGD(), signals=("delta",))
    with pytest.raises(SettingError, match="SGD descends a loss, and phase '' gives a prediction"):
        Phase(evaluate=td, optimizer=SGD(), signals=SIGNALS)


# What is refused


def test_every_parameter_belongs_to_one_phase():
    phases = soft_actor_critic().phases
    with pytest.raises(SettingError, match="no phase trains it, parameter 'log_alpha'"):
        learner(objective=Objective(phases=phases[:2], slow=soft_actor_critic().slow))
    twice = (*phases, Phase(name="again", evaluate=actor, group=("actor.4",), optimizer=SGD(), metrics=("entropy",)))
    with pytest.raises(SettingError, match="phases actor, again train it, parameter 'actor.4.weight'"):
        learner(objective=Objective(phases=twice, slow=soft_actor_critic().slow))
    with pytest.raises(SettingError, match="need different names"):
        Objective(phases=(phases[0], phases[0]))


def test_methods_that_compare_one_networks_output_are_refused():
    with pytest.raises(SettingError, match="self-distillation compares the output of one network"):
        learner((SelfDistillation(),))


def test_a_loss_beside_an_objective_is_refused():
    with pytest.raises(SettingError, match="losses and optimizers of its own"):
        learner(loss="mse")
    with pytest.raises(SettingError, match="a loss and an optimizer, or an objective"):
        Learner(agent, EXAMPLE)


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"rate": 1.5}, {"every": 0}])
def test_slow_settings_outside_their_range(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        Slow(**wrong)


def test_a_batch_of_examples_has_names():
    assert set(examples(torch.zeros(1), torch.ones(1))) == {"inputs", "targets"}


def test_methods_that_change_networks_are_refused_for_several():
    with pytest.raises(SettingError, match=r"layer-norm changes the network, .* several \(actor, critic\)"):
        learner((WithLayerNorm(),))
