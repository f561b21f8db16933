"""A unit that is said to be silent is silent, whatever the network; else its layer is left out and says why.

Held against the network itself: the outgoing weights of units are set to zero by hand, what feeds the units is changed,
and the output in double precision may not move.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils._pytree import tree_leaves

from neoteny.errors import NetworkError
from neoteny.units import Initialiser, find, make_new, random, verify

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))


def numbers(output: Any) -> Tensor:
    if dataclasses.is_dataclass(output):
        output = vars(output)
    return torch.cat([t.double().flatten() for t in tree_leaves(output) if isinstance(t, Tensor)])


def moves(net: nn.Module, layer, x, train: bool = False) -> float:
    """How far the output moves when what feeds half of a layer's units changes, their outgoing weights being zero."""
    kept, training = copy.deepcopy(net.state_dict()), net.training
    x = x.double() if x.is_floating_point() else x
    net.double().train(train)
    tensors = dict(net.named_parameters())

    def entries(slices):
        along = tensors[slices.name].movedim(slices.dim, 0)
        return [(along, list(positions)) for positions in slices.index[::2]]

    def silent():
        for slices in layer.outgoing:
            for along, positions in entries(slices):
                along[positions] = 0
        torch.manual_seed(0)
        return numbers(net(x))

    with torch.no_grad():
        before = silent()
        for slices in (*layer.incoming, *layer.biases):
            for along, positions in entries(slices):
                along[positions] += 3 * torch.randn_like(along[positions])
        by = float((silent() - before).abs().max())
    net.float().train(training).load_state_dict(kept)
    return by


class Net(nn.Module):
    """A hidden layer `up`, whose units `down` reads, between `first` and `head`, which are ordinary."""

    def __init__(self, up: nn.Module | None = None, down: nn.Module | None = None):
        super().__init__()
        self.first, self.head = nn.Linear(5, 7), nn.Linear(6, 3)
        self.up, self.down = up or nn.Linear(7, 8), down or nn.Linear(8, 6)

    def forward(self, x):
        return self.head(self.down(self.up(self.first(x).relu()).relu()).relu())


class Standardised(nn.Linear):
    def forward(self, input):
        weight = self.weight - self.weight.mean(1, keepdim=True)
        return F.linear(input, weight / (weight.std(1, keepdim=True) + 1e-5), self.bias)


class Binary(nn.Linear):
    def forward(self, input):
        return F.linear(input, torch.sign(self.weight - self.weight.mean()) * self.weight.abs().mean(), self.bias)


class Cosine(nn.Linear):
    def forward(self, input):
        return F.linear(F.normalize(input, dim=-1), F.normalize(self.weight, dim=1), self.bias)


