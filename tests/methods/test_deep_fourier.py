"""Deep Fourier features: the NumPy network, and how nearly linear one of the two functions always is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neoteny
from methods.comparing import conv_net, mlp
from methods.prepared import Part, compare
from neoteny.methods import WithDeepFourier
from neoteny.nn import activation_modules


class SineAndCosine(Part):
    def forward(self, x):
        self.x = x
        return np.concatenate([np.sin(x), np.cos(x)], 1)

    def backward(self, dy):
        first, second = np.split(dy, 2, 1)
        return first * np.cos(self.x) - second * np.sin(self.x)


@pytest.mark.reference("deep-fourier")
@pytest.mark.parametrize("make", [mlp, conv_net])
def test_two_hundred_steps(make):
    _, parts, _ = compare(WithDeepFourier(), {activation_modules.SinCos: SineAndCosine}, make)
    assert sum(isinstance(part, SineAndCosine) for part in parts) == 2


def test_every_unit_has_one_nearly_linear_function():
    distances = []
    for centre in np.linspace(0, 2 * np.pi, 97):
        x = np.linspace(centre - np.pi / 4, centre + np.pi / 4, 201)
        h = activation_modules.SinCos()(torch.tensor(x).unsqueeze(1)).numpy()
        np.testing.assert_allclose(np.square(h).sum(1), 1)
        lines = [np.polynomial.Chebyshev.interpolate(f, 1, [x[0], x[-1]])(x) for f in (np.sin, np.cos)]
        distances.append(min(np.abs(line - own).max() for line, own in zip(lines, h.T, strict=True)))
    assert 0.1 < max(distances) < 0.13  # a line through two points is a little worse than the best one


def test_the_output_is_linear_in_the_features():
    model = neoteny.prepare(mlp(), WithDeepFourier(), torch.zeros(1, 6, dtype=torch.float64))
    h = torch.randn(5, model[-1].in_features, dtype=torch.float64)
    assert model[-1].out_features == 2
    torch.testing.assert_close(model[-1](2 * h) - model[-1](h), h @ model[-1].weight.T)
