"""The check-up: new networks of every kind are healthy, saturation shows, what cannot be judged is said in words."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import neoteny
from neoteny.errors import CheckpointError, SettingError, UnknownNameError
from neoteny.measures import saturated_units
from neoteny.measures.copies import copy_with

generator = torch.Generator().manual_seed(0)
X, IMAGES = torch.randn(96, 10, generator=generator), torch.randn(48, 3, 12, 12, generator=generator)
SEQUENCES, TOKENS = torch.randn(64, 6, 10, generator=generator), torch.randint(0, 20, (64, 6), generator=generator)


def mlp(act, *widths):
    layers = []
    for before, after in itertools.pairwise((10, *widths)):
        layers += [nn.Linear(before, after), act()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2))


def drawn(net, init, **options):
    for p in net.parameters():
        if p.dim() > 1:
            init(p, **options)
    return net


class Block(nn.Module):
    """A residual block whose last gain begins at 0, with squeeze-excitation of few units."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.squeeze, self.excite = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return F.relu(x + y * gate)


def convolutional():
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Block(16), nn.MaxPool2d(2), Block(16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip
    return drawn(net, nn.init.kaiming_normal_, mode="fan_out")


class OneStrange(nn.Module):
    """Normal weights, and one tensor whose values show no distribution."""

    def __init__(self):
        super().__init__()
        self.net = drawn(mlp(nn.ReLU, 32, 32, 32), nn.init.kaiming_normal_)
        with torch.no_grad():
            self.net[-1].weight.copy_(torch.linspace(-0.5, 0.8, 64).view(2, 32) ** 3)

    def forward(self, x):
        return self.net(x)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.position = nn.Embedding(20, 16), nn.Parameter(0.02 * torch.randn(6, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True, norm_first=True, activation="gelu")
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, tokens):
        return self.head(self.body(self.words(tokens) + self.position).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.body, self.head = kind(10, 16, batch_first=True), nn.Linear(16, 16), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.body(self.rnn(x)[0][:, -1])))


KINDS = {
    "relu": (lambda: mlp(nn.ReLU, 32, 32), X),
    "small relu": (lambda: mlp(nn.ReLU, 6, 5), X),
    "deep relu": (lambda: mlp(nn.ReLU, *[24] * 6), X),
    "tanh": (lambda: mlp(nn.Tanh, 32, 32), X),
    "sigmoid": (lambda: mlp(nn.Sigmoid, 32, 32), X),
    "gelu": (lambda: mlp(nn.GELU, 32, 32), X),
    "silu": (lambda: mlp(nn.SiLU, 32, 16), X),
    "xavier": (lambda: drawn(mlp(nn.Tanh, 32, 32), nn.init.xavier_normal_), X),
    "orthogonal": (lambda: drawn(mlp(nn.ReLU, 32, 32), nn.init.orthogonal_, gain=2**0.5), X),
    "one strange tensor": (OneStrange, X),
    "convolutions": (convolutional, IMAGES),
    "transformer": (Transformer, TOKENS),
    "lstm": (lambda: Recurrent(nn.LSTM), SEQUENCES),
    "gru": (lambda: Recurrent(nn.GRU), SEQUENCES),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("training", [True, False], ids=["trained", "new"])
def test_a_new_network_is_healthy_and_stays_so_on_an_easy_task(kind, seed, training):
    torch.manual_seed(seed)
    make, x = KINDS[kind]
    net = make()
    if training:
        y = x.flatten(1).double().sum(1).gt(x.double().mean() * x[0].numel()).long()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        for _ in range(50):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    report = neoteny.diagnose(net, x)
    assert report.signs() == (), "\n".join(map(str, report.signs()))


def test_saturated_tanh_and_sigmoid_units_show():
    torch.manual_seed(0)
    for act in (nn.Tanh, nn.Sigmoid):
        net = mlp(act, 32, 32)
        start = {name: value.clone() for name, value in net.state_dict().items()}
        with torch.no_grad():
            net[2].weight *= 100
        layer = neoteny.diagnose(net, X).layers[1]
        assert layer.saturated_units > 0.9 and layer.dead_units == layer.dormant_units == 0
        found = {finding.symptom for finding in neoteny.diagnose(net, X, reference=start).signs()}
        assert "saturated units" in found
        assert neoteny.diagnose(mlp(act, 32, 32), X).layers[1].saturated_units == 0


def test_saturation_by_hand_and_not_of_functions_without_bounds():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 20)) * np.where(np.arange(20) < 7, 30.0, 0.5)
    h = np.tanh(z)
    near = (h > h.max() - 0.05 * (h.max() - h.min())) | (h < h.min() + 0.05 * (h.max() - h.min()))
    assert saturated_units(torch.tensor(h)) == pytest.approx((near.mean(0) >= 0.75).mean()) == pytest.approx(7 / 20)
    both = torch.stack([torch.tensor(h), torch.tensor(np.tanh(z * 1e-3))])
    assert saturated_units(both).tolist() == pytest.approx([7 / 20, 0.0])
    for function in (torch.relu, F.gelu, F.silu, F.softplus, torch.nn.Identity()):
        assert saturated_units(function(torch.tensor(z))) == 0
    few = torch.randn(500, 20, 8, generator=torch.Generator().manual_seed(0))
    for function in (F.leaky_relu, F.gelu, F.silu):  # of 160 numbers two may be near the largest
        assert (saturated_units(function(few)) > 0).float().mean() < 0.02
    assert saturated_units(torch.tanh(30 * few)).min() == 1
    assert (
        neoteny.Monitor(mlp(nn.Tanh, 8), X, measures=["saturated_units", "saturated_units(0.5)"]).history().height == 2
    )


