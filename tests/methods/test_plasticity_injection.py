"""Plasticity injection: nothing changes until it comes, the output not even then, and then a fresh head learns."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.errors import NetworkError, SettingError, UnknownNameError
from neoteny.methods import EMA, FIRE, ContinualBackprop, HeadReset, PlasticityInjection
from neoteny.units.random import fold_in


class ThreeHeads(Reference):
    """A network of three layers whose last two are the head."""

    after, task = None, 1

    def __init__(self, *args):
        super().__init__(*args)
        self.net.gradients = self.gradients
        self.old = self.new = None
        self.injected_at, self.tasks = None, 0

    def head(self):
        return [self.net.weights[1], self.net.biases[1], self.net.weights[2], self.net.biases[2]]

    def gradients(self, patches, targets):
        w, b = self.net.weights[0], self.net.biases[0]
        before = np.einsum("bpk,ok->bop", patches, w) + b[:, None]
        features = np.maximum(before, 0).reshape(len(before), -1)
        heads = [(1, self.head())]
        if self.injected_at is not None:
            heads += [(1, self.old), (-1, self.new)]
        hidden = [np.maximum(features @ w1.T + b1, 0) for _, (w1, b1, _, _) in heads]
        output = sum(
            sign * (h @ w2.T + b2) for h, (sign, (_, _, w2, b2)) in zip(hidden, heads, strict=True)
        )  # fmt: skip
        delta = 2 * (output - targets) / targets.size
        inner = [sign * (delta @ w2) * (h > 0) for h, (sign, (_, _, w2, _)) in zip(hidden, heads, strict=True)]
        back = sum(d @ w1 for d, (_, (w1, _, _, _)) in zip(inner, heads, strict=True))
        first = back.reshape(before.shape) * (before > 0)
        grads_w = [np.einsum("bop,bpk->ok", first, patches), inner[0].T @ features, delta.T @ hidden[0]]
        return [*grads_w, first.sum((0, 2)), inner[0].sum(0), delta.sum(0)], [np.maximum(before, 0)]

    def intervene(self, update, grads, hidden):
        if self.after is not None and update + 1 == self.after:
            self.inject(self.draws.intervening(update), update)

    def at_task(self, update):
        self.tasks += 1
        if self.after is None and self.tasks == self.task:
            self.inject(self.draws.at_task(update), update)

    def inject(self, key, update):
        self.injected_at = update
        self.old = [value.copy() for value in self.head()]
        names = list(self.draws.shapes)[2:]
        self.new = [
            self.draws.fresh(fold_in(key, number), name, self.draws.shapes[name]) for number, name in enumerate(names)
        ]
        for place, value in zip(self.head(), self.new, strict=True):
            place[...] = value
        for number in (1, 2, 4, 5):
            for value in self.optimizer.state[number].values():
                value[...] = 0


def prepared(make, method):
    def built():
        torch.manual_seed(0)
        model = make()
        example = torch.zeros((1, 2, 3, 3) if isinstance(model[0], nn.Conv2d) else (1, 6), dtype=torch.float64)
        return neoteny.prepare(model, method, example)

    return built


@pytest.mark.reference("plasticity-injection")
@pytest.mark.parametrize(
    ("make", "kind", "settings"),
    [
        (mlp, "sgd", {"task": 2}),
        (mlp, "adam", {"after": 50}),
        (conv_net, "adam", {"task": 1}),
        (conv_net, "momentum", {"after": 50}),
    ],
)
def test_against_numpy(make, kind, settings):
    method = PlasticityInjection(**settings)
    reference = type("Own", (ThreeHeads,), settings)
    plasticity, own, model = compare(method, reference, make=prepared(make, method), kind=kind)
    assert own.injected_at == (49 if "after" in settings else 40 * settings["task"])
    assert plasticity._state["plasticity-injection"]["injections"] == 1
    buffers = [value.flatten(1) if value.dim() > 1 else value for value in model.buffers()]
    for ours, theirs in zip(buffers, [*own.old, *own.new], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-7, atol=1e-10)


class Two(nn.Module):
    """A trunk with a head that is a module of its own, called by name, and gives two outputs."""

    def __init__(self):
        super().__init__()
        self.trunk, self.head = nn.Linear(3, 5), Head()

    def forward(self, x):
        return self.head(x=torch.tanh(self.trunk(x)))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.mean, self.spread = nn.Linear(5, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        x = torch.relu(self.inner(x))
        return self.mean(x), self.spread(x)


def chain():
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))


CASES = {
    "chain": (chain, {}),
    "inner chain": (lambda: neoteny.nn.MLP(3, [6, 5], 2), {}),
    "chain by name": (lambda: nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Sequential(*chain()[2:])), {"head": "2"}),
    "module": (Two, {"head": "head"}),
}


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(0)
    make, settings = CASES[request.param]
    model, method = make(), PlasticityInjection(**settings)
    return model, neoteny.prepare(model, method, torch.zeros(1, 3)), method


def outputs(model, x):
    given = model(x)
    return given if isinstance(given, torch.Tensor) else torch.cat(given, 1)


def train(model, optimizer, steps=3):
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        outputs(model, torch.randn(4, 3, generator=generator)).square().mean().backward()
        optimizer.step()


def test_until_then_training_is_the_same_to_the_bit(case):
    model, injected, _ = case
    assert [name for name, _ in injected.named_parameters()] == [name for name, _ in model.named_parameters()]
    for each in (model, injected):
        train(each, torch.optim.Adam(each.parameters(), 0.01), 5)
    for own, other in zip(model.parameters(), injected.parameters(), strict=True):
        assert torch.equal(own, other)


def test_the_output_stays_and_a_fresh_head_learns(case):
    _, model, method = case
    x = torch.randn(8, 3)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    plasticity = neoteny.attach(model, optimizer, method, x)
    train(model, optimizer)
    before, weights = outputs(model, x), {name: p.clone() for name, p in model.named_parameters()}
    plasticity.new_task()
    torch.testing.assert_close(outputs(model, x), before, rtol=1e-5, atol=1e-6)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, weights[name])}
    heads = {name.replace("injection.old.", "") for name, _ in model.named_buffers() if "injection.old" in name}
    assert changed == heads and 0 < len(heads) < len(weights)
    for name, p in model.named_parameters():
        assert (float(optimizer.state[p]["step"]) == 0) == (name in heads)
    frozen = {name: value.clone() for name, value in model.named_buffers()}
    train(model, optimizer)
    plasticity.new_task()  # it comes once
    assert all(torch.equal(value, frozen[name]) for name, value in model.named_buffers())
    assert not torch.allclose(outputs(model, x), before, atol=1e-3)
    assert all((p.grad != 0).any() for p in model.parameters())


def test_it_survives_copies_and_transforms(case):
    _, model, method = case
    optimizer, x = torch.optim.SGD(model.parameters(), 0.1), torch.randn(4, 3)
    plasticity = neoteny.attach(model, optimizer, method, x)
    train(model, optimizer)
    plasticity.new_task()
    train(model, optimizer)
    expected = outputs(model, x)
    copied, pickled, fresh = copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)
    for value in [*fresh.parameters(), *fresh.buffers()]:
        value.data.zero_()
    fresh.load_state_dict(model.state_dict())
    for other in (copied, pickled, fresh):
        assert torch.equal(outputs(other, x), expected)
    with torch.no_grad():
        next(iter(copied.buffers())).add_(1)  # its own
    assert torch.equal(outputs(model, x), expected)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    stack = {name: torch.stack([value.detach(), torch.zeros_like(value)]) for name, value in tensors.items()}
    bare = copy.deepcopy(model).to("meta")

    def run(own):
        return outputs(lambda x: functional_call(bare, own, (x,)), x)

    both = torch.func.vmap(run)(stack)
    torch.testing.assert_close(both[0], expected)
    assert not both[1].any()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(outputs(compiled, x), expected)


def test_its_units_are_found_as_ever_before_and_after(case):
    model, injected, method = case
    expected = neoteny.units.find(model, torch.zeros(1, 3))
    assert len(expected.layers) == 2
    assert neoteny.units.find(injected, torch.zeros(1, 3)) == expected
    optimizer = torch.optim.SGD(injected.parameters(), 0.1)
    plasticity = neoteny.attach(injected, optimizer, method, torch.zeros(1, 3))
    plasticity.new_task()
    found = neoteny.units.find(injected, torch.zeros(1, 3))
    assert (found.layers, found.head, found.modules) == (expected.layers, expected.head, expected.modules)


def test_what_looks_into_the_network_sees_what_it_computes(case):
    from neoteny.units.copying import bare_copy

    _, model, method = case
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 3))
    plasticity.new_task()
    x = torch.randn(4, 3)
    assert torch.equal(outputs(bare_copy(model), x), outputs(model, x))


def refused(model, error, match, **settings):
    with pytest.raises(error, match=match):
        neoteny.prepare(model, PlasticityInjection(**settings), torch.zeros(1, 3))


def test_what_makes_no_sense_is_refused():
    refused(nn.Linear(3, 2), NetworkError, "no chain")
    refused(nn.Sequential(nn.Linear(3, 2)), SettingError, "single linear layer")
    refused(chain(), SettingError, "single linear layer", head="4")
    refused(chain(), UnknownNameError, "hed", head="hed")
    refused(chain(), NetworkError, "has 3 layers, fewer than layers = 4", layers=4)
    refused(neoteny.nn.MLP(3, [6, 5], 2, dropout=0.1), NetworkError, "The head of MLP has Dropout")
    shared = chain()
    shared[2].weight = nn.Parameter(torch.randn(6, 6))
    shared[0] = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 6))
    shared[0][1].weight = shared[2].weight
    refused(shared, NetworkError, "used elsewhere")

    class Twice(Two):
        def forward(self, x):
            return self.head(torch.tanh(self.trunk(x))), self.head(torch.sin(self.trunk(x)))

    refused(Twice(), NetworkError, "calls its head 2 times", head="head")
    with pytest.raises(SettingError, match="layers = 1"):
        PlasticityInjection(layers=1)


@pytest.mark.parametrize("other", [ContinualBackprop(), FIRE(), HeadReset(), EMA()])
def test_what_it_does_not_go_with(other):
    with pytest.raises(SettingError, match="cannot act together"):
        neoteny.prepare(chain(), [PlasticityInjection(), other], torch.zeros(1, 3))