class LowRank(nn.Linear):
    """As in loralib: the extra path begins at zero."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.a, self.b = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.zeros(outputs, 2))

    def forward(self, input):
        return super().forward(input) + input @ self.a.T @ self.b.T


class Noisy(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.mu, self.sigma = nn.Parameter(torch.randn(outputs, inputs)), nn.Parameter(torch.rand(outputs, inputs))

    def forward(self, x):
        return F.linear(x, self.mu + self.sigma * torch.ones_like(self.sigma))


class Scaled(nn.Linear):
    def forward(self, input):
        return F.linear(input, self.weight * 0.5, self.bias)


def pruned(inputs, outputs):
    layer = nn.Linear(inputs, outputs)
    prune.l1_unstructured(layer, "weight", amount=0.3)
    return layer


def old_weight_norm(inputs, outputs):
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Linear(inputs, outputs))  # pyright: ignore


TRANSFORMED = {
    "standardised": Standardised,
    "binary": Binary,
    "cosine": Cosine,
    "low rank": LowRank,
    "noisy": Noisy,
    "spectral norm": lambda i, o: parametrizations.spectral_norm(nn.Linear(i, o)),
    "old spectral norm": lambda i, o: nn.utils.spectral_norm(nn.Linear(i, o)),
    "weight norm": lambda i, o: parametrizations.weight_norm(nn.Linear(i, o)),
    "old weight norm": old_weight_norm,
    "pruned": pruned,
    "scaled": Scaled,
}


@pytest.mark.parametrize("place", ["up", "down"])
@pytest.mark.parametrize("kind", TRANSFORMED)
def test_a_weight_that_is_transformed_before_use(kind, place):
    torch.manual_seed(0)
    net = Net(**{place: TRANSFORMED[kind](*((7, 8) if place == "up" else (8, 6)))})
    network = find(net, X, allow_none=True)
    for layer in network.layers:
        assert moves(net, layer, X) < 1e-9, layer.name
    read_by = {slices.name.partition(".")[0] for layer in network.layers for slices in layer.outgoing}
    if kind == "scaled":  # a weight of zero stays zero
        assert read_by == {"up", "down", "head"}
    else:
        assert place not in read_by
        reading = {"up": "first", "down": "up"}[place]
        assert reading in network.skipped and len(network.skipped[reading]) > 20


def test_what_is_not_function_preserving_is_taken_on_request_and_says_so():
    torch.manual_seed(0)
    net = Net(down=Standardised(8, 6))
    reason = find(net, X).skipped["up"]
    assert "output moves" in reason and "only_preserving=False" in reason
    layers = {layer.name: layer for layer in find(net, X, only_preserving=False).layers}
    assert not layers["up"].preserving and layers["first"].preserving and layers["down"].preserving
    assert moves(net, layers["up"], X) > 1e-3
    alone = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), Standardised(8, 3))
    with pytest.raises(NetworkError, match="only_preserving=False"):
        find(alone, X)


class Conv(nn.Conv2d):
    def forward(self, input):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(input, weight, self.bias, padding=self.padding)


class Detached(Net):
    def forward(self, x):
        h = self.up(self.first(x).relu()).relu()
        return self.head(self.down(h).relu()), h.detach()[:, :2].sign()


class SimSiam(Net):
    """Two views; the targets are detached, and the loss is the output."""

    def forward(self, x):
        h = [self.up(self.first(view).relu()).relu() for view in (x, x.flip(1))]
        a, b = (self.down(each) for each in h)
        return F.mse_loss(a, torch.cat([h[1], a], 1)[:, :6].detach()) + F.mse_loss(b, h[0].detach()[:, :6])


class Neighbours(Net):
    """As in DGCNN: features choose the neighbours, whose values are summed."""

    def forward(self, x):
        h = self.up(self.first(x).relu())
        nearest = torch.cdist(h, h).topk(3, largest=False).indices
        return self.head(self.down(h.relu())[nearest].sum(1).relu())


class Gated(Net):
    """As in Qwen2-MoE: a gate shared by all outputs, which a bare vector computes of the units."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.randn(8))

    def forward(self, x):
        h = self.up(self.first(x).relu()).relu()
        return self.head(self.down(h).relu() * (h @ self.gate).sigmoid()[:, None])


class GRN(Net):
    """As in ConvNeXt V2: every unit is divided by the mean norm of all."""

    def __init__(self):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(8))

    def forward(self, x):
        h = self.up(self.first(x).relu()).relu()
        norm = h.norm(dim=0, keepdim=True)
        h = self.gamma * (h * norm / (norm.mean(-1, keepdim=True) + 1e-6)) + self.beta + h
        return self.head(self.down(h).relu())


class Fourier(nn.Module):
    """As FNet: tokens and features are mixed by a Fourier transform."""

    def __init__(self):
        super().__init__()
        self.embed, self.up, self.down, self.head = nn.Linear(5, 6), nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = self.embed(x[:, None] * torch.linspace(-1, 1, 4).to(x)[:, None])
        h = h + torch.fft.fft2(h).real
        return self.head(h + self.down(self.up(h).relu())).mean(1)


class Difference(nn.Module):
    """As in DiffLlama: a map of attention minus another, normalised, on values."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(8, 4)
        self.scale, self.head = nn.Parameter(torch.tensor(0.3)), nn.Linear(4, 3)

    def forward(self, x):
        x = x[:, None] * torch.linspace(-1, 1, 4).to(x)[:, None]
        q, k = self.q(x).unflatten(-1, (2, 4)).transpose(1, 2), self.k(x).unflatten(-1, (2, 4)).transpose(1, 2)
        first, second = (q @ k.mT).softmax(-1).unbind(1)
        h = (first - self.scale * second) @ self.v(x)
        return self.head(self.o(h / (h.square().mean(-1, keepdim=True) + 1e-5).sqrt()).relu()).mean(1)


class Auxiliary(Net):
    """A second head that exists only in training mode."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(8, 2)

    def forward(self, x):
        h = self.up(self.first(x).relu()).relu()
        out = self.head(self.down(h).relu())
        return (out, self.extra(h)) if self.training else out


class Tied(Net):
    def __init__(self):
        super().__init__(up=nn.Linear(7, 8), down=nn.Linear(8, 6))
        self.again = nn.Linear(8, 6)
        self.again.weight = self.down.weight  # pyright: ignore

    def forward(self, x):
        h = self.up(self.first(x).relu()).relu()
        return self.head(self.down(h).relu() + self.again(h.flip(1)).relu())


