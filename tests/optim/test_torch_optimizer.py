"""The rules as `torch.optim.Optimizer`: equal to the laboratory's, saved and loaded, in groups; what they refuse."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from neoteny.errors import SettingError
from neoteny.optim import (
    IDBD,
    K1,
    SGD,
    TIDBD,
    Adam,
    AdaptiveObGD,
    Autostep,
    Hypergradient,
    Intentional,
    MetaOptimize,
    ObGD,
    TorchOptimizer,
)
from neoteny.optim.signals import TRACE_DECAY
from optim.streaming import begun, flat, run, stream

PREDICTIONS = [ObGD(), AdaptiveObGD(), TIDBD(step_size=0.003), Autostep(), K1(), Intentional()]
LOSSES = [SGD(momentum=0.9), Adam(), IDBD(), Autostep(), Hypergradient(eta=1e-5), MetaOptimize(step_size=1e-3)]


def parameters():
    return {name: nn.Parameter(torch.from_numpy(value)) for name, value in begun().items()}


def step(optimizer, own, grads, t, *error):
    for name, parameter in own.items():
        parameter.grad = torch.from_numpy(grads[name][t])
    optimizer.step(*error)


@pytest.mark.parametrize("rule", PREDICTIONS, ids=lambda rule: rule.name)
def test_with_an_error_it_equals_the_rule(rule):
    grads, delta, _, ended = stream(200)
    expected, *_ = run(rule, grads, delta, np.full(200, 0.72), ended)
    own = parameters()
    optimizer = TorchOptimizer(own.values(), rule, gamma=0.9, lamda=0.8 * (TRACE_DECAY in rule.reads))
    for t in range(200):
        step(optimizer, own, grads, t, delta[t], bool(ended[t]))
    np.testing.assert_allclose(flat({n: p.detach().numpy() for n, p in own.items()}), flat(expected), rtol=1e-5)
    assert set(optimizer.said[0]) == set(rule.metrics)


@pytest.mark.parametrize("rule", LOSSES, ids=lambda rule: rule.name)
def test_with_a_loss_it_equals_the_rule(rule):
    grads, *_ = stream(200)
    expected, *_ = run(rule, grads)
    own = parameters()
    optimizer = TorchOptimizer(own.values(), rule)
    for t in range(200):
        step(optimizer, own, grads, t)
    np.testing.assert_allclose(flat({n: p.detach().numpy() for n, p in own.items()}), flat(expected), rtol=1e-5)


@pytest.mark.parametrize("rule", [Intentional(), AdaptiveObGD(), TIDBD(step_size=0.003)], ids=lambda rule: rule.name)
def test_saved_and_loaded_it_goes_on_to_the_bit(rule):
    grads, delta, _, ended = stream(60)
    own, other = parameters(), parameters()
    first, second = (TorchOptimizer(each.values(), rule, gamma=0.9, lamda=0.8) for each in (own, other))
    for t in range(60):
        if t == 30:
            saved = copy.deepcopy(first.state_dict())
            second.load_state_dict(saved)
            for name, parameter in own.items():
                other[name].data.copy_(parameter.data)
        step(first, own, grads, t, delta[t], bool(ended[t]))
        if t >= 30:
            step(second, other, grads, t, delta[t], bool(ended[t]))
    assert all(torch.equal(own[name], other[name]) for name in own)


@pytest.mark.parametrize("rule", [Intentional(), MetaOptimize(meta="adamw")], ids=lambda rule: rule.name)
def test_in_half_precision_too(rule):
    """Some of a rule's state is in single precision, which loading must not take from it."""
    grads, delta, *_ = stream(20)
    own, other = ({n: nn.Parameter(p.detach().bfloat16()) for n, p in parameters().items()} for _ in range(2))
    first, second = (TorchOptimizer(each.values(), rule) for each in (own, other))
    for t in range(20):
        error = [delta[t]] if rule.follows == "prediction" else []
        for optimizer, network in ((first, own), (second, other))[: 1 if t < 10 else 2]:
            for name, parameter in network.items():
                parameter.grad = torch.from_numpy(grads[name][t]).bfloat16()
            optimizer.step(*error)
        if t == 9:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
            for name, parameter in own.items():
                other[name].data.copy_(parameter.data)
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert all(
        torch.equal(value, second.state[other[name]][key])
        for name, p in own.items()
        for key, value in first.state[p].items()
    )


def pickled(both):
    """Written and read."""
    return pickle.loads(pickle.dumps(both))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_goes_on_by_itself(copied):
    grads, delta, *_ = stream(10)
    own = parameters()
    optimizer = TorchOptimizer(own.values(), ObGD(kappa=3.0), gamma=0.9, lamda=0.8)
    for t in range(5):
        step(optimizer, own, grads, t, delta[t])
    optimizer.pulls[own["a"]] = torch.ones_like(own["a"])
    twin, theirs = copied((optimizer, own))
    for t in range(5, 10):
        step(optimizer, own, grads, t, delta[t])
    before = {name: p.detach().clone() for name, p in own.items()}
    for t in range(5, 10):
        step(twin, theirs, grads, t, delta[t])
    assert twin.rule == optimizer.rule
    assert all(torch.equal(before[n], own[n]) and torch.equal(own[n], p) for n, p in theirs.items())


