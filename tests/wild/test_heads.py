"""Heads of every make: what makes the output is reset, and nothing else; what cannot be is refused by name."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import neoteny
from neoteny.errors import NetworkError

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Cosine(nn.Module):
    """Cosines of the features with one vector a class, scaled."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(classes, inputs)), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * F.linear(F.normalize(x), F.normalize(self.weight))


class CosineOfLinear(nn.Module):
    """The same with the vectors in a linear layer that is never called."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.fc = nn.Linear(inputs, classes, bias=False)

    def forward(self, x):
        return F.linear(F.normalize(x), F.normalize(self.fc.weight))


class Prototypes(nn.Module):
    """Minus the squared distance to one point a class."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.points = nn.Parameter(torch.randn(classes, inputs))

    def forward(self, x):
        return -(x.unsqueeze(1) - self.points).square().sum(-1)


class Distances(Prototypes):
    def forward(self, x):
        return -torch.cdist(x, self.points)


class Noisy(nn.Module):
    """A linear map whose weights have learned noise."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight_mu = nn.Parameter(torch.empty(outputs, inputs).uniform_(-0.5, 0.5))
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), 0.017))
        self.bias_mu, self.bias_sigma = nn.Parameter(torch.zeros(outputs)), nn.Parameter(torch.full((outputs,), 0.017))

    def forward(self, x):
        noise = torch.randn_like(self.weight_sigma)
        return F.linear(x, self.weight_mu + self.weight_sigma * noise, self.bias_mu + self.bias_sigma * noise[:, 0])


class Scaled(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return 0.1 * self.fc(x.detach())


HEADS = {
    "cosine": Cosine,
    "cosine of a layer": CosineOfLinear,
    "prototypes": Prototypes,
    "distances": Distances,
    "noisy": Noisy,
    "spectral norm": lambda i, o: parametrizations.spectral_norm(nn.Linear(i, o)),
    "spectral norm, old": lambda i, o: nn.utils.spectral_norm(nn.Linear(i, o)),
    "orthogonal": lambda i, o: parametrizations.orthogonal(nn.Linear(i, o)),
    "detached and scaled": Scaled,
    "bilinear": lambda i, o: Own(i, o),
}


class Own(nn.Module):
    """A product with a matrix and with the features again."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.tensor = nn.Parameter(torch.randn(classes, inputs, inputs))

    def forward(self, x):
        return torch.einsum("bi,oij,bj->bo", x, self.tensor, x)


class Net(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 6), head(6, 3)

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


def attached(net, method):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return optimizer, neoteny.attach(net, optimizer, method, example_inputs=X)


def changed(net, plasticity):
    """The modules whose parameters a change of task changes."""
    before = copy.deepcopy(dict(net.named_parameters()))
    plasticity.new_task()
    return {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}


def after_a_step(net, optimizer):
    for _ in range(2):
        optimizer.zero_grad()
        net(X).square().sum().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()


@pytest.mark.parametrize("kind", HEADS)
def test_the_head_and_nothing_else_is_drawn_anew(kind):
    torch.manual_seed(0)
    net = Net(HEADS[kind])
    optimizer, plasticity = attached(net, neoteny.HeadReset())
    after_a_step(net, optimizer)
    found = changed(net, plasticity)
    assert found and all(name.startswith("head.") for name in found)
    matrices = {name for name, p in net.named_parameters() if p.dim() > 1 and name.startswith("head.")}
    assert matrices <= found
    assert net(X).isfinite().all()


@pytest.mark.parametrize("kind", sorted(HEADS.keys() - {"detached and scaled"}))
def test_of_two_layers_the_one_in_front_is_drawn_anew_as_well(kind):
    torch.manual_seed(0)
    net = Net(HEADS[kind])
    optimizer, plasticity = attached(net, neoteny.HeadReset(layers=2))
    after_a_step(net, optimizer)
    found = changed(net, plasticity)
    assert {name.partition(".")[0] for name in found} == {"second", "head"}


def test_more_layers_than_lead_to_the_head_are_refused():
    with pytest.raises(NetworkError, match="layers = 2, but with the head only 1 layer leads to the output"):
        attached(Net(Scaled), neoteny.HeadReset(layers=2))


def test_with_noisy_layers_throughout_it_is_the_last():
    torch.manual_seed(0)
    net = nn.Sequential(Noisy(4, 8), nn.ReLU(), Noisy(8, 8), nn.ReLU(), Noisy(8, 3))
    for layers, names in ((1, {"4"}), (2, {"2", "4"})):
        optimizer, plasticity = attached(net, neoteny.HeadReset(layers=layers))
        after_a_step(net, optimizer)
        assert {name.partition(".")[0] for name in changed(net, plasticity)} == names
        plasticity.detach()


class BarePrototypes(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.points = nn.Linear(4, 6), nn.Parameter(torch.randn(3, 6))
        self.position = nn.Parameter(torch.randn(6, 4))  # another one, which is no part of the head

    def forward(self, x):
        return torch.relu(self.trunk(x + self.position)) @ self.points.T


class HeadAndLowRank(nn.Module):
    """Two things make the output side by side."""

    def __init__(self):
        super().__init__()
        self.trunk, self.fc, self.more = nn.Linear(4, 6), nn.Linear(6, 3), nn.Parameter(torch.randn(6, 3))

    def forward(self, x):
        h = torch.relu(self.trunk(x))
        return self.fc(h) + h @ self.more


@pytest.mark.parametrize(("make", "names"), [(BarePrototypes, {"points"}), (HeadAndLowRank, {"fc.weight", "more"})])
def test_matrices_of_no_module_are_part_of_the_head(make, names):
    torch.manual_seed(0)
    net = make()
    _, plasticity = attached(net, neoteny.HeadReset())
    assert names <= changed(net, plasticity) <= names | {"fc.bias"}


class Tied(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.add_module(first, nn.Embedding(9, 6) if first == "embed" else nn.Linear(6, 9, bias=False))
        self.body = nn.Linear(6, 6)
        if first == "embed":
            self.head = nn.Linear(6, 9, bias=False)
            self.head.weight = self.embed.weight
        else:
            self.embed = nn.Embedding(9, 6)
            self.embed.weight = self.head.weight

    def forward(self, tokens):
        return self.head(torch.relu(self.body(self.embed(tokens))))


@pytest.mark.parametrize("first", ["embed", "head"])
def test_a_head_tied_to_an_embedding_is_refused_by_name(first):
    net = Tied(first)
    with pytest.raises(NetworkError, match="head.weight is embed.weight as well"):
        neoteny.attach(net, torch.optim.SGD(net.parameters(), 0.1), neoteny.HeadReset(), torch.arange(6).view(2, 3))


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, nn.utils.weight_norm], ids=["new", "old"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_a_head_with_a_weight_norm_is_refused_by_name(wrap):
    net = Net(lambda i, o: wrap(nn.Linear(i, o)))
    with pytest.raises(NetworkError, match="computes its weight from a length and a direction, head"):
        attached(net, neoteny.HeadReset())


def test_a_frozen_head_is_refused_by_name():
    net = Net(nn.Linear)
    net.head.requires_grad_(False)
    with pytest.raises(NetworkError, match="nothing of the last layer is trained .head.weight, head.bias"):
        attached(net, neoteny.HeadReset())


def test_methods_that_spare_the_head_spare_a_head_of_any_make():
    net = Net(Cosine)
    assert neoteny.units.find(net, X).head == ("head.weight", "head.scale")