LEFT_OUT = {
    Detached: {"up"},
    SimSiam: {"up"},
    Neighbours: {"up"},
    Gated: {"up"},
    GRN: {"up"},
    Fourier: {"embed"},
    Difference: {"v", "q", "k"},
    Tied: {"up"},
}


def test_a_head_that_exists_only_in_training_mode_is_read_like_any_other():
    torch.manual_seed(1)
    net = Auxiliary()
    network = find(net, X)
    (layer,) = (layer for layer in network.layers if layer.name == "up")
    assert {slices.name for slices in layer.outgoing} == {"down.weight", "extra.weight"}
    assert {"head.weight", "extra.weight"} <= set(network.head)
    for layer in network.layers:
        assert moves(net, layer, X) < 1e-9 and moves(net, layer, X, train=True) < 1e-9, layer.name
    assert net.training and all(module.training for module in net.modules())
    assert_changes_its_own_only(net, network)


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_reader_that_tracing_does_not_see(kind):
    torch.manual_seed(1)
    net = kind()
    network = find(net, X, allow_none=True)
    assert LEFT_OUT[kind] <= set(network.skipped) and network.layers
    assert not LEFT_OUT[kind] & {layer.name for layer in network.layers}
    for layer in network.layers:
        assert moves(net, layer, X) < 1e-9 and moves(net, layer, X, train=True) < 1e-9, layer.name
    assert_changes_its_own_only(net, network)


def test_convolutions_with_standardised_weights():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), Conv(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2))
    x = torch.randn(3, 2, 6, 6)
    network = find(net, x)
    assert [layer.name for layer in network.layers] == ["2"] and "output moves" in network.skipped["0"]
    assert moves(net, network.layers[0], x) < 1e-9
    assert moves(net, find(net, x, only_preserving=False).layers[0], x) > 1e-3


class Experts(nn.Module):
    """A residual stream; its last block is made of bare parameters, stacked by expert."""

    def __init__(self, width=8, experts=1):
        super().__init__()
        self.inp, self.mix, self.head = nn.Linear(5, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.up = nn.Parameter(torch.randn(experts, width, 16))
        self.down = nn.Parameter(torch.randn(experts, 16, width))
        self.after, self.last = nn.Linear(width, 6), nn.Linear(6, width)

    def forward(self, x):
        h = self.inp(x)
        h = h + self.mix(h.relu())
        h = h + torch.einsum("bi,eio,eoj->bj", h, self.up, self.down)
        return self.head(h + self.last(self.after(h).relu()))


@pytest.mark.parametrize("width", [3, 4, 8, 20])
@pytest.mark.parametrize("stream", [False, True])
def test_stacked_experts_do_not_destroy_the_network(width, stream):
    torch.manual_seed(0)
    net = Experts(width, experts=3)
    network = find(net, X, residual_stream=stream)
    assert [(layer.name, layer.size) for layer in network.layers] == [("after", 6)]
    assert {"inp", "mix"} <= set(network.skipped) and (width < 5 or "'up'" in network.skipped["inp"])
    assert_changes_its_own_only(net, network)


def assert_changes_its_own_only(net, network, x=X):
    """Where a reset zeroes a reader, nothing but the unit is read.

    So without what feeds the unit the reader's input there is the same for every example. And no two units of the
    network are read at the same place.
    """
    kept, owners = copy.deepcopy(net.state_dict()), {}
    tensors = dict(net.named_parameters())
    for layer in network.layers:
        for unit in range(layer.size):
            with torch.no_grad():
                for slices in (*layer.incoming, *layer.biases):
                    tensors[slices.name].movedim(slices.dim, 0)[list(slices.index[unit])] = 0
                for slices in layer.outgoing:
                    module = net.get_submodule(slices.name.rpartition(".")[0])
                    seen = []
                    handle = module.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
                    net(x)
                    handle.remove()
                    spatial = seen[0].dim() == 4
                    read = seen[0].movedim(1 if spatial else -1, 0)[list(slices.index[unit])]
                    assert (read - read[:, :1]).abs().max() < 1e-6, (layer.name, slices.name)
                    for index in slices.index[unit]:
                        assert owners.setdefault((slices.name, index), (layer.name, unit)) == (layer.name, unit)
            net.load_state_dict(kept)


class OneMatrix(nn.Module):
    """Units whose reader is a bare matrix, and one further on: F.linear with parameters of the module's own."""

    def __init__(self):
        super().__init__()
        self.inp, self.head = nn.Linear(5, 8), nn.Linear(6, 3)
        self.first, self.second = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(6, 6))

    def forward(self, x):
        h = F.linear(self.inp(x).relu(), self.first)
        return self.head(F.linear(h.relu(), self.second))


