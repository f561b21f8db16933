"""DASH against the rule in NumPy, vector by vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.errors import SettingError
from neoteny.methods import DASH
from neoteny.optim import IDBD, TorchOptimizer


def reference(alpha, floor, period=None):
    class Shrinking(Reference):
        def __init__(self, *args):
            super().__init__(*args)
            self.downhill = [np.zeros_like(p) for p in self.net.parameters()]
            self.factors = []

        def intervene(self, update, grads, hidden):
            for mean, grad in zip(self.downhill, grads, strict=True):
                mean[...] = (1 - alpha) * mean - alpha * grad
            if period is not None and (update + 1) % period == 0:
                self.shrink()

        def at_task(self, update):
            if period is None:
                self.shrink()

        def shrink(self):
            for w, g in zip(self.net.parameters(), self.downhill, strict=True):
                if w.shape == (6, 8):  # the kernel: filters of 2 x 2 from each of two maps
                    w, g = w.reshape(12, 4), g.reshape(12, 4)
                vectors = [(w, g)] if w.ndim == 1 else zip(w, g, strict=True)
                for vector, mean in vectors:
                    lengths = [max(np.linalg.norm(v), 1e-8) for v in (vector, mean)]
                    self.factors.append(min(max(vector @ mean / np.prod(lengths), floor), 1.0))
                    vector *= self.factors[-1]

    return Shrinking


@pytest.mark.reference("dash")
@pytest.mark.parametrize(
    ("make", "kind", "settings"),
    [
        (mlp, "sgd", {"alpha": 0.3, "floor": 0.3}),
        (mlp, "adam", {"alpha": 0.05, "floor": 0.05, "period": 25}),
        (conv_net, "momentum", {"alpha": 0.05, "floor": 0.1}),
        (conv_net, "adam", {"alpha": 0.3, "floor": 0.3, "period": 25}),
    ],
)
def test_against_numpy(make, kind, settings):
    _, own, _ = compare(DASH(**settings), reference(**settings), make=make, kind=kind)
    factors = np.array(own.factors)
    assert len(factors) > 70
    assert (factors == settings["floor"]).any() and (factors > settings["floor"]).any()


def attached(model, inputs, **settings):
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    return optimizer, neoteny.attach(model, optimizer, DASH(**settings), torch.zeros(2, inputs))


def test_what_goes_downhill_stays_and_what_goes_uphill_shrinks():
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    optimizer, plasticity = attached(model, 2, floor=0.2)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
    model[0].weight.grad = torch.tensor([[-0.3, -0.4], [0.3, 0.4]])
    optimizer.step()
    plasticity.new_task()
    torch.testing.assert_close(model[0].weight.detach(), torch.tensor([[3.0, 4.0], [0.6, 0.8]]))


def test_what_had_no_gradient_and_norms_stay():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 1))
    optimizer, plasticity = attached(model, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plasticity.new_task()  # before any gradient
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model[0](torch.randn(4, 3)).relu().sum().backward()
    model[1].weight.grad, model[1].bias.grad = torch.ones(4), torch.ones(4)
    optimizer.step()
    plasticity.new_task()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.weight", "0.bias"}


def test_settings():
    with pytest.raises(SettingError, match=r"floor = 1.5 .*\[0, 1\]"):
        DASH(floor=1.5)
    with pytest.raises(SettingError, match="period = 0"):
        DASH(period=0)


@pytest.mark.parametrize("delta", [1.0, -1.0])
def test_a_prediction_with_its_error_shows_the_way_down(delta):
    net = nn.Linear(2, 1)
    optimizer = TorchOptimizer(net.parameters(), IDBD())
    method = DASH(alpha=1.0)
    plasticity = neoteny.attach(net, optimizer, method, example_inputs=torch.zeros(1, 2))
    net(torch.ones(2)).backward()
    optimizer.step(delta)
    state = {name: value for name, value in plasticity._state[method.name].items() if name.startswith("bias")}
    assert [float(value) for value in state.values()] == [delta]
