"""Interval-wise dropout: the NumPy network with the same lots, its mean, and the laboratory's own lots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import conv_net, mlp
from methods.prepared import Part, compare
from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import WithIntervalDropout
from neoteny.nn import activation_modules
from neoteny.optim import SGD

P = 0.8


class Intervals(Part):
    """max(x, 0) where the module's lot said so, else min(x, 0)."""

    def __init__(self, module):
        super().__init__(module)
        self.lots = []

    def watch(self, x, y):
        self.rectified = np.where(x > 0, y != 0, y == 0)
        self.lots.append(self.rectified.mean())

    def forward(self, x):
        self.passed = np.where(self.rectified, x > 0, x < 0)
        return np.where(self.rectified, np.maximum(x, 0), np.minimum(x, 0))

    def backward(self, dy):
        return dy * self.passed


@pytest.mark.reference("aid")
@pytest.mark.parametrize("make", [mlp, conv_net])
def test_two_hundred_steps(make):
    model, parts, data = compare(WithIntervalDropout(p=P), {activation_modules.IntervalDropout: Intervals}, make)
    for part in parts:
        if isinstance(part, Intervals):
            assert np.mean(part.lots) == pytest.approx(P, abs=0.02)
            assert len(set(part.lots)) > 5
    model.eval()
    h = x = data[-1][0]
    for module in model:
        h = (
            P * h.clamp(min=0) + (1 - P) * h.clamp(max=0)
            if isinstance(module, activation_modules.IntervalDropout)
            else module(h)
        )
    torch.testing.assert_close(model(x), h)


def test_evaluation_is_the_mean_of_training():
    module, x = activation_modules.IntervalDropout(0.7), torch.linspace(-2, 2, 5, dtype=torch.float64)
    torch.manual_seed(0)
    many = module(x.expand(40_000, 5))
    assert set(many[:, 0].unique().tolist()) == {-2.0, 0.0}
    np.testing.assert_allclose(many.mean(0), module.eval()(x), atol=0.02)


def test_hes_initialisation_keeps_its_meaning():
    x = torch.linspace(-3, 3, 100_000, dtype=torch.float64)
    ratio = activation_modules.IntervalDropout(0.9)(x).square().mean() / x.square().mean()
    assert ratio.item() == pytest.approx(0.5, abs=0.01)


def test_with_p_one_it_is_a_rectifier_bit_for_bit():
    x = torch.tensor([-1.0, -0.0, 0.0, 2.0, float("nan")])
    for module in (activation_modules.IntervalDropout(1.0), activation_modules.IntervalDropout(1.0).eval()):
        assert torch.equal(module(x).nan_to_num(7), torch.relu(x).nan_to_num(7))
        assert torch.equal(module(x).signbit(), torch.relu(x).signbit())
    assert torch.isnan(activation_modules.IntervalDropout(0.5)(x)[-1])


def learner(strategy, seeds=(0, 1)):
    return Learner(
        lambda: nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)),
        torch.zeros(2, 3),
        loss="mse",
        optimizer=SGD(step_size=0.05),
        methods=[WithIntervalDropout(p=0.6)],
        seeds=seeds,
        strategy=strategy,
        compile=False,
    )


def test_in_the_laboratory_lots_follow_from_the_run_and_the_step():
    x, y = torch.randn(2, 6, 2, 3, generator=torch.Generator().manual_seed(0)), torch.ones(2, 6, 2, 1)
    one, other, alone = learner("stack"), learner("loop"), learner("loop", (1,))
    one.advance(examples(x, y))
    other.advance(examples(x[:, :4], y[:, :4]))
    torch.manual_seed(99)  # nothing hangs on torch's own generator
    other.advance(examples(x[:, 4:], y[:, 4:]))
    alone.advance(examples(x[1:], y[1:]))
    for name, value in one.weights().items():
        torch.testing.assert_close(value, other.weights()[name])
        torch.testing.assert_close(value[1:], alone.weights()[name])
    outputs = one.outputs(x[:, 0])
    torch.testing.assert_close(one.outputs(x[:, 0]), outputs, rtol=0, atol=0)


def test_settings():
    with pytest.raises(SettingError, match=r"p = 1\.2"):
        WithIntervalDropout(p=1.2)
    assert "rectifiers" in WithIntervalDropout(p=1).inert()
    assert WithIntervalDropout().inert() is None
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).eval()
    assert not neoteny.prepare(net, WithIntervalDropout(), torch.zeros(1, 3))[1].training
