"""Spectral regularisation: singular values by power iteration against the rule in NumPy, and against the SVD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.errors import SettingError
from neoteny.methods.base import Step
from neoteny.methods.normalise_and_project import NormaliseAndProject
from neoteny.methods.parseval import Parseval
from neoteny.methods.shared.matrices import matrices
from neoteny.methods.spectral import Spectral
from neoteny.methods.upgd import UPGD
from neoteny.units import find, random

STRENGTH = 0.02


def pull(k, iterations):
    class Pull(Reference):
        """2 k λ (σ^k - 1) σ^(k-1) u vᵀ and 2 k λ |b|^(2k-2) b."""

        def __init__(self, *given):
            super().__init__(*given)
            self.left = [
                random.normal(random.key(n), (len(w),)).double().numpy() for n, w in enumerate(self.net.weights)
            ]
            self.sigmas = []

        def regularise(self, update, grads, hidden):
            added = []
            for layer, w in enumerate(self.net.weights):
                u = self.left[layer]
                for _ in range(iterations):
                    v = w.T @ u
                    v /= np.sqrt((v**2).sum())
                    u = w @ v
                    u /= np.sqrt((u**2).sum())
                self.left[layer] = u
                sigma = u @ w @ v
                added.append(2 * k * STRENGTH * (sigma**k - 1) * sigma ** (k - 1) * np.outer(u, v))
                self.sigmas.append(sigma)
            added += [2 * k * STRENGTH * (b @ b) ** (k - 1) * b for b in self.net.biases]
            return [g + a for g, a in zip(grads, added, strict=True)]

    return Pull


@pytest.mark.reference("spectral")
@pytest.mark.parametrize(
    ("make", "kind", "k", "iterations"), [(mlp, "sgd", 2, 1), (conv_net, "momentum", 3, 2), (mlp, "adam", 1, 1)]
)
def test_rule(make, kind, k, iterations):
    method = Spectral(strength=STRENGTH, k=k, iterations=iterations)
    _, reference, _ = compare(method, pull(k, iterations), make=make, kind=kind)
    exact = [np.linalg.norm(w, 2) for w in reference.net.weights]
    np.testing.assert_allclose(reference.sigmas[-len(exact) :], exact, rtol=0.02)  # the iteration follows the weights


def gradients(method, model, x):
    """What the method adds after many rounds of power iteration, by name."""
    network = find(model, x, only_preserving=False)
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    step = Step(network, tensors, {n: torch.zeros_like(p) for n, p in tensors.items()}, {}, {}, {}, random.key(0))
    method.regularise(step, method.init(network, tensors))
    return step.grads


@pytest.mark.parametrize("k", [1, 2, 3])
def test_it_is_the_gradient_of_the_penalty(k):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(1, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).double()
    with torch.no_grad():
        model[1].weight += torch.randn(4)
        model[1].bias += torch.randn(4)
    x = torch.randn(2, 2, 4, 4).double()
    added = gradients(Spectral(strength=0.3, k=k, iterations=2000), model, x)
    penalty = sum(((torch.linalg.matrix_norm(model[n].weight.flatten(1), 2) ** k - 1) ** 2) for n in (0, 4))
    penalty += ((model[1].weight ** k - 1) ** 2).sum() + sum(model[n].bias.norm() ** (2 * k) for n in (0, 1, 4))
    (0.3 * penalty).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(added[name], p.grad, rtol=1e-6, atol=1e-9)


def test_alone_it_brings_every_singular_value_to_one():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    neoteny.attach(model, optimizer, Spectral(strength=1.0), torch.zeros(1, 6).double())
    for _ in range(300):
        optimizer.zero_grad()
        (model(torch.zeros(1, 6).double()) * 0).sum().backward()
        optimizer.step()
    for number in (0, 2, 4):
        assert float(torch.linalg.matrix_norm(model[number].weight.detach(), 2)) == pytest.approx(1, abs=1e-3)
        assert float(model[number].bias.detach().norm()) < 0.15


def test_a_layer_set_to_zero_is_pulled_again_once_it_has_learned():
    """Its singular vectors are those from before, not 0 for ever."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    methods = [Spectral(strength=0.1), neoteny.HeadReset(to="zero")]
    plasticity = neoteny.attach(model, optimizer, methods, torch.zeros(1, 6).double())
    plasticity.new_task()
    x, y = torch.randn(32, 6).double(), torch.randn(32, 2).double()
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    left = plasticity.state_dict()["methods"]
    found = [value for value in flat(left) if value.shape == (2,) and value.is_floating_point()]
    assert found
    assert all(float(value.norm()) == pytest.approx(1) for value in found)


def flat(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return [leaf for value in values for leaf in flat(value)]


def test_embeddings_are_left_out_and_fan_outs_lie_where_they_should():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 6), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randint(9, (3, 2))
    network = find(model, x, only_preserving=False)
    found = {m.name: m for m in matrices(network, dict(model.named_parameters()))}
    assert {name: (m.embedding, m.biases) for name, m in found.items()} == {
        "0.weight": (True, ()),
        "2.weight": (False, ("2.bias",)),
        "4.weight": (False, ("4.bias",)),
    }
    assert not gradients(Spectral(strength=1.0), model, x)["0.weight"].any()


@pytest.mark.parametrize("method", [Spectral(), Parseval(), NormaliseAndProject(), UPGD()])
def test_rules_of_whole_matrices_refuse_shards(method):
    class Sharded(Step):
        def shape(self, name):
            return (2 * len(self.tensors[name]), *self.tensors[name].shape[1:])

    model, x = mlp(), torch.zeros(1, 6).double()
    network = find(model, x, only_preserving=False)
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    step = Sharded(network, tensors, dict(tensors), {}, {}, {}, random.key(0))
    state = method.init(network, tensors)
    with pytest.raises(SettingError, match=r"needs whole parameters, and of 0.weight \[20, 6\] only a part \[10, 6\]"):
        method.intervene(step, method.regularise(step, state), None)


def test_a_gain_that_begins_at_zero_is_no_shift():
    norm = nn.BatchNorm1d(3)
    nn.init.zeros_(norm.weight)
    net = nn.Sequential(nn.Linear(2, 3), norm, nn.ReLU(), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    neoteny.attach(net, optimizer, Spectral(strength=0.1, k=2), example_inputs=torch.randn(4, 2))
    with torch.no_grad():
        norm.weight.fill_(0.5)
    (0 * net(torch.randn(4, 2))).sum().backward()
    optimizer.step()
    expected = 0.5 - 2 * 2 * 0.1 * (0.5**2 - 1) * 0.5
    assert norm.weight.detach().numpy() == pytest.approx(np.full(3, expected), rel=1e-5)
