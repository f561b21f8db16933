"""Concatenated rectifiers: the NumPy network, the number of parameters, and which weights stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import conv_net, mlp
from methods.prepared import Part, compare
from neoteny.errors import SettingError
from neoteny.methods import WithCReLU, WithDeepFourier, WithSmoothLeaky
from neoteny.nn import activation_modules


class ConcatenatedRectifiers(Part):
    def forward(self, x):
        self.positive, self.negative = x > 0, x < 0
        return np.concatenate([np.where(self.positive, x, 0), np.where(self.negative, -x, 0)], 1)

    def backward(self, dy):
        first, second = np.split(dy, 2, 1)
        return first * self.positive - second * self.negative


@pytest.mark.reference("crelu")
@pytest.mark.parametrize("make", [mlp, conv_net])
def test_two_hundred_steps(make):
    model, parts, _ = compare(WithCReLU(), {activation_modules.CReLU: ConcatenatedRectifiers}, make)
    assert sum(isinstance(part, ConcatenatedRectifiers) for part in parts) == 2
    assert next(model.parameters()).shape[0] < next(make().parameters()).shape[0]


def test_the_length_of_what_it_reads_is_kept():
    x = torch.randn(9, 4, 3, 3, dtype=torch.float64)
    h = activation_modules.CReLU(-3)(x)
    assert h.shape == (9, 8, 3, 3)
    torch.testing.assert_close(h.square().sum(1), x.square().sum(1))
    torch.testing.assert_close(h[:, :4] - h[:, 4:], x)


def test_half_the_units_with_as_many_inputs():
    net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 33), nn.Tanh(), nn.Linear(33, 1))
    new = neoteny.prepare(net, WithCReLU(match="features"), torch.zeros(1, 20))
    assert [(m.in_features, m.out_features) for m in new if isinstance(m, nn.Linear)] == [(20, 32), (64, 17), (34, 1)]


def test_no_second_activation():
    for other in (WithDeepFourier(), WithSmoothLeaky()):
        with pytest.raises(SettingError, match="both change the network's activations"):
            neoteny.prepare(mlp(), [WithCReLU(), other], torch.zeros(1, 6))
    with pytest.raises(SettingError, match="match = 'width' is unknown"):
        WithCReLU(match="width")
