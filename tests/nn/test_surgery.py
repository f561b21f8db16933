"""Other activations in a user's network: what is changed, what stays, and what is refused."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_leaves

import neoteny
from neoteny.errors import NetworkError
from neoteny.lab.building import seeded
from neoteny.methods import WithCReLU, WithDeepFourier, WithDropout, WithIntervalDropout, WithLayerNorm, WithSmoothLeaky
from neoteny.nn import MLP, ContinualImageNetNet, MinAtarNet
from neoteny.nn.activation_modules import CReLU as Rectifiers
from neoteny.nn.activation_modules import IntervalDropout as Intervals
from neoteny.nn.activation_modules import SinCos, SmoothLeakyReLU
from neoteny.nn.actor_critic import ActorCritic
from neoteny.nn.surgery.narrowing import double
from neoteny.nn.surgery.wiring import parts_of
from neoteny.testing.models import MODELS
from neoteny.units import find, make_new, random
from neoteny.units.initialise import Initialiser
from units.networks import NETWORKS

WIDE = {
    "mlp": (lambda: nn.Sequential(nn.Linear(30, 80), nn.ReLU(), nn.Linear(80, 50), nn.Tanh(), nn.Linear(50, 3)), (30,)),
    "batch-norm": (lambda: MLP(20, [64, 40], 2, normalisation="batch", dropout=0.1), (20,)),
    "imagenet": (ContinualImageNetNet, (3, 32, 32)),
    "imagenet-layer": (lambda: ContinualImageNetNet(width=0.5, normalisation="layer"), (3, 32, 32)),
    "agent": (lambda: ActorCritic(11, 3, (64, 48)), (11,)),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(2, 30, 3), nn.LayerNorm([30, 6]), nn.ReLU(), nn.Conv1d(30, 20, 2),
                                     nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(100), nn.Linear(100, 4)), (2, 8)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 24, 3), nn.ReLU(), nn.Conv2d(24, 5, 3)), (4, 5, 5)),
    "sequence": (lambda: nn.Sequential(nn.Linear(3, 60), nn.GELU(), nn.Linear(60, 3)), (5, 3)),
    "residual": (lambda: Residual(), (6,)),
}  # fmt: skip


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 2)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 16)) for _ in range(2)
        )

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("activation", [Rectifiers, SinCos])
def test_as_many_parameters_as_before(name, activation):
    make, shape = WIDE[name]
    net, x = make(), torch.randn(3, *shape)
    new = double(net, x, activation)
    assert abs(count(new) / count(net) - 1) < 0.04
    assert new(x).shape == net(x).shape
    assert sum(isinstance(m, activation) for m in new.modules()) == sum(
        isinstance(m, (nn.ReLU, nn.Tanh, nn.GELU)) for m in net.modules()
    )
    units = find(new, x, only_preserving=False)
    assert not [layer for layer in units.layers if len(layer.outgoing[0].index[0]) % 2]


def test_no_common_factor_comes_nearer():
    def at(factor):
        first, second = (max(1, math.floor(factor * size + 0.5)) for size in (80, 50))
        return 31 * first + (2 * first + 1) * second + (2 * second + 1) * 3

    new = double(WIDE["mlp"][0](), torch.zeros(1, 30), Rectifiers)
    assert (new[2].in_features, new[4].in_features) == (2 * new[0].out_features, 2 * new[2].out_features)
    best = min(abs(at(n / 10_000) - count(WIDE["mlp"][0]())) for n in range(1, 10_001))
    assert abs(count(new) - count(WIDE["mlp"][0]())) == best


def test_the_network_itself_stays_and_so_do_layers_of_the_same_shape():
    net, x = Residual(), torch.randn(3, 6)
    before, generator = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    parts_of(net, x)
    assert torch.equal(torch.get_rng_state(), generator)
    new = double(net, x, Rectifiers)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    resized = {f"blocks.{block}.{layer}" for block in (0, 1) for layer in (1, 3)}
    for name, value in new.state_dict().items():
        drawn_anew = name.rpartition(".")[0] in resized
        assert drawn_anew != (value.shape == before[name].shape and torch.equal(value, before[name])), name


@pytest.mark.parametrize(
    "net",
    [MLP(20, [64, 64], 3, normalisation="plain_layer"), MinAtarNet(4, 3, hidden=32)],
    ids=["perceptron", "convolutions"],
)
def test_norms_without_gains_follow(net):
    x = torch.rand(5, 20 if isinstance(net, MLP) else 400)
    new = double(net, x, Rectifiers)
    assert new(x).shape == (5, 3)
    sizes = [module.normalized_shape for module in new.modules() if isinstance(module, nn.LayerNorm)]
    assert sizes and all(size not in ((64,), (32,)) for size in sizes)


@pytest.mark.parametrize("by_place", [True, False])
def test_a_function_that_is_told_the_mode_goes_on_being_told(by_place):
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 50), nn.Linear(50, 1)

        def forward(self, x):
            h = self.first(x)
            h = F.rrelu(h, 0.1, 0.9, self.training) if by_place else F.rrelu(h, 0.1, 0.9, training=self.training)
            return self.last(h)

    x = torch.randn(4, 3)
    new = neoteny.prepare(Random(), WithLayerNorm(), x)
    assert not torch.equal(new.train()(x), new(x))
    assert torch.equal(new.eval()(x), new(x))


def narrowed(weights, initialisers=None):
    """The last weight of a chain with such hidden weights, at its new size."""
    net = nn.Sequential(nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 60), nn.ReLU(), nn.Linear(60, 2))
    for layer in (net[0], net[2]):
        weights(layer.weight)
    if initialisers is not None:
        net.initialisers = {f"{n}.weight": initialisers for n in (0, 2)}
    return double(net, torch.zeros(1, 40), Rectifiers)[2].weight.detach()


def test_weights_by_a_function_are_drawn_by_it_at_another_size():
    weight = narrowed(nn.init.orthogonal_, nn.init.orthogonal_)
    assert weight.shape[0] < 60
    assert torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)


def test_sparse_weights_stay_sparse_at_another_size():
    weight = narrowed(lambda weight: nn.init.sparse_(weight, 0.9))
    assert weight.shape[0] < 60
    assert float((weight == 0).double().mean()) == pytest.approx(0.9, abs=0.02)


def test_the_mean_of_weights_stays_at_another_size():
    drawn = Initialiser("normal", 0.05, mean=0.3)
    assert float(narrowed(drawn.fill_, drawn).mean()) == pytest.approx(0.3, abs=0.01)


def test_orthogonal_weights_stay_so_at_another_size():
    new = double(MLP(40, [60, 60], 2, initialisation="orthogonal"), torch.zeros(1, 40), Rectifiers)
    weight = new.layers[2].weight.detach()
    assert torch.allclose(weight @ weight.T, 2 * torch.eye(len(weight)), atol=1e-4)


@pytest.mark.parametrize("scheme", ["kaiming_uniform", "xavier", "lecun", "default"])
def test_new_weights_are_drawn_as_those_of_a_network_of_that_size(scheme):
    new = double(MLP(40, [60, 60], 2, initialisation=scheme), torch.zeros(1, 40), Rectifiers)
    sizes = [new.layers[n].out_features for n in (0, 2)]
    assert sizes[0] == sizes[1] < 60
    gain = {"kaiming_uniform": math.sqrt(2), "xavier": math.sqrt(2)}.get(scheme, 1.0)
    for number, (fan_in, fan_out, own) in enumerate([
        (40, sizes[0], gain), (2 * sizes[0], sizes[1], gain), (2 * sizes[1], 2, 1.0)
    ]):  # fmt: skip
        expected = {
            "kaiming_uniform": Initialiser.kaiming_uniform(fan_in, own),
            "xavier": Initialiser.xavier_uniform(fan_in, fan_out, own),
            "lecun": Initialiser.lecun_uniform(fan_in),
            "default": Initialiser.torch_default(fan_in),
        }[scheme]
        said = new.initialisers[f"layers.{2 * number}.weight"]
        assert (said.kind, said.scale) == (expected.kind, pytest.approx(expected.scale))
        weight, bias = new.layers[2 * number].weight, new.layers[2 * number].bias
        assert 0.9 * expected.scale < weight.abs().max() <= expected.scale
        assert (bias.abs().max() > 0) == (scheme == "default")
    assert find(new, torch.zeros(2, 40)).initialisers == new.initialisers
    old = new.layers[2].weight.clone()
    new.reset_parameters()
    assert not torch.equal(new.layers[2].weight, old)


@pytest.mark.parametrize("method", [WithCReLU(), WithDeepFourier()])
@pytest.mark.parametrize("name", ["mlp", "conv1d", "residual"])
def test_a_new_unit_contributes_nothing(method, name):
    make, shape = WIDE[name]
    x = torch.randn(5, *shape)
    model = neoteny.prepare(make(), method, x).eval()
    network = find(model, x)
    tensors = dict(model.state_dict())
    for number, layer in enumerate(network.layers):
        chosen = torch.arange(layer.size) % 3 == 0
        make_new(layer, network, tensors, {}, chosen, random.key(number))
    expected = functional_call(model, tensors, (x,))
    assert not torch.equal(expected, model(x))
    if name == "conv1d":
        return  # a layer norm over maps lets what one gives reach the others
    for layer in network.layers:
        for slices in layer.biases:
            old = tensors[slices.name]
            tensors[slices.name] = torch.where(slices.select(torch.arange(layer.size) % 3 == 0, old), old + 0.5, old)
    torch.testing.assert_close(functional_call(model, tensors, (x,)), expected)


def test_draws_follow_from_the_seed():
    def build():
        return neoteny.prepare(MLP(6, [8, 7], 2), WithCReLU(), torch.zeros(1, 6))

    state = torch.get_rng_state()
    first, again, other = (seeded(build, (), None, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.2.weight"], other["layers.2.weight"])


REFUSED = {
    ("crelu", "transformer"): "'silu_0' gives would have twice the channels, but 'down' reads it together with 'up'",
    ("crelu", "recurrent"): "'tanh_0' reads the sum or the concatenation of 'input' and 'recurrent'",
    ("deep-fourier", "transformer"): "'silu_0' gives would have twice the channels",
    ("deep-fourier", "recurrent"): "'tanh_0' reads the sum or the concatenation of 'input' and 'recurrent'",
    ("layer-norm", "convolutional"): "normalises what '2' reads already",
    ("layer-norm", "recurrent"): "'tanh_0' is called 3 times",
}


@pytest.mark.parametrize(
    "method", [WithCReLU(), WithDeepFourier(), WithSmoothLeaky(), WithIntervalDropout(), WithDropout(), WithLayerNorm()]
)
def test_the_contracts_networks(method):
    for model in MODELS.values():
        x = torch.randn(2, *model.inputs)
        refused = REFUSED.get((method.name, model.name))
        if refused is None:
            net = model.make()
            new = neoteny.prepare(net, method, x)
            assert [out.shape for out in tree_leaves(new(x))] == [out.shape for out in tree_leaves(net(x))]
            assert find(new, x, only_preserving=False).layers
        else:
            with pytest.raises(NetworkError, match=refused):
                neoteny.prepare(model.make(), method, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_every_kind_run_or_are_refused(name):
    make, shape = NETWORKS[name]
    x = torch.randn(3, *shape)
    for method in (WithCReLU(), WithSmoothLeaky()):
        try:
            new = neoteny.prepare(make(), method, x)
        except NetworkError as error:
            assert "'" in str(error)
            continue
        assert not [m for m in new.modules() if isinstance(m, (nn.ReLU, nn.Tanh, nn.GELU))]
        assert new(x).shape == make()(x).shape


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.act, self.out = nn.Linear(3, 4), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.act(self.a(x) + self.b(x)))


class Shown(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act, self.out = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)

    def forward(self, x):
        h = self.act(self.a(x))
        return self.out(h), h


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act, self.out = nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)

    def forward(self, x):
        return torch.tanh(self.out(self.act(self.a(x))))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Sum(), r"activation 'act' reads the sum or the concatenation of 'a' and 'b'"),
        (Shown(), "'act' gives would have twice the channels, but the network's output reads it"),
        (nn.Sequential(nn.Linear(3, 4)), "no activation module between two layers"),
        (nn.Sequential(nn.Linear(3, 4), nn.ReLU()), "no activation module between two layers"),
        (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)), "does not run on example_inputs"),
        (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Unflatten(1, (4, 1)), nn.GRU(1, 2)), r"'3' \(GRU\) has a size"),
        (nn.Sequential(nn.Linear(3, 4), Rectifiers(), nn.Linear(8, 1)), "'1' doubles its channels already"),
        (
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Unflatten(1, (2, 2)), nn.Flatten(), nn.Linear(4, 1)),
            "expects a fixed number",
        ),
    ],
)
def test_what_cannot_be_doubled_is_refused(net, words):
    with pytest.raises(NetworkError, match=words):
        double(net, torch.zeros(2, 3), Rectifiers)


def test_wrappers_are_refused():
    with pytest.raises(NetworkError, match="is a wrapper: prepare the network inside it"):
        neoteny.prepare(nn.DataParallel(Policy()), WithSmoothLeaky(), torch.zeros(2, 3))


def test_what_the_output_alone_reads_stays():
    new = neoteny.prepare(Policy(), WithCReLU(), torch.zeros(2, 3))
    assert isinstance(new.act, Rectifiers)
    assert [part.name for part in parts_of(new, torch.zeros(2, 3)).values()][-2].startswith("tanh")


def test_one_module_in_several_places_becomes_several():
    act = nn.ReLU(inplace=True)
    net = nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 1))
    new = neoteny.prepare(net, [WithLayerNorm(), WithCReLU()], torch.zeros(2, 3))
    assert new[1][1] is not new[3][1]
    assert new[1][0].normalized_shape == (new[0].out_features,) == new[3][0].normalized_shape
    assert net[1] is net[3]


@pytest.mark.parametrize("module", [Rectifiers(), SinCos(-2), SmoothLeakyReLU(0.2), Intervals(0.7)])
def test_modules_travel(module):
    x = torch.randn(3, 4, 5)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(other) == repr(module)
        torch.testing.assert_close(other.eval()(x), module.eval()(x))
    module.eval()
    net = nn.Sequential(nn.Linear(5, 5), module)
    stacked = {name: torch.stack([p, 2 * p]) for name, p in net.state_dict().items()}
    both = vmap(lambda tensors: functional_call(net, tensors, (x,)))(stacked)
    torch.testing.assert_close(both[0], net(x))
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x))
    torch.autograd.gradcheck(module, torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True))


def test_functions_are_replaced_where_they_are_called():
    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.out = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)), nn.Linear(4, 1)

        def forward(self, x):
            return self.out(F.relu(self.body(x), inplace=True))

    for net in (Inside(), nn.Sequential(Inside())):
        new = neoteny.prepare(net, WithSmoothLeaky(), torch.zeros(1, 3))
        inside = new if isinstance(new, Inside) else new[0]
        assert isinstance(inside.relu_0, SmoothLeakyReLU) and isinstance(inside.body[1], SmoothLeakyReLU)


def test_functions_of_a_network_that_does_not_compute_the_same_are_refused():
    class Discards(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.out = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x):
            x = self.body(x)
            F.relu(x, inplace=True)  # and goes on with its argument
            return self.out(x)

    with pytest.raises(NetworkError, match="does not compute the same once its activation functions are modules"):
        neoteny.prepare(Discards(), WithSmoothLeaky(), torch.randn(8, 3))
