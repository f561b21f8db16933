"""The two writers of one rule: what is written in place, a few rows of it or a shard, equals the pure rule's."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from neoteny.nn import MLP
from neoteny.units import Initialiser, find, make_new, random
from neoteny.units.reset import slices_of
from neoteny.units.rewrite import TensorPart, make_new_in_place
from units.networks import NETWORKS


def setting(name):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    net = make()
    network = find(net, torch.randn(2, *shape), allow_none=True)
    normal = {
        name: dataclasses.replace(drawn, kind="normal") if drawn.kind == "uniform" and number % 2 else drawn
        for number, (name, drawn) in enumerate(network.initialisers.items())
    }
    tensors = {n: t.detach().clone() for n, t in [*net.named_parameters(), *net.named_buffers()]}
    optim = {n: {"exp_avg": torch.randn_like(p), "step": torch.tensor(7.0)} for n, p in net.named_parameters()}
    return dataclasses.replace(network, initialisers=normal), tensors, optim


def copied(tree):
    return {name: copied(value) if isinstance(value, dict) else value.clone() for name, value in tree.items()}


def assert_same(a, b):
    for name, value in a.items():
        if isinstance(value, dict):
            assert_same(value, b[name])
        else:
            assert torch.equal(value, b[name]), name


def masks(size):
    yield "one", torch.arange(size) == size - 1, 1
    yield "none after all", torch.zeros(size, dtype=torch.bool), 1
    yield "some", torch.arange(size) % 3 == 0, (size + 2) // 3
    yield "unknown", torch.arange(size) % 2 == 0, None


@pytest.mark.parametrize("name", NETWORKS)
def test_in_place_equals_pure(name):
    network, tensors, optim = setting(name)
    for layer in network.layers:
        for _, chosen, at_most in masks(layer.size):
            shared = at_most == 1
            pure, live = (copied(tensors), copied(optim)), (copied(tensors), copied(optim))
            make_new(layer, network, *pure, chosen, random.key(3), shared_draw=shared)
            make_new_in_place(layer, network, *live, chosen, random.key(3), shared_draw=shared, at_most=at_most)
            assert_same(pure[0], live[0])
            assert_same(pure[1], live[1])


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_shards_are_parts_of_the_whole(name, dim):
    network, tensors, optim = setting(name)
    for layer in network.layers:
        for _, chosen, at_most in masks(layer.size):
            pure = copied(tensors), copied(optim)
            make_new(layer, network, *pure, chosen, random.key(3), shared_draw=at_most == 1)
            for rank in range(2):
                here, parts, there = ({}, {}), {}, ({}, {})
                for n, value in tensors.items():
                    along = min(dim, value.dim() - 1)
                    if n not in optim or value.dim() == 0:
                        here[0][n], there[0][n] = value.clone(), pure[0][n]
                        continue

                    def cut(t, along=along):
                        length = -(-t.shape[along] // 2)
                        start = min(rank * length, t.shape[along])  # noqa: B023
                        return start, t.narrow(along, start, min(length, t.shape[along] - start)).clone()

                    start, here[0][n] = cut(value)
                    parts[n] = TensorPart(
                        tuple(value.shape), tuple(start if d == along else 0 for d in range(value.dim()))
                    )
                    here[1][n] = {"exp_avg": cut(optim[n]["exp_avg"])[1], "step": optim[n]["step"].clone()}
                    there[0][n] = cut(pure[0][n])[1]
                    there[1][n] = {"exp_avg": cut(pure[1][n]["exp_avg"])[1], "step": optim[n]["step"]}
                how = {"shared_draw": at_most == 1, "at_most": at_most, "parts": parts}
                make_new_in_place(layer, network, *here, chosen, random.key(3), **how)
                assert_same(there[0], here[0])
                assert_same(there[1], here[1])


def test_only_the_chosen_rows_are_drawn_and_state_begins_as_it_did():
    net = MLP(5, [6], 3, initialisation="default")
    network = find(net, torch.zeros(2, 5))
    (layer,) = network.layers
    tensors = {n: p.detach() for n, p in net.named_parameters()}
    optim = {n: {"sum": torch.zeros_like(p)} for n, p in tensors.items()}
    chosen = torch.arange(6) == 2
    make_new_in_place(layer, network, tensors, optim, chosen, random.key(0), at_most=1, newborn=lambda *_: 0.5)
    for slices in slices_of(layer):
        rows = slices.rows(optim[slices.name]["sum"])
        assert (rows[chosen] == 0.5).all() and not rows[~chosen].any()
    assert net.get_parameter(layer.incoming[0].name)[2].any()  # the network's own memory


@pytest.mark.parametrize("kind", ["uniform", "normal", "constant"])
@pytest.mark.parametrize("shape", [(7, 3), (5, 1, 3), (4, 2, 2), (1, 3)])
def test_rows_of_a_draw_are_rows_of_the_whole_draw(kind, shape):
    drawn = Initialiser(kind, 0.3)
    whole = drawn.draw(random.key(5), shape)
    for rows in ([0], [shape[0] - 1, 0], list(range(shape[0]))):
        assert torch.equal(drawn.draw(random.key(5), shape, torch.tensor(rows)), whole[rows])
