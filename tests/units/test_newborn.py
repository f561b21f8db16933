"""What state holds for newborn weights: by mask, in place, mapped over runs and compiled, one rule."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch.func import vmap

from neoteny.methods.base import Step
from neoteny.nn import MLP
from neoteny.optim import Adam, Optimizer
from neoteny.units import find, make_new, random
from neoteny.units.reset import slices_of
from neoteny.units.rewrite import make_new_in_place


class Own(Optimizer):
    """State of every kind."""

    newborn: ClassVar = {"steps": "median", "average": "weight", "log_step": "initial", "trust": 0.25}

    def init(self, tensors):
        def one(value):
            log_step = (value * 0 + self.step_size).log()
            return {"steps": log_step.exp(), "average": value.clone(), "log_step": log_step, "momentum": value * 0}

        return {name: {**one(value), "trust": value * 0 + 0.25} for name, value in tensors.items()}

    def update(self, tensors, grads, optim, count, signals=None):
        raise NotImplementedError


def setting(seed=0):
    torch.manual_seed(seed)
    net = MLP(5, [6, 4], 3, initialisation="default")
    network = find(net, torch.zeros(2, 5))
    tensors = {name: p.detach().clone() for name, p in net.named_parameters()}
    names = ("steps", "average", "log_step", "momentum", "trust")
    optim = {name: {state: torch.rand_like(p) + 1 for state in names} for name, p in tensors.items()}
    return network, tensors, optim


def test_every_kind_and_both_writers():
    network, tensors, optim = setting()
    layer, own = network.layers[0], Own(step_size=0.5)
    chosen = torch.tensor([False, True, False, False, True, False])
    before = {name: dict(state) for name, state in optim.items()}
    given = layer, network, tensors, optim, chosen, random.key(3)
    placed = (
        {n: t.clone() for n, t in tensors.items()},
        {n: {k: v.clone() for k, v in state.items()} for n, state in optim.items()},
    )
    make_new(*given, newborn=own.newborn_state)
    for at_most in (None, 2, 3):
        here = (
            {n: t.clone() for n, t in placed[0].items()},
            {n: {k: v.clone() for k, v in state.items()} for n, state in placed[1].items()},
        )
        make_new_in_place(layer, network, *here, *given[4:], newborn=own.newborn_state, at_most=at_most)
        for name, state in here[1].items():
            assert torch.equal(here[0][name], tensors[name])
            assert all(torch.equal(state[key], optim[name][key]) for key in state)
    for slices in slices_of(layer):
        weight, state = tensors[slices.name], optim[slices.name]
        mask = slices.select(chosen, weight).expand(weight.shape)
        assert (state["steps"][mask] == before[slices.name]["steps"][~mask].median()).all()
        assert torch.equal(state["average"][mask], weight[mask])
        assert (state["log_step"][mask] == torch.tensor(0.5).log()).all()
        assert (state["momentum"][mask] == 0).all() and (state["trust"][mask] == 0.25).all()
        for key, value in state.items():
            assert torch.equal(value[~mask], before[slices.name][key][~mask])


def test_the_median_of_nobody_is_the_initial_value():
    network, tensors, optim = setting()
    layer = network.layers[0]
    everybody = torch.ones(layer.size, dtype=torch.bool)
    make_new(layer, network, tensors, optim, everybody, random.key(3), newborn=Own(step_size=0.5).newborn_state)
    assert (optim[layer.incoming[0].name]["steps"] == 0.5).all()


def test_a_parameter_that_both_feeds_and_reads_has_one_median():
    """Of a recurrent weight a unit owns a row and a column; neither counts for what the other gets."""
    from neoteny.units.records import Network, Slices, UnitLayer

    own = tuple((i,) for i in range(4))
    layer = UnitLayer("h", 4, (Slices("w", 0, own),), (), (), (Slices("w", 1, own),), (None,), ())
    network = Network((layer,), {"w": find(MLP(2, [3], 1), torch.zeros(1, 2)).initialisers["layers.0.weight"]}, ())
    tensors, steps = {"w": torch.zeros(4, 4)}, torch.arange(16.0).view(4, 4)
    chosen = torch.tensor([True, False, False, False])
    for make in (make_new, make_new_in_place):
        optim = {"w": {"steps": steps.clone()}}
        make(layer, network, tensors, optim, chosen, random.key(0), newborn=Own().newborn_state)
        assert (optim["w"]["steps"][0] == steps[1:, 1:].median()).all()
        assert (optim["w"]["steps"][:, 0] == steps[1:, 1:].median()).all()
        assert torch.equal(optim["w"]["steps"][1:, 1:], steps[1:, 1:])


def reset(network):
    def one(tensors, optim, chosen, key, step_size):
        tensors, optim = dict(tensors), {name: dict(state) for name, state in optim.items()}
        newborn = Own().bind({"step_size": step_size}).newborn_state
        for number, layer in enumerate(network.layers):
            own = random.fold_in(key, number)
            make_new(layer, network, tensors, optim, chosen[layer.name], own, newborn=newborn)
        return tensors, optim

    return one


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_mapped_and_compiled(compiled):
    """Each run has its own mask, its own median and its own step size."""
    runs = [setting(seed) for seed in range(3)]
    network = runs[0][0]
    chosen = {layer.name: torch.rand(3, layer.size) < 0.5 for layer in network.layers}
    chosen[network.layers[0].name][2] = True
    keys, sizes = torch.stack([random.key(seed) for seed in range(3)]), torch.tensor([0.1, 0.2, 0.4])
    alone = [
        reset(network)(tensors, optim, {n: c[run] for n, c in chosen.items()}, keys[run], sizes[run])
        for run, (_, tensors, optim) in enumerate(runs)
    ]
    stacked = torch.utils._pytree.tree_map(lambda *t: torch.stack(t), *[(t, o) for _, t, o in runs])
    mapped = vmap(reset(network))
    together = (torch.compile(mapped, fullgraph=True) if compiled else mapped)(*stacked, chosen, keys, sizes)
    expected = torch.utils._pytree.tree_map(lambda *t: torch.stack(t), *alone)
    torch.testing.assert_close(together, expected, rtol=1e-6, atol=1e-8)


def test_a_step_passes_it_on():
    """Units, whole parameters, single weights: what begins anew begins with the same."""
    network, tensors, optim = setting()
    weight = network.head[0]
    step = Step(network, tensors, {}, optim, {}, {}, random.key(0), newborn=Own(step_size=0.5).newborn_state)
    chosen = torch.arange(6) == 2
    step.make_new(network.layers[0], chosen, random.key(1))
    assert torch.equal(optim["layers.0.weight"]["average"][2], tensors["layers.0.weight"][2])
    step.make_parameter_new(weight, torch.ones_like(tensors[weight]))
    state = optim[weight]
    assert (state["steps"] == 0.5).all() and (state["average"] == 1).all() and (state["trust"] == 0.25).all()
    one = torch.zeros_like(tensors["layers.2.weight"], dtype=torch.bool)
    one[1, 2] = True
    before = optim["layers.2.weight"]["log_step"]
    step.make_state_new("layers.2.weight", one)
    assert optim["layers.2.weight"]["log_step"][1, 2] == torch.tensor(0.5).log()
    assert torch.equal(optim["layers.2.weight"]["log_step"][~one], before[~one])
    kept = dict(optim[weight])
    step.make_parameter_new(weight, torch.zeros_like(tensors[weight]), when=torch.tensor(False))
    assert all(torch.equal(kept[key], value) for key, value in optim[weight].items())


def test_adams_state_begins_at_zero():
    assert Adam().newborn_state("w", "exp_avg", torch.ones(2), torch.ones(2), lambda: torch.ones(2)) == 0.0
