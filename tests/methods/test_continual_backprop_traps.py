"""One test for each trap seen in public implementations of continual backpropagation, and what a reset must keep."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

import neoteny
from neoteny.methods import ContinualBackprop, Step
from neoteny.methods.shared.order import method_seed
from neoteny.units import Activations, find, random


def mlp(*sizes, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    modules = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        modules += [nn.Linear(fan_in, fan_out, dtype=dtype), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def step_of(model, network, features=None, key=0):
    tensors = {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    since = {layer.name: torch.ones(layer.size, dtype=torch.int32) for layer in network.layers}
    seen = {name: Activations(value) for name, value in (features or {}).items()}
    return Step(network, tensors, {}, {}, seen, since, random.key(key))


def train(model, optimizer, data):
    for x in data:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


# What a reset keeps


@pytest.mark.parametrize("kind", ["mlp", "conv", "norm", "concatenation"])
def test_a_newborn_contributes_nothing_bit_for_bit(kind):
    torch.manual_seed(0)

    class CReLU(nn.Module):
        def forward(self, x):
            return torch.cat([x.relu(), (-x).relu()], 1)

    model, x = {
        "mlp": (mlp(5, 8, 7, 3), torch.randn(20, 5)),
        "conv": (
            nn.Sequential(
                nn.Conv2d(2, 6, 3),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 5, 2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(20, 3),
            ),
            torch.randn(20, 2, 8, 8),
        ),
        "norm": (
            nn.Sequential(
                nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)
            ).eval(),
            torch.randn(20, 5),
        ),
        "concatenation": (nn.Sequential(nn.Linear(5, 8), CReLU(), nn.Linear(16, 3)), torch.randn(20, 5)),
    }[kind]
    network = find(model, x)
    assert network.layers
    for layer in network.layers:
        for number in range(layer.size):
            chosen = torch.arange(layer.size) == number
            zeroed = copy.deepcopy(model)
            with torch.no_grad():
                for slices in layer.outgoing:
                    weight = zeroed.get_parameter(slices.name)
                    weight.masked_fill_(slices.select(chosen, weight), 0)
            step = step_of(model, network)
            step.make_new(layer, chosen, random.key(number))
            output = torch.func.functional_call(model, step.tensors, (x,))
            assert torch.equal(output, zeroed(x))
            for slices in layer.incoming:
                weight = model.get_parameter(slices.name)
                assert not torch.equal(slices.rows(step.tensors[slices.name])[chosen], slices.rows(weight)[chosen])
            assert step.since[layer.name].tolist() == [0 if i == number else 1 for i in range(layer.size)]


@pytest.mark.parametrize("conv", [False, True, "grouped"])
def test_compensation_keeps_the_mean_output(conv):
    torch.manual_seed(0)
    if conv == "grouped":
        convs = nn.Conv2d(1, 6, 2), nn.ReLU(), nn.Conv2d(6, 4, 1, groups=2)
        model = nn.Sequential(*convs, nn.Flatten()).double()
        x = torch.randn(50, 1, 2, 2).double()
    elif conv:
        model = nn.Sequential(nn.Conv2d(1, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(5, 3)).double()
        x = torch.randn(50, 1, 2, 2).double()
    else:
        model, x = mlp(4, 6, 3, dtype=torch.float64), torch.randn(50, 4).double()
    network = find(model, x)
    layer = network.layers[0]
    h = model[:2](x)
    for compensate in (True, False):
        method = ContinualBackprop(replacement_rate=1.0, decay_rate=0.0, maturity_threshold=0, compensate=compensate)
        step = step_of(model, network, {layer.name: h.flatten(2) if conv else h.unsqueeze(2)})
        state = method.intervene(step, method.init(network, step.tensors), torch.tensor([1]))
        assert state[f"{layer.name}/replaced"] == 1
        after = torch.func.functional_call(model, step.tensors, (x,))
        kept = torch.allclose(after.mean(0), model(x).mean(0), rtol=1e-12, atol=1e-12)
        assert kept == compensate


def test_units_not_chosen_are_untouched():
    model = mlp(5, 8, 7, 3)
    network = find(model, torch.zeros(1, 5))
    step = step_of(model, network)
    step.optim = {name: {"exp_avg": torch.randn_like(p), "step": torch.tensor(5.0)} for name, p in step.tensors.items()}
    parameters, moments = dict(step.tensors), {name: state["exp_avg"] for name, state in step.optim.items()}
    chosen = torch.arange(8) == 3
    step.make_new(network.layers[0], chosen, random.key(1))
    after = {name: state["exp_avg"] for name, state in step.optim.items()}
    for old, new in ((parameters, step.tensors), (moments, after)):
        assert torch.equal(new["0.weight"][~chosen], old["0.weight"][~chosen])
        assert torch.equal(new["0.bias"][~chosen], old["0.bias"][~chosen])
        assert torch.equal(new["2.weight"][:, ~chosen], old["2.weight"][:, ~chosen])
        assert not new["2.weight"][:, chosen].any()
        assert all(new[name] is old[name] for name in ("2.bias", "4.weight", "4.bias"))
    assert all(state["step"] == 5 for state in step.optim.values())
    assert not after["0.weight"][chosen].any()


# The traps


def test_newborns_are_not_replaced_again_and_again():
    """Ranked by the uncorrected average, a newborn's u near 0 would always be least."""
    model = mlp(4, 6, 2)
    network = find(model, torch.zeros(1, 4))
    method = ContinualBackprop(maturity_threshold=2, decay_rate=0.99)
    layer, h = network.layers[0], torch.rand(32, 6, 1) + torch.arange(6).view(1, 6, 1)  # unit 0 is the least useful
    step = step_of(model, network, {layer.name: h})
    step.tensors["2.weight"] = torch.ones(2, 6)
    state = method.init(network, step.tensors)
    for _ in range(200):
        state = method.intervene(step, state, None)
    state = {**state, **{f"{layer.name}/{key}": torch.where(torch.arange(6) == 4, 0, state[f"{layer.name}/{key}"])
                         for key in ("age", "utility", "share")}}  # fmt: skip
    for _ in range(3):
        state = method.intervene(step, state, None)
    assert state[f"{layer.name}/utility"].argmin() == 4  # a newborn that is mature, and useful
    assert state[f"{layer.name}/age"].tolist() == [203, 203, 203, 203, 3, 203]
    state = method.intervene(step, state, torch.tensor([1]))
    assert state[f"{layer.name}/age"].tolist() == [0, 204, 204, 204, 4, 204]


