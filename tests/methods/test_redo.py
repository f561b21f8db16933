"""ReDo against its rule in NumPy, over 200 steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.attachment.layer_sums import LayerSums
from neoteny.units import random

TAU, PERIOD = 0.3, 10


class ReDo(Reference):
    """s_i = mean|h_i| / (mean over the layer of mean|h| + 1e-9); units with s_i <= τ are made new."""

    recycled = 0

    def intervene(self, update, grads, hidden):
        if (update + 1) % PERIOD:
            return
        key, depth = self.draws.intervening(update), len(self.net.weights)
        for layer, h in enumerate(hidden):
            activity = np.abs(h).mean((0, 2))
            fresh = self.draws.new_weights(random.fold_in(key, layer), layer)
            for unit in np.flatnonzero(activity / (activity.mean() + 1e-9) <= TAU):
                columns = slice(unit * h.shape[2], (unit + 1) * h.shape[2])
                self.net.weights[layer][unit] = fresh[unit]
                self.net.biases[layer][unit] = 0
                self.net.weights[layer + 1][:, columns] = 0
                for state in (self.optimizer.state[layer], self.optimizer.state[depth + layer]):
                    for value in state.values():
                        value[unit] = 0
                for value in self.optimizer.state[layer + 1].values():
                    value[:, columns] = 0
                self.recycled += 1


@pytest.mark.reference("redo")
@pytest.mark.parametrize("make", [mlp, conv_net])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_redo(make, kind):
    plasticity, own, _ = compare(neoteny.ReDo(tau=TAU, period=PERIOD), ReDo, make=make, kind=kind)
    counted = [layer["units_replaced"] for layer in plasticity.counters()["redo"].values()]
    assert sum(counted) == own.recycled >= 20


def test_activations_are_measured_only_before_the_steps_that_read_them(monkeypatch):
    seen, see = [], LayerSums._measured
    monkeypatch.setattr(LayerSums, "_measured", lambda own, value: seen.append(handle.updates) or see(own, value))
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x = torch.randn(8, 6, dtype=torch.float64)
    handle = neoteny.attach(model, optimizer, neoteny.ReDo(period=4), x)

    def step():
        for _ in range(2):  # two passes of a step
            model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(6):
        step()
    layers = len(handle.units.layers)
    assert seen == [3] * 2 * layers
    state = handle.state_dict()
    state["methods"]["redo"]["schedule"]["taken"] = state["updates"] = 7
    handle.load_state_dict(state)
    step()
    assert seen[2 * layers :] == [7] * 2 * layers
