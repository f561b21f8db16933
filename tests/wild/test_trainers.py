"""Lightning Fabric: attached before its setup or after it, in every precision, newborns and counts are the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neoteny
from neoteny.methods import ContinualBackprop

METHODS = [ContinualBackprop(replacement_rate=0.1, maturity_threshold=3), neoteny.L2(strength=0.01)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_fabric_before_and_after_setup(precision):
    fabric_module = pytest.importorskip("lightning.fabric")
    made = []
    for after in (False, True):
        fabric = fabric_module.Fabric(accelerator="cpu", devices=1, precision=precision)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        optimizer, x = torch.optim.Adam(model.parameters(), 1e-2), torch.randn(16, 4)
        if not after:
            plasticity = neoteny.attach(model, optimizer, METHODS, x)
        wrapped, stepping = fabric.setup(model, optimizer)
        if after:
            plasticity = neoteny.attach(wrapped, stepping, METHODS, x)
        for _ in range(12):
            stepping.zero_grad()
            fabric.backward(wrapped(x).square().mean())
            stepping.step()
        told = plasticity.counters()
        assert told["updates"] == 12
        assert all(layer["units_replaced"] > 0 for layer in told["cbp"].values())
        made.append((told["cbp"], torch.cat([p.detach().flatten() for p in model.parameters()])))
    assert made[0][0] == made[1][0]
    torch.testing.assert_close(made[0][1], made[1][1])
