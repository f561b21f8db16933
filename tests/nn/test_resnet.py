"""ResNet-18 against its description: counts by formula, the forward pass in plain functions."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

import neoteny
from neoteny.errors import SettingError, UnknownNameError
from neoteny.nn import ResNet18
from neoteny.units import find
from nn.units_in_place import units_made_new_in_place

STAGES = {"layer1": (1, 1), "layer2": (2, 2), "layer3": (4, 2), "layer4": (8, 2)}
"""Maps as a multiple of the first stage's, and the stride of the first block."""


def count(width, outputs):
    """Parameters by the description: k^2 in out + out of a convolution with biases, 2 out of its norm."""

    def normed(inputs, maps, kernel):
        return kernel**2 * inputs * maps + maps + 2 * maps

    total, inputs = normed(3, width, 3), width
    for share, stride in STAGES.values():
        maps = share * width
        total += normed(inputs, maps, 3) + 3 * normed(maps, maps, 3)
        total += normed(inputs, maps, 1) if stride == 2 else 0
        inputs = maps
    return total + 8 * width * outputs + outputs


def described(tensors, x, training):
    """The forward pass in plain functions; in training the running statistics in `tensors` are moved."""

    def norm(name, x):
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        if training:
            own = x.transpose(0, 1).flatten(1)
            mean.copy_(0.9 * mean + 0.1 * own.mean(1))
            variance.copy_(0.9 * variance + 0.1 * own.var(1, unbiased=True))
            mean, variance = own.mean(1), own.var(1, unbiased=False)
        scale = tensors[f"{name}.weight"] / (variance + 1e-5).sqrt()
        shape = (1, -1, 1, 1)
        return (x - mean.view(shape)) * scale.view(shape) + tensors[f"{name}.bias"].view(shape)

    def convolved(name, x, stride=1):
        weight = tensors[f"{name}.weight"]
        return F.conv2d(x, weight, tensors[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)

    x = norm("bn1", convolved("conv1", x)).clamp(min=0)
    for stage, (_, stride) in STAGES.items():
        for block in range(2):
            own, step = f"{stage}.{block}", stride if block == 0 else 1
            y = norm(f"{own}.bn1", convolved(f"{own}.conv1", x, step)).clamp(min=0)
            y = norm(f"{own}.bn2", convolved(f"{own}.conv2", y))
            if step != 1:
                x = norm(f"{own}.downsample.1", convolved(f"{own}.downsample.0", x, step))
            x = (x + y).clamp(min=0)
    x = F.adaptive_avg_pool2d(x, 1).flatten(1)
    for layer in range(0, 2 * sum(name.startswith("hidden") for name in tensors) // 2, 2):
        x = (x @ tensors[f"hidden.{layer}.weight"].T + tensors[f"hidden.{layer}.bias"]).clamp(min=0)
    return x @ tensors["fc.weight"].T + tensors["fc.bias"]


@pytest.mark.parametrize(("width", "outputs"), [(64, 100), (64, 10), (16, 100), (5, 3)])
def test_parameters_are_as_many_as_the_description_says(width, outputs):
    net = ResNet18(outputs, width)
    assert sum(parameter.numel() for parameter in net.parameters()) == count(width, outputs)
    convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 17 + 3
    assert all(module.bias is not None for module in convolutions)


def test_the_papers_network_has_eleven_million_parameters():
    # torchvision's ResNet-18 has 11,689,512: its stem is 7x7, its output has 1,000 units, convolutions have no biases
    assert count(64, 100) == 11_689_512 - 3 * 64 * (49 - 9) - 513 * 900 + 64 * (1 + 4 + 5 * (2 + 4 + 8))
    names = set(ResNet18(3, 2).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.bias", "layer1.1.bn2.weight", "fc.bias"} <= names
    assert {"layer2.0.downsample.0.bias", "layer4.0.downsample.1.running_var"} <= names
    assert not any("layer1" in name and "downsample" in name for name in names)


@pytest.mark.parametrize(("side", "hidden"), [(8, ()), (16, (6, 5)), (32, (6,))])
def test_it_is_the_description(side, hidden):
    net = ResNet18(outputs=7, width=4, hidden=hidden).double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "bn" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) / 4)  # else nothing would show that they are used
    tensors = copy.deepcopy(net.state_dict())
    x = torch.randn(6, 3, side, side, dtype=torch.float64)
    for training in (True, False):
        outputs = net.train(training)(x)
        assert outputs.shape == (6, 7)
        torch.testing.assert_close(outputs.detach(), described(tensors, x, training))
        for name, value in net.named_buffers():
            if "running" in name:
                torch.testing.assert_close(value, tensors[name])


def test_weights_are_drawn_as_stated_and_drawn_anew():
    net = ResNet18(outputs=100, width=16)
    net(torch.randn(4, 3, 8, 8))
    assert net.bn1.running_mean.any()
    before = copy.deepcopy(net.state_dict())
    net.reset_parameters()
    for name, parameter in net.named_parameters():
        if parameter.dim() > 1:
            fan_in = parameter[0].numel()
            variance = (1 if name == "fc.weight" else 2) / fan_in
            # six standard errors of a normal sample's variance
            assert parameter.var().item() == pytest.approx(variance, rel=6 * math.sqrt(2 / parameter.numel())), name
            assert parameter.mean().abs().item() < 6 * math.sqrt(variance / parameter.numel())
            assert not torch.equal(parameter, before[name])
            # normal and not uniform: a uniform distribution has the kurtosis 1.8
            standard = parameter.detach().flatten() / math.sqrt(variance)
            if standard.numel() > 5000:
                assert standard.pow(4).mean().item() == pytest.approx(3, abs=0.6)
        else:
            norm = name.endswith("weight")
            assert (parameter == (1 if norm else 0)).all(), name
    for name, value in net.named_buffers():
        assert (value == (1 if name.endswith("running_var") else 0)).all()


def test_torchs_own_initialisation():
    net = ResNet18(outputs=10, width=4, initialisation="default", hidden=(50,))
    for name in ("conv1", "layer3.0.downsample.0", "layer4.1.conv2", "hidden.0", "fc"):
        module = net.get_submodule(name)
        bound = module.weight[0].numel() ** -0.5
        assert 0.9 * bound < module.weight.abs().max() <= bound * (1 + 1e-6)
        assert 0 < module.bias.abs().max() <= bound * (1 + 1e-6)
    assert (net.bn1.weight == 1).all()
    assert not net.bn1.bias.any()


@pytest.mark.parametrize("hidden", [(), (9,)])
def test_its_units_are_those_inside_the_blocks_and_the_hidden_layers(hidden):
    sizes = units_made_new_in_place(ResNet18(10, 4, hidden=hidden).eval(), torch.randn(2, 3, 16, 16))
    inside = {f"{stage}.{block}.conv1": 4 * share for stage, (share, _) in STAGES.items() for block in range(2)}
    assert sizes == inside | {f"hidden.{2 * at}": size for at, size in enumerate(hidden)}


def test_the_authors_chain_ends_in_the_hidden_layers():
    network = find(ResNet18(10, 2, hidden=(9,)), torch.randn(2, 3, 8, 8), chain=True)
    assert [layer.name for layer in network.layers][-2:] == ["layer4.1.conv2", "hidden.0"]
    assert [layer.readers[0].module for layer in network.layers][-2:] == ["hidden.0", "fc"]


def test_the_authors_chain_takes_all_seventeen_convolutions():
    net = ResNet18(10, 4)
    network = find(net, torch.randn(2, 3, 8, 8), chain=True)
    inside = [f"{stage}.{block}.conv{which}" for stage in STAGES for block in range(2) for which in (1, 2)]
    assert [layer.name for layer in network.layers] == ["conv1", *inside]
    readers = [layer.readers[0].module for layer in network.layers]
    assert readers == [*inside, "fc"]
    assert all(len(layer.norms) == 4 for layer in network.layers)


@pytest.mark.parametrize("chain", [False, True])
def test_continual_backprop_keeps_it_young(chain):
    torch.manual_seed(0)
    net = ResNet18(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    x, y = torch.randn(8, 3, 16, 16), torch.randint(0, 3, (8,))
    cbp = neoteny.ContinualBackprop(replacement_rate=0.2, maturity_threshold=2)
    plasticity = neoteny.attach(net, optimizer, cbp, example_inputs=x, chain=chain)
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    replaced = [counters["units_replaced"] for counters in plasticity.counters()["cbp"].values()]
    assert len(replaced) == (17 if chain else 8)
    assert min(replaced) > 0
    assert net(x).isfinite().all()


def test_bad_settings_are_refused():
    with pytest.raises(SettingError, match=r"outputs = 0, width = 64"):
        ResNet18(outputs=0)
    with pytest.raises(SettingError, match="width = 0"):
        ResNet18(width=0)
    with pytest.raises(UnknownNameError, match="initialisation"):
        ResNet18(initialisation="kaiming_uniform")  # pyright: ignore[reportArgumentType]
