"""What the hooks of an attachment see, and how long they live."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import neoteny
from neoteny.errors import SettingError
from neoteny.methods import ContinualBackprop, ReDo, SelfNormalisedResets

METHODS = [
    ContinualBackprop(replacement_rate=1e-4, maturity_threshold=1),
    ReDo(tau=0.0, period=10**6),
    SelfNormalisedResets(),
]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


class Saving(Net):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def run(loop, cls=Net, methods=METHODS):
    """The state of all methods after a loop of some steps."""
    torch.manual_seed(0)
    model = cls()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, methods, torch.zeros(1, 4))
    generator = torch.Generator().manual_seed(1)
    for number in range(6):
        x, other = (torch.randn(8, 4, generator=generator) for _ in range(2))
        loop(model, optimizer, x, 5 * other + 3, number)
    return {f"{name}/{key}": v for name, state in plasticity._state.items() for key, v in state.items()}


def ordinary(model, optimizer, x, other, number):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def looked_at_before(model, optimizer, x, other, number):
    model(other).square().mean()
    ordinary(model, optimizer, x, other, number)


def looked_at_between(model, optimizer, x, other, number):
    optimizer.zero_grad()
    loss = model(x).square().mean()
    model(other).square().mean()
    loss.backward()
    model(other)
    optimizer.step()


def skipped_sometimes(model, optimizer, x, other, number):
    if number % 2:
        model(other).square().mean()  # not finite, say: no backward pass, no step
        optimizer.zero_grad()
    ordinary(model, optimizer, x, other, number)


@pytest.mark.parametrize("cls", [Net, Saving])
@pytest.mark.parametrize("loop", [looked_at_before, looked_at_between, skipped_sometimes])
def test_a_pass_whose_loss_is_never_propagated_does_not_count(loop, cls):
    expected, found = run(ordinary, cls), run(loop, cls)
    assert found
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def two_losses(order):
    def loop(model, optimizer, x, other, number):
        optimizer.zero_grad()
        losses = [model(x).square().mean(), model(other).square().mean()]
        for which in order:
            losses[which].backward()
        optimizer.step()

    return loop


def one_after_the_other(model, optimizer, x, other, number):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    model(other).square().mean().backward()
    optimizer.step()


def test_passes_whose_losses_are_propagated_in_turn_all_count():
    expected = run(one_after_the_other)
    for order in ((0, 1), (1, 0)):
        for key, value in run(two_losses(order)).items():
            torch.testing.assert_close(value, expected[key])


def test_a_loss_propagated_twice_or_a_hidden_layer_read_by_the_loss_is_no_trouble():
    def loop(model, optimizer, x, other, number):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        (0.5 * loss).backward(retain_graph=True)
        (0.5 * loss).backward()
        optimizer.step()

    expected = run(ordinary)
    for key, value in run(loop).items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.parametrize("made", [torch.optim.Adam, lambda p: [torch.optim.SGD([q], 0.1) for q in p]])
def test_nothing_needs_the_garbage_collector(made):
    model = Net()
    optimizer = made(model.parameters())
    methods = [*METHODS, neoteny.L2(strength=0.1)]
    plasticity = neoteny.attach(model, optimizer, methods, torch.zeros(1, 4))
    model(torch.randn(3, 4)).sum().backward()
    for one in optimizer if isinstance(optimizer, list) else [optimizer]:
        one.step()
    gc.disable()
    try:
        handle, network, weight = (weakref.ref(thing) for thing in (plasticity, model, model.first.weight))
        one = None
        del optimizer, plasticity
        assert handle() is None
        assert not model.last._forward_pre_hooks
        del model
        assert network() is None
        assert weight() is None
    finally:
        gc.enable()


def test_a_handle_without_its_optimizer_says_so():
    model = Net()
    plasticity = neoteny.attach(model, torch.optim.SGD(model.parameters(), 0.1), METHODS, torch.zeros(1, 4))
    with pytest.raises(SettingError, match="optimizer .* is gone"):
        plasticity.new_task()


@pytest.mark.slow
def test_a_compiled_network_of_the_same_class_keeps_to_itself():
    """The attached one is seen though a graph of its class was there, and the other one's passes are not counted."""

    class Own(Net):
        pass

    other, model = (torch.compile(Own(), backend="eager") for _ in range(2))
    x = torch.randn(5, 4)
    other(x).sum().backward()
    model(x).sum()  # compiled and run before attaching
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    plasticity = neoteny.attach(model, optimizer, METHODS[0], x)
    for _ in range(4):
        optimizer.zero_grad()
        model(x).sum().backward()
        other(100 + 100 * x).sum()
        optimizer.step()
    (utility,) = (value for key, value in plasticity._state["cbp"].items() if key.endswith("utility"))
    assert utility.any()
    assert utility.max() < 1
    other(x)
    assert not plasticity._watch.anything
