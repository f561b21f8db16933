"""Selective weight reinitialisation against NumPy, and its two selections, utilities and ways to make weights new."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.methods.selective_reinitialisation import SelectiveReinitialisation
from neoteny.units import random
from neoteny.units.initialise import Initialiser

PERIOD = 6


class Numpy(Reference):
    method: SelectiveReinitialisation

    def __init__(self, net, optimizer, draws):
        super().__init__(net, optimizer, draws)
        names = list(draws.network.initialisers)
        weights, biases = ([name for name in names if name.endswith(kind)] for kind in ("weight", "bias"))
        self.named = [(name, names.index(name)) for name in (*weights, *biases)]
        self.renewed = dict.fromkeys(names, 0)
        self.parts = 0

    def chosen(self, u, key):
        if self.method.selection == "threshold":
            return u < self.method.factor * u.mean()
        whole, part = divmod(self.method.factor * u.size, 1)
        more = int(part + float(random.uniform(key, ())) >= 1)
        self.parts += more
        least = sorted(range(u.size), key=lambda n: (u.flat[n], n))[: int(whole) + more]
        mask = np.zeros(u.size, bool)
        mask[least] = True
        return mask.reshape(u.shape)

    def intervene(self, update, grads, hidden):
        if (update + 1) % self.method.period:
            return
        for p, g, state, (name, number) in zip(
            self.net.parameters(), grads, self.optimizer.state, self.named, strict=True
        ):
            key = random.fold_in(self.draws.intervening(update), number)
            mask = self.chosen(
                np.abs(p * g) if self.method.utility == "gradient" else np.abs(p), random.fold_in(key, 0)
            )
            mean = self.method.reinitialise == "mean"
            fresh = self.draws.fresh(random.fold_in(key, 1), name, self.draws.shapes[name])
            p[mask] = 0 if mean else fresh[mask]
            if not self.method.keep_momentum:
                for kind, value in state.items():
                    if kind != "t":  # Adam's count goes on
                        value[mask] = 0
            self.renewed[name] += int(mask.sum())


@pytest.mark.reference("swr")
@pytest.mark.parametrize(
    ("make", "kind", "settings"),
    [
        (mlp, "momentum", {"factor": 0.06}),
        (conv_net, "adam", {"factor": 0.03, "utility": "magnitude"}),
        (mlp, "adam", {"factor": 0.1, "selection": "threshold"}),
        (
            conv_net,
            "momentum",
            {"factor": 0.2, "selection": "threshold", "utility": "magnitude", "reinitialise": "mean"},
        ),
        (mlp, "adam", {"factor": 0.05, "keep_momentum": True, "reinitialise": "mean"}),
    ],
)
def test_against_numpy(make, kind, settings):
    method = SelectiveReinitialisation(period=PERIOD, **settings)
    plasticity, own, _ = compare(method, type("Own", (Numpy,), {"method": method}), make=make, kind=kind)
    counted = {name: int(plasticity._state["swr"][f"{name}/renewed"]) for name in own.renewed}
    assert counted == own.renewed
    assert sum(counted.values()) >= 100
    if method.selection == "fraction":
        assert own.parts >= 20  # and the part of a weight made one often enough


def due(method, model, grads, number=0):
    """What one due update makes of a network's tensors and Adam's state, with gradients as given."""
    network = model.units
    tensors = {name: p.detach().clone() for name, p in model.named_parameters()}
    optim = {
        name: {"exp_avg": torch.ones_like(p), "exp_avg_sq": torch.ones_like(p), "step": torch.tensor(9.0)}
        for name, p in tensors.items()
    }
    step = neoteny.methods.Step(network, dict(tensors), grads, optim, {}, {}, random.key(number))
    state = method.intervene(step, method.init(network, tensors), torch.tensor([1]))
    return tensors, step, {name: int(value) for name, value in state.items()}, network


def normed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 2)).double()
    model.units = neoteny.units.find(model, torch.zeros(2, 4).double(), only_preserving=False)
    with torch.no_grad():
        for p in model[1].parameters():
            p.uniform_(0.5, 1.5)
    return model


def some(model):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(p.shape, generator=generator).to(p) for name, p in model.named_parameters()}


def test_the_mean_of_the_initialiser_is_1_for_gains_and_0_for_all_else():
    model = normed()
    method = SelectiveReinitialisation(factor=0.5, reinitialise="mean")
    grads = some(model)
    before, step, renewed, _ = due(method, model, grads)
    for name, p in before.items():
        changed = step.tensors[name] != p
        assert changed.sum() == renewed[f"{name}/renewed"] == p.numel() / 2
        assert (step.tensors[name][changed] == (1.0 if name == "1.weight" else 0.0)).all()
        utility = (p * grads[name]).abs()
        assert utility[changed].max() <= utility[~changed].min()
        for kind in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(step.optim[name][kind] == 0, changed)
        assert step.optim[name]["step"] == 9


def test_drawn_weights_are_the_initialisers():
    model = normed()
    before, step, _, network = due(SelectiveReinitialisation(factor=1.0), model, some(model))
    assert all(network.initialisers[name] == Initialiser.torch_default(4) for name in ("0.weight", "0.bias"))
    assert step.tensors["0.weight"].abs().max() <= 0.5
    assert (step.tensors["0.weight"] != before["0.weight"]).all()
    assert torch.equal(step.tensors["1.weight"], torch.ones(6).double())
    assert torch.equal(step.tensors["1.bias"], torch.zeros(6).double())


def test_a_fraction_of_a_weight_is_one_as_often_as_it_says():
    """⌊n f + U⌋ is binomial beyond the whole number: its mean is n f."""
    model = normed()
    counts = [
        due(SelectiveReinitialisation(factor=0.15), model, some(model), number)[2]["0.weight/renewed"]
        for number in range(100)
    ]
    assert set(counts) == {3, 4}  # of 24
    assert abs(np.mean(counts) - 3.6) < 3 * math.sqrt(0.6 * 0.4 / 100)


@pytest.mark.parametrize("inclusive", [False, True])
def test_a_tensor_without_any_use_is_new_as_a_whole_in_the_authors_code_only(inclusive):
    model = normed()
    grads = some(model) | {"3.weight": torch.zeros(2, 6).double()}
    method = SelectiveReinitialisation(factor=0.1, selection="threshold", inclusive=inclusive)
    before, step, renewed, _ = due(method, model, grads)
    assert renewed["3.weight/renewed"] == (12 if inclusive else 0)
    utility = (before["0.weight"] * grads["0.weight"]).abs()
    assert torch.equal(step.tensors["0.weight"] != before["0.weight"], utility < 0.1 * utility.mean())


@pytest.mark.parametrize("utility", ["gradient", "magnitude"])
def test_tensors_without_a_gradient_are_left_alone_if_it_is_the_utility(utility):
    model = normed()
    grads = some(model)
    del grads["3.weight"]
    before, step, renewed, _ = due(SelectiveReinitialisation(factor=0.5, utility=utility), model, grads)
    assert renewed["3.weight/renewed"] == (6 if utility == "magnitude" else 0)
    assert torch.equal(step.tensors["3.weight"], before["3.weight"]) == (utility == "gradient")


def test_a_fraction_above_1_is_refused():
    assert SelectiveReinitialisation(factor=2.0, selection="threshold").factor == 2
    with pytest.raises(neoteny.errors.SettingError, match=r"factor = 2\.0 is not at most 1"):
        SelectiveReinitialisation(factor=2.0)
