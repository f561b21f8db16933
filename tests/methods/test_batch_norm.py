"""Batch norms: the NumPy network, running averages, and batches that have no variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import conv_net, mlp
from methods.prepared import Part, compare
from neoteny.errors import NetworkError, SettingError
from neoteny.methods import WithBatchNorm
from neoteny.nn import MLP

EPSILON, MOMENTUM = 1e-3, 0.2


class Normalised(Part):
    """Over the batch and the positions of a map; with running averages, of the unbiased variance."""

    def __init__(self, module):
        self.parameters = [module.weight.detach().numpy().copy(), module.bias.detach().numpy().copy()]
        self.running_mean, self.running_var = np.zeros(module.num_features), np.ones(module.num_features)

    def forward(self, x):
        self.axes = (0, *range(2, x.ndim))
        self.gain, shift = (p.reshape(-1, *[1] * (x.ndim - 2)) for p in self.parameters)
        mean, variance, count = x.mean(self.axes), x.var(self.axes), x.size // x.shape[1]
        self.running_mean += MOMENTUM * (mean - self.running_mean)
        self.running_var += MOMENTUM * (variance * count / (count - 1) - self.running_var)
        self.deviation = np.sqrt(x.var(self.axes, keepdims=True) + EPSILON)
        self.z = (x - x.mean(self.axes, keepdims=True)) / self.deviation
        return self.gain * self.z + shift

    def backward(self, dy):
        self.grads = [(dy * self.z).sum(self.axes), dy.sum(self.axes)]
        dz = dy * self.gain
        own = dz.mean(self.axes, keepdims=True) + self.z * (dz * self.z).mean(self.axes, keepdims=True)
        return (dz - own) / self.deviation


@pytest.mark.reference("batch-norm")
@pytest.mark.parametrize("make", [mlp, conv_net])
def test_two_hundred_steps(make):
    kinds = {nn.BatchNorm1d: Normalised, nn.BatchNorm2d: Normalised}
    # a bias in front of a batch norm has no gradient but rounding's
    model, parts, _ = compare(WithBatchNorm(epsilon=EPSILON, momentum=MOMENTUM), kinds, make, size=8)
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    own = [part for part in parts if isinstance(part, Normalised)]
    for module, part in zip(norms, own, strict=True):
        np.testing.assert_allclose(module.running_mean, part.running_mean, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(module.running_var, part.running_var, rtol=1e-7, atol=1e-10)
        assert module.num_batches_tracked == 200


def test_it_is_where_our_own_networks_have_it():
    torch.manual_seed(3)
    ours = MLP(5, [4, 3], 2, normalisation="batch")
    torch.manual_seed(3)
    new = neoteny.prepare(MLP(5, [4, 3], 2), WithBatchNorm(), torch.zeros(2, 5))
    x = torch.randn(6, 5)
    torch.testing.assert_close(new(x), ours(x), rtol=0, atol=0)


def test_sequences_and_single_examples_are_refused():
    net = nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 3))
    with pytest.raises(NetworkError, match=r"'1' reads an input of shape \[2, 5, 6\].*use WithLayerNorm"):
        neoteny.prepare(net, WithBatchNorm(), torch.zeros(2, 5, 3))
    with pytest.raises(NetworkError, match="the variance over a single example is 0"):
        neoteny.prepare(net, WithBatchNorm(), torch.zeros(1, 3))
    kinds = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
    for number, kind in enumerate(kinds, 1):
        new = neoteny.prepare(
            nn.Sequential(kind(2, 4, 2), nn.ReLU(), kind(4, 1, 1)), WithBatchNorm(), torch.zeros(1, 2, *[3] * number)
        )
        assert type(new[1][0]) is getattr(nn, f"BatchNorm{number}d")
        assert new[1][0].num_features == 4
    with pytest.raises(SettingError, match="momentum"):
        WithBatchNorm(momentum=2)
