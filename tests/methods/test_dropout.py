"""Dropout: the NumPy network with the same masks, and where it is put."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import conv_net, mlp
from methods.prepared import Part, compare
from neoteny.errors import NetworkError, SettingError
from neoteny.methods import WithDropout, WithLayerNorm
from neoteny.nn import MLP

P = 0.3


class Dropped(Part):
    """h / (1 - p) where the module kept something."""

    def __init__(self, module):
        super().__init__(module)
        self.dropped = []

    def watch(self, x, y):
        self.kept = y != 0
        self.dropped.append(1 - self.kept[x != 0].mean())

    def forward(self, x):
        return x * self.kept / (1 - P)

    def backward(self, dy):
        return dy * self.kept / (1 - P)


@pytest.mark.reference("dropout")
@pytest.mark.parametrize("make", [mlp, conv_net])
def test_two_hundred_steps(make):
    model, parts, data = compare(WithDropout(p=P), {nn.Dropout: Dropped}, make)
    for part in parts:
        if isinstance(part, Dropped):
            assert np.mean(part.dropped) == pytest.approx(P, abs=0.03)
    model.eval()
    x = data[-1][0]
    bare = nn.Sequential(*(module[0] if isinstance(module, nn.Sequential) else module for module in model))
    assert torch.equal(model(x), bare(x))


def test_it_is_where_our_own_networks_have_it():
    torch.manual_seed(3)
    ours = MLP(4, [5, 6], 2, normalisation="layer", dropout=0.4)
    torch.manual_seed(3)
    new = neoteny.prepare(MLP(4, [5, 6], 2), [WithDropout(p=0.4), WithLayerNorm()], torch.zeros(1, 4))
    x = torch.randn(7, 4)
    torch.manual_seed(5)
    expected = ours(x)
    torch.manual_seed(5)
    torch.testing.assert_close(new(x), expected, rtol=0, atol=0)


def test_dropout_that_is_there_already_is_refused():
    with pytest.raises(NetworkError, match=r"has dropout already, 'layers\.2'"):
        neoteny.prepare(MLP(4, [5], 2, dropout=0.1), WithDropout(), torch.zeros(1, 4))


def test_settings():
    for p in (1.0, -0.1, True):
        with pytest.raises(SettingError, match=f"p = {p}"):
            WithDropout(p=p)
    assert "nothing is dropped" in WithDropout(p=0).inert()
    assert WithDropout().inert() is None
