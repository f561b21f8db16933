"""Adam's bias correction with every entry's own count of updates, whichever way the entries are looked at."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neoteny
from neoteny import PlasticityWarning
from neoteny.attachment.bias_correction import PRECISION, AdamCorrection, horizon
from neoteny.attachment.distributed import Processes
from neoteny.attachment.user_network import UserNetwork
from neoteny.methods import ContinualBackprop
from neoteny.units import find
from neoteny.units.reset import slices_of

LR, BETAS, EPS, TOTAL = 0.01, (0.9, 0.99), 1e-3, 400


def update(kind, m, v, age):
    """What the optimizer takes off, from its definition (Kingma & Ba, Algorithms 1 and 2)."""
    if kind is torch.optim.Adamax:
        return LR / (1 - BETAS[0] ** age) * m / v
    return LR * (m / (1 - BETAS[0] ** age)) / ((v / (1 - BETAS[1] ** age)).sqrt() + EPS)


def setting(kind, amsgrad=False):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 12), nn.Tanh(), nn.Linear(12, 3)
    ).double()
    more = {"amsgrad": True} if amsgrad else {}
    optimizer = kind(model.parameters(), LR, BETAS, EPS, **more)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    for state in optimizer.state.values():
        state["step"].fill_(TOTAL)
        for name, value in state.items():
            if name != "step":
                value.copy_(torch.rand_like(value) * (1e-6 if name.startswith("exp_avg_") else 1e-3) + 1e-9)
    units = find(model, torch.zeros(2, 1, 3, 3, dtype=torch.float64))
    return model, optimizer, UserNetwork(model, [optimizer], units, Processes(model, ()))


@pytest.mark.parametrize("counts", [(1, 1), (2, 5), (8, 3), (8, 12)], ids=str)
@pytest.mark.parametrize(
    ("kind", "amsgrad"), [(torch.optim.Adam, False), (torch.optim.AdamW, True), (torch.optim.Adamax, False)]
)
def test_every_entry_has_its_own_count(kind, amsgrad, counts):
    """Rows of a few young units, columns of others, entries of two, or all of a parameter at once: one formula."""
    model, optimizer, user = setting(kind, amsgrad)
    correction = AdamCorrection(user)
    since, ages = {}, {name: torch.full_like(p, TOTAL) for name, p in model.named_parameters()}
    for layer, count in zip(user.network.layers, counts, strict=True):
        since[layer.name] = torch.full((layer.size,), TOTAL, dtype=torch.int32)
        young = torch.randperm(layer.size)[:count]
        since[layer.name][young] = torch.randint(1, 200, (count,), dtype=torch.int32)
        correction.restart(layer.name, count)
        for slices in slices_of(layer):
            if slices.name in ages:
                whole = ages[slices.name]
                own = slices.spread(since[layer.name].double(), whole, torch.tensor(float(TOTAL)).double())
                ages[slices.name] = torch.minimum(whole, own)
    expected = {}
    for name, p in model.named_parameters():
        state = optimizer.state[p]
        v = state["exp_inf"] if kind is torch.optim.Adamax else state["max_exp_avg_sq" if amsgrad else "exp_avg_sq"]
        taken, right = (update(kind, state["exp_avg"], v, age) for age in (torch.tensor(TOTAL).double(), ages[name]))
        expected[name] = (p + taken - right).detach()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        correction.correct(lambda: since, [optimizer])
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], rtol=1e-12, atol=1e-12)
        assert torch.equal(p != before[name], ages[name] < TOTAL)


def test_units_grow_old():
    """After the horizon nothing is looked at, and what would have been changed is below its precision."""
    _, _, user = setting(torch.optim.Adam)
    correction = AdamCorrection(user)
    correction.restart("0", 2)
    correction.restart("0", 1)
    last = horizon(*BETAS)
    for step in range(1, last + 2):
        assert correction._count_young() == ({"0": 3} if step <= last + 1 else {})
        correction.correct(dict, [])
    assert correction._count_young() == {}
    beta1, beta2 = BETAS
    assert abs((1 - beta2**last) ** 0.5 / (1 - beta1**last) - 1) <= PRECISION
    assert abs((1 - beta2 ** (last - 9)) ** 0.5 / (1 - beta1 ** (last - 9)) - 1) > PRECISION


@pytest.mark.parametrize("kind", [torch.optim.NAdam, torch.optim.RAdam])
def test_optimizers_that_are_not_set_right_are_named(kind):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.warns(PlasticityWarning, match=f"{kind.__name__}: the bias correction goes on"):
        neoteny.attach(model, kind(model.parameters()), ContinualBackprop(), torch.zeros(1, 3))
