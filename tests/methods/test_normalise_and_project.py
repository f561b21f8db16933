"""Normalise-and-project: what `prepare` puts in, and norms that stay as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, batches, compare, conv_net, mlp
from neoteny.methods.normalise_and_project import NormaliseAndProject
from neoteny.methods.shared.combining import _PREPARED


def as_it_is(make):
    """A network that counts as prepared, so that the rule of networks without norms serves as the reference."""

    def build():
        model = make()
        setattr(model, _PREPARED, (NormaliseAndProject.name,))
        return model

    return build


def project(period, head):
    class Project(Reference):
        """W |W₀| / |W| at every `period`-th step."""

        def __init__(self, *given):
            super().__init__(*given)
            self.norms = [np.sqrt((w**2).sum()) for w in self.net.weights]
            self.moved = 0.0

        def intervene(self, update, grads, hidden):
            if (update + 1) % period == 0:
                for layer, w in enumerate(self.net.weights):
                    if head or layer + 1 < len(self.net.weights):
                        norm = np.sqrt((w**2).sum())
                        self.moved += abs(norm / self.norms[layer] - 1)
                        w *= self.norms[layer] / norm

    return Project


@pytest.mark.reference("normalise-and-project")
@pytest.mark.parametrize(
    ("make", "kind", "period", "head"),
    [(mlp, "sgd", 1, True), (conv_net, "momentum", 3, True), (mlp, "adam", 1, False)],
)
def test_projection(make, kind, period, head):
    method = NormaliseAndProject(period=period, head=head)
    _, reference, _ = compare(method, project(period, head), make=as_it_is(make), kind=kind)
    assert reference.moved > 0.1


def prepared(make):
    model = make()
    x, _ = batches(model, 1)[0]
    method = NormaliseAndProject(decay=2.0)
    model = neoteny.prepare(model, method, x)
    return model, method


@pytest.mark.parametrize("make", [mlp, conv_net])
def test_prepared_networks_keep_their_names_and_get_one_norm_an_activation(make):
    plain, (model, method) = make(), prepared(make)
    own = dict(model.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in plain.named_parameters())
    kinds = [type(module) for module in model.modules() if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.ReLU))]
    assert kinds == [nn.GroupNorm if make is conv_net else nn.LayerNorm, nn.ReLU, nn.LayerNorm, nn.ReLU]
    x, _ = batches(plain, 1)[0]
    hidden = model[:2](x).flatten(1) if make is conv_net else plain[0](x)
    if make is mlp:
        expected = torch.relu(
            (hidden - hidden.mean(1, True)) / (hidden.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        )
        torch.testing.assert_close(model[:2](x), expected)
    again = neoteny.prepare(model, method, x)
    assert again is model


def test_gains_and_shifts_decay_towards_where_they_began():
    model, method = prepared(mlp)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    x = batches(mlp(), 1)[0][0]
    neoteny.attach(model, optimizer, method, x)
    gain, shift = model[1][0].weight, model[1][0].bias
    with torch.no_grad():
        gain += 0.5
        shift -= 0.25
    for step in range(1, 20):
        optimizer.zero_grad()
        (model(x) * 0).sum().backward()
        optimizer.step()
        torch.testing.assert_close(gain.detach(), torch.full_like(gain, 1 + 0.5 * 0.9**step))
        torch.testing.assert_close(shift.detach(), torch.full_like(shift, -0.25 * 0.9**step))


def test_a_prepared_network_trains_with_fixed_norms():
    model, method = prepared(mlp)
    first = [model[n].weight.detach().norm() for n in (0, 2, 4)]
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    data = batches(mlp(), 60)
    neoteny.attach(model, optimizer, method, data[0][0])
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        for number, norm in zip((0, 2, 4), first, strict=True):
            torch.testing.assert_close(model[number].weight.detach().norm(), norm)


def test_a_network_with_norms_of_its_own_stays_and_functions_get_a_norm():
    method, x = NormaliseAndProject(), torch.zeros(2, 3)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 1))
    again = neoteny.prepare(model, method, x)
    assert str(again) == str(model)

    class Functional(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.one, self.norm, self.two = nn.Linear(3, 4), norm, nn.Linear(4, 1)

        def forward(self, x):
            return self.two(torch.relu(self.norm(self.one(x))))

    assert isinstance(neoteny.prepare(Functional(nn.Identity()), method, x).relu_0[0], nn.LayerNorm)
    own = Functional(nn.LayerNorm(4))
    assert neoteny.prepare(own, method, x) is own
