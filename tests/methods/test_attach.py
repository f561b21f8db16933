"""Methods on a user's network and optimizer: what `neoteny.testing` does not ask of every method alike."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

import neoteny
from neoteny import PlasticityWarning
from neoteny.errors import CheckpointError, NetworkError, SettingError
from neoteny.methods import (
    L2,
    ContinualBackprop,
    FullReset,
    HeadReset,
    L2Init,
    ReDo,
    ShrinkAndPerturb,
)

ACTIVE = {
    "l2": L2(strength=0.01),
    "l2-decoupled": L2(strength=0.01, decoupled=True),
    "l2-init": L2Init(strength=0.01),
    "s&p": ShrinkAndPerturb(weight_decay=0.01, sigma=1e-3),
    "s&p-task": ShrinkAndPerturb(when="at_task"),
    "cbp": ContinualBackprop(replacement_rate=0.05, maturity_threshold=5, utility="adaptable_contribution"),
    "cbp-drawn": ContinualBackprop(replacement_rate=0.05, maturity_threshold=5, replacement="drawn", compensate=True),
    "cbp-random": ContinualBackprop(
        replacement_rate=0.3, maturity_threshold=5, replacement="accumulate", utility="random"
    ),
    "redo": ReDo(tau=0.5, period=5),
    "head-reset": HeadReset(period=7),
    "full-reset": FullReset(period=11),
}


def make_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 5, 2), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, 3)
    )


def batches(count, seed=1, size=6):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 1, 3, 3, generator=generator), torch.randn(size, 3, generator=generator))
        for _ in range(count)
    ]


X = torch.zeros(2, 1, 3, 3)


def train(model, optimizer, data):
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def everything(model, optimizer):
    yield from model.state_dict().values()
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def assert_same(a, b):
    a, b = list(a), list(b)
    assert len(a) == len(b)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("positional", [True, False])
@pytest.mark.parametrize("to_none", [True, False])
def test_closures(positional, to_none):
    """A closure makes the gradients inside the step: the regularised step is the same."""
    with_closure, plain = make_model(), make_model()
    a, b = (torch.optim.SGD(m.parameters(), 0.05, momentum=0.5) for m in (with_closure, plain))
    for model, optimizer in ((with_closure, a), (plain, b)):
        neoteny.attach(model, optimizer, [L2(strength=0.1), ACTIVE["cbp"]], X)
    train(plain, b, batches(20))
    for x, y in batches(20):

        def closure(x=x, y=y):
            a.zero_grad(set_to_none=to_none)
            loss = nn.functional.mse_loss(with_closure(x), y)
            loss.backward()
            return loss

        loss = a.step(closure) if positional else a.step(closure=closure)
        assert loss.requires_grad
    assert_same(with_closure.state_dict().values(), plain.state_dict().values())


@pytest.mark.filterwarnings("ignore:LBFGS. units that are made new:neoteny.PlasticityWarning")
def test_lbfgs():
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    neoteny.attach(model, optimizer, [L2(strength=1.0), ACTIVE["cbp"]], torch.zeros(1, 2))
    x = torch.randn(8, 2)

    def closure():
        optimizer.zero_grad()
        loss = (model(x) * 0).sum()
        loss.backward()
        return loss

    before = sum(p.detach().square().sum() for p in model.parameters())
    for _ in range(30):
        optimizer.step(closure)
    assert sum(p.detach().square().sum() for p in model.parameters()) < 0.2 * before  # only the penalty was minimised


def test_a_parameter_without_gradient_is_not_decayed():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    neoteny.attach(model, optimizer, L2(strength=0.5), X)
    before = [p.clone() for p in model.parameters()]
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_several_parameter_groups():
    """Groups differ in step size and betas: a newborn's first step of Adam has its group's size."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(
        [{"params": model[0].parameters(), "lr": 0.01, "betas": (0.5, 0.9)}, {"params": model[2].parameters()}], lr=0.1
    )
    method = ContinualBackprop(replacement_rate=0.25, maturity_threshold=20)
    neoteny.attach(model, optimizer, method, torch.zeros(1, 3))
    data = torch.randn(24, 8, 3)
    for number, x in enumerate(data):
        before = [p.detach().clone() for p in (model[0].weight, model[2].weight)]
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        grads = model[2].weight.grad.clone()
        optimizer.step()
        if number == 20:  # the first replacement
            unit = int((model[2].weight == 0).flatten().nonzero())
        if number == 21:
            step = (model[2].weight - before[1])[0, unit]
            torch.testing.assert_close(step, -0.1 * grads[0, unit].sign(), rtol=1e-4, atol=1e-6)
            assert torch.equal(model[0].weight[unit], before[0][unit])  # behind outgoing zeros there was no gradient


