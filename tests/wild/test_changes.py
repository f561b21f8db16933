"""A network that changes after methods were attached is followed, or refused by name; frozen stays frozen."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import neoteny
from neoteny.errors import NetworkError, PlasticityWarning

X, Y = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 2


class Net(nn.Module):
    def __init__(self, classes=2, norm=False):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, classes)
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.norm(self.first(x))))))


def attached(methods, net=None, optimizer=torch.optim.Adam, lr=0.01):
    torch.manual_seed(0)
    net = Net(norm=methods[0].prepares) if net is None else net
    net = neoteny.prepare(net, methods, X)
    optimizer = optimizer(net.parameters(), lr=lr)
    reference = X if any(method.needs_reference for method in methods) else None
    plasticity = neoteny.attach(net, optimizer, methods, example_inputs=X, reference=reference)
    return net, optimizer, plasticity


def step(net, optimizer, x=X):
    optimizer.zero_grad()
    x = x.to(next(net.parameters()).dtype)
    F.cross_entropy(net(x), Y).backward()
    optimizer.step()


EVERY = [
    neoteny.L2(strength=0.1),
    neoteny.L2(strength=0.1, decoupled=True),
    neoteny.L2Init(strength=0.1),
    neoteny.ShrinkAndPerturb(sigma=0.1),
    neoteny.ShrinkAndPerturb(when="at_task"),
    neoteny.ContinualBackprop(replacement_rate=0.5, maturity_threshold=1, compensate=True),
    neoteny.ReDo(tau=10.0, period=1),
    neoteny.ReGraMa(tau=10.0, period=1, norms=True),
    neoteny.SelfNormalisedResets(threshold=20, least_share=1.0, period=1),
    neoteny.ContinuousPartialResets(replacement_rate=0.5, period=1),
    neoteny.SelectiveReinitialisation(factor=0.5, period=1, utility="magnitude"),
    neoteny.FullReset(period=1),
    neoteny.FullReset(),
    neoteny.HeadReset(layers=3),
    neoteny.FIRE(period=1),
    neoteny.DASH(period=1),
    neoteny.WeightClipping(zeta=0.01),
    neoteny.NormaliseAndProject(),
    neoteny.Parseval(strength=0.1),
    neoteny.Spectral(strength=0.1),
    neoteny.HareAndTortoise(mu=0.9, period=2),
    neoteny.EMA(mu=0.9),
    neoteny.UPGD(sigma=0.1),
    neoteny.UPGD(sigma=0.1, level="unit"),
    neoteny.CChain(strength=1.0),
    neoteny.InFeR(strength=1.0),
    neoteny.EffectiveRank(strength=0.1, rank_strength=0.1),
    neoteny.SelfDistillation(mu=0.9),
]


def name_of(method):
    return repr(method)


@pytest.mark.parametrize("method", EVERY, ids=name_of)
@pytest.mark.parametrize("frozen", ["first", "second", "head"])
def test_a_layer_frozen_after_attach_is_untouched(method, frozen):
    torch.manual_seed(0)
    net, optimizer, plasticity = attached([method], Net(norm=True))
    for _ in range(3):
        step(net, optimizer)
    net.get_submodule(frozen).requires_grad_(False)
    before = copy.deepcopy(net.get_submodule(frozen).state_dict())
    for number in range(4):
        step(net, optimizer)
        if number == 2:
            plasticity.new_task()
    for name, value in net.get_submodule(frozen).state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_a_layer_taken_out_of_the_optimizer_is_untouched(method):
    net, optimizer, plasticity = attached([method], Net(norm=True))
    for _ in range(3):
        step(net, optimizer)
    first = set(net.first.parameters())
    (group,) = optimizer.param_groups
    group["params"] = [parameter for parameter in group["params"] if parameter not in first]
    before = copy.deepcopy(net.first.state_dict())
    for _ in range(4):
        step(net, optimizer)
    plasticity.new_task()
    for name, value in net.first.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_of_a_frozen_layer_no_unit_counts_as_replaced_and_the_others_go_on():
    net, optimizer, plasticity = attached([neoteny.ContinualBackprop(replacement_rate=0.2, maturity_threshold=1)])
    net.second.requires_grad_(False)
    for _ in range(20):
        step(net, optimizer)
    assert all(layer["units_replaced"] == 0 for layer in plasticity.counters()["cbp"].values())  # second reads first
    net.second.requires_grad_(True)
    for _ in range(20):
        step(net, optimizer)
    assert all(layer["units_replaced"] > 0 for layer in plasticity.counters()["cbp"].values())


def test_units_whose_norm_is_frozen_are_left_out_at_attach_and_rest_later():
    redo = neoteny.ReDo(tau=10.0, period=1)
    net = Net(norm=True)
    net.norm.requires_grad_(False)
    _, _, plasticity = attached([redo], net)
    assert [layer.name for layer in plasticity.units.layers] == ["second"]
    assert "norm.weight is not trained" in plasticity.units.skipped["first"]
    net, optimizer, plasticity = attached([redo], Net(norm=True))
    net.norm.requires_grad_(False)
    before = net.norm.weight.clone()
    step(net, optimizer)
    assert torch.equal(net.norm.weight, before)
    assert plasticity.counters()["redo"]["first"]["units_replaced"] == 0


def test_what_is_unfrozen_after_attach_is_named_once():
    net = Net()
    net.first.requires_grad_(False)
    net, optimizer, _ = attached([neoteny.L2(strength=0.1)], net)
    step(net, optimizer)
    net.first.requires_grad_(True)
    words = "first.bias and 1 others: trained now, but frozen or not in the opt"
    with pytest.warns(PlasticityWarning, match=words) as caught:
        step(net, optimizer)
    assert caught[0].filename == __file__
    step(net, optimizer)


def test_a_parameter_group_added_after_attach_is_named():
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD([*net.second.parameters(), *net.head.parameters()], lr=0.1)
    neoteny.attach(net, optimizer, [neoteny.L2(strength=0.1)], example_inputs=X)
    step(net, optimizer)
    optimizer.add_param_group({"params": net.first.parameters()})
    with pytest.warns(PlasticityWarning, match="first.bias and 1 others: trained now"):
        step(net, optimizer)


FOLLOWED = [method for method in EVERY if not isinstance(method, neoteny.NormaliseAndProject)]


@pytest.mark.parametrize("method", FOLLOWED, ids=name_of)
def test_a_head_that_grows_is_followed(method):
    net, optimizer, plasticity = attached([method], optimizer=torch.optim.SGD, lr=1e-3)
    step(net, optimizer)
    old, net.head = net.head, nn.Linear(8, 5)
    with torch.no_grad():
        net.head.weight[:2], net.head.bias[:2] = old.weight, old.bias
    optimizer.add_param_group({"params": net.head.parameters()})
    kept = copy.deepcopy(old.state_dict())
    for _ in range(4):
        step(net, optimizer)
    plasticity.new_task()
    step(net, optimizer)
    assert all(torch.equal(value, kept[name]) for name, value in old.state_dict().items())  # nothing acts on it
    assert all(value.isfinite().all() for value in net.state_dict().values())


def test_newborns_contribute_nothing_to_a_head_that_grew():
    net, optimizer, plasticity = attached([neoteny.ReDo(tau=10.0, period=3)])
    step(net, optimizer)
    net.head = nn.Linear(8, 5)
    optimizer.add_param_group({"params": net.head.parameters()})
    step(net, optimizer)
    step(net, optimizer)
    assert plasticity.made_new("second").all()
    assert not net.head.weight.any()
    assert net.head.bias.any()


def test_head_reset_draws_the_head_that_is_there():
    net, optimizer, plasticity = attached([neoteny.HeadReset()])
    net.head = nn.Linear(8, 3)
    optimizer.add_param_group({"params": net.head.parameters()})
    before = copy.deepcopy(net.head)
    plasticity.new_task()
    assert not torch.equal(before.weight, net.head.weight)
    assert net.head.weight.abs().max() <= 8**-0.5


def test_weights_assigned_from_a_checkpoint_are_followed_with_a_new_optimizer_and_refused_without():
    net, optimizer, _ = attached([neoteny.L2Init(strength=0.1)])
    step(net, optimizer)
    net.load_state_dict({name: value.clone() for name, value in net.state_dict().items()}, assign=True)
    with pytest.raises(NetworkError, match="first.bias, first.weight.* other parameters than when methods were"):
        step(net, optimizer)
    optimizer.param_groups[0]["params"] = list(net.parameters())
    step(net, optimizer)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_another_type_is_followed(method, dtype):
    net, optimizer, plasticity = attached([method], optimizer=torch.optim.SGD, lr=1e-3)
    step(net, optimizer)
    optimizer.zero_grad()
    net.to(dtype)
    if plasticity._reference is not None:
        plasticity._reference = X.to(dtype)
    for _ in range(4):
        step(net, optimizer)
    plasticity.new_task()
    step(net, optimizer)
    assert all(p.dtype == dtype and p.isfinite().all() for p in net.parameters())


def test_in_another_type_newborns_still_contribute_nothing():
    net, optimizer, plasticity = attached([neoteny.ReDo(tau=10.0, period=2)])
    step(net, optimizer)
    net.double()
    for state in optimizer.state.values():
        state.update({key: value.double() for key, value in state.items() if value.dim()})
    step(net, optimizer)
    assert plasticity.made_new("second").all() and not net.head.weight.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: setattr(net, "extra", nn.Linear(8, 2)), "has new parameters .*extra.bias, extra.weight"),
        (lambda net: setattr(net, "second", nn.Identity()), "has lost parameters .*second.bias"),
        (lambda net: setattr(net, "second", nn.Linear(8, 9)), "second.weight has the shape .9, 8. and had .8, 8."),
        (
            lambda net: nn.utils.parametrizations.weight_norm(net.second),
            "has new parameters .*second.parametrizations.weight.original0",
        ),
        (lambda net: setattr(net, "norm", nn.Dropout()), "Net.norm is Dropout and was Identity"),
    ],
)
def test_changes_that_cannot_be_followed_are_refused_before_the_step(change, message):
    net, optimizer, plasticity = attached([neoteny.ReDo()])
    step(net, optimizer)
    change(net)
    before = [p.clone() for p in net.parameters()]
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    with pytest.raises(NetworkError, match=message):
        optimizer.step()
    assert all(map(torch.equal, before, net.parameters()))
    plasticity.detach()
    optimizer.step()