def test_counts_of_updates_survive_half_precision():
    weight = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    first, second = (TorchOptimizer([weight], AdaptiveObGD()) for _ in range(2))
    for _ in range(300):
        weight.grad = torch.ones_like(weight)
        first.step(0.0)
    second.load_state_dict(first.state_dict())
    assert (second.state[weight]["age"] == 300).all()


def test_a_group_is_a_network_with_settings_of_its_own():
    """Bounds are taken over a group; the step size is its `lr`, which schedulers change."""
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    groups = [{"params": [one]}, {"params": [two], "kappa": 4.0, "trace_decay": 0.5}]
    optimizer = TorchOptimizer(groups, ObGD(kappa=2.0))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    for _ in range(2):
        one.grad = two.grad = torch.ones(1)
        optimizer.step(1.0)
    assert one.item() == pytest.approx(2 / 2)
    assert two.item() == pytest.approx(1 / 4 + 1 / 4)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    assert len(optimizer.said) == 2


def test_closures_and_missing_gradients():
    net = nn.Linear(3, 1)
    optimizer, x = TorchOptimizer(net.parameters(), IDBD(step_size=0.1)), torch.randn(5, 3)

    def closure():
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure=closure) < first
    weight, idle = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    traced = TorchOptimizer([weight, idle, frozen], ObGD(), gamma=1.0, lamda=0.5)
    for _ in range(2):
        traced.step(1.0)
        weight.grad = torch.ones(1)
    weight.grad = None
    traced.step(1.0)
    assert traced.state[weight]["trace"].item() == 0.5  # it decays without a gradient
    assert idle.item() == 0 and frozen not in traced.state


def test_what_it_refuses():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    with pytest.raises(SettingError, match=r"lambda = 1\.5 is not a number in \[0, 1\]"):
        TorchOptimizer([weight], ObGD(), gamma=0.9, lamda=1.5)
    with pytest.raises(SettingError, match=r"lambda = 2\.0"):
        TorchOptimizer([{"params": [weight], "trace_decay": 2.0}], ObGD())
    with pytest.raises(SettingError, match="kappa"):
        TorchOptimizer([{"params": [weight], "kappa": -1.0}], ObGD())
    with pytest.raises(SettingError, match="IDBD needs the gradients of 'factors' beside"):
        TorchOptimizer([weight], IDBD(curvature="gauss-newton"))
    with pytest.raises(SettingError, match="ObGD follows a prediction: call backward"):
        TorchOptimizer([weight], ObGD()).step()
    with pytest.raises(SettingError, match="SGD descends a loss"):
        TorchOptimizer([weight], SGD()).step(1.0)
    with pytest.raises(SettingError, match="delta = nan is not a finite number"):
        TorchOptimizer([weight], ObGD()).step(float("nan"))
    with pytest.raises(SettingError, match=r"delta has shape \(2,\)"):
        TorchOptimizer([weight], ObGD()).step(torch.ones(2))
    table = nn.Embedding(3, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(SettingError, match="a gradient is sparse"):
        TorchOptimizer(table.parameters(), IDBD()).step()


def test_what_concerns_all_parameters_outlives_the_first_one():
    grads, delta, *_ = stream(20)
    own = parameters()
    optimizer = TorchOptimizer(own.values(), Intentional(), gamma=0.9, lamda=0.8)
    for t in range(10):
        step(optimizer, own, grads, t, delta[t])
    first, *others = own.values()
    first.requires_grad_(False)
    before = [p.detach().clone() for p in others]
    for t in range(10, 20):
        step(optimizer, own, grads, t, delta[t])
    assert all(not torch.equal(p, old) for p, old in zip(others, before, strict=True))


@pytest.mark.parametrize("begun_with", [0, 5])
@pytest.mark.parametrize("rule", [Hypergradient(eta=1e-3), Intentional(), MetaOptimize(eta=0.1)], ids=lambda r: r.name)
def test_what_concerns_all_parameters_is_not_that_of_a_thawed_one(rule, begun_with):
    """Where the first one joins again with a gradient of 0, what all have in common is as if it had not."""
    grads, delta, *_ = stream(20)
    found = []
    for thawed in (True, False):
        own = parameters()
        optimizer = TorchOptimizer(own.values(), rule)
        first, other = own.values()
        for t in range(20):
            first.requires_grad_(t < begun_with or (thawed and t >= 10))
            if t >= 10:
                grads["a"][t] = 0
            step(optimizer, own, grads, t, *([delta[t]] if rule.follows == "prediction" else []))
        found.append({name: float(optimizer.state[other][name]) for name in rule.in_common()})
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e-12, 1e-15])
def test_the_cosine_of_small_gradients_is_a_cosine(size):
    weight = nn.Parameter(torch.zeros(4))
    optimizer = TorchOptimizer([weight], Hypergradient(step_size=0.1, eta=0.01, form="multiplicative"))
    for _ in range(2):
        weight.grad = torch.full((4,), size)
        optimizer.step()
    (said,) = optimizer.said
    assert float(said["step_size"]) == pytest.approx(0.101)


def test_a_trace_that_a_rule_does_not_keep_is_refused():
    with pytest.raises(SettingError, match=r"gamma \* lambda = 0.72, and IDBD keeps no traces"):
        TorchOptimizer(parameters().values(), IDBD(), gamma=0.9, lamda=0.8)
