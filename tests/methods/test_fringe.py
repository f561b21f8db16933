"""Backbone and fringe against NumPy; what a generation leaves unchanged; who may be replaced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import compare, conv_net, mlp
from methods.resetting import ResettingReference, replaced
from neoteny.methods.fringe import Fringe


class FringeReference(ResettingReference):
    """The rule in NumPy, unit by unit."""

    method: Fringe

    def __init__(self, *given):
        super().__init__(*given)
        sizes = [len(b) for b in self.net.biases[:-1]]
        self.age, self.u, self.share, self.backbone = (
            [np.zeros(n, kind) for n in sizes] for kind in (int, float, float, bool)
        )
        self.promoted, self.demoted, self.stayed = [0] * len(sizes), [0] * len(sizes), 0
        self.disturbance = [0.0] * len(sizes)

    def judged(self, layer):
        return self.u[layer] / np.maximum(self.share[layer], 1e-30)

    def regularise(self, update, grads, hidden):
        depth = len(self.net.weights)
        for layer, backbone in enumerate(self.backbone):
            useful = self.judged(layer) * backbone
            keep = 1 - self.method.protection * useful / max(useful.max(), 1e-30)
            grads[layer] = grads[layer] * keep[:, None]
            grads[depth + layer] = grads[depth + layer] * keep
        return grads

    def intervene(self, update, grads, hidden):
        eta, m = self.method.decay_rate, self.method.maturity
        sent = []
        for layer, h in enumerate(hidden):
            squares = (self.net.weights[layer + 1] ** 2).sum(0).reshape(h.shape[1], -1).sum(1)
            sent.append(np.abs(h).mean((0, 2)) ** 2 * squares)
        for layer in range(len(hidden)):
            self.age[layer] += 1
            self.u[layer] = eta * self.u[layer] + (1 - eta) * sent[layer]
            self.share[layer] = eta * self.share[layer] + 1 - eta
            judged = self.judged(layer)
            useful = (self.age[layer] > m) & (judged >= self.method.threshold * judged.mean())
            self.promoted[layer] += int((useful & ~self.backbone[layer]).sum())
            self.demoted[layer] += int((self.backbone[layer] & ~useful).sum())
            self.backbone[layer] = useful
        for layer, h in enumerate(hidden):
            n, rate = h.shape[1], self.method.replacement_rate
            if np.floor(rate * n * (update + 1) + 1e-9) == np.floor(rate * n * update + 1e-9):
                continue
            open_ = (self.age[layer] > m) & ~self.backbone[layer]
            self.stayed += not open_.any()
            if open_.any():
                chosen = np.arange(n) == np.where(open_, self.judged(layer), np.inf).argmin()
                self.disturbance[layer] += self.judged(layer)[chosen].item()
                self.make_new(update, layer, chosen, self.net.weights[layer + 1].shape[1] // n, shared=True)
                for values in (self.age, self.u, self.share):
                    values[layer][chosen] = 0


@pytest.mark.reference("fringe")
@pytest.mark.parametrize("make", [mlp, conv_net])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_rule(make, kind):
    method = Fringe(replacement_rate=0.02, threshold=0.7, maturity=8, decay_rate=0.9, protection=0.8)
    own = type("Own", (FringeReference,), {"method": method})
    plasticity, reference, _ = compare(method, own, make=make, kind=kind)
    assert replaced(plasticity, "fringe") == reference.replaced
    state = plasticity._state["fringe"]
    for layer, record in enumerate(plasticity.units.layers):
        assert state[f"{record.name}/promoted"] == reference.promoted[layer] > 0
        assert state[f"{record.name}/demoted"] == reference.demoted[layer] > 0
        assert state[f"{record.name}/disturbance"].item() == pytest.approx(reference.disturbance[layer], rel=1e-9)
    assert min(reference.replaced) >= 10
    assert 0 < reference.stayed  # sometimes every unit was too young, or of use


def test_a_generation_changes_no_bit_of_the_output():
    """Only units that send nothing, or are made to send nothing, change: here the fringe sent 0 before as well."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 2))
    with torch.no_grad():  # a fringe of four units in each layer that send nothing
        model[2].weight[:, :4] = 0
        model[4].weight[:, :4] = 0
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    method = Fringe(replacement_rate=1.0, threshold=1e-9, maturity=1)
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 6), seed=3)
    probe = torch.randn(50, 6)
    before, weights = model(probe), model[0].weight.clone()
    for _ in range(12):
        optimizer.zero_grad()
        model(torch.randn(1, 6)).square().sum().backward()
        optimizer.step()
    assert min(replaced(plasticity, "fringe")) >= 1
    assert not torch.equal(model[0].weight[:4], weights[:4])
    assert torch.equal(model[0].weight[4:], weights[4:])  # replacement only in the fringe
    assert torch.equal(model(probe), before)


def test_the_disturbance_is_the_squared_change_of_the_output():
    """Where one example comes again and again, and nothing is learned, a replacement alone changes the output."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1)).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    method = Fringe(replacement_rate=1 / 24, threshold=0.5, maturity=6)
    x = torch.randn(1, 6).double()
    plasticity = neoteny.attach(model, optimizer, method, x, seed=3)
    outputs = [model(x).item()]
    for _ in range(14):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        outputs.append(model(x).item())
    changes = np.square(np.diff(outputs))
    assert 2 <= np.count_nonzero(changes) <= replaced(plasticity, "fringe")[0]
    assert plasticity._state["fringe"]["0/disturbance"].item() == pytest.approx(changes.sum(), rel=1e-9)


def test_where_every_unit_is_of_use_none_is_replaced():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    method = Fringe(replacement_rate=1.0, threshold=0.0, maturity=0)
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 6).double())
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.randn(4, 6).double()).square().sum().backward()
        optimizer.step()
    assert replaced(plasticity, "fringe") == [0, 0]
    assert plasticity._state["fringe"]["0/backbone"].all()


def test_a_clock_that_finds_no_fringe_goes_on():
    clock = Fringe(replacement_rate=0.05).schedule(network(), 0)
    assert [int(column.sum()) for column in clock.take(100).T] == [50, 35]


def network():
    from neoteny.units import find

    return find(mlp(), torch.zeros(1, 6).double())


def test_a_layer_that_is_dead_as_a_whole_is_made_new():
    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1))
    nn.init.constant_(net[0].bias, -100.0)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    neoteny.attach(net, optimizer, Fringe(replacement_rate=0.1, maturity=2), example_inputs=torch.zeros(1, 3))
    for x in torch.randn(60, 4, 3):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    assert (net[0].bias > -50).all()
