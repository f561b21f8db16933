"""ReGraMa against NumPy, and what it makes of layers and norms that get no gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import compare, conv_net, mlp
from methods.resetting import ResettingReference, replaced
from neoteny.methods.regrama import ReGraMa
from neoteny.methods.shared.unit_reset import mean_gradients
from neoteny.units import random

TAU, PERIOD = 0.5, 5


class Reference(ResettingReference):
    def intervene(self, update, grads, hidden):
        if (update + 1) % PERIOD:
            return
        chosen = []
        for layer in range(len(hidden)):
            activity = np.abs(grads[layer]).mean(1)
            chosen.append(activity / (activity.mean() + 1e-9) <= TAU)
        for layer, units in enumerate(chosen):
            self.make_new(update, layer, units, hidden[layer].shape[2])


@pytest.mark.reference("regrama")
@pytest.mark.parametrize("make", [mlp, conv_net])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_against_numpy(make, kind):
    plasticity, reference, _ = compare(ReGraMa(tau=TAU, period=PERIOD), Reference, make=make, kind=kind)
    assert replaced(plasticity, "regrama") == reference.replaced
    assert min(reference.replaced) >= 10


def attached(model, method, *inputs):
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    return optimizer, neoteny.attach(model, optimizer, method, inputs, seed=3, only_preserving=False)


def test_a_unit_that_no_gradient_reaches_is_reset_and_one_that_is_silent_but_learns_is_not():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    with torch.no_grad():
        model[2].weight[0, 1] = 0  # nothing comes back from it
        model[0].weight[3], model[0].bias[3] = 0, 0  # it says nothing, and would learn to
    x = torch.randn(8, 4).double()
    optimizer, plasticity = attached(model, ReGraMa(tau=0.0, period=1), x)
    model(x).sum().backward()
    optimizer.step()
    assert plasticity.made_new("0").tolist() == [unit == 1 for unit in range(6)]


class _TwoHeads(nn.Module):
    """Two branches of which a batch uses one, and a unit layer fed by two tensors."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.other = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(3, 4)
        self.head, self.spare = nn.Linear(5, 1), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.relu(self.left(x) + self.right(x))), self.spare(torch.relu(self.other(x)))


def test_layers_without_a_gradient_are_left_alone():
    torch.manual_seed(0)
    model = _TwoHeads()
    x = torch.randn(8, 3)
    optimizer, plasticity = attached(model, ReGraMa(tau=10.0, period=1), x)
    model(x)[0].sum().backward()
    before = model.other.weight.clone()
    optimizer.step()
    assert torch.equal(model.other.weight, before)
    assert plasticity.made_new("left+right").all()
    assert not plasticity.made_new("other").any()


def test_several_tensors_that_feed_a_unit_count_entry_by_entry():
    torch.manual_seed(0)
    model = _TwoHeads()
    x = torch.randn(8, 3)
    _, plasticity = attached(model, ReGraMa(), x)
    model(x)[0].sum().backward()
    grads = {"left.weight": model.left.weight.grad, "right.weight": model.right.weight.grad}
    step = neoteny.methods.Step(plasticity.units, dict(model.named_parameters()), grads, {}, {}, {}, random.key(0))
    found = mean_gradients(step)
    assert list(found) == ["left+right"]
    both = torch.cat([*grads.values()], 1).abs().mean(1)
    torch.testing.assert_close(found["left+right"], both)
    step.grads = {"left.weight": model.left.weight.grad}
    torch.testing.assert_close(mean_gradients(step)["left+right"], model.left.weight.grad.abs().sum(1) / 6)


@pytest.mark.parametrize("norms", [False, True])
def test_norms_as_the_authors_code_has_them(norms):
    """Gains with hardly any gradient go back to 1 with their shifts, though their units stay as they are."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 1)).double()
    with torch.no_grad():
        model[1].weight.uniform_(0.5, 2)
        model[1].bias.uniform_(0.5, 2)
        model[3].weight[0, 2] = 1e-6
    x = torch.randn(8, 4).double()
    optimizer, plasticity = attached(model, ReGraMa(tau=1e-3, period=1, norms=norms), x)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(x).sum().backward()
    assert (model[0].weight.grad[2].abs().mean() / model[0].weight.grad.abs().mean()) > 1e-3  # through the norm's mean
    optimizer.step()
    assert not plasticity.made_new("0").any()
    mine = torch.arange(6) == (2 if norms else -1)
    for name, newborn in (("weight", 1.0), ("bias", 0.0)):
        own = getattr(model[1], name)
        assert torch.equal(own, torch.where(mine, newborn, before[f"1.{name}"]))
