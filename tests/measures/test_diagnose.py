import copy
from collections import UserDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import neoteny
from neoteny.errors import NetworkError
from neoteny.measures import dead_units, dormant_units, effective_rank, srank_99, weight_magnitude
from neoteny.nn import MLP, ContinualImageNetNet, LinearNetwork

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))


def mlp(**options):
    torch.manual_seed(0)
    return MLP(6, [8, 5], 3, **options)


def test_the_numbers_are_the_measures_on_the_features():
    net = mlp()
    with torch.no_grad():
        net.layers[0].bias[:3] = -100  # three dead units
        h1 = net.layers[:2](X)
        h2 = net.layers[:4](X)
    report = neoteny.diagnose(net, X)
    assert report.examples == 64
    assert [(layer.layer, layer.units) for layer in report.layers] == [("layers.0", 8), ("layers.2", 5)]
    for layer, features, index in zip(report.layers, (h1, h2), (0, 2), strict=True):
        assert layer.dead_units == dead_units(features)
        assert layer.dormant_units == dormant_units(features)
        assert layer.srank_99 == srank_99(features)
        assert layer.effective_rank == pytest.approx(effective_rank(features).item(), rel=1e-5)
        assert layer.weight_magnitude == pytest.approx(net.layers[index].weight.abs().mean().item())
    assert report.layers[0].dead_units == 3 / 8
    assert report.units == 13
    assert report.dead_units * 13 == pytest.approx(3 + report.layers[1].dead_units * 5)
    weights = [layer.weight.detach() for layer in net.layers if isinstance(layer, nn.Linear)]
    assert report.weight_magnitude == pytest.approx(weight_magnitude(weights).item())


def test_table_and_frame():
    report = neoteny.diagnose(mlp(), X)
    text = str(report)
    for word in ("layers.0", "layers.2", "srank 99%", "dormant", "64 examples", "13 hidden units"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120
    frame = report.to_frame()
    assert frame.height == 2
    assert frame["layer"].to_list() == ["layers.0", "layers.2"]
    np.testing.assert_array_equal(frame["srank_99"], [layer.srank_99 for layer in report.layers])
    assert {"dead_units", "dormant_units", "effective_rank", "stable_rank", "weight_magnitude"} <= set(frame.columns)


class Functional(nn.Module):
    """No activation modules, a residual sum, a norm, dropout, an input by name, and a buffer that every pass moves."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)
        self.passes: torch.Tensor
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x, scale=1.0):
        self.passes += 1
        h = functional.relu(self.norm(self.first(x)))
        h = h + functional.dropout(functional.relu(self.second(h)), 0.5, self.training) * scale
        return self.head(h + 0 * torch.rand_like(h))


NETWORKS = {
    "mlp": (mlp, X),
    "dropout and batch norm": (lambda: mlp(normalisation="batch", dropout=0.3), X),
    "functional": (Functional, X),
    "by position": (Functional, (X, 2.0)),
    "by name": (Functional, {"x": X, "scale": 2.0}),
    "by another mapping": (Functional, UserDict(x=X)),
    "convolutions": (ContinualImageNetNet, torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))),
}


@pytest.mark.parametrize(("make", "inputs"), NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_exactly_as_it_was(make, inputs, training):
    net = make().train(training)
    first = inputs["x"] if isinstance(inputs, (dict, UserDict)) else inputs[0] if isinstance(inputs, tuple) else inputs
    net(first).sum().backward()
    if (dropout := next((m for m in net.modules() if isinstance(m, nn.Dropout)), None)) is not None:
        dropout.eval()  # a mode of its own
    before = copy.deepcopy(net.state_dict())
    tensors = {name: tensor.data_ptr() for name, tensor in [*net.named_parameters(), *net.named_buffers()]}
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    modes = [module.training for module in net.modules()]
    generator = torch.get_rng_state()

    settings = {"loss": lambda output: output.square().mean(), "trainability": {"steps": 2, "repeats": 1}}
    reports = [neoteny.diagnose(net, inputs, **settings) for _ in range(2)]

    assert reports[0] == reports[1]
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert {n: t.data_ptr() for n, t in [*net.named_parameters(), *net.named_buffers()]} == tensors
    assert {n for n, p in net.named_parameters() if p.grad is not None} == set(gradients)
    assert all(torch.equal(net.get_parameter(name).grad, value) for name, value in gradients.items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in net.modules())
    assert all(p.requires_grad for p in net.parameters())


def test_a_network_without_hidden_units_is_refused():
    with pytest.raises(NetworkError, match="no hidden units"):
        neoteny.diagnose(LinearNetwork(6, 2), X)
    with pytest.raises(NetworkError):
        neoteny.diagnose(nn.Sequential(nn.Flatten(), nn.Softmax(dim=1)), X)


def test_inputs_that_do_not_fit_are_refused_and_change_nothing():
    net = mlp(dropout=0.5).train()
    generator = torch.get_rng_state()
    with pytest.raises(NetworkError):
        neoteny.diagnose(net, X[:, :4])
    assert all(module.training for module in net.modules())
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_network_that_fails_on_the_way_is_put_back():
    net = Functional().train()

    def fail(module, args, output):
        if not torch.is_grad_enabled():  # in the check-up's own pass
            raise RuntimeError("on the way")

    handle = net.head.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="on the way"):
        neoteny.diagnose(net, X)
    handle.remove()
    assert all(module.training for module in net.modules())
    assert net.passes == 0
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_a_network_gone_astray_still_gets_its_report():
    net = mlp()
    with torch.no_grad():
        net.layers[2].weight[0, 0] = torch.nan
    report = neoteny.diagnose(net, X)
    assert np.isfinite(report.layers[0].srank_99)
    assert np.isnan(report.layers[1].srank_99)
    assert "nan" in str(report)


class Shared(nn.Module):
    """A module that is called twice, and a recurrent one, which nothing reads."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.rnn = nn.RNN(6, 5, batch_first=True)

    def forward(self, x):
        h = functional.relu(self.first(x))
        h = functional.relu(self.shared(functional.relu(self.shared(h))))
        return self.head(h), self.rnn(x[:, None].expand(-1, 3, -1))[0]


def test_every_call_of_a_module_shows_its_units():
    torch.manual_seed(0)
    net = Shared()
    with torch.no_grad():
        h1 = functional.relu(net.first(X))
        h2 = functional.relu(net.shared(h1))
        states = net.rnn(X[:, None].expand(-1, 3, -1))[0]
    report = neoteny.diagnose(net, X)
    found = {layer.layer: layer for layer in report.layers}
    assert report.examples == 64
    joined = next(layer for name, layer in found.items() if "first" in name)
    assert joined.srank_99 == srank_99(torch.cat([h1, h2]))
    assert all(layer.srank_99 == srank_99(states.flatten(0, 1)) for name, layer in found.items() if "rnn" in name)


def test_unit_layers_by_hand():
    from neoteny.units import declare

    net = mlp()
    report = neoteny.diagnose(net, X, units=declare(net, {"layers.2": "layers.4"}))
    assert [layer.layer for layer in report.layers] == ["layers.2"]
