"""The rules by hand that the benchmark of attached methods compares them with: they do the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import neoteny
from neoteny import (
    EMA,
    L2,
    L2Init,
    SelectiveReinitialisation,
    SelfNormalisedResets,
    ShrinkAndPerturb,
    WeightClipping,
)
from neoteny.attachment.user_step import UserStep
from neoteny.methods import Method

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import by_hand

X, Y = (
    torch.randn(16, 5, generator=torch.Generator().manual_seed(1)),
    torch.randint(10, (16,), generator=torch.Generator().manual_seed(2)),
)
OPTIMIZERS = {"SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), "Adam": lambda p: torch.optim.Adam(p, 0.01)}


def trained(steps, optimizer, method=None, rule=None, settings=None, activation=nn.ReLU):
    """A network after some steps: its parameters, the optimizer's state of them, and what was attached."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 40), activation(), nn.Linear(40, 30), activation(), nn.Linear(30, 10))
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    handle = None if method is None else neoteny.attach(model, optimizer, method, X[:2])
    written = None if rule is None else type("Rule", (rule,), settings or {})(model, optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        if written is not None:
            written.before()
        optimizer.step()
        if written is not None:
            written.after()
    return [p.detach() for p in model.parameters()], optimizer.state, handle, written


class Shrinking(Method):
    """A rule that replaces weights before others are written to."""

    name, needs_examples = "shrinking", False

    def intervene(self, step, state, due):
        step.tensors.update({name: 0.9 * step.tensors[name] for name in step.trained()})
        return state


@pytest.mark.parametrize(
    "methods",
    [
        [WeightClipping(zeta=0.9)],
        [L2(strength=0.1, decoupled=True)],
        [ShrinkAndPerturb(sigma=0.1), WeightClipping(zeta=0.9)],
        [Shrinking(), ShrinkAndPerturb(sigma=0.1)],
    ],
)
def test_weights_are_written_to_in_place_with_equal_numbers(methods, monkeypatch):
    in_place, *_ = trained(5, "Adam", methods)
    monkeypatch.setattr(UserStep, "_writable", lambda self, names: [])
    replaced, *_ = trained(5, "Adam", methods)
    bare, *_ = trained(5, "Adam")
    assert all(map(torch.equal, in_place, replaced))
    assert not any(map(torch.equal, in_place, bare))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "method, rule, settings",
    [
        (L2(strength=0.01), by_hand.L2, {"strength": 0.01}),
        (L2Init(strength=0.01), by_hand.L2Init, {"strength": 0.01}),
        (WeightClipping(zeta=0.9), by_hand.WeightClipping, {"zeta": 0.9}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_weights_are_equal(method, rule, settings, optimizer):
    attached, *_ = trained(7, optimizer, method)
    written, *_ = trained(7, optimizer, rule=rule, settings=settings)
    bare, *_ = trained(7, optimizer)
    for a, b in zip(attached, written, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    assert any(not torch.equal(a, b) for a, b in zip(attached, bare, strict=True))


@pytest.mark.parametrize(
    "method, rule", [(EMA(mu=0.8), by_hand.EMA), (neoteny.HareAndTortoise(mu=0.8), by_hand.HareAndTortoise)]
)
def test_averages_are_equal(method, rule):
    _, _, handle, _ = trained(7, "Adam", method)
    *_, written = trained(7, "Adam", rule=rule, settings={"mu": 0.8})
    averages = [v for key, v in handle.state_dict()["methods"][method.name]["state"].items() if key.endswith("average")]
    for a, b in zip(averages, written.average, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "method, rule, settings",
    [
        (neoteny.ReDo(tau=0.5, period=4), by_hand.ReDo, {"tau": 0.5, "period": 4}),
        (SelfNormalisedResets(threshold=40, period=100), by_hand.SNR, {"period": 40}),
        (SelectiveReinitialisation(factor=0.1, period=4), by_hand.SWR, {"factor": 0.1, "period": 4}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_same_weights_are_made_new(method, rule, settings, optimizer):
    activation = nn.Tanh if method.name == "swr" else nn.ReLU  # no equal utilities
    steps = 3 if method.name == "snr" else 4  # up to the first reset
    bare, *_ = trained(steps, optimizer, activation=activation)
    attached, state, *_ = trained(steps, optimizer, method, activation=activation)
    written, state_written, *_ = trained(steps, optimizer, rule=rule, settings=settings, activation=activation)
    assert any(not torch.equal(a, b) for a, b in zip(attached, bare, strict=True))
    for a, b, plain in zip(attached, written, bare, strict=True):
        torch.testing.assert_close(a != plain, b != plain)
        assert a.abs().max() <= max(plain.abs().max(), 5**-0.5) + 1e-6
        assert b.abs().max() <= max(plain.abs().max(), 5**-0.5) + 1e-6
    for one, other in zip(state.values(), state_written.values(), strict=True):
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=1e-5, atol=1e-8)


def test_noise_has_the_same_size():
    bare, *_ = trained(1, "SGD")
    method = ShrinkAndPerturb(weight_decay=1e-4, sigma=0.1)
    for given in ({"method": method}, {"rule": by_hand.ShrinkAndPerturb, "settings": {"sigma": 0.1}}):
        moved = torch.cat([(a - b).flatten() for a, b in zip(trained(1, "SGD", **given)[0], bare, strict=True)])
        assert moved.std().item() == pytest.approx(0.1, rel=0.05)
        assert moved.mean().abs() < 0.01
