import copy
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from neoteny.errors import SettingError, UnknownNameError
from neoteny.nn import MLP, ContinualImageNetNet, LinearNetwork
from neoteny.nn.activations import ACTIVATIONS, activation

NETWORKS = {
    "regression": lambda: MLP(20, [5], 1),
    "mnist": lambda: MLP(784, [100, 100, 100], 10),
    "layer-norm": lambda: MLP(6, [5, 4], 3, normalisation="layer", dropout=0.5),
    "batch-norm": lambda: MLP(6, [5, 4], 3, normalisation="batch", initialisation="xavier"),
    "linear": lambda: LinearNetwork(20, 1),
    "imagenet": ContinualImageNetNet,
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


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_every_parameter_has_its_initialiser(make):
    net = make()
    assert list(net.initialisers) == [name for name, _ in net.named_parameters()]
    for name, parameter in net.named_parameters():
        initialiser = net.initialisers[name]
        if initialiser.kind == "constant":
            assert (parameter == initialiser.scale).all()
        else:
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


def test_activations_are_read_without_torch():
    code = "import sys, neoteny.nn.activations; sys.exit('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
