"""Every rule against an independent float64 reference over hundreds of steps, the same draws fed to both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods import numpy_reference as reference
from neoteny.methods import HeadReset, ReDo
from neoteny.methods.shared.order import method_seed
from neoteny.units import find, random
from neoteny.units.initialise import Initialiser
from neoteny.units.noise import normals

STEPS, SEED = 250, 5


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 7), nn.ReLU(), nn.Linear(7, 2)).double()


def conv_net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 2))
    return net.double()


def batch(model, generator):
    x = generator.normal(size=(4, 2, 3, 3) if isinstance(model[0], nn.Conv2d) else (4, 6))
    return torch.tensor(x), torch.tensor(generator.normal(size=(4, 2)))


def patches(x):
    """What layer 0 reads, `[batch, positions, inputs]`."""
    if x.dim() == 2:
        return x.numpy()[:, None]
    return nn.functional.unfold(x, 2).movedim(2, 1).numpy()


def weighted(model):
    return [module for module in model if hasattr(module, "weight")]


def numpy_net(model):
    layers = weighted(model)
    return reference.Net(
        [m.weight.detach().flatten(1).numpy() for m in layers], [m.bias.detach().numpy() for m in layers]
    )


def draw_as_attached(initialisers, shared):
    """Fresh weights from the keys that update `t`, method 0 and the layer lead to."""

    def draw(update, layer, shape):
        key = random.fold_in(random.key(method_seed(SEED)), update)
        key = random.fold_in(random.fold_in(random.fold_in(key, 1), 2 * layer + 1), 0)
        rows = initialisers[layer].draw(key, (1 if shared else shape[0], shape[1])).double().numpy()
        return np.broadcast_to(rows, shape)

    return draw


def update_key(update, number):
    """The key of one update (from 0): number 2 i for method i's regulariser, 2 i + 1 for its intervention."""
    return random.fold_in(random.fold_in(random.key(method_seed(SEED)), update), number)


def noise_of_all(key, tensors):
    """Standard normal noise for all tensors, from one draw, by name."""
    sizes = [value.numel() for value in tensors.values()]
    parts = normals(key, sum(sizes))[0].split(sizes)
    return {
        name: part.view(value.shape).double().numpy()
        for (name, value), part in zip(tensors.items(), parts, strict=True)
    }


def both_optimizers(kind, model, net):
    if kind == "sgd":
        return torch.optim.SGD(model.parameters(), 0.02), reference.SGD(net.parameters(), 0.02)
    if kind == "momentum":
        return (
            torch.optim.SGD(model.parameters(), 0.01, momentum=0.9),
            reference.SGD(net.parameters(), 0.01, momentum=0.9),
        )
    return torch.optim.Adam(model.parameters(), 0.003), reference.Adam(net.parameters(), 0.003)


@pytest.mark.reference("cbp")
@pytest.mark.parametrize("make", [mlp, conv_net])
@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("utility", ["contribution", "adaptable_contribution"])
def test_continual_backprop(make, kind, utility):
    compare(make, kind, utility=utility, replacement="account")


@pytest.mark.parametrize("utility", ["zero_contribution", "feature_by_input", "weight", "adaptation"])
def test_the_other_utilities(utility):
    compare(mlp, "sgd", utility=utility, replacement="account")


@pytest.mark.parametrize("make", [mlp, conv_net])
def test_several_replacements_at_once(make):
    compare(make, "adam", utility="contribution", replacement="accumulate", replacement_rate=0.21)


@pytest.mark.parametrize("make", [mlp, conv_net])
def test_compensation(make):
    compare(make, "sgd", utility="adaptable_contribution", replacement="account", compensate=True)


@pytest.mark.parametrize("kind", ["momentum", "adam"])
@pytest.mark.parametrize("utility", ["contribution", "adaptable_contribution"])
def test_the_authors_code(kind, utility):
    compare(conv_net, kind, utility=utility, replacement="accumulate", replacement_rate=0.03, authors_code=True)


