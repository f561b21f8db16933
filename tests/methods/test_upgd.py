"""UPGD in all its variants against NumPy, the gate that a unit's utility is about, and the authors' deviations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.errors import SettingError
from neoteny.methods.base import Step
from neoteny.methods.upgd import UPGD
from neoteny.optim import IDBD, ObGD, TorchOptimizer
from neoteny.units import find, random
from neoteny.units.noise import normals


def upgd(method, lr):
    class Rule(Reference):
        """(g + σ ξ)(1 - s) and its relatives; `parameters()` has weights first, then biases."""

        def __init__(self, *given):
            super().__init__(*given)
            depth = len(self.net.weights)
            names = list(self.draws.network.initialisers)
            self.order = [names.index(name) for name in names[::2]] + [names.index(name) for name in names[1::2]]
            self.sizes = [np.prod(self.draws.shapes[name], dtype=int) for name in names]
            self.depth = depth
            like = self.net.parameters() if method.level == "weight" else [b for b in self.net.biases[:-1]]
            self.mean, self.shares = [np.zeros_like(p) for p in like], []

        def noise(self, update):
            drawn = normals(self.draws.regularising(update), int(sum(self.sizes)))[0].double().numpy()
            parts = np.split(drawn, np.cumsum(self.sizes)[:-1])
            return [parts[n].reshape(p.shape) for n, p in zip(self.order, self.net.parameters(), strict=True)]

        def regularise(self, update, grads, hidden):
            parameters = self.net.parameters()
            if method.level == "weight":
                towards = [g * p for g, p in zip(grads, parameters, strict=True)]
            else:
                towards = []
                for layer, h in enumerate(hidden):
                    product = grads[layer + 1] * parameters[layer + 1]
                    towards.append(product.reshape(-1, h.shape[1], h.shape[2]).sum((0, 2)))
            corrected = []
            for mean, a in zip(self.mean, towards, strict=True):
                mean *= method.beta
                mean += (1 - method.beta) * (a**2 / 2 - a if method.order == 2 else -a)
                corrected.append(mean / (1 - method.beta ** (update + 1)))
            judged = self.mean if method.uncorrected_max else corrected
            shares = []
            for own, value in zip(judged, corrected, strict=True):
                size = own.max() if method.scope == "local" else max(j.max() for j in judged)
                if method.row_norm:
                    size = np.sqrt((value.reshape(self.kernel(value)) ** 2).sum(-1, keepdims=True)).clip(1e-12)
                    shares.append(expit((value.reshape(self.kernel(value)) / size).reshape(value.shape)))
                else:
                    shares.append(expit(value / (size if size > 1e-12 else 1)))
            self.shares.append(np.concatenate([s.ravel() for s in shares]))
            if method.level == "weight":
                keep = [1 - s for s in shares]
                perturb = keep
            else:
                rows = [1 - s for s in shares]
                keep = [*(r[:, None] for r in rows), 1, *rows, 1]
                perturb = [*(r[:, None] for r in rows), 0, *rows, 0]
            return [
                (2 if method.doubled else 1) * (g * (k if method.protecting else 1) + method.sigma * x * n)
                for g, k, n, x in zip(grads, keep, perturb, self.noise(update), strict=True)
            ]

        def kernel(self, value):
            return next(s for s in self.draws.shapes.values() if np.prod(s) == value.size and s[0] == len(value))

        def intervene(self, update, grads, hidden):
            for p in self.net.parameters():
                p *= 1 - lr * method.weight_decay

    return Rule


VARIANTS = [
    (mlp, UPGD(sigma=0.05, weight_decay=0.1, beta=0.99)),
    (conv_net, UPGD(sigma=0.05, scope="local", beta=0.9)),
    (mlp, UPGD(sigma=0.05, order=2, protecting=False)),
    (conv_net, UPGD(sigma=0.05, scope="local", order=2, row_norm=True)),
    (mlp, UPGD(sigma=0.05, uncorrected_max=True, doubled=True)),
    (conv_net, UPGD(sigma=0.05, level="unit", beta=0.99)),
    (mlp, UPGD(sigma=0.05, level="unit", scope="local", order=2, protecting=False, doubled=True)),
]


@pytest.mark.reference("upgd")
@pytest.mark.parametrize(("make", "method"), VARIANTS)
def test_rule(make, method):
    _, reference, _ = compare(method, upgd(method, 0.02), make=make, kind="sgd")
    shares = np.array(reference.shares)
    assert (shares.max(1) > 0.7).mean() > 0.9  # some weights are protected, and others are not
    assert shares.min() < 0.3


def test_rule_on_adam():
    method = UPGD(sigma=0.01, weight_decay=0.1, beta=0.9)
    compare(method, upgd(method, 0.003), kind="adam", atol=1e-9)


def test_the_most_useful_weight_takes_a_quarter_of_its_step_and_without_utility_a_half():
    """expit(1) = 0.731, expit(0) = 0.5: of a step of α g remain 0.269 and 0.5."""
    grads = {"0.weight": [[-2.0, 0.0], [1.0, -3.0]]}
    changed = replaced(UPGD(sigma=0.0, beta=0.0), [[1.0, 5.0], [0.0, 0.5]], grads)
    utility = np.array([[2.0, 0.0], [0.0, 1.5]])
    expected = np.array(grads["0.weight"]) * (1 - expit(utility / 2))
    np.testing.assert_allclose(changed, expected, rtol=1e-6)


def test_where_no_utility_is_positive_the_scale_stays_as_it_is():
    changed = replaced(UPGD(sigma=0.0, beta=0.0), [[1.0, 1.0], [0.0, 0.0]], {"0.weight": [[2.0, 0.5], [1.0, 1.0]]})
    expected = np.array([[2.0, 0.5], [1.0, 1.0]]) * (1 - expit(np.array([[-2.0, -0.5], [0, 0]])))
    np.testing.assert_allclose(changed, expected, rtol=1e-6)


def replaced(method, weights, grads):
    """The gradient of the first weight matrix that the rule makes of a given one."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    network = find(model, torch.zeros(1, 2).double())
    tensors = {name: p.detach().clone() for name, p in model.named_parameters()}
    tensors["0.weight"] = torch.tensor(weights).double()
    given = {name: torch.tensor(value).double() for name, value in grads.items()}
    step = Step(network, tensors, given, {}, {}, {}, random.key(0))
    method.regularise(step, method.init(network, tensors))
    return step.grads["0.weight"].numpy()