def test_detach_leaves_the_bare_optimizer():
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    plasticity = neoteny.attach(model, optimizer, list(ACTIVE.values()), X)
    train(model, optimizer, batches(12))
    plasticity.detach()
    bare = copy.deepcopy(model)
    other = torch.optim.Adam(bare.parameters(), 0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, batches(10))
    train(bare, other, batches(10))
    assert_same(everything(model, optimizer), everything(bare, other))
    assert plasticity.updates == 12


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.RMSprop(p, momentum=0.5), lambda p: torch.optim.Adagrad(p, initial_accumulator_value=0.5),
    lambda p: torch.optim.Rprop(p, 0.001), lambda p: torch.optim.NAdam(p), lambda p: torch.optim.Adamax(p),
    lambda p: torch.optim.RAdam(p), lambda p: torch.optim.Adam(p, amsgrad=True), lambda p: torch.optim.Adadelta(p),
    lambda p: torch.optim.AdamW(p, foreach=False), lambda p: torch.optim.Adafactor(p), lambda p: torch.optim.ASGD(p),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*the bias correction goes on:neoteny.PlasticityWarning")
@pytest.mark.filterwarnings("ignore:Adafactor. units that are made new:neoteny.PlasticityWarning")
def test_rides_on_any_optimizer(make):
    """State of a reset slice returns to what the optimizer begins with, whatever it is called."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = make(model.parameters())
    plasticity = neoteny.attach(
        model, optimizer, ContinualBackprop(replacement_rate=0.25, maturity_threshold=10), torch.zeros(1, 3)
    )
    train(model, optimizer, [(torch.randn(5, 3), torch.randn(5, 2)) for _ in range(11)])
    assert plasticity.counters()["cbp"]["0"]["units_replaced"] == 1
    unit = (model[2].weight == 0).all(0)
    start = {"sum": 0.5, "step_size": 0.001}
    for p, rows in ((model[0].weight, lambda t: t[unit]), (model[2].weight, lambda t: t[:, unit])):
        for name, value in optimizer.state[p].items():
            if isinstance(value, torch.Tensor) and value.shape == p.shape:
                begins = rows(p) if name == "ax" else start.get(name, 0.0)  # ASGD's average is a copy
                assert (rows(value) == begins).all(), name


def test_amsgrad_and_adam_newborns_take_a_first_step_of_the_step_size():
    for settings in ({}, {"amsgrad": True}, {"foreach": False}, {"capturable": False}, {"fused": True}):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        optimizer = torch.optim.Adam(model.parameters(), 0.01, **settings)
        neoteny.attach(
            model, optimizer, ContinualBackprop(replacement_rate=0.25, maturity_threshold=10), torch.zeros(1, 3)
        )
        for x in torch.randn(11, 5, 3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        unit = int((model[2].weight == 0).flatten().nonzero())
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()
        torch.testing.assert_close(model[2].weight[0, unit].abs().item(), 0.01, rtol=1e-3, atol=0)


def test_compiled_models():
    model = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3))
    plain = copy.deepcopy(model)
    compiled = torch.compile(model, backend="eager")
    a, b = (torch.optim.SGD(m.parameters(), 0.05) for m in (compiled, plain))
    one = neoteny.attach(compiled, a, ACTIVE["cbp"], torch.zeros(1, 4))
    two = neoteny.attach(plain, b, ACTIVE["cbp"], torch.zeros(1, 4))
    data = [(torch.randn(6, 4), torch.randn(6, 3)) for _ in range(15)]
    train(compiled, a, data)
    train(plain, b, data)
    for name, value in two._state["cbp"].items():
        torch.testing.assert_close(one._state["cbp"][name], value)
    two.load_state_dict(one.state_dict())  # names are the same


@pytest.mark.parametrize("value", [-1, 2, float("nan"), "0.1", None, True])
def test_bad_rates_are_refused_with_their_value(value):
    with pytest.raises(SettingError, match=r"ContinualBackprop: replacement_rate = .*in \[0, 1\]") as error:
        ContinualBackprop(replacement_rate=value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ContinualBackprop(decay_rate=1.0), "decay_rate = 1.0"),
        (lambda: ContinualBackprop(maturity_threshold=-1), "maturity_threshold = -1"),
        (lambda: ContinualBackprop(maturity_threshold=1.5), "maturity_threshold = 1.5"),
        (lambda: ContinualBackprop(utility="contributon"), "did you mean 'contribution'"),
        (lambda: ContinualBackprop(replacement="acount"), "did you mean 'account'"),
        (lambda: L2(strength=-1), "strength = -1"),
        (lambda: L2(strength=float("inf")), "strength = inf"),
        (lambda: L2Init(strength=float("nan")), "strength = nan"),
        (lambda: ShrinkAndPerturb(shrink=2), "shrink = 2"),
        (lambda: ShrinkAndPerturb(sigma=-1), "sigma = -1"),
        (lambda: ShrinkAndPerturb(when="always"), "when = 'always'"),
        (lambda: ReDo(tau=-1), "tau = -1"),
        (lambda: ReDo(period=0), "period = 0"),
        (lambda: HeadReset(layers=0), "layers = 0"),
        (lambda: HeadReset(to="one"), "to = 'one'"),
        (lambda: FullReset(period=-3), "period = -3"),
    ],
)
def test_bad_settings_are_refused_with_their_value(make, words):
    with pytest.raises(SettingError, match=words):
        make()


def test_a_network_without_hidden_units_is_refused_where_units_are_needed():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for method in (ContinualBackprop(), ReDo()):
        with pytest.raises(NetworkError, match=f"no hidden units.*{type(method).__name__}"):
            neoteny.attach(model, optimizer, method, torch.zeros(1, 3))
    neoteny.attach(model, optimizer, [L2(), HeadReset(), FullReset(), ShrinkAndPerturb()], torch.zeros(1, 3)).new_task()


def test_wrong_arguments_of_attach():
    model, stranger = make_model(), make_model()
    optimizer = torch.optim.SGD(stranger.parameters(), 0.1)
    with pytest.raises(SettingError, match="trains none of the parameters"):
        neoteny.attach(model, optimizer, L2(), X)
    with pytest.raises(SettingError, match="those that it holds are frozen"):
        neoteny.attach(model.requires_grad_(False), torch.optim.SGD(model.parameters(), 0.1), L2(), X)
    with pytest.raises(SettingError, match="is not a method"):
        neoteny.attach(stranger, optimizer, [L2], X)
    with pytest.raises(SettingError, match="example_inputs is missing"):
        neoteny.attach(stranger, optimizer, ContinualBackprop())
    with pytest.raises(SettingError, match=r"compensate.*has no bias"):
        model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1, bias=False))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        neoteny.attach(model, optimizer, ContinualBackprop(compensate=True), torch.zeros(1, 2))


def test_checkpoints_of_something_else_are_refused_and_change_nothing():
    def attached(methods, width=9):
        model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))
        return neoteny.attach(model, torch.optim.SGD(model.parameters(), 0.1), methods, torch.zeros(1, 4))

    saved = attached([ContinualBackprop(), L2()]).state_dict()
    for other, words in (
        (attached([ContinualBackprop()]), "of the methods"),
        (attached([L2(), ContinualBackprop()]), "of the methods"),
        (attached([ContinualBackprop(replacement_rate=0.5), L2()]), "replacement_rate"),
        (attached([ContinualBackprop(), L2()], width=8), "unit layers"),
    ):
        before = repr(other.state_dict())
        with pytest.raises(CheckpointError, match=words):
            other.load_state_dict(saved)
        assert repr(other.state_dict()) == before
    with pytest.raises(CheckpointError, match="version"):
        attached([L2()]).load_state_dict({})


def test_one_warning_where_nothing_can_happen():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.warns(PlasticityWarning, match=r"cbp: replacement_rate = 0.*l2: strength = 0") as caught:
        neoteny.attach(model, optimizer, [ContinualBackprop(replacement_rate=0), L2(strength=0)], X)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neoteny.attach(model, optimizer, list(ACTIVE.values()), X)


def test_a_warning_where_nothing_is_seen():
    """A network trained in evaluation mode shows no activations: its units keep their averages, and it is said once."""
    model = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    method = ContinualBackprop(replacement_rate=0.1, maturity_threshold=3, compensate=True)
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 4))
    data = [(torch.randn(6, 4), torch.randn(6, 3)) for _ in range(10)]
    with pytest.warns(PlasticityWarning, match="evaluation mode") as caught:
        train(model, optimizer, data)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not plasticity._state["cbp"]["0/utility"].any()
    assert plasticity.counters()["cbp"]["0"]["units_replaced"] == 0
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_layer_of_which_nothing_is_seen_stays_as_it_is_and_is_named():
    """A part in evaluation mode: its units would be replaced in their order, as if all were useless."""
    model = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    method = ContinualBackprop(replacement_rate=0.1, maturity_threshold=3)
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 4))
    model[2].eval()  # which reads layer 0
    before = model[0].weight.clone()
    data = [(torch.randn(6, 4), torch.randn(6, 3)) for _ in range(20)]
    with pytest.warns(PlasticityWarning, match="Units of 0 are due.*evaluation mode") as caught:
        train(model, optimizer, data)
    assert [warning.filename for warning in caught] == [__file__]
    assert torch.equal(model[0].weight, before)
    model.train()
    train(model, optimizer, data)
    assert all(told["units_replaced"] > 0 for told in plasticity.counters()["cbp"].values())


def test_two_methods_of_one_kind():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, [L2(), L2(norms=True)], X)
    assert list(plasticity.methods) == ["l2", "l2-2"]


def test_settings_do_not_import_torch():
    """`neoteny list` and `--help` read the settings of every method, and answer at once."""
    code = (
        "import sys\nfrom neoteny import registry\n"
        "for entry in registry.METHODS.values(): entry.load()()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_lazy_exports():
    import neoteny.methods as methods

    assert all(getattr(methods, name).__name__ == name for name in methods.__all__)
    with pytest.raises(AttributeError):
        _ = methods.nonsense