def compare(make, kind, replacement_rate=0.01, maturity_threshold=12, **settings):
    model = make()
    net = numpy_net(model)
    torch_optimizer, numpy_optimizer = both_optimizers(kind, model, net)
    data = np.random.default_rng(1)
    method = neoteny.ContinualBackprop(
        replacement_rate=replacement_rate, decay_rate=0.9, maturity_threshold=maturity_threshold, **settings
    )
    x, _ = batch(model, data)
    plasticity = neoteny.attach(model, torch_optimizer, method, x, seed=SEED)
    initialisers = [plasticity.units.initialisers[layer.incoming[0].name] for layer in plasticity.units.layers]
    cbp = reference.ContinualBackprop(
        net,
        numpy_optimizer,
        replacement_rate,
        0.9,
        maturity_threshold,
        method.utility,
        draw_as_attached(initialisers, shared=method.replacement == "account" or replacement_rate * 10 <= 1),
        rule=method.replacement,
        compensate=method.compensate,
        authors_code=method.authors_code,
    )
    for update in range(STEPS):
        x, y = batch(model, data)
        torch_optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        torch_optimizer.step()

        grads, hidden = net.gradients(patches(x), y.numpy())
        numpy_optimizer.step(net.parameters(), grads)
        cbp.step(update, hidden)
        if update % 25 == 24:
            for module, w, b in zip(weighted(model), net.weights, net.biases, strict=True):
                np.testing.assert_allclose(module.weight.detach().flatten(1).numpy(), w, rtol=1e-7, atol=1e-10)
                np.testing.assert_allclose(module.bias.detach().numpy(), b, rtol=1e-7, atol=1e-10)
    counted = [entry["units_replaced"] for entry in plasticity.counters()["cbp"].values()]
    assert counted == cbp.replaced
    assert min(counted) >= 10
    assert list(plasticity._clocks["cbp"].schedule.replaced) == cbp.replaced


@pytest.mark.reference("l2", "l2-init", "shrink-and-perturb")
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_l2_l2_init_and_noise(kind):
    """The three terms together: g + λ θ + λ' (θ - θ₀) before the step, σ ε after it."""
    model = mlp()
    net = numpy_net(model)
    torch_optimizer, numpy_optimizer = both_optimizers(kind, model, net)
    data = np.random.default_rng(1)
    methods = [
        neoteny.L2(strength=0.01),
        neoteny.L2Init(strength=0.1),
        neoteny.ShrinkAndPerturb(weight_decay=0.02, sigma=0.003),
    ]
    plasticity = neoteny.attach(model, torch_optimizer, methods, batch(model, data)[0], seed=SEED)
    first = [p.copy() for p in net.parameters()]
    names = list(plasticity.units.initialisers)
    order = [names.index(f"{number}.{kind}") for kind in ("weight", "bias") for number in (0, 2, 4)]
    for update in range(200):
        x, y = batch(model, data)
        torch_optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        torch_optimizer.step()

        grads, _ = net.gradients(patches(x), y.numpy())
        parameters = net.parameters()
        pulled = [g + 0.03 * p + 0.1 * (p - p0) for g, p, p0 in zip(grads, parameters, first, strict=True)]
        numpy_optimizer.step(parameters, pulled)
        noise = noise_of_all(update_key(update, 2 * 2 + 1), {name: model.get_parameter(name) for name in names})
        for number, p in zip(order, parameters, strict=True):
            p += 0.003 * noise[names[number]]
    for module, w, b in zip(weighted(model), net.weights, net.biases, strict=True):
        np.testing.assert_allclose(module.weight.detach().numpy(), w, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(module.bias.detach().numpy(), b, rtol=1e-8, atol=1e-10)


def test_coupled_l2_is_weight_decay():
    x, y = torch.randn(8, 6).double(), torch.randn(8, 2).double()
    for make in (
        lambda p, **k: torch.optim.SGD(p, 0.1, momentum=0.9, **k),
        lambda p, **k: torch.optim.Adam(p, 0.01, **k),
    ):
        ours, theirs = mlp(), mlp()
        a, b = make(ours.parameters()), make(theirs.parameters(), weight_decay=0.05)
        neoteny.attach(ours, a, neoteny.L2(strength=0.05), x)
        for _ in range(50):
            for model, optimizer in ((ours, a), (theirs, b)):
                optimizer.zero_grad()
                nn.functional.mse_loss(model(x), y).backward()
                optimizer.step()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)


def test_decoupled_l2_shrinks_by_step_size_times_strength():
    model = mlp()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.5}, {"params": [*model[2].parameters(), *model[4].parameters()]}],
        lr=0.1,
    )
    neoteny.attach(model, optimizer, neoteny.L2(strength=0.2, decoupled=True), torch.zeros(1, 6).double())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.zero_grad()
    (model(torch.zeros(1, 6).double()) * 0).sum().backward()
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 1 - (0.5 if name.startswith("0.") else 0.1) * 0.2
        torch.testing.assert_close(p, before[name] * factor)


