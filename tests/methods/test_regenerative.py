"""Regenerative regularisation: L1-Init and Huber-Init against NumPy; L2-Init is in test_rules_against_numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.methods.regenerative import HuberInit, L1Init, L2Init

L1_STRENGTH = 0.02
HUBER_STRENGTH, DELTA = 0.3, 0.02


class L1Pull(Reference):
    """g + λ sign(θ - θ₀)."""

    def __init__(self, *given):
        super().__init__(*given)
        self.first = [p.copy() for p in self.net.parameters()]
        self.signs = np.zeros(3, int)

    def regularise(self, update, grads, hidden):
        away = [np.sign(p - p0) for p, p0 in zip(self.net.parameters(), self.first, strict=True)]
        for sign in away:
            self.signs += [(sign == value).sum() for value in (-1, 0, 1)]
        return [g + L1_STRENGTH * sign for g, sign in zip(grads, away, strict=True)]


@pytest.mark.reference("l1-init")
@pytest.mark.parametrize(("make", "kind"), [(mlp, "sgd"), (conv_net, "momentum"), (mlp, "adam")])
def test_the_rule_of_l1_init(make, kind):
    _, reference, _ = compare(L1Init(strength=L1_STRENGTH), L1Pull, make=make, kind=kind)
    assert (reference.signs > 100).all()  # from both sides, and from θ₀ itself


def test_unheld_weights_come_back_at_a_steady_pace_and_stay():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    start = model[0].weight.detach().clone()
    neoteny.attach(model, optimizer, L1Init(strength=0.5), torch.zeros(1, 3).double())
    with torch.no_grad():
        model[0].weight[0] += 0.52
    far = []
    for _ in range(30):
        optimizer.zero_grad()
        (model(torch.zeros(1, 3).double()) * 0).sum().backward()
        optimizer.step()
        far.append(float((model[0].weight.detach() - start)[0].abs().max()))
    np.testing.assert_allclose(far[:10], 0.52 - 0.05 * np.arange(1, 11), atol=1e-12)
    assert max(far[11:]) <= 0.05
    assert torch.equal(model[0].weight[1], start[1])


class HuberPull(Reference):
    """g + λ clip(θ - θ₀, -δ, δ)."""

    def __init__(self, *given):
        super().__init__(*given)
        self.first = [p.copy() for p in self.net.parameters()]
        self.far = self.near = 0

    def regularise(self, update, grads, hidden):
        away = [p - p0 for p, p0 in zip(self.net.parameters(), self.first, strict=True)]
        self.far += sum((np.abs(a) > DELTA).sum() for a in away)
        self.near += sum(((np.abs(a) < DELTA) & (a != 0)).sum() for a in away)
        return [
            g + HUBER_STRENGTH * np.where(np.abs(a) < DELTA, a, DELTA * np.sign(a))
            for g, a in zip(grads, away, strict=True)
        ]


@pytest.mark.reference("huber-init")
@pytest.mark.parametrize(("make", "kind"), [(mlp, "sgd"), (conv_net, "momentum"), (mlp, "adam")])
def test_the_rule_of_huber_init(make, kind):
    _, reference, _ = compare(HuberInit(strength=HUBER_STRENGTH, delta=DELTA), HuberPull, make=make, kind=kind)
    assert min(reference.far, reference.near) > 500


def test_huber_init_is_the_gradient_of_hubers_loss():
    away = torch.linspace(-1, 1, 41, dtype=torch.float64).requires_grad_()
    torch.nn.functional.huber_loss(away, torch.zeros_like(away), reduction="sum", delta=0.33).backward()
    torch.testing.assert_close(HuberInit(delta=0.33).force(away.detach()), away.grad)


def test_the_limits_of_huber_init_are_l2_init_and_l1_init():
    away = torch.linspace(-1, 1, 40, dtype=torch.float64)
    assert torch.equal(HuberInit(delta=2.0).force(away), L2Init().force(away))
    torch.testing.assert_close(HuberInit(delta=1e-3).force(away), 1e-3 * L1Init().force(away))
