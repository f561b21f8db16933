"""The smooth leaky rectifier: the NumPy network, its limits, and the least slope."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neoteny
from methods.comparing import conv_net, mlp
from methods.prepared import Part, compare, slope_by_differences
from neoteny.errors import SettingError
from neoteny.methods import WithSmoothLeaky
from neoteny.nn.activation_modules import SmoothLeakyReLU


class Smooth(Part):
    alpha, c, p = 0.2, 4.0, 2.5

    def forward(self, x):
        gate = 1 / (1 + np.exp(-self.c * x / self.p))
        self.slope = self.alpha + (1 - self.alpha) * (gate + x * self.c / self.p * gate * (1 - gate))
        return self.alpha * x + (1 - self.alpha) * x * gate

    def backward(self, dy):
        return dy * self.slope


@pytest.mark.reference("smooth-leaky")
@pytest.mark.parametrize("make", [mlp, conv_net])
def test_two_hundred_steps(make):
    model, parts, _ = compare(WithSmoothLeaky(alpha=0.2, c=4.0, p=2.5), {SmoothLeakyReLU: Smooth}, make)
    assert sum(isinstance(part, Smooth) for part in parts) == 2
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in make().named_parameters()]


def test_the_references_slope_is_that_of_its_value():
    generator = np.random.default_rng(0)
    x, dy, part = generator.normal(size=(3, 4)), generator.normal(size=(3, 4)), Smooth(None)
    expected = slope_by_differences(part, x, dy)
    part.forward(x)
    np.testing.assert_allclose(part.backward(dy), expected, rtol=1e-7)


@pytest.mark.parametrize(("alpha", "c", "p"), [(0.1, 5.0, 3.0), (0.3, 1.0, 4.0), (0.05, 7.0, 1.0)])
def test_limits_and_the_least_slope(alpha, c, p):
    x = torch.linspace(-60, 60, 200_001, dtype=torch.float64, requires_grad=True)
    y = SmoothLeakyReLU(alpha, c, p)(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert slope[0].item() == pytest.approx(alpha, abs=1e-3)
    assert slope[-1].item() == pytest.approx(1, abs=1e-3)
    assert slope[100_000].item() == pytest.approx((1 + alpha) / 2)
    least = alpha - 0.09984 * (1 - alpha)  # that of u sigmoid(u) is -0.09984, whatever the scale of u
    assert slope.min().item() == pytest.approx(least, abs=1e-4)
    assert (slope.min() > 0) == (alpha > 0.0908)


def test_settings():
    for wrong in ({"alpha": 1.5}, {"alpha": -0.1}, {"c": 0.0}, {"p": float("inf")}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            WithSmoothLeaky(**wrong)
    model = neoteny.prepare(mlp(), WithSmoothLeaky(alpha=1.0), torch.zeros(1, 6, dtype=torch.float64))
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(model[1](x), x)
