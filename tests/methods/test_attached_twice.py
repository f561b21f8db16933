"""Two handles on one optimizer: an agent's actor and critic, say, attached one by one."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

import neoteny
from neoteny.errors import PlasticityWarning

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


def attached():
    torch.manual_seed(0)
    actor, critic = (nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(2))
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()])
    methods = neoteny.ContinualBackprop(replacement_rate=0.1, maturity_threshold=2), neoteny.ReDo(period=3)
    handles = [
        neoteny.attach(*at, X, seed=n)
        for n, at in enumerate(((actor, optimizer, methods[0]), (critic, optimizer, methods[1])))
    ]
    return nn.ModuleList([actor, critic]), optimizer, handles


def train(agent, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        sum(net(X).square().mean() for net in agent).backward()
        optimizer.step()


def test_each_gets_its_own_state_back():
    agent, optimizer, handles = attached()
    train(agent, optimizer, 10)
    weights, saved = copy.deepcopy(agent.state_dict()), copy.deepcopy(optimizer.state_dict())
    assert [saved[key]["seed"] for key in ("plasticity", "plasticity-2")] == [0, 1]
    other, fresh, restored = attached()
    other.load_state_dict(weights)
    fresh.load_state_dict(saved)
    for net, o in ((agent, optimizer), (other, fresh)):
        train(net, o, 10)
    assert [h.counters() for h in restored] == [h.counters() for h in handles]
    assert handles[0].counters()["cbp"]["0"]["units_replaced"] > 0
    assert all(torch.equal(p, q) for p, q in zip(agent.parameters(), other.parameters(), strict=True))


def test_a_place_is_free_again_after_detaching():
    agent, optimizer, (first, _) = attached()
    first.detach()
    assert "plasticity" not in optimizer.state_dict()
    neoteny.attach(agent[0], optimizer, neoteny.L2(), X, seed=7)
    assert {k: optimizer.state_dict()[k]["seed"] for k in ("plasticity", "plasticity-2")} == {
        "plasticity": 7,
        "plasticity-2": 1,
    }


def test_the_same_method_twice_is_named():
    """As where a notebook's cell is run again: it would act at twice its rate."""
    agent, optimizer, (first, _) = attached()
    (method,) = first.methods.values()
    with pytest.warns(PlasticityWarning, match="cbp: attached to this network and this optimizer already") as caught:
        second = neoteny.attach(torch.compile(agent[0]), optimizer, [method, neoteny.L2()], X)
    assert [told.filename for told in caught if told.category is PlasticityWarning] == [__file__]
    first.detach()
    second.detach()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neoteny.attach(agent[0], optimizer, method, X)
        neoteny.attach(agent[1], optimizer, method, X)
        neoteny.attach(agent[0], optimizer, neoteny.ContinualBackprop(replacement_rate=0.2), X)