def test_a_units_utility_is_that_of_a_gate_behind_it():
    torch.manual_seed(0)
    model, x = conv_net(), torch.randn(5, 2, 3, 3).double()
    method = UPGD(level="unit", beta=0.0)
    network = find(model, x)
    gate = torch.ones(6, dtype=torch.float64, requires_grad=True)
    hidden = model[1](model[0](x)) * gate[:, None, None]
    model[2:](hidden).square().sum().backward()
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    grads = {name: p.grad for name, p in model.named_parameters()}
    step = Step(network, tensors, grads, {}, {}, {}, random.key(0))
    state = method.regularise(step, method.init(network, tensors))
    torch.testing.assert_close(state["0/new"], -gate.grad)


def test_two_methods_that_remake_the_gradients_are_refused():
    class Other(UPGD):
        name = "another"

    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(SettingError, match="upgd and another cannot act together"):
        neoteny.attach(model, optimizer, [UPGD(), Other()], torch.zeros(1, 6).double())


def test_row_norms_belong_to_the_local_variant():
    with pytest.raises(SettingError, match='row_norm = True is not False unless scope="local"'):
        UPGD(row_norm=True)


@pytest.mark.parametrize("rule", [ObGD(), IDBD(step_size=0.01)], ids=lambda rule: rule.name)
@pytest.mark.parametrize("settings", [{}, {"level": "unit"}, {"doubled": True, "scope": "local"}], ids=str)
def test_it_protects_where_an_optimizer_follows_a_prediction(rule, settings):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = TorchOptimizer(net.parameters(), rule)
    neoteny.attach(net, optimizer, UPGD(sigma=0, weight_decay=0, **settings), example_inputs=torch.zeros(1, 5))
    inputs = torch.randn(400, 5)
    targets = inputs @ torch.linspace(-1, 1, 5)
    errors = []
    for x, y in zip(inputs, targets, strict=True):
        optimizer.zero_grad()
        value = net(x).squeeze()
        value.backward()
        delta = float(y - value.detach())
        optimizer.step(delta)
        errors.append(delta**2)
    assert np.mean(errors[-50:]) < 0.3 * np.mean(errors[:50])


def test_the_noise_moves_weights_beside_a_prediction():
    ends = []
    for sigma in (0.0, 0.5):
        torch.manual_seed(0)
        net = nn.Linear(3, 1)
        optimizer = TorchOptimizer(net.parameters(), IDBD(step_size=0.1))
        neoteny.attach(net, optimizer, UPGD(sigma=sigma, weight_decay=0), example_inputs=torch.zeros(1, 3))
        net(torch.ones(3)).backward()
        optimizer.step(0.0)  # no error: nothing but the noise moves
        ends.append(net.weight.detach().clone())
    still, moved = ends
    torch.manual_seed(0)
    assert torch.equal(still, nn.Linear(3, 1).weight) and not torch.equal(moved, still)
