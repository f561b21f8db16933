"""What traces and step sizes hold for weights that methods make new, in the laboratory and under `attach`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neoteny
from neoteny.lab.learner import Learner
from neoteny.lab.objective import Evaluation, Objective, Phase, examples
from neoteny.methods import L2, ContinualBackprop, ReDo
from neoteny.nn import MLP
from neoteny.optim import IDBD, TIDBD, AdaptiveObGD, Autostep, AutoTIDBD, Intentional, ObGD, TorchOptimizer
from neoteny.optim.signals import SIGNALS
from neoteny.registry import METHODS

RESETTING = ("fire", "cbp", "redo", "regrama", "snr", "swr", "plasticity-injection", "head-reset", "full-reset")


@pytest.mark.parametrize("name", RESETTING)
def test_every_method_that_resets_asks_what_newborn_state_is(name):
    """The rule says 0 for everything but the step sizes, which begin as at first, or as the others' median."""
    told = []

    class Asked(Autostep):
        def newborn_state(self, parameter, state, old, weight, new):
            value = super().newborn_state(parameter, state, old, weight, new)
            told.append((state, value))
            return value

    for newborn_step in ("initial", "median"):
        torch.manual_seed(0)
        told.clear()
        x, y = torch.randn(1, 8, 4, 6), torch.randint(0, 3, (1, 8, 4))
        learner = Learner(
            lambda: MLP(6, [8, 7], 3),
            x[0, 0],
            loss="cross_entropy",
            optimizer=Asked(step_size=0.03, newborn_step=newborn_step),
            methods=[METHODS[name].load().contract()[0][0]],
            strategy="loop",
            compile=False,
            reference=x[:, 0],
        )
        learner.advance(examples(x[:, :4], y[:, :4]))
        learner.new_task()
        learner.advance(examples(x[:, 4:], y[:, 4:]))
        assert {state for state, _ in told} == {"alpha", "h", "v"}
        for state, value in told if name != "plasticity-injection" else ():  # which asks inside of `vmap`
            if state != "alpha":
                assert value == 0
            elif newborn_step == "initial":
                assert torch.allclose(torch.as_tensor(value), torch.tensor(0.03))
            else:
                assert torch.as_tensor(value).unique().numel() == 1


def td(forward, batch, key):
    value = forward(batch["states"]).squeeze()
    delta = batch["targets"].squeeze() - value.detach()
    ended = torch.zeros((), dtype=torch.bool)
    return Evaluation(value, {}, {"delta": delta, "trace_decay": torch.full_like(delta, 0.7), "ended": ended})


@pytest.mark.parametrize("newborn_step", ["initial", "median"])
@pytest.mark.parametrize("rule", [TIDBD(step_size=0.03), AutoTIDBD(step_size=0.03)], ids=["tidbd", "auto-tidbd"])
def test_units_of_a_streaming_learner_begin_with_no_trace(rule, newborn_step):
    torch.manual_seed(0)
    learner = Learner(
        lambda: MLP(6, [8, 7], 1),
        torch.zeros(1, 6),
        objective=Objective(
            phases=(
                Phase(
                    evaluate=td,
                    optimizer=type(rule)(step_size=0.03, newborn_step=newborn_step),
                    signals=SIGNALS,
                ),
            ),
            inputs="states",
        ),
        methods=[ContinualBackprop(replacement_rate=0.125, maturity_threshold=4)],
        seeds=(0, 1),
        strategy="stack",
        compile=False,
    )
    learner.advance({"states": torch.randn(2, 12, 1, 6), "targets": torch.randn(2, 12, 1, 1)})
    carry, name = learner.strategy.carry(), learner.network.head[0]
    state, weight = carry["optim"][name], carry["tensors"][name]
    newborn = (weight == 0).all(1)
    assert newborn.any() and not newborn.all()
    steps = rule.step_sizes(state)
    assert steps is not None
    for run in range(2):
        mine = newborn[run]
        assert not state["trace"][run][:, mine].any() and not state["h"][run][:, mine].any()
        assert state["trace"][run][:, ~mine].any()
        others = steps[run][:, ~mine]
        assert not torch.allclose(others, torch.tensor(0.03), rtol=1e-6)
        if newborn_step == "initial":  # those of the last step; some are older and rest, since their input is 0
            assert torch.isclose(steps[run][:, mine], torch.tensor(0.03), rtol=1e-5).any()
        else:
            assert not torch.isclose(steps[run][:, mine], torch.tensor(0.03), rtol=1e-5).any()
            assert (steps[run][:, mine] >= others.min()).all() and (steps[run][:, mine] <= others.max()).all()


# Under `attach`


def trained(rule, methods, steps=40):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = TorchOptimizer(net.parameters(), rule, gamma=0.9, lamda=0.8)
    handle = neoteny.attach(net, optimizer, methods, example_inputs=torch.zeros(2, 6), seed=0) if methods else None
    for _ in range(steps):
        optimizer.zero_grad()
        value = net(torch.randn(1, 6)).squeeze()
        value.backward()
        optimizer.step(float(torch.randn(()) - value.detach()))
    return net, optimizer, handle


@pytest.mark.parametrize(
    "rule", [ObGD(), AdaptiveObGD(), TIDBD(step_size=0.02), AutoTIDBD(step_size=0.02), Intentional()]
)
def test_attached_resets_ride_on_steps_with_an_error(rule):
    net, optimizer, handle = trained(rule, [ContinualBackprop(replacement_rate=0.2, maturity_threshold=5)])
    assert handle is not None
    made = handle.made_new(handle.units.layers[0].name)
    assert sum(entry["units_replaced"] for entry in handle.counters()["cbp"].values()) > 3
    if not made.any():
        return
    state = optimizer.state[net[0].weight]
    assert not state["trace"][made].any() and state["trace"][~made].any()
    for name, value in (("beta", torch.tensor(0.02).log()), ("alpha", torch.tensor(0.02)), ("age", torch.tensor(0.0))):
        if name in state:
            torch.testing.assert_close(state[name][made], value.expand(int(made.sum()), 6))


def test_a_rule_that_follows_losses_is_attached_to_as_any_other():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = TorchOptimizer(net.parameters(), IDBD(step_size=0.02, newborn_step="median"))
    neoteny.attach(net, optimizer, [ReDo(tau=2.0, period=20)], example_inputs=torch.zeros(2, 6))
    for _ in range(20):
        loss = net(torch.randn(4, 6)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    steps = optimizer.state[net[2].weight]["beta"].exp()
    assert steps.unique().numel() < steps.numel()  # all units were made new at the last step


def test_an_attached_regulariser_pulls_beside_the_traces():
    (bare, first, _), (pulled, second, _) = (trained(ObGD(), m, 1) for m in ([], [L2(strength=0.1)]))
    torch.manual_seed(0)
    begun = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    for a, b, start in zip(bare.parameters(), pulled.parameters(), begun.parameters(), strict=True):
        torch.testing.assert_close(b, a - 0.1 * start)
        torch.testing.assert_close(first.state[a]["trace"], second.state[b]["trace"])