class Multiplied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.both, self.head = nn.Linear(5, 4), nn.Linear(5, 4), nn.Bilinear(4, 4, 6), nn.Linear(6, 3)
        self.never = nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.both(self.a(x), self.b(x)).relu())


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
        self.spectrum = nn.Parameter(torch.randn(5, 5, dtype=torch.complex64))
        self.mid, self.turn = nn.Linear(8, 8), nn.Linear(8, 8, dtype=torch.complex64)

    def forward(self, x):
        h = torch.fft.irfft(torch.fft.rfft(self.inp(x)) @ self.spectrum, n=8)
        return self.head(self.turn(self.mid(h).to(self.turn.weight.dtype)).real)


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (OneMatrix, {"inp": "'first'", "": "'first'"}),
        (Multiplied, {"a": "Bilinear", "b": "Bilinear", "both": "Bilinear", "never": "did not run"}),
        (Complex, {"inp": "'spectrum'", "mid": "complex", "turn": "complex", "": "'spectrum'"}),
    ],
)
def test_what_cannot_be_served_is_named(kind, reasons):
    network = find(kind(), X, allow_none=True)
    assert not network.layers
    for module, word in reasons.items():
        assert word in network.skipped[module], (module, network.skipped)


class Excited(nn.Module):
    """Squeeze and excitation, as in EfficientNet."""

    def __init__(self):
        super().__init__()
        self.expand, self.norm = nn.Conv2d(2, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.squeeze, self.excite = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.project, self.head = nn.Conv2d(8, 5, 1), nn.Linear(5, 2)

    def forward(self, x):
        h = F.silu(self.depthwise(F.silu(self.norm(self.expand(x)))))
        h = h * self.excite(F.silu(self.squeeze(h.mean((2, 3), keepdim=True)))).sigmoid()
        return self.head(self.project(h).mean((2, 3)))


def test_squeeze_and_excitation_gates_and_is_no_residual_stream():
    torch.manual_seed(0)
    net, x = Excited(), torch.randn(3, 2, 6, 6)
    with torch.no_grad():
        network = find(net, x)
    assert {layer.name: layer.size for layer in network.layers} == {"expand+excite": 8, "squeeze": 3, "project": 5}
    assert not network.skipped and not any(layer.stream for layer in network.layers)
    for layer in network.layers:
        assert moves(net, layer, x) < 1e-9
    assert_changes_its_own_only(net.eval(), network, x)


class ChannelAttention(nn.Module):
    """As in XCiT and EdgeNeXt: attention over channels. Each output channel carries all values of its head."""

    def __init__(self):
        super().__init__()
        self.inp, self.qkv, self.proj, self.head = nn.Linear(5, 8), nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = self.inp(x[:, None] * torch.linspace(-1, 1, 4).to(x)[:, None])
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 4, 1)
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT).softmax(-1)
        return self.head(self.proj((weights @ v).permute(0, 3, 1, 2).flatten(2)).relu()).mean(1)


def test_queries_over_channels_are_no_units():
    net = ChannelAttention()
    network = find(net, X)
    assert "qkv" not in {layer.name for layer in network.layers}
    assert {layer.name for layer in network.layers} == {"inp", "proj"} and "qkv" in network.skipped


class OnTheWay(nn.Module):
    """Slopes, gains and shifts of single units between the module that makes them and the one that reads them."""

    def __init__(self):
        super().__init__()
        self.up, self.slopes, self.down = nn.Linear(5, 8), nn.PReLU(8), nn.Linear(8, 3)
        self.gain, self.shift = nn.Parameter(torch.full((8,), 1e-5)), nn.Parameter(torch.zeros(8))
        self.decay, self.shared = nn.Parameter(torch.rand(8, 2)), nn.Parameter(torch.ones(()))

    def forward(self, x):
        h = self.slopes(self.up(x)) * self.gain + self.shift
        return self.down(h * self.decay.exp().sum(1) * self.shared)


