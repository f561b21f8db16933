"""The dynamic learner is its parts, one after the other; what it does in the laboratory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import compare, conv_net, mlp
from methods.test_centring import centring
from methods.test_fringe import FringeReference
from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods.centring import Centring
from neoteny.methods.dynamic import Dynamic
from neoteny.nn import MLP
from neoteny.optim import Autostep


@pytest.mark.reference("dynamic")
@pytest.mark.parametrize("make", [mlp, conv_net])
def test_rule(make):
    method = Dynamic(
        replacement_rate=0.02, threshold=0.7, maturity=8, decay_rate=0.9, protection=0.8, centring_rate=0.05
    )
    first = centring(Centring(rate=0.05))

    class Both(first, FringeReference):
        """Centre, then protect; put right the biases, then judge."""

        def __init__(self, *given):
            self.method = method
            super().__init__(*given)

        def regularise(self, update, grads, hidden):
            return FringeReference.regularise(self, update, first.regularise(self, update, grads, hidden), hidden)

        def intervene(self, update, grads, hidden):
            first.intervene(self, update, grads, hidden)
            FringeReference.intervene(self, update, grads, hidden)

    _, reference, _ = compare(method, Both, make=make, kind="sgd")
    assert min(reference.replaced) >= 10


def test_step_sizes_are_of_the_direction_in_which_weights_go():
    """Autostep's curvature of a prediction, centred and protected as its gradient is: against NumPy."""
    method = Dynamic(replacement_rate=0.0, centring_rate=0.1, protection=0.0)
    learner = Learner(
        lambda: MLP(3, [4], 1, activation="tanh"),
        torch.zeros(1, 3),
        loss="mse",
        optimizer=Autostep(step_size=0.05, mu=0.1, tau=50.0),
        methods=[method],
        seeds=[0],
        strategy="stack",
        compile=False,
    )
    w, b, v, c = (value[0].double().numpy().copy() for value in (learner.weights()[name] for name in learner.weights()))
    weights = [w, b, v[0], c]
    alpha, h, top = ([np.full_like(p, start) for p in weights] for start in (0.05, 0.0, 0.0))
    product, square = np.full(3, 0.3), 1.0
    state = learner.state_dict()  # a centre that is known: the first would be the first example, and gradients rounding
    for name, value in state["carry"]["methods"][0].items():
        value += {"product": 0.3, "square": 1.0}.get(name.rpartition("/")[2], 0)
    learner.load_state_dict(state)
    generator = np.random.default_rng(0)
    x, y = generator.random((30, 3)), generator.normal(size=30)
    learner.advance(
        examples(
            torch.tensor(x, dtype=torch.float32)[None, :, None],
            torch.tensor(y, dtype=torch.float32)[None, :, None, None],
        )
    )
    for given, wanted in zip(x, y, strict=True):
        hidden = np.tanh(weights[0] @ given + weights[1])
        delta = wanted - weights[2] @ hidden - weights[3][0]
        back = weights[2] * (1 - hidden**2)
        product += 0.1 * (delta**2 * (back @ back) * given - product)
        square += 0.1 * (delta**2 * (back @ back) - square)
        centre = product / square
        g = [np.outer(back, given - centre), back, hidden, np.ones(1)]
        for n, own in enumerate(g):
            size = np.abs(delta * own * h[n])
            top[n] = np.maximum(size, top[n] + alpha[n] * own**2 / 50 * (size - top[n]))
            alpha[n] = alpha[n] * np.exp(0.1 * delta * own * h[n] / np.where(top[n] == 0, 1, top[n]))
        bound = max(sum((a * own**2).sum() for a, own in zip(alpha, g, strict=True)), 1)
        before = weights[0].copy()
        for n, own in enumerate(g):
            alpha[n] = alpha[n] / bound
            weights[n] = weights[n] + alpha[n] * delta * own
            h[n] = h[n] * (1 - alpha[n] * own**2) + alpha[n] * delta * own
        weights[1] = weights[1] - (weights[0] - before) @ centre
    for own, expected in zip(learner.weights().values(), weights, strict=True):
        np.testing.assert_allclose(own[0].numpy().ravel(), expected.ravel(), rtol=2e-4, atol=2e-5)


def test_without_rates_nothing_changes_and_its_parts_are_refused_beside_it():
    assert Dynamic(replacement_rate=0, protection=0, centring_rate=0).inert() is not None
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.raises(neoteny.errors.NeotenyError, match="centres and has a fringe itself"):
        neoteny.attach(net, optimizer, [Dynamic(), Centring()], torch.zeros(1, 3))
    with pytest.raises(SettingError, match="centring_rate"):
        Dynamic(centring_rate=2.0)
