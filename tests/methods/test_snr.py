"""Self-normalised resets against NumPy, the authors' dense histogram, and silences counted by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import compare, conv_net, mlp
from methods.resetting import ResettingReference, replaced
from neoteny.methods.base import Step
from neoteny.methods.snr import SelfNormalisedResets, lengths_of
from neoteny.units import Activations, random

BATCH = 4


def told_apart(longest):
    """Numbers of at most four binary digits, but for zeros behind them, and the longest."""
    return [n for n in range(1, longest + 1) if n <= 16 or n % 2 ** (n.bit_length() - 4) == 0 or n == longest]


class Reference(ResettingReference):
    """Keeps every silence as a number in a list."""

    method: SelfNormalisedResets

    def __init__(self, net, optimizer, draws):
        super().__init__(net, optimizer, draws)
        sizes = [len(w) for w in net.weights[:-1]]
        self.age = [np.zeros(n, int) for n in sizes]
        self.tau = [np.full(n, self.method.threshold) for n in sizes]
        self.log = [[[] for _ in range(n)] for n in sizes]
        self.lengths = np.array(told_apart(self.method.longest))
        self.changed = 0

    def end(self, layer, units):
        for unit in np.flatnonzero(units):
            if self.age[layer][unit]:
                self.log[layer][unit].append(self.age[layer][unit])
        self.age[layer][units] = 0

    def usual(self, silences):
        """The least length that at least 1 - η of them do not exceed."""
        if not silences:
            return 1
        enough = [n for n in self.lengths if np.mean(np.minimum(silences, n) == silences) >= 1 - self.method.rejection]
        return enough[0] if enough else self.method.longest

    def intervene(self, update, grads, hidden):
        chosen = []
        for layer, h in enumerate(hidden):
            fired = (h > 0).mean((0, 2)) > self.method.least_share
            self.end(layer, fired)
            self.age[layer][~fired] += len(h)
            old = self.age[layer] > self.tau[layer]
            chosen.append(old if (update + 1) % self.method.every == 0 else np.zeros_like(old))
        for layer, units in enumerate(chosen):
            self.end(layer, units)
            self.make_new(update, layer, units, hidden[layer].shape[2])
            if (update + 1) % self.method.period == 0:
                usual = np.array([self.usual(silences) for silences in self.log[layer]])
                tau = np.where(usual > self.tau[layer], 2 * self.tau[layer], usual)
                tau = np.clip(tau, BATCH, self.method.longest)
                self.changed += int((tau != self.tau[layer]).sum())
                self.tau[layer], self.log[layer] = tau, [[] for _ in usual]


def states(plasticity, name):
    return [plasticity._state["snr"][f"{layer.name}/{name}"].numpy() for layer in plasticity.units.layers]


@pytest.mark.reference("snr")
@pytest.mark.parametrize(
    ("make", "kind", "every", "least_share"),
    [(mlp, "sgd", 1, 0.0), (mlp, "adam", 3, 0.25), (conv_net, "adam", 1, 0.5)],
)
def test_against_numpy(make, kind, every, least_share):
    method = SelfNormalisedResets(
        rejection=0.125, period=25, threshold=8, longest=150, every=every, least_share=least_share
    )
    reference = type("Own", (Reference,), {"method": method})
    plasticity, own, _ = compare(method, reference, make=make, kind=kind)
    assert replaced(plasticity, "snr") == own.replaced
    assert min(own.replaced) >= 5
    assert own.changed >= 20
    for name, kept in (("age", own.age), ("threshold", own.tau)):
        for ours, theirs in zip(states(plasticity, name), kept, strict=True):
            assert (ours == theirs).all()


class AuthorsHistogram(Reference):
    """As the authors' code has it: a count for every length from 0, a reset where the threshold is reached."""

    def __init__(self, net, optimizer, draws):
        super().__init__(net, optimizer, draws)
        self.histogram = [np.zeros((len(ages), self.method.longest + 1), int) for ages in self.age]

    def end(self, layer, units):
        for unit in np.flatnonzero(units):
            self.histogram[layer][unit, min(self.age[layer][unit], self.method.longest)] += 1
        self.age[layer][units] = 0

    def intervene(self, update, grads, hidden):
        for layer, h in enumerate(hidden):
            fired = (h > 0).any((0, 2))
            self.end(layer, fired)
            self.age[layer][~fired] += len(h)
            old = self.age[layer] >= self.tau[layer]
            self.end(layer, old)
            self.make_new(update, layer, old, h.shape[2])
            if (update + 1) % self.method.period == 0:
                counts = self.histogram[layer][:, 1:]
                share = counts.cumsum(1) / np.maximum(counts.sum(1, keepdims=True), 1)
                index = np.where(counts.any(1), (share >= 1 - self.method.rejection).argmax(1) + 1, 1)
                tau = np.where(index < self.tau[layer], index, 2 * self.tau[layer])
                self.tau[layer] = np.clip(tau, BATCH, self.method.longest)
                self.histogram[layer][:] = 0


