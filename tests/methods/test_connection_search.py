"""Connection search against NumPy; the number of weights stays, and a new connection changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.methods.connection_search import ConnectionSearch


class ConnectionReference(Reference):
    """The rule in NumPy, unit by unit."""

    method: ConnectionSearch

    def __init__(self, *given):
        super().__init__(*given)
        self.there, self.pull, self.exchanged = [], [], 0
        for w in self.net.weights[:-1]:
            mask = np.zeros(w.shape, bool)
            for row, weights in zip(mask, w, strict=True):
                row[np.argsort(-np.abs(weights), kind="stable")[: round(self.method.density * len(row))]] = True
            self.there.append(mask)
            self.pull.append(np.zeros(w.shape))

    def regularise(self, update, grads, hidden):
        for n, mask in enumerate(self.there):
            self.pull[n] = self.method.decay_rate * self.pull[n] + (1 - self.method.decay_rate) * grads[n]
            grads[n] = grads[n] * mask
        return grads

    def intervene(self, update, grads, hidden):
        for n, mask in enumerate(self.there):
            w = self.net.weights[n]
            if (update + 1) % self.method.period == 0:
                for i, row in enumerate(mask):
                    on, off = np.flatnonzero(row), np.flatnonzero(~row)
                    cut = on[np.abs(w[i, on]).argmin()]
                    grown = off[np.abs(self.pull[n][i, off]).argmax()]
                    row[cut], row[grown] = False, True
                    w[i, grown] = 0
                    for value in self.optimizer.state[n].values():
                        value[i, [cut, grown]] = 0
                    self.exchanged += 1
            w *= mask


@pytest.mark.reference("connection-search")
@pytest.mark.parametrize("make", [mlp, conv_net])
@pytest.mark.parametrize("kind", ["sgd", "momentum"])
def test_rule(make, kind):
    method = ConnectionSearch(density=0.5, period=7, decay_rate=0.9)
    own = type("Own", (ConnectionReference,), {"method": method})
    plasticity, reference, model = compare(method, own, make=make, kind=kind)
    assert f"{reference.exchanged:,} connections" in method.done(plasticity._state["connection-search"])
    assert int((next(model.parameters()) != 0).sum()) <= reference.there[0].sum() == reference.there[0].size / 2


def test_it_finds_the_inputs_that_matter():
    """Two of twelve inputs matter; a unit of three connections comes to read both."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    neoteny.attach(model, optimizer, ConnectionSearch(density=0.25, period=20, decay_rate=0.95), torch.zeros(1, 12))
    for _ in range(600):
        x = torch.randn(8, 12)
        optimizer.zero_grad()
        (model(x) - x[:, 3:4] + x[:, 7:8]).square().mean().backward()
        optimizer.step()
    assert (model[0].weight != 0).sum(1).max() <= 3
    assert bool((model[0].weight[:, [3, 7]].abs() > 0.05).all(1).any())
