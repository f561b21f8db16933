"""Networks for pixels: each encoder, the heads and the transition model in NumPy, and what their units are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError, UnknownNameError
from neoteny.nn import ImpalaEncoder, NatureEncoder, PixelNetwork
from neoteny.nn.recurrent_trace import RecurrentTraceNetwork
from neoteny.nn.soft_actor_critic import SoftActorCritic
from neoteny.units import find


def convolved(x, weight, bias, stride=1, padding=0):
    """A convolution, position by position."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    size = weight.shape[-1]
    side = (x.shape[-1] - size) // stride + 1
    found = np.empty((len(x), len(weight), side, side))
    for i in range(side):
        for j in range(side):
            piece = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
            found[:, :, i, j] = np.einsum("bcij,ocij->bo", piece, weight) + bias
    return found


def greatest(x):
    """The maximum over 3x3 at every second position."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    side = (x.shape[-1] - 3) // 2 + 1
    rows = [[x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((2, 3)) for j in range(side)] for i in range(side)]
    return np.array(rows).transpose(2, 3, 0, 1)


def arrays(module):
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def nature_of(w, x):
    for number, stride in ((0, 4), (2, 2), (4, 1)):
        x = np.maximum(convolved(x, w[f"{number}.weight"], w[f"{number}.bias"], stride), 0)
    return x


def impala_of(w, x):
    for stage in range(3):
        x = greatest(convolved(x, w[f"{stage}.conv.weight"], w[f"{stage}.conv.bias"], padding=1))
        for block in range(2):
            h = x
            for name in ("conv1", "conv2"):
                own = f"{stage}.blocks.{block}.{name}"
                h = convolved(np.maximum(h, 0), w[f"{own}.weight"], w[f"{own}.bias"], padding=1)
            x = x + h
    return np.maximum(x, 0)


@pytest.mark.parametrize(("encoder", "reference"), [(NatureEncoder, nature_of), (ImpalaEncoder, impala_of)])
def test_encoders_equal_numpy(encoder, reference):
    network = encoder(2, width=0.125).double()
    x = np.random.default_rng(0).random((2, 2, 36, 36))
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach(), reference(arrays(network), x), atol=1e-13)


def test_published_sizes():
    for encoder, width, maps, side in ((NatureEncoder, 1, 64, 7), (ImpalaEncoder, 4, 128, 11)):
        assert encoder(4, width).maps == maps
        assert encoder(4, 1 / 16)(torch.zeros(1, 4, 84, 84)).shape[2:] == (side, side)


def test_heads_and_predictions_equal_numpy():
    network = PixelNetwork(
        (2, 12, 12), 3, "impala", 0.125, 5, atoms=4, v_min=-1.0, v_max=2.0, predicts=True, renormalise=True
    ).double()
    rng = np.random.default_rng(0)
    bytes_, ahead = rng.integers(0, 256, (3, 2, 12, 12)).astype(np.uint8), rng.integers(3, size=(3, 2))
    w = arrays(network)

    def scaled(z):
        flat = z.reshape(3, -1)
        low, high = flat.min(1)[:, None], flat.max(1)[:, None]
        return ((flat - low) / (high - low + 1e-5)).reshape(z.shape)

    def project(z):
        return z.reshape(3, -1) @ w["projection.weight"].T + w["projection.bias"]

    z = scaled(impala_of(arrays(network.encoder), bytes_ / 255))
    both = (np.maximum(project(z), 0) @ w["head.weight"].T + w["head.bias"]).reshape(3, 4, 4)
    logits = both[:, :1] + both[:, 1:] - both[:, 1:].mean(1, keepdims=True)
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    images = torch.from_numpy(bytes_)
    outputs, predictions = network(images, "outputs", torch.from_numpy(ahead))
    np.testing.assert_allclose(outputs.detach(), logits, atol=1e-12)
    np.testing.assert_allclose(network(images.flatten(1)).detach(), chances @ np.linspace(-1, 2, 4), atol=1e-12)
    np.testing.assert_allclose(network(images, "projections").detach(), project(z), atol=1e-12)
    last = images.permute(0, 2, 3, 1).contiguous()
    torch.testing.assert_close(network(last, "projections"), network(images, "projections"))
    with pytest.raises(RuntimeError):
        network(images.permute(0, 2, 1, 3))
    for step in range(2):
        ones = np.zeros((3, 3, *z.shape[2:]))
        ones[range(3), ahead[:, step]] = 1
        h = np.concatenate([z, ones], 1)
        for name in ("transition.0", "transition.2"):
            h = np.maximum(convolved(h, w[f"{name}.weight"], w[f"{name}.bias"], padding=1), 0)
        z = scaled(h)
        expected = project(z) @ w["predictor.weight"].T + w["predictor.bias"]
        np.testing.assert_allclose(predictions[:, step].detach(), expected, atol=1e-12)


def test_the_head_and_hidden_units_are_found():
    network = PixelNetwork((2, 36, 36), 3, width=0.125, hidden=6, atoms=4, predicts=True, renormalise=True)
    found = find(network, torch.zeros(2, 2 * 36 * 36, dtype=torch.uint8), verify=False, only_preserving=False)
    assert [layer.name for layer in found.layers] == ["encoder.0", "encoder.2", "encoder.4", "projection"]
    assert found.head == ("head.weight", "head.bias")


def test_bad_sizes_are_refused():
    with pytest.raises(UnknownNameError, match="encoder called 'impalla'"):
        PixelNetwork((4, 84, 84), 6, encoder="impalla")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingError, match="atoms = -2"):
        PixelNetwork((4, 84, 84), 6, atoms=-2)
    with pytest.raises(SettingError, match="temperature = 0"):
        SoftActorCritic(4, 2, [8], temperature=0.0)
    with pytest.raises(SettingError, match="outputs = 0"):
        RecurrentTraceNetwork(3, 4, 0)
    with pytest.raises(SettingError, match=r"30 x 30 pixels are too small.*'impala'"):
        PixelNetwork((4, 30, 30), 6)
    with pytest.raises(SettingError, match=r"width = 0\.01: a layer of 32 maps would have none"):
        PixelNetwork((4, 84, 84), 6, width=0.01)
    with pytest.raises(SettingError, match="sizes must be at least 1"):
        PixelNetwork((4, 84, 84), 0)
