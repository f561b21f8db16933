"""Centring against NumPy: a network that is centred by its own parameters; and what optimizers follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.methods.centring import Centring
from neoteny.optim import IDBD, TorchOptimizer


def centring(method):
    class Rule(Reference):
        """Every centred layer is z = W (x - c) + b', and b is what b' and c make of it."""

        def __init__(self, *given):
            super().__init__(*given)
            layers = range(len(self.net.weights)) if method.layers == "all" else [0]
            self.product = {n: np.zeros(self.net.weights[n].shape[1]) for n in layers}
            self.square = dict.fromkeys(layers, 0.0)

        def regularise(self, update, grads, hidden):
            depth, r = len(self.net.weights), method.rate
            self.before = {}
            for n in self.product:
                push, bias = grads[n], grads[depth + n]
                self.product[n] += r * (sum(b * row for b, row in zip(bias, push, strict=True)) - self.product[n])
                self.square[n] += r * (sum(b * b for b in bias) - self.square[n])
                grads[n] = push - np.outer(bias, self.centre(n))
                self.before[n] = self.net.weights[n].copy()
            return grads

        def centre(self, n):
            return self.product[n] / self.square[n]

        def intervene(self, update, grads, hidden):
            for n, before in self.before.items():
                self.net.biases[n] -= (self.net.weights[n] - before) @ self.centre(n)

    return Rule


@pytest.mark.reference("centring")
@pytest.mark.parametrize("make", [mlp, conv_net])
@pytest.mark.parametrize("layers", ["inputs", "all"])
def test_rule(make, layers):
    method = Centring(rate=0.05, layers=layers)
    compare(method, centring(method), make=make, kind="sgd")


def test_rule_on_adam():
    method = Centring(rate=0.05)
    compare(method, centring(method), kind="adam", atol=1e-9)


def test_one_example_a_step_is_descent_on_the_centred_network():
    """With a constant centre: the same function, trained with inputs from which the centre is taken away."""
    torch.manual_seed(0)
    centre = torch.tensor([0.5, 2.0, -1.0]).double()
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    same = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    same.load_state_dict(net.state_dict())
    with torch.no_grad():
        same[0].bias += same[0].weight @ centre
    ours, theirs = (torch.optim.SGD(m.parameters(), 0.1) for m in (net, same))
    plasticity = neoteny.attach(net, ours, Centring(rate=1e-12), torch.zeros(1, 3).double())
    state = plasticity._state["centring"]
    state["0.weight/product"], state["0.weight/square"] = centre * 1e6, torch.tensor(1e6).double()
    for _ in range(30):
        x = centre + torch.randn(1, 3).double()
        for model, optimizer, given in ((net, ours, x), (same, theirs, x - centre)):
            optimizer.zero_grad()
            (model(given) - x.sum()).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(net(centre + 1), same(torch.ones(1, 3).double())[0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(net[0].weight, same[0].weight, rtol=1e-8, atol=1e-8)


def test_the_centre_is_the_mean_of_the_inputs_by_squared_error():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    plasticity = neoteny.attach(net, optimizer, Centring(rate=0.5), torch.zeros(1, 5))
    sums, sizes = torch.zeros(5), 0.0
    for step in range(6):
        x = torch.rand(1, 5)
        optimizer.zero_grad()
        (net(x) * (step + 1)).sum().backward()
        size = float(net[0].bias.grad.square().sum())
        sums, sizes = 0.5 * sums + size * x[0], 0.5 * sizes + size
        optimizer.step()
    state = plasticity._state["centring"]
    torch.testing.assert_close(state["0.weight/product"] / state["0.weight/square"], sums / sizes)


def test_a_predictions_gradients_are_centred_as_a_losses_are():
    """step(delta) after backward() on the prediction: as with the gradients of half the squared error."""
    torch.manual_seed(0)
    made = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double() for _ in range(2)]
    made[1].load_state_dict(made[0].state_dict())
    rule = IDBD(step_size=0.05, theta=0.0)  # follows either, with a step size that stays
    ours = [TorchOptimizer(net.parameters(), rule) for net in made]
    for net, optimizer in zip(made, ours, strict=True):
        neoteny.attach(net, optimizer, Centring(rate=0.1), torch.zeros(1, 3).double())
    begun = made[0][0].weight.detach().clone()
    for _ in range(20):
        x = torch.rand(1, 3).double()
        for optimizer in ours:
            optimizer.zero_grad()
        prediction = made[0](x).sum()
        prediction.backward()
        ours[0].step((x.sum() - prediction).detach())
        ((x.sum() - made[1](x).sum()).square() / 2).backward()
        ours[1].step()
    for own, other in zip(made[0].parameters(), made[1].parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9)
    assert float((made[0][0].weight - begun).detach().abs().max()) > 0.01
