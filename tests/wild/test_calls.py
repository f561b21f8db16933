"""Calls that are wrong in a usual way are answered in words, before anything is changed; and how inputs are given."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neoteny
from neoteny.errors import NetworkError, SettingError, UnknownNameError

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


WRONG = {
    "a class": (lambda n, o: (n, o, neoteny.ReDo), "the class ReDo is not a method; give an instance of it, ReDo()"),
    "a class in a list": (lambda n, o: (n, o, [neoteny.L2(), neoteny.ReDo]), "the class ReDo is not a method"),
    "no name": (lambda n, o: (n, o, "rodo"), "no method called 'rodo'. Did you mean 'redo'"),
    "no method": (lambda n, o: (n, o, None), "None is not a method"),
    "a dict of methods": (lambda n, o: (n, o, {"redo": neoteny.ReDo()}), "a dict is not a method"),
    "swapped": (lambda n, o: (o, n, neoteny.ReDo()), "model and optimizer are swapped"),
    "method before optimizer": (lambda n, o: (n, neoteny.ReDo(), o), "a SGD is not a method"),
    "a state_dict": (lambda n, o: (n.state_dict(), o, neoteny.ReDo()), "model is a OrderedDict, not a network"),
    "a scheduler": (
        lambda n, o: (n, torch.optim.lr_scheduler.StepLR(o, 2), neoteny.ReDo()),
        "a StepLR is a scheduler; give the optimizer whose step size it changes",
    ),
    "a dict of optimizers": (lambda n, o: (n, {"all": o}, neoteny.ReDo()), "is a dict.*list.optimizers.values"),
    "an optimizer's class": (lambda n, o: (n, torch.optim.SGD, neoteny.ReDo()), "the class SGD, not an optimizer"),
    "parameters": (lambda n, o: (n, n.parameters(), neoteny.ReDo()), "a Parameter, not an optimizer"),
    "no optimizer": (lambda n, o: (n, [], neoteny.ReDo()), "an empty list"),
    "the same optimizer twice": (lambda n, o: (n, [o, o], neoteny.ReDo()), "an optimizer comes twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_given_in_the_wrong_place_is_named(case):
    given, message = WRONG[case]
    net = mlp()
    optimizer = sgd(net)
    with pytest.raises((SettingError, UnknownNameError), match=message):
        neoteny.attach(*given(net, optimizer), example_inputs=X)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize(
    ("option", "message"),
    [({"seed": "1"}, "seed = '1'"), ({"seed": -1}, "seed = -1"), ({"units": 3}, "units is a int")],
)
def test_options_of_the_wrong_kind_are_named(option, message):
    net = mlp()
    with pytest.raises(SettingError, match=message):
        neoteny.attach(net, sgd(net), neoteny.ReDo(), X, **option)


OTHERS = {
    "wider": ((nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)), r"0.weight is \[8, 4\], here \[16, 4"),
    "narrower": ((nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), r"0.weight is \[8, 4\], here \[6, 4"),
    "convolutions": ((nn.Conv1d(4, 8, 1), nn.ReLU(), nn.Conv1d(8, 2, 1)), r"here \[8, 4, 1\]"),
    "other names": ((nn.Flatten(), *mlp()), "Sequential has no 0.weight"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("find", [lambda n: neoteny.units.find(n, X), lambda n: neoteny.units.declare(n, {"0": "2"})])
def test_units_of_another_network_are_named(other, find):
    (layers, message), units = OTHERS[other], find(mlp())
    net = nn.Sequential(*layers)
    for call in (
        lambda: neoteny.attach(net, sgd(net), neoteny.ReDo(), units=units),
        lambda: neoteny.diagnose(net, X, units=units),
        lambda: neoteny.Monitor(net, X, units=units),
    ):
        with pytest.raises(SettingError, match=f"units are those of another network: .*{message}"):
            call()


def test_units_found_in_a_wrapped_network_or_before_its_head_grew_are_its_own():
    net = mlp()
    wrapped = torch.compile(net, backend="eager")
    units = neoteny.units.find(wrapped, X)
    assert [layer.name for layer in units.layers] == ["_orig_mod.0"]
    net[2] = nn.Linear(8, 5)
    plasticity = neoteny.attach(wrapped, sgd(net), neoteny.ReDo(), units=units)
    assert [layer.name for layer in plasticity.units.layers] == ["0"]
    assert [layer.layer for layer in neoteny.diagnose(wrapped, X, units=units).layers] == ["0"]


def test_inference_mode_is_named():
    net = mlp()
    with torch.inference_mode(), pytest.raises(SettingError, match="inference mode is on"):
        neoteny.attach(net, sgd(net), neoteny.ReDo(), X)


def test_a_name_is_the_method_with_its_defaults():
    net = neoteny.prepare(mlp(), "crelu", X)
    plasticity = neoteny.attach(net, sgd(net), ["crelu", "cbp"], X)
    assert plasticity.methods == {"crelu": neoteny.WithCReLU(), "cbp": neoteny.ContinualBackprop()}


def test_prepare_names_a_class():
    with pytest.raises(SettingError, match="class WithCReLU is not a method"):
        neoteny.prepare(mlp(), neoteny.WithCReLU, X)


@pytest.mark.parametrize("inputs", [[[0.0] * 4], {"x": X}, X.numpy(), [X, X]])
def test_inputs_that_the_network_does_not_take_are_answered_with_how_to_give_them(inputs):
    net = mlp()
    with pytest.raises(NetworkError, match="that is one argument in a tuple, .x,."):
        neoteny.attach(net, sgd(net), neoteny.ReDo(), inputs)


class Several(nn.Module):
    """Takes a list, a dict, and a keyword."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, parts, named, *, scale):
        return self.head(torch.relu(self.body(sum(parts) + named["x"]) * scale))


def test_positional_and_named_arguments_together():
    net = Several()
    batch = (([X, X], {"x": X}), {"scale": 2.0})
    assert [layer.name for layer in neoteny.units.find(net, batch).layers] == ["body"]
    plasticity = neoteny.attach(net, sgd(net), neoteny.L2Init(), batch)
    assert plasticity.units.head == ("head.weight", "head.bias")
    report = neoteny.diagnose(net, batch)
    assert [layer.layer for layer in report.layers] == ["body"] and report.examples == 6
    plasticity = neoteny.attach(net, optimizer := sgd(net), neoteny.CChain(strength=1.0), batch, reference=batch)
    for _ in range(2):
        optimizer.zero_grad()
        net([X, X], {"x": X}, scale=2.0).sum().backward()
        optimizer.step()


class Wrapper(torch.optim.Optimizer):
    """A trainer's wrapper: an optimizer by its class, without hooks of its own."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def step(self):
        self.optimizer.step()


def test_a_monitor_counts_the_steps_of_a_wrapped_optimizer():
    net = mlp()
    wrapped = Wrapper(sgd(net))
    monitor = neoteny.Monitor(net, X, optimizer=wrapped)
    net(X).sum().backward()
    wrapped.step()
    assert monitor.steps == 1
    plasticity = neoteny.attach(net, wrapped, neoteny.L2(), X)
    wrapped.step()
    assert plasticity.updates == 1