def test_no_burst_when_units_mature():
    model = mlp(4, 20, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    method = ContinualBackprop(replacement_rate=0.01, maturity_threshold=150, replacement="accumulate")
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 4))
    counts = []
    for _ in range(180):
        train(model, optimizer, [torch.randn(3, 4)])
        counts.append(plasticity.counters()["cbp"]["0"]["units_replaced"])
    assert counts[149:156] == [0, 0, 0, 0, 0, 1, 1]  # 0.01 * 20 a step from the first step at which they are mature
    assert counts[-1] == 5


@pytest.mark.parametrize("kind", ["momentum", "adam", "adamw"])
def test_the_optimizers_state_of_a_reset_unit_is_reset(kind):
    model = mlp(4, 6, 5, 2)
    make = {
        "momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, 0.01),
        "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    }[kind]
    optimizer = make(model.parameters())
    plasticity = neoteny.attach(
        model, optimizer, ContinualBackprop(replacement_rate=0.2, maturity_threshold=20), torch.zeros(1, 4)
    )
    train(model, optimizer, torch.randn(21, 16, 4))
    for layer, w_in, w_out in (("0", model[0], model[2]), ("2", model[2], model[4])):
        unit = plasticity._state["cbp"][f"{layer}/age"] == 0
        assert unit.sum() == 1
        for state in (optimizer.state[w_in.weight], optimizer.state[w_in.bias]):
            tensors = [value for value in state.values() if value is not None and value.dim()]
            assert tensors
            assert not any(value[unit].any() for value in tensors)
            assert all(value[~unit].any() for value in tensors)
        assert not any(v[:, unit].any() for v in optimizer.state[w_out.weight].values() if v is not None and v.dim())
        assert plasticity._since[layer].tolist() == [0 if u else 21 for u in unit.tolist()]


def test_a_maturity_that_is_never_reached_shows():
    model = mlp(4, 6, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    plasticity = neoteny.attach(model, optimizer, ContinualBackprop(maturity_threshold=10_000), torch.zeros(1, 4))
    train(model, optimizer, torch.randn(30, 2, 4))
    assert plasticity.counters() == {
        "updates": 30, "tasks": 0, "cbp": {"0": {"units_replaced": 0, "mature_share": 0.0}},
    }  # fmt: skip


def test_resets_come_after_the_step():
    """The old gradient is not applied to the new weights: after the step they are the drawn ones, to the bit."""
    model = mlp(4, 6, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    method = ContinualBackprop(replacement_rate=0.25, maturity_threshold=3)
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 4), seed=8)
    train(model, optimizer, torch.randn(4, 16, 4))
    unit = plasticity._state["cbp"]["0/age"] == 0
    assert unit.sum() == 1
    key = random.fold_in(random.fold_in(random.key(method_seed(8)), 3), 1)
    key = random.fold_in(random.fold_in(key, 1), 0)
    assert torch.equal(model[0].weight[unit], plasticity.units.initialisers["0.weight"].draw(key, (1, 4)))
    assert not model[0].bias[unit].any()
    assert not model[2].weight[:, unit].any()


def test_batches_of_changing_size_and_signs_that_do_not_cancel():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    plasticity = neoteny.attach(model, optimizer, ContinualBackprop(), torch.zeros(1, 4))
    with torch.no_grad():
        model[0].bias.zero_()
    for size in (8, 3, 1):
        half = torch.randn(size, 4)
        train(model, optimizer, [torch.cat([half, -half])])  # activations have mean 0
    assert (plasticity._state["cbp"]["0/utility"] > 0).all()


def test_evaluation_does_not_count():
    model = mlp(4, 6, 2)
    other = copy.deepcopy(model)
    a, b = (torch.optim.SGD(m.parameters(), 0.01) for m in (model, other))
    method = ContinualBackprop(utility="adaptable_contribution")
    one, two = (neoteny.attach(m, o, method, torch.zeros(1, 4)) for m, o in ((model, a), (other, b)))
    for x in torch.randn(10, 5, 4):
        train(model, a, [x])
        other.eval()
        other(100 * x)
        other.train()
        with torch.no_grad():
            other(100 * x)
        train(other, b, [x])
        other.eval()(100 * x)
        other.train()
    assert all(torch.equal(value, two._state["cbp"][name]) for name, value in one._state["cbp"].items())


def test_the_checkpoint_holds_all_state():
    model = mlp(4, 6, 2)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    method = ContinualBackprop(
        replacement_rate=0.1, maturity_threshold=3, utility="adaptable_contribution", replacement="drawn"
    )
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 4))
    train(model, optimizer, torch.randn(20, 5, 4))
    saved = plasticity.state_dict()["methods"]["cbp"]
    assert set(saved["state"]) == {f"0/{name}" for name in ("age", "share", "utility", "mean", "replaced")}
    clock = saved["schedule"]["layers"][0]
    assert clock["now"] == 20
    assert clock["replaced"] == saved["state"]["0/replaced"] > 0
    assert clock["lots"]["bit_generator"] == "PCG64"


