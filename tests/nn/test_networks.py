import copy
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neoteny.errors import SettingError, UnknownNameError
from neoteny.nn import MLP, VGG16, ContinualImageNetNet, LinearNetwork, MinAtarNet, ResNet18, VisionTransformer
from neoteny.nn.activations import ACTIVATIONS, activation
from neoteny.units import random

NETWORKS = {
    "regression": lambda: MLP(20, [5], 1),
    "mnist": lambda: MLP(784, [100, 100, 100], 10),
    "layer-norm": lambda: MLP(6, [5, 4], 3, normalisation="layer", dropout=0.5),
    "batch-norm": lambda: MLP(6, [5, 4], 3, normalisation="batch", initialisation="xavier"),
    "linear": lambda: LinearNetwork(20, 1),
    "imagenet": ContinualImageNetNet,
    "imagenet-batch": lambda: ContinualImageNetNet(width=0.1, normalisation="batch", dropout=0.2),
    "imagenet-layer": lambda: ContinualImageNetNet(width=0.1, normalisation="layer", initialisation="kaiming_uniform"),
    "plain-norm": lambda: MLP(6, [5, 4], 3, normalisation="plain_layer", initialisation="sparse"),
    "minatar": lambda: MinAtarNet(4, 6),
    "resnet": lambda: ResNet18(10, 4),
    "resnet-head": lambda: ResNet18(10, 2, "default", hidden=(6, 5)),
    "vgg": lambda: VGG16(10, 2, hidden=(6,), pixels=32),
    "vit": lambda: VisionTransformer(10, pixels=8, width=12, depth=2, heads=3, hidden=20),
}
REFERENCES = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_its_formula(name):
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    expected = REFERENCES[name](x.numpy())
    np.testing.assert_allclose(activation(name).module()(x).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(activation(name).function(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_gain_is_torchs(name):
    assert activation(name).gain == pytest.approx(nn.init.calculate_gain(name))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mlp_is_the_formula(name):
    net = MLP(7, [5, 4], 3, activation=name).double()
    x = torch.randn(11, 7, dtype=torch.float64)
    h = x.numpy()
    w = {key: value.detach().numpy() for key, value in net.named_parameters()}
    for layer in (0, 2):
        h = REFERENCES[name](h @ w[f"layers.{layer}.weight"].T + w[f"layers.{layer}.bias"])
    np.testing.assert_allclose(net(x).detach().numpy(), h @ w["layers.4.weight"].T + w["layers.4.bias"], atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mlp_draws_as_the_authors_do(name):
    gain = activation(name).gain
    net = MLP(300, [200, 100], 50, activation=name)
    for layer, fan_in, layer_gain in [(0, 300, gain), (2, 200, gain), (4, 100, 1.0)]:
        weight, bound = net.layers[layer].weight, layer_gain * math.sqrt(3 / fan_in)
        assert weight.abs().max() <= bound * (1 + 1e-6)
        assert weight.abs().max() > 0.99 * bound
        assert weight.var().item() == pytest.approx(layer_gain**2 / fan_in, rel=0.06)
        assert not net.layers[layer].bias.any()
        assert net.initialisers[f"layers.{layer}.weight"].scale == pytest.approx(bound)


def test_kaiming_is_torchs_own_draw():
    torch.manual_seed(3)
    net = MLP(20, [5], 1)
    weight = torch.empty(5, 20)
    torch.manual_seed(3)
    _ = nn.Linear(20, 5), nn.Linear(5, 1)  # the layers draw when they are made, then the network redraws
    nn.init.kaiming_uniform_(weight, nonlinearity="relu")
    torch.testing.assert_close(net.layers[0].weight.detach(), weight)


@pytest.mark.parametrize("build", [lambda: MLP(110, [30, 7], 2, initialisation="sparse"), lambda: MinAtarNet(4, 3)])
def test_sparse_weights_are_drawn_for_each_unit_alone(build):
    """ceil(0.9 n) of n incoming weights are 0, but not all, also when they are drawn anew; else torch's default."""
    net = build()
    for name, weight in net.named_parameters():
        fresh = net.initialisers[name].draw(random.key(0), weight.shape)
        if weight.dim() == 1:
            assert not weight.any() and not fresh.any()
            continue
        for drawn in (weight.detach().flatten(1), fresh.flatten(1)):
            n = drawn.shape[1]
            assert ((drawn == 0).sum(1) == min(-(-9 * n // 10), n - 1)).all()
            assert 0.2 < drawn.abs().max() * n**0.5 <= 1
            assert len(drawn) == 1 or len((drawn == 0).unique(dim=0)) > 1


def test_a_layer_of_one_sparse_pattern_cuts_inputs_off():
    zeros = MLP(20, [30], 2, initialisation="sparse_layer").layers[0].weight == 0
    assert zeros.all(0).sum() == 18


@pytest.mark.parametrize(
    ("scheme", "bound"),
    [("xavier", math.sqrt(2) * math.sqrt(6 / 500)), ("lecun", math.sqrt(3 / 300)), ("default", math.sqrt(1 / 300))],
)
def test_other_initialisations(scheme, bound):
    net = MLP(300, [200], 1, initialisation=scheme)
    assert net.layers[0].weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert (net.layers[0].bias == 0).all() == (scheme != "default")


def test_imagenet_network_is_initialised_as_torch_does():
    torch.manual_seed(0)
    net = ContinualImageNetNet()
    for layer in net.layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            assert 0.95 * bound < layer.weight.abs().max().item() <= bound
            assert 0 < layer.bias.abs().max().item() <= bound
    sizes = [tuple(layer.weight.shape) for layer in net.layers if hasattr(layer, "weight")]
    assert sizes == [(32, 3, 5, 5), (64, 32, 3, 3), (128, 64, 3, 3), (128, 512), (128, 128), (2, 128)]


def test_imagenet_network_draws_what_its_layers_would():
    torch.manual_seed(3)
    net = ContinualImageNetNet()
    torch.manual_seed(3)
    sizes = [(3, 32, 5), (32, 64, 3), (64, 128, 3), (512, 128), (128, 128), (128, 2)]
    layers = [nn.Conv2d(*size) if len(size) == 3 else nn.Linear(*size) for size in sizes]  # draw when they are made
    for layer in layers:
        layer.reset_parameters()
    drawn = [parameter for layer in layers for parameter in layer.parameters()]
    assert [f"layers.{i}.{own}" for i in (0, 3, 6, 10, 12, 14) for own in ("weight", "bias")] == list(net.initialisers)
    for ours, theirs in zip(net.parameters(), drawn, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("pixels", "normalisation", "features"), [(32, None, 4), (24, "batch", 1), (40, "layer", 9), (32, "layer", 4)]
)
def test_imagenet_network_by_width_and_pixels_is_the_formula(pixels, normalisation, features):
    net = ContinualImageNetNet(3, width=0.07, pixels=pixels, normalisation=normalisation, dropout=0.5).double().eval()
    x = torch.randn(4, 3, pixels, pixels, dtype=torch.float64)
    layers = [layer for layer in net.layers if list(layer.parameters())]
    maps = [2, 4, 9, 9, 9]  # 0.07 of 32, 64, 128, 128, 128
    assert [layer.weight.shape[0] for layer in layers[:: 2 if normalisation else 1]] == [*maps, 3]
    h, rest = x, iter(layers)
    for number, size in enumerate(maps):
        layer = next(rest)
        h = h.flatten(1) if number == 3 else h
        assert number != 3 or h.shape[1] == 9 * features
        h = F.conv2d(h, layer.weight, layer.bias) if number < 3 else h @ layer.weight.T + layer.bias
        if normalisation == "layer":
            own = h.flatten(1)
            scaled = (own - own.mean(1, keepdim=True)) / (own.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            h = scaled.view(h.shape)
        elif normalisation == "batch":
            h = h / (1 + 1e-5) ** 0.5  # running means are 0, variances 1
        if normalisation:
            norm = next(rest)
            assert norm.weight.shape == (size,)
        h = h.clamp(min=0)
        h = F.max_pool2d(h, 2) if number < 3 else h
    last = next(rest)
    torch.testing.assert_close(net(x), h @ last.weight.T + last.bias)


def test_imagenet_network_drops_each_hidden_activation_in_training():
    net = ContinualImageNetNet(dropout=0.25)
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds[:4] == ["Conv2d", "ReLU", "Dropout", "MaxPool2d"]
    assert kinds[-4:] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert kinds.count("Dropout") == 5
    assert all(layer.p == 0.25 for layer in net.layers if isinstance(layer, nn.Dropout))
    x = torch.randn(2, 3, 32, 32)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_every_parameter_has_its_initialiser(make):
    net = make()
    assert list(net.initialisers) == [name for name, _ in net.named_parameters()]
    for name, parameter in net.named_parameters():
        initialiser = net.initialisers[name]
        if initialiser.kind == "constant":
            assert (parameter == initialiser.scale).all()
        elif initialiser.kind == "uniform":
            assert parameter.abs().max() <= initialiser.scale * (1 + 1e-6)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_copies_pickles_and_redraws(make):
    net = make()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.initialisers == net.initialisers
        for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    before = copy.deepcopy(net.state_dict())
    torch.manual_seed(1)
    net.reset_parameters()
    first = copy.deepcopy(net.state_dict())
    torch.manual_seed(1)
    net.reset_parameters()
    assert all(torch.equal(first[name], value) for name, value in net.state_dict().items())
    drawn = [name for name, initialiser in net.initialisers.items() if initialiser.kind != "constant"]
    assert all(not torch.equal(before[name], first[name]) for name in drawn)


def test_norm_stands_before_the_activation():
    kinds = [type(layer).__name__ for layer in MLP(6, [5], 3, normalisation="layer", dropout=0.1).layers]
    assert kinds == ["Linear", "LayerNorm", "ReLU", "Dropout", "Linear"]


def test_bad_settings_are_refused():
    with pytest.raises(SettingError, match=r"\[20, 0, 1\]"):
        MLP(20, [0], 1)
    with pytest.raises(SettingError, match=r"dropout = 1\.0"):
        MLP(20, [5], 1, dropout=1.0)
    with pytest.raises(UnknownNameError, match="Did you mean 'relu'"):
        MLP(20, [5], 1, activation="rellu")
    with pytest.raises(UnknownNameError, match=r"initialisation.* 'kaiming'"):
        MLP(20, [5], 1, initialisation="kaiming")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match=r"normalisation.* 'layernorm'"):
        MLP(20, [5], 1, normalisation="layernorm")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingError):
        LinearNetwork(0, 1)
    with pytest.raises(SettingError):
        ContinualImageNetNet(0)
    with pytest.raises(SettingError, match=r"width = 0\.0"):
        ContinualImageNetNet(width=0.0)
    with pytest.raises(SettingError, match=r"pixels = 23: .*use 24 or more"):
        ContinualImageNetNet(pixels=23)
    with pytest.raises(SettingError, match=r"dropout = -0\.1"):
        ContinualImageNetNet(dropout=-0.1)
    with pytest.raises(UnknownNameError, match="normalisation"):
        ContinualImageNetNet(normalisation="group")  # pyright: ignore[reportArgumentType]


def test_activations_are_read_without_torch():
    code = "import sys, neoteny.nn.activations; sys.exit('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