def test_a_frozen_network_is_looked_at_and_stays_frozen():
    net = mlp(nn.ReLU, 16, 16).requires_grad_(False)
    report = neoteny.diagnose(net, X, targets=torch.zeros(96, 2))
    assert [layer.layer for layer in report.layers] == ["0", "2"]
    assert all(layer.gradient_norm > 0 for layer in report.layers)
    assert not any(p.requires_grad for p in net.parameters())
    net[2].requires_grad_(True)
    assert [layer.layer for layer in neoteny.diagnose(net, X).layers] == ["0", "2"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.full((8, 10), torch.nan), "8 of the inputs' examples are not finite"),
        ({"input": torch.cat([X, X[:1] / 0])}, "1 of the inputs' examples are not finite"),
        (X[:0], "the inputs hold no example"),
    ],
)
def test_inputs_that_say_nothing_are_named_and_not_the_network(inputs, message):
    for look in (neoteny.diagnose, neoteny.Monitor):
        with pytest.raises(SettingError, match=message):
            look(mlp(nn.ReLU, 8), inputs)


@pytest.mark.parametrize(
    ("net", "targets", "message"),
    [
        (nn.Linear(8, 1), torch.randn(64), r"targets have the shape \[64\], the output has \[64, 1\]"),
        (nn.Linear(8, 3), torch.arange(64) % 4, "3 is no class of an output with 3, which are 0 to 2"),
        (nn.Linear(8, 3), torch.zeros(60, dtype=torch.int64), r"classes along dimension 1.*shape \[64, 3\]"),
        (nn.Sequential(nn.Linear(8, 1), nn.Flatten(0)), torch.arange(64) % 2, r"classes along.*the shape \[64\]"),
        (nn.LSTM(8, 3), torch.randn(64, 3), "the network gives a tuple"),
        (nn.Linear(8, 1), [0.0] * 64, "targets is a list"),
    ],
)
def test_targets_that_do_not_fit_the_output_are_named(net, targets, message):
    for look in (neoteny.diagnose, neoteny.Monitor):
        with pytest.raises(SettingError, match=message):
            look(nn.Sequential(nn.Linear(10, 8), nn.ReLU(), net), X[:64], targets=targets)


@pytest.mark.parametrize(("given", "message"), [("adam", "trainability = 'adam'"), ({"step": 9}, "mean 'steps'")])
def test_what_is_no_setting_of_the_direct_measure_is_named(given, message):
    with pytest.raises((SettingError, UnknownNameError), match=message):
        neoteny.diagnose(mlp(nn.ReLU, 8), X, trainability=given)