def test_names_survive_wrappers():
    plain = mlp(4, 6, 2)
    states = []
    for model in (plain, torch.compile(copy.deepcopy(plain), backend="eager"), nn.DataParallel(copy.deepcopy(plain))):
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        states.append(neoteny.attach(model, optimizer, ContinualBackprop(), torch.zeros(1, 4)).state_dict())
    assert str(states[0]) == str(states[1]) == str(states[2])
    inside = copy.deepcopy(plain)
    inside[0] = torch.compile(inside[0], backend="eager")
    optimizer = torch.optim.SGD(inside.parameters(), 0.01)
    plasticity = neoteny.attach(inside, optimizer, ContinualBackprop(), torch.zeros(1, 4))
    assert str(plasticity.state_dict()) == str(states[0])
    plasticity.load_state_dict(states[0])


class Heads(nn.Module):
    """A trunk with an actor and a critic."""

    def __init__(self):
        super().__init__()
        self.trunk, self.actor, self.critic = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, x):
        h = torch.tanh(self.trunk(x))
        return self.actor(h), self.critic(h)


def test_all_consumers_are_zeroed():
    torch.manual_seed(0)
    model = Heads()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    method = ContinualBackprop(replacement_rate=0.125, maturity_threshold=5, utility="weight")
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 4))
    expected = torch.zeros(8)
    for update in range(1, 7):
        optimizer.zero_grad()
        actor, critic = model(torch.randn(16, 4))
        (actor.square().mean() + critic.square().mean()).backward()
        optimizer.step()
        if update < 6:
            expected = (
                0.99 * expected + 0.01 * (model.actor.weight.abs().sum(0) + model.critic.weight.abs().sum(0)).detach()
            )
            torch.testing.assert_close(plasticity._state["cbp"]["trunk/utility"], expected)
    unit = plasticity._state["cbp"]["trunk/age"] == 0
    assert unit.sum() == 1
    assert not model.actor.weight[:, unit].any()
    assert not model.critic.weight[:, unit].any()
    assert model.actor.weight[:, ~unit].all()
    assert not optimizer.state[model.critic.weight]["exp_avg"][:, unit].any()


def test_a_feature_map_owns_its_block_of_columns():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 6, 3))
    x = torch.randn(10, 1, 5, 7)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    method = ContinualBackprop(replacement_rate=0.25, maturity_threshold=2)
    plasticity = neoteny.attach(model, optimizer, method, x)
    train(model, optimizer, [x, x])
    layer = plasticity.units.layers[0]
    h = model[:3](x).flatten(2).abs().mean((0, 2))
    w = model[4].weight.abs().view(3, 4, 6).sum((0, 2))
    assert plasticity._state["cbp"]["0/age"].tolist() == [2] * 4
    train(model, optimizer, [x])
    unit = int((plasticity._state["cbp"][f"{layer.name}/age"] == 0).nonzero())
    assert unit == int((h * w).argmin())
    zero = (model[4].weight == 0).all(0)
    assert zero.nonzero().flatten().tolist() == list(range(6 * unit, 6 * unit + 6))
