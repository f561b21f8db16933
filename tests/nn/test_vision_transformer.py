"""The vision transformer against its description in NumPy, its units, and its steps on the runs axis."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.nn import VisionTransformer
from neoteny.optim import SGD
from nn.units_in_place import units_made_new_in_place

SMALL = {"outputs": 3, "pixels": 8, "width": 12, "depth": 2, "heads": 3, "hidden": 10}


def described(w, x, heads):
    """The forward pass of one image [3, side, side], patch by patch and head by head."""

    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    gelu = np.vectorize(lambda value: value * (1 + math.erf(value / math.sqrt(2))) / 2)
    rows = [
        x[:, top : top + 4, left : left + 4].transpose(1, 2, 0).reshape(-1)
        for top in range(0, x.shape[1], 4)
        for left in range(0, x.shape[2], 4)
    ]
    tokens = norm("embed.2", linear("embed.1", norm("embed.0", np.stack(rows))))
    tokens = np.concatenate([w["token"][0], tokens]) + w["position"][0]
    for block in range(2):
        own = f"blocks.{block}.attention"
        q, k, v = np.split(linear(f"{own}.qkv", norm(f"{own}.norm", tokens)), 3, -1)
        found = []
        for columns in np.split(np.arange(q.shape[1]), heads):
            scores = np.exp(q[:, columns] @ k[:, columns].T / math.sqrt(len(columns)))
            found.append(scores / scores.sum(-1, keepdims=True) @ v[:, columns])
        tokens = tokens + linear(f"{own}.project", np.concatenate(found, -1))
        own = f"blocks.{block}.perceptron"
        tokens = tokens + linear(f"{own}.down", gelu(linear(f"{own}.up", norm(f"{own}.norm", tokens))))
    return linear("fc", norm("norm", tokens[0]))


def test_it_is_the_description():
    net = VisionTransformer(**SMALL).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)  # else nothing would show that gains and shifts are used
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    w = {name: parameter.detach().numpy() for name, parameter in net.named_parameters()}
    for image, output in zip(x, net(x), strict=True):
        np.testing.assert_allclose(output.detach().numpy(), described(w, image.numpy(), heads=3), atol=1e-9)


def test_vit_tiny_has_the_parameters_of_its_description():
    with torch.device("meta"):
        net = VisionTransformer()
    block = 2 * 192 + 3 * 192**2 + 192**2 + 192 + 2 * 192 + 2 * 192 * 768 + 768 + 192
    embed = 2 * 48 + 48 * 192 + 192 + 2 * 192 + 192 + 65 * 192
    total = embed + 12 * block + 2 * 192 + 192 * 100 + 100
    assert sum(parameter.numel() for parameter in net.parameters()) == total
    assert len(net.blocks) == 12


def test_it_drops_in_training_alone():
    net, x = VisionTransformer(**SMALL, dropout=0.3), torch.randn(2, 3, 8, 8)
    drops = [module.p for module in net.modules() if isinstance(module, torch.nn.Dropout)]
    assert drops == [0.3] * (1 + 4 * 2)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


def test_its_units_are_found_and_made_new_in_place():
    net = VisionTransformer(**SMALL).eval()
    sizes = units_made_new_in_place(net, torch.randn(2, 3, 8, 8))
    assert sizes == {
        f"blocks.{block}.{own}": size
        for block in range(2)
        for own, size in (("attention.qkv", 12), ("perceptron.up", 10))
    }


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_on_the_runs_axis_it_is_the_ordinary_loop(strategy):
    torch.manual_seed(0)
    x, y = torch.randn(2, 4, 5, 3, 8, 8), torch.randint(0, 3, (2, 4, 5))
    made = Learner(
        lambda: VisionTransformer(**SMALL, dropout=0.0),
        x[0, 0],
        loss="cross_entropy",
        optimizer=SGD(step_size=0.05),
        seeds=(0, 1),
        strategy=strategy,
        compile=False,
    )
    tensors = made.strategy.carry()["tensors"]
    nets = [VisionTransformer(**SMALL, dropout=0.0) for _ in made.seeds]
    for run, net in enumerate(nets):
        net.load_state_dict({key: value[run] for key, value in tensors.items()})
        optimizer = torch.optim.SGD(net.parameters(), 0.05)
        for inputs, labels in zip(x[run], y[run], strict=True):
            optimizer.zero_grad()
            F.cross_entropy(net(inputs), labels).backward()
            optimizer.step()
    made.advance(examples(x, y))
    tensors = made.strategy.carry()["tensors"]
    for run, net in enumerate(nets):
        for key, value in net.state_dict().items():
            torch.testing.assert_close(tensors[key][run], value, rtol=1e-4, atol=1e-5)


def test_dropout_is_the_steps_own_on_the_runs_axis():
    def trained():
        learner = Learner(
            lambda: VisionTransformer(**SMALL, dropout=0.5),
            torch.zeros(4, 3, 8, 8),
            loss="cross_entropy",
            optimizer=SGD(step_size=0.05),
            seeds=(3, 4),
            strategy="stack",
            compile=False,
        )
        generator = torch.Generator().manual_seed(0)
        x, y = torch.randn(1, 3, 4, 3, 8, 8, generator=generator), torch.randint(0, 3, (1, 3, 4), generator=generator)
        learner.advance(examples(x.expand(2, *x.shape[1:]), y.expand(2, *y.shape[1:])))
        return learner.strategy.carry()["tensors"]

    first, second = trained(), trained()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["fc.weight"][0], first["fc.weight"][1])


def test_bad_settings_are_refused():
    with pytest.raises(SettingError, match="depth = 0"):
        VisionTransformer(depth=0)
    with pytest.raises(SettingError, match="patch = 5 does not divide pixels = 32"):
        VisionTransformer(patch=5)
    with pytest.raises(SettingError, match="heads = 5 does not divide width = 192"):
        VisionTransformer(heads=5)
    with pytest.raises(SettingError, match=r"dropout = 1\.0"):
        VisionTransformer(depth=1, dropout=1.0)