def test_classes_of_other_types_and_entries_without_one():
    net = mlp(nn.ReLU, 8)
    targets = torch.arange(len(X)) % net[-1].out_features
    usual, narrow = (neoteny.diagnose(net, X, targets=t).layers[0].gradient_norm for t in (targets, targets.short()))
    assert usual == narrow > 0
    targets[::2] = -100
    assert neoteny.diagnose(net, X, targets=targets).layers[0].gradient_norm not in (usual, None)


def test_a_check_up_within_inference_mode_is_the_same():
    net, trainability = mlp(nn.ReLU, 8), {"steps": 5, "repeats": 2}
    with torch.inference_mode():
        x = X.clone()
        found = neoteny.diagnose(net, x, targets=2 * net(x), trainability=trainability)
    assert found == neoteny.diagnose(net, X, targets=2 * net(X).detach(), trainability=trainability)


@pytest.mark.parametrize("given", [[torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)], "sgd"])
def test_a_monitor_wants_one_optimizer(given):
    with pytest.raises(SettingError, match="whose steps cannot be counted; give one"):
        neoteny.Monitor(mlp(nn.ReLU, 8), X, optimizer=given)


PREFIXES = [
    "".join(order) for size in range(4) for order in itertools.permutations(("_orig_mod.", "module.", "model."), size)
]


class Named(nn.Module):
    """Its own names begin as wrappers' do."""

    def __init__(self):
        super().__init__()
        self.model, self.module = nn.Linear(2, 3), nn.Linear(3, 1)


@pytest.mark.parametrize("place", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("make", [lambda: nn.Linear(2, 1), Named, lambda: nn.Sequential(nn.Linear(2, 1))])
def test_saved_weights_are_found_behind_any_prefix(make, place):
    for prefix in PREFIXES:
        own, saved = make(), make()
        weights = {prefix + name: value for name, value in saved.state_dict().items()}
        copied = copy_with(own, {place: weights, "epoch": 3} if place else weights)
        assert all(map(torch.equal, copied.state_dict().values(), saved.state_dict().values()))
    with pytest.raises(CheckpointError, match="It holds a dict of optimizer, epoch, not weights"):
        copy_with(make(), {"optimizer": {}, "epoch": 3})


MODULE = """
from torch import nn
def build(): return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
def broken(): raise KeyError("no such weights")
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    from neoteny.cli.diagnose import main

    monkeypatch.chdir(tmp_path)
    Path("wild_network.py").write_text(MODULE)
    Path("wild_broken.py").write_text("1 / 0")
    np.savez("probe.npz", x=np.random.default_rng(0).normal(size=(64, 4)))
    np.savez("none.npz", x=np.zeros((0, 4)))
    np.savez("nan.npz", x=np.full((4, 4), np.nan))
    Path("damaged.npz").write_bytes(Path("probe.npz").read_bytes()[:300])
    content = bytearray(Path("probe.npz").read_bytes())
    content[400:420] = b"x" * 20
    Path("flipped.npz").write_bytes(content)
    return lambda *arguments: main([*arguments, "--figure", "None"])


@pytest.mark.parametrize(
    ("network", "inputs", "message"),
    [
        ("wild_network:broken", "probe.npz", "cannot be called without arguments .KeyError: 'no such weights'"),
        ("wild_broken:build", "probe.npz", "cannot be imported .ZeroDivisionError"),
        ("wild_network:build", "damaged.npz", "damaged.npz cannot be read"),
        ("wild_network:build", "flipped.npz", "flipped.npz cannot be read"),
        ("wild_network:build", "none.npz", "the inputs hold no example"),
        ("wild_network:build", "nan.npz", "4 of the inputs' examples are not finite"),
    ],
)
def test_the_command_says_what_is_wrong(command, network, inputs, message):
    with pytest.raises(neoteny.errors.NeotenyError, match=message):
        command(network, "--inputs", inputs)


def test_the_command_takes_checkpoints_of_trainers(command, capsys):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    saved = {f"model._orig_mod.{name}": value for name, value in net.state_dict().items()}
    torch.save({"model_state_dict": saved, "epoch": 1}, "trainer.pt")
    command("wild_network:build", "--inputs", "probe.npz", "--checkpoint", "trainer.pt")
    assert "Check-up on 64 examples" in capsys.readouterr().out
