"""Threshold units against their definition, their gradient, and what replacing them does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import ContinualBackprop
from neoteny.nn.threshold import ThresholdNetwork
from neoteny.optim import SGD
from neoteny.units import Initialiser, random


def test_a_unit_fires_where_more_than_the_share_of_bits_agrees():
    torch.manual_seed(0)
    network = ThresholdNetwork(7, 9, 2, beta=0.6)
    with torch.no_grad():
        network.layers[2].weight.copy_(torch.eye(2, 9))
    signs = network.layers[0].weight.detach().numpy()
    assert set(np.unique(signs)) == {-1.0, 1.0}
    x = np.random.default_rng(0).integers(0, 2, (200, 7))
    expected = ((x[:, None] == (signs > 0)).sum(-1) > 0.6 * 7)[:, :2]
    assert 0 < expected.mean() < 1
    assert np.array_equal(network(torch.tensor(x, dtype=torch.float32)).detach().numpy(), expected)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_unit_at_whose_inputs_the_share_alone_agrees_does_not_fire(kind):
    network = ThresholdNetwork(20, 1, 1, beta=0.6).to(kind)
    with torch.no_grad():
        network.layers[0].weight.fill_(1)
        network.layers[2].weight.fill_(1)
    x = (torch.arange(20) < torch.tensor([[12], [13]])).to(kind)  # of 20 bits 12 and 13 agree
    assert network(x).flatten().tolist() == [0, 1]


def test_gradient_descent_leaves_the_features_and_a_search_replaces_them():
    x = torch.randint(0, 2, (1, 300, 1, 7), generator=torch.Generator().manual_seed(1)).float()
    batch = examples(x, x.sum(-1, keepdim=True))
    build = lambda: ThresholdNetwork(7, 9, 1)  # noqa: E731
    features = {}
    for name, methods in {
        "alone": (),
        "search": (ContinualBackprop(replacement_rate=0.01, maturity_threshold=5),),
    }.items():
        learner = Learner(build, x[0, 0], loss="mse", optimizer=SGD(step_size=0.01), methods=methods, compile=False)
        learner.advance(batch)
        features[name] = learner.weights()["layers.0.weight"]
        assert torch.equal(features[name].abs(), torch.ones(1, 9, 7)) and learner.weights()["layers.2.weight"].any()
        same = (features[name] == learner.initial_weights["layers.0.weight"]).all()
        assert same == (name == "alone")


def test_signs_are_drawn_by_key_and_by_torch():
    drawn = Initialiser("sign", 2.0).draw(random.key(3), (50, 40))
    filled = Initialiser("sign", 2.0).fill_(torch.empty(50, 40))
    for values in (drawn, filled):
        assert set(values.unique().tolist()) == {-2.0, 2.0} and abs(values.mean()) < 0.2
    rows = torch.tensor([4, 7])
    assert torch.equal(Initialiser("sign", 2.0).draw(random.key(3), (50, 40), rows), drawn[rows])


@pytest.mark.parametrize(("sizes", "beta", "words"), [((0, 1, 1), 0.6, "empty layer"), ((2, 1, 1), 1.5, "beta = 1.5")])
def test_what_makes_no_network_is_refused(sizes, beta, words):
    with pytest.raises(SettingError, match=words):
        ThresholdNetwork(*sizes, beta=beta)