def test_what_lies_on_a_units_way_is_made_new_with_it_or_named():
    net = OnTheWay()
    nn.init.normal_(net.slopes.weight)  # trained: a PReLU says itself what a fresh one begins with
    network = find(net, X)
    (layer,) = network.layers
    made = {slices.name: slices.fill for slices in layer.norms}
    assert made == {"slopes.weight": 0.25, "gain": pytest.approx(1e-5), "shift": 0.0}
    assert layer.stays_old == ("decay",)
    tensors = dict(net.state_dict())
    make_new(layer, network, tensors, {}, torch.arange(8) == 2, random.key(0))
    for name, value in made.items():
        assert float(tensors[name][2]) == pytest.approx(value)
        others = torch.arange(8) != 2
        assert torch.equal(tensors[name][others], net.state_dict()[name][others])

    said = find(net, X, initialisers={"decay": Initialiser("uniform", 1.0)})
    assert not said.layers[0].stays_old and "decay" in {slices.name for slices in said.layers[0].norms}
    make_new(said.layers[0], said, tensors, {}, torch.arange(8) == 2, random.key(0))
    changed = (tensors["decay"] != net.decay).any(1)
    assert changed.tolist() == (torch.arange(8) == 2).tolist()


class Zero(nn.Module):
    """A second path behind a gain of zero: it opens later."""

    def __init__(self):
        super().__init__()
        self.up, self.down, self.side = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.gain, self.vector = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(8))

    def forward(self, x):
        h = self.up(x).relu()
        return self.down(h) + self.gain * self.side(h.flip(1)), h @ self.vector


def test_a_gain_of_zero_hides_nothing():
    net = Zero()
    network = find(net, X, allow_none=True)
    assert not network.layers and "output" in network.skipped["up"]


def test_the_network_is_left_as_it_was_and_the_check_says_what_it_cost():
    net = Net()
    net.head.bias.data.zero_()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    generator = torch.get_rng_state()
    network = find(net, X)
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state()) and "forward passes" in network.checked
    assert find(net, X, verify=False).checked == "" and find(net, X, verify=False) == network


def test_a_large_network_is_checked_in_place_and_put_back_to_the_bit(monkeypatch):
    monkeypatch.setattr(verify, "_IN_PLACE", 0)
    torch.manual_seed(0)
    net = Net(down=Standardised(8, 6)).train()
    net.head.bias.data.zero_()
    net(X).sum().backward()
    before = {name: (t.clone(), t.grad) for name, t in net.named_parameters()}
    versions = {name: t._version for name, t in net.named_parameters()}
    network = find(net, X)
    assert {layer.name for layer in network.layers} == {"first", "down"} and "output moves" in network.skipped["up"]
    for name, t in net.named_parameters():
        assert torch.equal(t, before[name][0]) and t.grad is before[name][1] and t._version == versions[name]

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify._Trial, "_search", broken)
    with pytest.raises(KeyboardInterrupt):
        find(net, X)
    assert all(torch.equal(t, before[name][0]) for name, t in net.named_parameters())


def test_what_cannot_be_checked_says_so():
    class Counts(Net):
        calls = 0

        def forward(self, x):
            Counts.calls += 1
            return super().forward(x) + Counts.calls

    network = find(Counts(), X)
    assert "differ from pass to pass" in network.checked and len(network.layers) == 3
    for x in (X, X.to("meta")):
        assert "meta" in find(Net().to("meta"), x).checked


class Mixture(nn.Module):
    """A bare mask hides nothing and the parameters of experts that did not run are named."""

    def __init__(self):
        super().__init__()
        self.inp, self.experts, self.head = (
            nn.Linear(5, 8),
            nn.ModuleList(nn.Linear(8, 6) for _ in range(3)),
            nn.Linear(6, 2),
        )

    def forward(self, x):
        return self.head(self.experts[0](self.inp(x).relu()).relu())


def test_untaken_branches_are_named():
    network = find(Mixture(), X)
    assert all("did not run" in network.skipped[f"experts.{number}"] for number in (1, 2))


class SubNorm(nn.Module):
    """Attention with a norm before its output, as in BitNet; the norm is a module or a function."""

    def __init__(self, module):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(6, 6) for _ in range(4))
        self.norm = nn.LayerNorm(6) if module else None

    def forward(self, x):
        h = (self.q(x) @ self.k(x).mT).softmax(-1) @ self.v(x)
        return self.out(nn.functional.layer_norm(h, (6,)) if self.norm is None else self.norm(h))


@pytest.mark.parametrize(("module", "reason"), [(True, "'norm' takes statistics"), (False, "a norm that is no module")])
def test_a_norm_behind_attention_is_named_as_the_reason(module, reason):
    found = find(SubNorm(module), torch.randn(3, 5, 6), allow_none=True)
    assert not found.layers
    assert found.skipped["v"].startswith(reason)