@pytest.mark.parametrize("noise", ["initialiser", "normal"])
def test_shrink_and_perturb_at_a_task(noise):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    method = neoteny.ShrinkAndPerturb(when="at_task", shrink=0.4, sigma=0.01, noise=noise)
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(1, 6).double(), seed=SEED)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    plasticity.new_task()
    key = random.fold_in(random.fold_in(random.fold_in(random.key(method_seed(SEED)), 0), -1), 0)
    normal = noise_of_all(key, {name: before[name] for name in plasticity.units.initialisers})
    for number, (name, drawn) in enumerate(plasticity.units.initialisers.items()):
        fresh = drawn.draw(random.fold_in(key, number), before[name].shape).double() * 0.6
        added = fresh if noise == "initialiser" else torch.tensor(normal[name]) * 0.01
        torch.testing.assert_close(model.get_parameter(name).detach(), 0.4 * before[name] + added)


def test_noise_at_intervals_has_the_same_variance():
    """σ √N at every N-th step; nothing in between."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    method = neoteny.ShrinkAndPerturb(weight_decay=0.0, sigma=0.01, interval=4)
    neoteny.attach(model, optimizer, method, torch.zeros(1, 6).double(), seed=SEED)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(4):
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
        optimizer.zero_grad()
        model(torch.randn(4, 6).double()).sum().backward()
        optimizer.step()
    normal = noise_of_all(update_key(3, 1), before)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] + 0.02 * torch.tensor(normal[name]))


def test_redo():
    """s_i = mean|h_i| / mean of the layer's, on the last batch; those at most τ are made new, the others stay."""
    model = mlp()
    with torch.no_grad():
        model[0].weight[3] = 0
        model[0].bias[3] = -1  # dead
        model[0].weight[5] *= 0.01
        model[0].bias[5] = 0.005  # nearly so
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    x = torch.randn(16, 6).double()
    plasticity = neoteny.attach(model, optimizer, ReDo(tau=0.1, period=2), x, seed=SEED)
    h = torch.relu(model[0](x)).abs().mean(0)
    score = h / (h.mean() + 1e-9)
    dormant = score <= 0.1
    assert dormant.sum() == 2
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        assert torch.equal(model[0].weight, before["0.weight"])
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    key = random.fold_in(random.fold_in(random.key(method_seed(SEED)), 1), 1)
    fresh = plasticity.units.initialisers["0.weight"].draw(random.fold_in(random.fold_in(key, 0), 0), (10, 6))
    assert torch.equal(model[0].weight[dormant], fresh[dormant].double())
    assert torch.equal(model[0].weight[~dormant], before["0.weight"][~dormant])
    assert not model[0].bias[dormant].any()
    kept = (model[2].weight == before["2.weight"])[:, ~dormant].all(1)  # the units of the next layer that are not new
    assert kept.sum() + plasticity.counters()["redo"]["2"]["units_replaced"] == 7
    assert not model[2].weight[kept][:, dormant].any()
    assert torch.equal(model[2].bias[kept], before["2.bias"][kept])  # resetting it would make new dormant units
    assert plasticity.counters()["redo"]["0"] == {"units_replaced": 2}


@pytest.mark.parametrize("to", ["initialiser", "zero"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("keep_momentum", [False, True])
def test_head_reset(to, layers, keep_momentum):
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x = torch.randn(16, 6).double()
    method = HeadReset(layers=layers, to=to, keep_momentum=keep_momentum)
    plasticity = neoteny.attach(model, optimizer, method, x)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    plasticity.new_task()
    for name, p in model.named_parameters():
        new = name.startswith("4.") or (layers == 2 and name.startswith("2."))
        assert torch.equal(p, before[name]) != new
        if new and to == "zero":
            assert not p.any()
        state = optimizer.state[p]
        forgotten = new and not keep_momentum
        assert (state["step"] == 0) == forgotten
        assert bool(state["exp_avg"].any()) != forgotten
        assert bool(state["exp_avg_sq"].any()) != forgotten


def test_full_reset_makes_everything_new():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x = torch.randn(16, 6)
    neoteny.attach(model, optimizer, neoteny.FullReset(period=3), x)
    for step in range(3):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        assert all((p != before[name]).any() for name, p in model.named_parameters() if step < 2 and p.grad.any())
    assert torch.equal(model[1].weight, torch.ones(10))
    assert torch.equal(model[1].bias, torch.zeros(10))
    assert torch.equal(model[1].running_mean, torch.zeros(10))
    assert torch.equal(model[1].running_var, torch.ones(10))
    assert model[0].weight.abs().max() <= 1 / 6**0.5
    assert all(not state[k].any() for state in optimizer.state.values() for k in ("exp_avg", "exp_avg_sq", "step"))


def test_a_reset_unit_is_drawn_from_its_initialiser():
    model = mlp()
    network = find(model, torch.zeros(1, 6).double())
    assert network.initialisers["2.weight"] == Initialiser.torch_default(10)
