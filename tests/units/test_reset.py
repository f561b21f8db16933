"""Making units new: what is written, what is left, and that vmap and compile change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from neoteny.nn import MLP
from neoteny.units import Observer, Reader, Slices, find, make_new, random
from neoteny.units.reset import slices_of
from units.networks import NETWORKS, resnet


def tensors_of(net):
    return {name: t.detach().clone() for name, t in [*net.named_parameters(), *net.named_buffers()]}


def state_of(net, value=1.0):
    return {
        name: {"exp_avg": torch.full_like(p, value), "exp_avg_sq": torch.full_like(p, value), "step": torch.tensor(7.0)}
        for name, p in net.named_parameters()
    }


def test_newborns_have_fresh_weights_zero_biases_and_no_momentum():
    net = MLP(5, [6], 3, initialisation="default", normalisation="batch")
    net.layers[1].running_mean.fill_(3.0)
    network = find(net, torch.zeros(2, 5))
    (layer,) = network.layers
    tensors, optim = tensors_of(net), state_of(net)
    before = dict(tensors)
    chosen = torch.tensor([False, True, False, False, True, False])
    make_new(layer, network, tensors, optim, chosen, random.key(3))
    bound = network.initialisers["layers.0.weight"].scale
    fresh = tensors["layers.0.weight"][chosen]
    assert fresh.abs().max() <= bound and fresh.std() > 0.3 * bound and not torch.equal(fresh[0], fresh[1])
    assert (tensors["layers.0.bias"][chosen] == 0).all() and (tensors["layers.3.weight"][:, chosen] == 0).all()
    newborn = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    for name, value in newborn.items():
        assert (tensors[f"layers.1.{name}"][chosen] == value).all()
    for name in ("layers.0.weight", "layers.0.bias", "layers.1.running_mean"):
        assert torch.equal(tensors[name][~chosen], before[name][~chosen])
    for name in ("layers.0.weight", "layers.0.bias", "layers.1.weight"):
        for moment in ("exp_avg", "exp_avg_sq"):
            assert (optim[name][moment][chosen] == 0).all() and (optim[name][moment][~chosen] == 1).all()
    assert (optim["layers.3.weight"]["exp_avg"].sum(0) == 3 * ~chosen).all()
    assert (optim["layers.3.bias"]["exp_avg"] == 1).all() and optim["layers.0.weight"]["step"] == 7
    assert all(torch.equal(before[name], value) for name, value in tensors_of(net).items())  # nothing written in place


def test_nothing_chosen_changes_nothing():
    net, x = resnet(), torch.randn(2, 3, 8, 8)
    network = find(net, x)
    tensors = tensors_of(net)
    for layer in network.layers:
        make_new(layer, network, tensors, {}, torch.zeros(layer.size, dtype=torch.bool), random.key(1))
    assert all(torch.equal(value, tensors[name]) for name, value in tensors_of(net).items())


@pytest.mark.parametrize("name", ["mlp", "conv", "crelu", "padded shortcut", "transposed", "resnet"])
def test_a_shared_draw_gives_its_one_newborn_a_fresh_row(name):
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    net = build()
    network = find(net, torch.zeros(2, *shape))
    for layer in network.layers:
        chosen = torch.arange(layer.size) == layer.size - 1
        tensors = tensors_of(net)
        make_new(layer, network, tensors, {}, chosen, random.key(2), shared_draw=True)
        for slices in layer.incoming:
            own = slices.rows(tensors[slices.name])[chosen]
            outgoing = any(s.name == slices.name for s in layer.outgoing)
            assert 0 < own.abs().max() <= network.initialisers[slices.name].scale
            assert outgoing or len(own.unique()) == own.numel()


@pytest.mark.parametrize("name", ["conv", "crelu", pytest.param("padded shortcut", marks=pytest.mark.slow)])
def test_mapped_and_compiled_resets_equal_eager_ones(name):
    build, shape = NETWORKS[name]
    nets = [build() for _ in range(3)]
    network = find(nets[0], torch.zeros(2, *shape))
    keys = torch.stack([random.key(seed) for seed in range(3)])
    chosen = {layer.name: torch.rand(3, layer.size) < 0.5 for layer in network.layers}

    def reset(tensors, optim, chosen, key):
        tensors, optim = dict(tensors), {name: dict(state) for name, state in optim.items()}
        magnitudes = {}
        for number, layer in enumerate(network.layers):
            make_new(layer, network, tensors, optim, chosen[layer.name], random.fold_in(key, number))
            magnitudes[layer.name] = layer.outgoing_magnitude(tensors), layer.incoming_magnitude(tensors)
        return tensors, optim, magnitudes

    alone = []
    for run, net in enumerate(nets):
        optim = {n: {"momentum_buffer": torch.ones_like(p)} for n, p in net.named_parameters()}
        alone.append(reset(tensors_of(net), optim, {n: c[run] for n, c in chosen.items()}, keys[run]))
    stacked = torch.utils._pytree.tree_map(lambda *t: torch.stack(t), *map(tensors_of, nets))
    optim = {n: {"momentum_buffer": torch.ones_like(stacked[n])} for n, _ in nets[0].named_parameters()}
    expected = torch.utils._pytree.tree_map(lambda *t: torch.stack(t), *alone)
    torch.compiler.reset()
    for way in (vmap(reset), torch.compile(vmap(reset), fullgraph=True)):
        tensors, state, magnitudes = way(stacked, optim, chosen, keys)
        for parameter, value in expected[0].items():
            torch.testing.assert_close(tensors[parameter], value, rtol=1e-6, atol=1e-8)
        assert all(torch.equal(state[n]["momentum_buffer"], s["momentum_buffer"]) for n, s in expected[1].items())
        torch.testing.assert_close(magnitudes, expected[2])


def test_rows_and_totals_take_the_same_entries():
    torch.manual_seed(0)
    for shape, slices in [
        ((4, 6), Slices("w", 0, tuple((i,) for i in range(4)))),
        ((4, 6, 3, 3), Slices("w", 1, tuple((i,) for i in range(6)))),
        ((4, 6), Slices("w", 1, ((0, 1), (2, 3), (4, 5)))),
        ((4, 6), Slices("w", 1, ((0, 3), (1, 4), (2, 5)))),
        ((4, 6), Slices("w", 1, ((5,), (2,)))),
        ((4, 6), Slices("w", 0, ((0,), (1,)))),
        ((6,), Slices("w", 0, ((0, 1), (2, 3), (4, 5)))),
    ]:
        tensor = torch.randn(shape)
        expected = torch.stack([tensor.index_select(slices.dim, torch.tensor(i)).flatten() for i in slices.index])
        assert torch.equal(slices.rows(tensor), expected)
        torch.testing.assert_close(slices.total(tensor), expected.sum(1))
        assert slices.entries(tensor) == expected.shape[1]
        for unit, own in enumerate(slices.index):
            mask = slices.select(torch.arange(slices.size) == unit, tensor).expand(shape)
            assert mask.sum() == expected.shape[1] and mask.index_select(slices.dim, torch.tensor(own)).all()


def test_rows_of_several_slices_lie_side_by_side():
    net, x = resnet(), torch.randn(2, 3, 8, 8)
    layer = find(net, x, residual_stream=True).layers[0]
    tensors = tensors_of(net)
    assert layer.incoming_rows(tensors).shape == (4, 3 * 9 + 4 * 9)
    torch.testing.assert_close(layer.outgoing_rows(tensors).abs().sum(1), layer.outgoing_magnitude(tensors))
    torch.testing.assert_close(layer.incoming_rows(tensors).abs().sum(1), layer.incoming_magnitude(tensors))


def test_contiguous_units_are_views():
    weight = torch.randn(3, 8)
    assert Slices("w", 0, ((0,), (1,), (2,))).rows(weight).data_ptr() == weight.data_ptr()
    value = torch.randn(5, 8)
    features = Reader("m", 1, ((0, 1), (2, 3), (4, 5), (6, 7))).features(value)
    assert features.shape == (5, 4, 2) and features.data_ptr() == value.data_ptr()


def test_features_put_all_positions_last():
    value = torch.arange(2 * 6 * 4).view(2, 6, 4)
    features = Reader("m", 1, ((0, 3), (1, 4), (2, 5))).features(value)
    assert features.shape == (2, 3, 8)
    assert torch.equal(features[1, 2], torch.cat([value[1, 2], value[1, 5]]))
    features = Reader("m", 2, ((0,), (1,), (2,), (3,))).features(value)
    assert torch.equal(features, value.transpose(1, 2))


@pytest.mark.parametrize("name", ["crelu", pytest.param("functional", marks=pytest.mark.slow)])
def test_the_observer_inside_vmap_and_compile(name):
    build, shape = NETWORKS[name]
    nets = [build() for _ in range(3)]
    network = find(nets[0], torch.zeros(2, *shape))
    xs = torch.randn(3, 4, *shape)
    expected = []
    for net, x in zip(nets, xs, strict=True):
        with Observer(net, network) as observer:
            net(x)
            expected.append(observer.take())
            assert not observer.take()
    plain = build().to("meta")
    observer = Observer(plain, network)

    def loss(parameters, x):
        output = functional_call(plain, parameters, (x,))
        return output.square().mean(), observer.take()

    def step(parameters, x):
        return grad_and_value(loss, has_aux=True)(parameters, x)

    stacked = torch.utils._pytree.tree_map(lambda *t: torch.stack(t), *map(tensors_of, nets))
    torch.compiler.reset()
    for way in (vmap(step), torch.compile(vmap(step), fullgraph=True)):
        _, (_, features) = way(stacked, xs)
        for layer in network.layers:
            torch.testing.assert_close(features[layer.name], torch.stack([e[layer.name] for e in expected]))
            assert not features[layer.name].requires_grad


def test_the_observer_comes_and_goes():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    network = find(net, torch.zeros(1, 3))
    observer = Observer(net, network)
    observer.enabled = False
    net(torch.zeros(1, 3))
    assert observer.take() == {}
    observer.enabled = True
    net(torch.zeros(1, 3))
    net(torch.zeros(5, 3))
    assert observer.take()["0"].shape == (6, 4, 1)  # all calls since the last time
    observer.remove()
    net(torch.zeros(1, 3))
    assert observer.take() == {} and not net[2]._forward_pre_hooks


def test_every_slice_belongs_to_a_tensor_of_the_network():
    for build, shape in NETWORKS.values():
        net = build()
        tensors = tensors_of(net)
        for layer in find(net, torch.zeros(2, *shape)).layers:
            assert len(layer.outgoing) == len(layer.outgoing_biases)
            for slices in slices_of(layer):
                assert slices.size == layer.size
                assert max(map(max, slices.index)) < tensors[slices.name].shape[slices.dim]
