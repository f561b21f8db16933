"""InFeR against its formula in NumPy, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from methods.comparing import Reference, conv_net
from methods.reference_batches import (
    compare_on_reference,
    conv_layers,
    copied,
    differences,
    passed,
    pulled_back,
    setting,
)
from neoteny.errors import NetworkError
from neoteny.methods.infer import InFeR
from neoteny.units import find, random


def referring(method, step_size):
    class Rule(Reference):
        """The network and the heads as they were at first, and the heads that learn."""

        def __init__(self, *args):
            super().__init__(*args)
            weight = self.net.weights[-2]
            word = int(np.float32(weight.flat[0]).view(np.int32))
            drawn = random.normal(random.fold_in(random.key(0), torch.tensor(word)), (method.heads, len(weight)))
            self.first, self.heads0 = copied(self.net), drawn.numpy() / np.float32(np.sqrt(len(weight)))
            self.heads0 = self.heads0.astype(np.float64)
            self.heads, self.pulled, self.losses = self.heads0.copy(), 0, []

        def regularise(self, update, grads, hidden):
            x = self.elsewhere[update]
            now, then = (passed(net, x)[-2][:, :, 0] for net in (self.net, self.first))
            away = now @ self.heads.T - method.scale * then @ self.heads0.T  # [examples, heads]
            self.losses.append((away**2).sum(1).mean())
            slope = 2 * method.strength * away / len(x)
            cotangents = [None] * len(self.net.weights)
            cotangents[-2] = (slope @ self.heads)[:, :, None]
            pull = pulled_back(self.net, x, cotangents)
            self.heads -= step_size * slope.T @ now
            self.pulled += any(p.any() for p in pull)
            return [g + p for g, p in zip(grads, pull, strict=True)]

    return Rule


@pytest.mark.reference("infer")
@pytest.mark.parametrize(
    ("method", "step_size", "settings"),
    [
        (InFeR(strength=0.5, scale=1.0, heads=3), 0.01, {"kind": "momentum", "make": conv_net}),
        (InFeR(strength=0.1, scale=100.0), 0.003, {"kind": "adam"}),
    ],
    ids=["momentum", "adam"],
)
def test_it_is_its_formula(monkeypatch, method, step_size, settings):
    plasticity, own, _ = compare_on_reference(monkeypatch, method, referring(method, step_size), **settings)
    state = plasticity.state_dict()["methods"]["infer"]["state"]
    np.testing.assert_allclose(state["heads/now"].numpy(), own.heads, rtol=1e-7, atol=1e-10)
    assert own.pulled >= 199
    if method.scale > 1:  # there is something to be learnt, and it is
        assert np.mean(own.losses[-20:]) < 0.7 * own.losses[0]


def test_the_pull_is_the_slope_of_the_heads_distance_at_every_position():
    method = InFeR(strength=0.7, scale=2.0, heads=5)
    model, network, batch, step = setting(*conv_layers())
    state = method.init(network, dict(model.state_dict()))
    state["heads/now"] = state["heads/now"] + 0.3
    heads0, heads = state["heads/initial"].numpy(), state["heads/now"].numpy()
    with torch.no_grad():
        first = model[:2](batch).flatten(2).numpy()
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)

    def penalty(heads=heads):
        now = model[:2](batch).flatten(2).detach().numpy()
        away = np.einsum("ku,bup->bkp", heads, now) - 2.0 * np.einsum("ku,bup->bkp", heads0, first)
        return 0.7 * (away**2).sum(1).mean()

    now = step()
    after = method.regularise(now, state)
    for name, slope in differences(model, penalty).items():
        torch.testing.assert_close(now.grads[name], slope, rtol=1e-6, atol=1e-8)
    width = 1e-6
    for i, j in ((0, 0), (4, 3), (2, 1)):
        more, less = heads.copy(), heads.copy()
        more[i, j] += width
        less[i, j] -= width
        slope = (penalty(more) - penalty(less)) / (2 * width)
        assert float(after["heads/gradient"][i, j]) == pytest.approx(slope, rel=1e-6)
    assert not now.grads["3.weight"].any()  # the network's own head says nothing of the features


def test_nothing_pulls_at_first_and_the_heads_of_other_networks_are_others():
    model, network, _, step = setting(*conv_layers())
    method = InFeR(strength=1.0)
    first = method.init(network, dict(model.state_dict()))
    now = step()
    method.regularise(now, first)
    for grad in now.grads.values():  # with β = 1 the heads are right before the first step
        torch.testing.assert_close(grad, torch.zeros_like(grad), rtol=0, atol=1e-14)
    again = method.init(network, dict(model.state_dict()))
    other = method.init(network, {name: value + 0.01 for name, value in model.state_dict().items()})
    assert torch.equal(first["heads/now"], again["heads/now"])
    assert not torch.isclose(first["heads/now"], other["heads/now"]).any()
    drawn = InFeR(heads=2000).init(network, dict(model.state_dict()))["heads/now"]
    assert float(drawn.var()) == pytest.approx(1 / 4, rel=0.1)  # four features
    assert abs(float(drawn.mean())) < 0.02


def test_the_heads_follow_the_step_size_of_the_layer_they_read():
    _, network, _, step = setting(*conv_layers())
    method = InFeR(strength=1.0, scale=0.0)
    moves = {}
    for name, sizes in {"its own": {"0.weight": 0.3}, "none": {}}.items():
        now = step(step_size=0.1, step_sizes=sizes)
        state = method.init(network, now.tensors)
        before = state["heads/now"]
        state = method.regularise(now, state)
        moves[name] = before - method.intervene(now, state, None)["heads/now"]
    torch.testing.assert_close(moves["its own"], 3 * moves["none"])
    assert moves["none"].all()


def test_a_network_without_hidden_units_is_refused():
    model = nn.Linear(3, 2)
    network = find(model, torch.zeros(1, 3), allow_none=True)
    with pytest.raises(NetworkError, match="hidden layer"):
        InFeR().init(network, dict(model.state_dict()))
