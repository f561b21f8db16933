"""VGG16 against its description: counts by formula, the forward pass in plain functions, its units."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from neoteny.errors import SettingError, UnknownNameError
from neoteny.nn import VGG16
from nn.units_in_place import units_made_new_in_place

MAPS = [1, 1, "pool", 2, 2, "pool", 4, 4, 4, "pool", 8, 8, 8, "pool", 8, 8, 8, "pool"]


def count(width, hidden, pixels, outputs):
    """Parameters by the description: 9 in out + out of a convolution, 2 out of its norm, in out + out of a layer."""
    total, inputs = 0, 3
    for maps in MAPS:
        if maps != "pool":
            total += 9 * inputs * maps * width + 3 * maps * width
            inputs = maps * width
    sizes = [inputs * (pixels // 32) ** 2, *hidden, outputs]
    return total + sum(a * b + b for a, b in pairwise(sizes))


def described(tensors, x):
    """The forward pass of a batch with the batch's own statistics."""
    x, rest = x, iter(tensors.values())
    for maps in MAPS:
        if maps == "pool":
            x = x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).amax((-1, -3))
            continue
        x = F.conv2d(x, next(rest), next(rest), padding=1)
        own = x.transpose(0, 1).flatten(1)
        scale, shift = next(rest), next(rest)
        scale = scale / (own.var(1, unbiased=False) + 1e-5).sqrt()
        x = ((x - own.mean(1).view(-1, 1, 1)) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)).clamp(min=0)
    x = x.flatten(1)
    layers = list(rest)
    for weight, bias in zip(layers[::2], layers[1::2], strict=True):
        x = x @ weight.T + bias
        x = x if bias is layers[-1] else x.clamp(min=0)
    return x


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 4, "hidden": (), "pixels": 32, "outputs": 3},
        {"width": 2, "hidden": (7, 5), "pixels": 64, "outputs": 10},
    ],
)
def test_it_is_the_description(settings):
    net = VGG16(**settings).double()
    assert sum(parameter.numel() for parameter in net.parameters()) == count(**settings)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) / 4)  # else nothing would show that they are used
    x = torch.randn(6, 3, settings["pixels"], settings["pixels"], dtype=torch.float64)
    torch.testing.assert_close(net(x), described(dict(net.named_parameters()), x))


def test_of_full_width_it_has_torchvisions_convolutions():
    with torch.device("meta"):
        net = VGG16()
    head = 2048 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 200 + 200
    assert sum(parameter.numel() for parameter in net.parameters()) == 14_723_136 + head  # those of its vgg16_bn


def test_its_units_are_found_and_made_new_in_place():
    net = VGG16(3, width=2, hidden=(7, 5), pixels=32).eval()
    sizes = units_made_new_in_place(net, torch.randn(2, 3, 32, 32))
    assert list(sizes.values()) == [2 * maps for maps in MAPS if maps != "pool"] + [7, 5]


def test_bad_settings_are_refused():
    with pytest.raises(SettingError, match=r"outputs = 0, width = 64"):
        VGG16(outputs=0)
    with pytest.raises(SettingError, match=r"hidden = \(3, 0\)"):
        VGG16(hidden=(3, 0))
    with pytest.raises(SettingError, match="pixels = 48: .*use 32 or a multiple"):
        VGG16(pixels=48)
    with pytest.raises(UnknownNameError, match="initialisation"):
        VGG16(width=1, hidden=(), initialisation="normal")  # pyright: ignore[reportArgumentType]