def test_the_authors_code():
    """Lengths up to 16 are told apart one by one, so the two logs say the same."""
    method = SelfNormalisedResets(rejection=0.25, period=20, threshold=8, longest=16, at_threshold=True)
    reference = type("Own", (AuthorsHistogram,), {"method": method})
    plasticity, own, _ = compare(method, reference)
    assert replaced(plasticity, "snr") == own.replaced
    assert sum(own.replaced) >= 50
    for ours, theirs in zip(states(plasticity, "threshold"), own.tau, strict=True):
        assert (ours == theirs).all()


@pytest.mark.parametrize("longest", [1, 7, 16, 17, 150, 20_000])
def test_lengths_are_an_eighth_of_an_octave_apart(longest):
    lengths = lengths_of(longest)
    assert lengths == told_apart(longest)
    assert all(b <= max(a + 1, a * 1.125) for a, b in pairwise(lengths))


def logged(silences, threshold=1000, **settings):
    """The threshold that follows from one unit's silences, each of which ends with one example."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    method = SelfNormalisedResets(threshold=threshold, **settings)
    network = neoteny.units.find(model, torch.zeros(1, 1))
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    state = method.init(network, tensors)
    batches = [
        h for silence in silences for h in ([torch.zeros(silence, 1, 1)] * bool(silence) + [torch.ones(1, 1, 1)])
    ]
    for number, h in enumerate(batches):
        since = {"0": torch.zeros(1, dtype=torch.int32)}
        step = Step(network, dict(tensors), {}, {}, {"0": Activations(h)}, since, random.key(0))
        state = method.intervene(step, state, torch.tensor([1, number + 1 == len(batches)]))
    assert int(state["0/replaced"]) == 0
    return int(state["0/threshold"])


def test_the_threshold_is_the_quantile_of_silences():
    """P(A ≥ a) ≤ η first holds just above it; firing twice in a row is no silence."""
    silences = [*range(1, 11), 0, 0, 0]
    for rejection, threshold in ((0.0, 10), (0.1, 9), (0.25, 8), (0.5, 5), (1.0, 1)):
        assert logged(silences, rejection=rejection) == threshold
        above = [a for a in range(1, 12) if np.mean(np.array(silences[:10]) >= a) <= rejection]
        assert above[0] == threshold + 1 or rejection == 1.0
    assert logged([0, 0, 0]) == 1
    assert logged([70] * 3) == 72  # rounded up
    assert logged([70] * 3, threshold=70) == 140  # too low by that
    assert logged([70] * 3, threshold=70, longest=100) == 100


@pytest.mark.parametrize(
    ("kind", "activation"),
    [
        ("dense", nn.ReLU()),
        ("conv", nn.ReLU()),
        ("sequence", nn.ReLU()),
        ("dense", nn.LeakyReLU(0.1)),
        ("conv", nn.ELU()),
    ],
)
def test_examples_are_counted_over_all_passes(kind, activation):
    """As many as the gradients of the step come from, whatever the number of positions, and as in the laboratory.

    Activations below 0 are silent as well.
    """
    torch.manual_seed(0)
    if kind == "conv":
        model, shape, layer = nn.Sequential(nn.Conv2d(1, 3, 2), activation, nn.Conv2d(3, 1, 2)), (1, 5, 5), "0"
    else:
        model = nn.Sequential(nn.Linear(4, 3), activation, nn.Linear(3, 1))
        shape, layer = ((4,) if kind == "dense" else (6, 4)), "0"
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, SelfNormalisedResets(), torch.zeros(2, *shape))
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = 0, -1  # silent
    assert plasticity._watch is not None
    seen = []
    for sizes in ((5, 3), (2,)):
        optimizer.zero_grad()
        inputs = [torch.randn(size, *shape) for size in sizes]
        for x in inputs:
            model(x).sum().backward()
        found = plasticity._watch.take()[layer]
        values = activation(model[0](torch.cat(inputs))).detach()
        values = values.movedim(-1, 1) if kind == "sequence" else values
        alone = Activations(values.flatten(2) if values.dim() > 2 else values.unsqueeze(2))
        assert float(found.examples()) == float(alone.examples()) == sum(sizes)
        torch.testing.assert_close(found.fired(), alone.fired())
        seen.append(found)
    assert seen[0].fired()[1] == 0


def test_ages_grow_by_the_examples_of_a_step():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = 0, -1
        model[0].bias[2] = 100
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    plasticity = neoteny.attach(model, optimizer, SelfNormalisedResets(threshold=20), torch.zeros(2, 4))
    ages = []
    for sizes in ((5, 3), (2,), (9, 1), (1,)):
        optimizer.zero_grad()
        for size in sizes:
            model(torch.randn(size, 4)).sum().backward()
        optimizer.step()
        ages.append(states(plasticity, "age")[0][1:].tolist())
    assert ages == [[8, 0], [10, 0], [20, 0], [0, 0]]  # 21 are more than 20
    assert plasticity.made_new("0").tolist() == [False, True, False]


def test_a_threshold_beyond_the_longest_is_refused():
    with pytest.raises(neoteny.errors.SettingError, match="threshold = 300 is not at most longest = 200"):
        SelfNormalisedResets(threshold=300, longest=200)
