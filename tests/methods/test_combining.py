"""The order in which methods act, and the pairs that are refused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import neoteny
from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods.base import Method
from neoteny.methods.shared.combining import prepare, prepared, refuse_impossible
from neoteny.methods.shared.order import in_order
from neoteny.optim import SGD


@dataclass(frozen=True, kw_only=True)
class Decay(Method):
    """Gradients become 0 but for a pull."""

    name = "decay"
    stage = "regulariser"

    def regularise(self, step, state):
        """Add 1 to each gradient."""
        step.grads.update({name: grad + 1 for name, grad in step.grads.items()})
        return state


@dataclass(frozen=True, kw_only=True)
class Doubling(Method):
    """Twice the gradient, the regularisers' part of it included."""

    name = "doubling"
    stage = "optimizer"

    def regularise(self, step, state):
        """Double each gradient."""
        step.grads.update({name: 2 * grad for name, grad in step.grads.items()})
        return state


@dataclass(frozen=True, kw_only=True)
class Noise(Method):
    """Adds 10 after each step."""

    name = "noise"
    stage = "perturbation"

    def intervene(self, step, state, due):
        """Add 10."""
        step.tensors.update({name: step.tensors[name] + 10 for name in step.parameters()})
        return state


@dataclass(frozen=True, kw_only=True)
class Bound(Method):
    """Keeps weights at most 3."""

    name = "bound"
    stage = "projection"

    def intervene(self, step, state, due):
        """Clip."""
        step.tensors.update({name: step.tensors[name].clamp(max=3) for name in step.parameters()})
        return state

    def excludes(self, other):
        """No other bound."""
        return "one bound undoes the other" if other.name == "ceiling" else None


@dataclass(frozen=True, kw_only=True)
class Ceiling(Bound):
    """Another bound."""

    name = "ceiling"


@dataclass(frozen=True, kw_only=True)
class Fives(Method):
    """Makes all weights new: 5."""

    name = "fives"
    stage = "reset"

    def intervene(self, step, state, due):
        """Set to 5."""
        step.tensors.update({name: torch.full_like(step.tensors[name], 5) for name in step.parameters()})
        return state


@dataclass(frozen=True, kw_only=True)
class Wider(Method):
    """Wants another activation."""

    name = "wider"
    stage = "architecture"

    def prepare(self, model, example_inputs):
        """A tanh."""
        return nn.Sequential(model[0], nn.Tanh(), model[2])


ALL = [Fives(), Noise(), Bound(), Doubling(), Decay()]


def train(methods, steps=1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    neoteny.attach(model, optimizer, methods, torch.zeros(1, 3))
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.zeros(2, 3)) * 0).sum().backward()
        optimizer.step()
    return start, dict(model.named_parameters())


@pytest.mark.parametrize("listed", [ALL, ALL[::-1]])
def test_stages_whichever_way_they_are_listed(listed):
    assert [listed[number].name for number in in_order(listed)] == ["decay", "doubling", "noise", "bound", "fives"]


@pytest.mark.parametrize("methods", [[Decay(), Doubling()], [Doubling(), Decay()]])
def test_regularisers_come_before_what_changes_whole_gradients(methods):
    start, now = train(methods)
    for name, p in now.items():
        torch.testing.assert_close(p.detach(), start[name] - 0.1 * 2)


@pytest.mark.parametrize("methods", [[Noise(), Bound()], [Bound(), Noise()]])
def test_projections_come_after_noise(methods):
    _, now = train(methods)
    assert all(bool((p == 3).all()) for p in now.values())


@pytest.mark.parametrize("methods", [[Fives(), Bound()], [Bound(), Fives()]])
def test_resets_come_after_projections(methods):
    _, now = train(methods)
    assert all(bool((p == 5).all()) for p in now.values())


def test_the_laboratory_has_the_same_order():
    x, y = torch.zeros(1, 3, 2, 3), torch.zeros(1, 3, 2, 1)
    found = []
    for methods in (ALL[1:], ALL[:0:-1]):
        learner = Learner(
            lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)),
            x[0, 0],
            loss="mse",
            optimizer=SGD(step_size=0.0),
            methods=methods,
            compile=False,
        )
        learner.advance(examples(x, y))
        found.append(learner.weights())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])
        assert bool((value == 3).all())


@pytest.mark.parametrize("methods", [[Bound(), Ceiling()], [Ceiling(), Bound()]])
def test_impossible_pairs_are_refused_from_either_side(methods):
    with pytest.raises(SettingError, match=r"cannot act together: one bound undoes the other\. Leave one"):
        refuse_impossible(methods)
    with pytest.raises(SettingError, match="cannot act together"):
        train(methods)


def test_a_network_is_prepared_once_and_says_for_what():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    assert prepare(model, [Decay(), Noise()], torch.zeros(1, 3)) is model
    ready = prepare(model, [Decay(), Wider()], torch.zeros(1, 3))
    assert isinstance(ready[1], nn.Tanh)
    assert prepared(ready) == ("wider",)
    assert prepare(ready, Wider(), torch.zeros(1, 3)) is ready
    optimizer = torch.optim.SGD(ready.parameters(), 0.1)
    neoteny.attach(ready, optimizer, [Wider(), Decay()], torch.zeros(1, 3))


def test_what_was_not_prepared_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    with pytest.raises(SettingError, match=r"Wider changes the network first.*neoteny\.prepare"):
        neoteny.attach(model, torch.optim.SGD(model.parameters(), 0.1), Wider(), torch.zeros(1, 3))


def test_the_laboratory_prepares_by_itself():
    learner = Learner(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)),
        torch.zeros(2, 3),
        loss="mse",
        optimizer=SGD(step_size=0.1),
        methods=[Wider()],
        compile=False,
    )
    assert isinstance(learner.module("1"), nn.Tanh)
