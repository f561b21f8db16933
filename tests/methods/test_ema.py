"""The moving average of the weights, held against the weighted sum that it is."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import STEPS, Reference, compare, conv_net, mlp, weighted
from neoteny.errors import SettingError
from neoteny.methods import EMA, HareAndTortoise
from neoteny.methods.base import Step

MU = 0.97


class Remembering(Reference):
    """Keeps the weights after every update; the average is a sum over all of them."""

    def __init__(self, *args):
        super().__init__(*args)
        self.first = [p.copy() for p in self.net.parameters()]
        self.seen = []

    def intervene(self, update, grads, hidden):
        self.seen.append([p.copy() for p in self.net.parameters()])

    def average(self, correct):
        shares = (1 - MU) * MU ** np.arange(len(self.seen) - 1, -1, -1.0)
        sums = [np.tensordot(shares, np.stack(values), 1) for values in zip(*self.seen, strict=True)]
        if correct:
            return [value / shares.sum() for value in sums]
        return [value + MU ** len(self.seen) * first for value, first in zip(sums, self.first, strict=True)]


@pytest.mark.reference("ema")
@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize(("make", "kind"), [(mlp, "adam"), (conv_net, "sgd")])
def test_against_the_sum_over_all_updates(make, kind, correct):
    plasticity, own, model = compare(EMA(mu=MU, correct=correct), Remembering, make=make, kind=kind)
    learnt = [p.detach().clone() for p in model.parameters()]
    with plasticity.evaluating():
        layers = weighted(model)
        ours = [m.weight.detach().flatten(1).numpy().copy() for m in layers]
        ours += [m.bias.detach().numpy().copy() for m in layers]
    for mine, expected in zip(ours, own.average(correct), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-12)
    assert len(own.seen) == STEPS
    assert all(torch.equal(a, b) for a, b in zip(learnt, model.parameters(), strict=True))
    assert any(not np.allclose(a, b, rtol=1e-3) for a, b in zip(ours, own.seen[-1], strict=True))


def trained(method, model, steps=5, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, method, torch.randn(4, 3, dtype=dtype))
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3, dtype=dtype)).square().mean().backward()
        optimizer.step()
    return plasticity


def test_the_first_average_is_the_first_weights_learnt():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    plasticity = trained(EMA(mu=0.999), model, steps=1)
    learnt = copy.deepcopy(model.state_dict())
    with plasticity.evaluating():
        assert all(torch.equal(value, learnt[name]) for name, value in model.state_dict().items())


def test_running_statistics_are_averaged_and_counts_are_not():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)).double()
    seen = [model[1].running_var.clone()]
    model.register_forward_hook(lambda *_: seen.append(model[1].running_var.clone()) if model.training else None)
    plasticity = trained(EMA(mu=0.5, correct=False), model, steps=3)
    expected = 0.125 * seen[0] + 0.125 * seen[-3] + 0.25 * seen[-2] + 0.5 * seen[-1]
    with plasticity.evaluating():
        torch.testing.assert_close(model[1].running_var, expected)
        assert model[1].num_batches_tracked == 3
    assert torch.equal(model[1].running_var, seen[-1])


def test_in_half_precision_the_average_moves_all_the_same():
    method, half = EMA(mu=0.999, correct=False), torch.ones(2, dtype=torch.bfloat16)
    network = neoteny.units.find(nn.Linear(2, 1), torch.zeros(1, 2), allow_none=True)
    state = method.init(network, {"w": torch.zeros_like(half)})
    step = Step(network, {"w": half}, {}, {}, {}, {}, torch.zeros(2, dtype=torch.int32))
    moved = method.followed(step, state, 1 - method.mu)
    assert moved["w/average"].dtype == torch.float32
    torch.testing.assert_close(moved["w/average"], torch.full((2,), 0.001))
    assert method.evaluated({"w": half}, moved)["w"].dtype == torch.bfloat16


def test_what_makes_no_sense_is_refused():
    with pytest.raises(SettingError, match=r"mu = 1 .*\[0, 1\)"):
        EMA(mu=1)
    model = nn.Linear(3, 1)
    with pytest.raises(SettingError, match="only one average"):
        neoteny.attach(model, torch.optim.SGD(model.parameters(), 0.1), [EMA(), HareAndTortoise()], torch.zeros(1, 3))
