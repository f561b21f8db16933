"""Maps of units, held against what the network itself does, and that finding them leaves no trace."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from neoteny.errors import NetworkError, UnknownNameError
from neoteny.nn import MLP, ContinualImageNetNet, LinearNetwork
from neoteny.units import Initialiser, Observer, Slices, declare, find, make_new, random, reading
from neoteny.units.reset import slices_of
from units.networks import NETWORKS, ActorCritic, CReLU, PaddedShortcut, conv_net, resnet


def made(name):
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    net = build()
    for module in net.modules():  # norms that do something
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return net.eval(), torch.randn(6, *shape)


def tensors_of(net):
    return {name: t.detach().clone() for name, t in [*net.named_parameters(), *net.named_buffers()]}


def layers(net, x, **options):
    return {layer.name: layer for layer in find(net, x, **options).layers}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_newborn_contributes_nothing_bit_for_bit(name):
    net, x = made(name)
    network = find(net, x, residual_stream=True)
    assert network.layers
    for layer in network.layers:
        assert layer.preserving
        chosen = torch.zeros(layer.size, dtype=torch.bool)
        chosen[[0] if layer.size == 2 else [0, -1]] = True
        reset = tensors_of(net)
        make_new(layer, network, reset, {}, chosen, random.key(1))
        zeroed = tensors_of(net)
        for slices in layer.outgoing:
            zeroed[slices.name][slices.select(chosen, zeroed[slices.name]).expand_as(zeroed[slices.name])] = 0
        assert torch.equal(functional_call(net, reset, (x,)), functional_call(net, zeroed, (x,)))
        for name_, before in tensors_of(net).items():  # nothing else is touched, and every slice is
            own = torch.zeros_like(before, dtype=torch.bool)
            for slices in slices_of(layer):
                if slices.name == name_:
                    own |= slices.select(chosen, before)
            assert torch.equal(reset[name_][~own], before[~own])
        for slices in layer.incoming:
            own = slices.select(chosen, zeroed[slices.name]).expand_as(zeroed[slices.name])
            assert not torch.equal(reset[slices.name][own], zeroed[slices.name][own])


@pytest.mark.parametrize("name", NETWORKS)
def test_zeroing_outgoing_weights_is_silencing_the_unit_where_it_is_read(name):
    net, x = made(name)
    for layer in find(net, x, residual_stream=True).layers:
        for unit in (0, layer.size - 1):
            zeroed = tensors_of(net)
            chosen = torch.arange(layer.size) == unit
            for slices in layer.outgoing:
                zeroed[slices.name][slices.select(chosen, zeroed[slices.name]).expand_as(zeroed[slices.name])] = 0
            handles = []
            modules = [s.name.rpartition(".")[0] for s in layer.outgoing]
            for module, slices in zip(modules, layer.outgoing, strict=True):
                dim = dict((r.module, r.dim) for r in layer.readers).get(module, 1)

                def silence(_, args, slices=slices, dim=dim):
                    return args[0].index_fill(dim, torch.tensor(slices.index[unit]), 0.0)  # noqa: B023

                handles.append(net.get_submodule(module).register_forward_pre_hook(silence))
            silenced = net(x)
            for handle in handles:
                handle.remove()
            torch.testing.assert_close(functional_call(net, zeroed, (x,)), silenced, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_incoming_weights_move_their_own_units_features_only(name):
    net, x = made(name)
    network = find(net, x, residual_stream=True)
    with Observer(net, network) as observer:
        net(x)
        before = observer.take()
        assert set(before) == {layer.name for layer in network.layers}
        for layer in network.layers:
            assert before[layer.name].shape[:2] == (6, layer.size)
            assert torch.equal(before[layer.name], before[layer.name].detach())
            unit = layer.size // 2
            for slices in (layer.incoming[0], *layer.biases[:1]):
                moved = tensors_of(net)
                own = slices.select(torch.arange(layer.size) == unit, moved[slices.name])
                moved[slices.name] = moved[slices.name] * 3 * own + 1.0 * own + moved[slices.name] * ~own
                functional_call(net, moved, (x,))
                changed = (observer.take()[layer.name] != before[layer.name]).any(0).any(-1)
                assert not changed[torch.arange(layer.size) != unit].any()


def test_maps_of_the_paper_s_networks():
    found = layers(MLP(20, [5], 1), torch.zeros(1, 20))
    (layer,) = found.values()
    assert (layer.size, layer.readers[0].module) == (5, "layers.2")
    assert [s.name for s in slices_of(layer)] == ["layers.0.weight", "layers.0.bias", "layers.2.weight"]
    network = find(ContinualImageNetNet(), torch.zeros(1, 3, 32, 32))
    assert [layer.size for layer in network.layers] == [32, 64, 128, 128, 128]
    assert network.layers[2].outgoing[0].index[1] == (4, 5, 6, 7)
    assert network.layers[2].outgoing[0].contiguous
    assert network.layers[2].outgoing_biases == ("layers.10.bias",)
    assert network.head == ("layers.14.weight", "layers.14.bias")
    assert list(network.modules)[-1] == "layers.14"
    assert not network.skipped and not network.notes


def test_crelu_reads_a_unit_twice():
    found = layers(CReLU(), torch.zeros(3, 5))
    assert found["first"].outgoing[0].index == ((0, 4), (1, 5), (2, 6), (3, 7))
    assert not found["first"].outgoing[0].contiguous


def test_a_residual_stream_is_one_layer_with_several_producers():
    x = torch.randn(2, 3, 8, 8)
    network = find(resnet(), x)
    assert [layer.name for layer in network.layers] == ["3.conv1", "4.conv1", "5.conv1"]
    assert "residual_stream=True" in network.skipped["5.conv2"]
    found = layers(resnet(), x, residual_stream=True)
    assert list(found) == ["0+3.conv2", "3.conv1", "4.conv1", "4.conv2+4.shortcut.0+5.conv2", "5.conv1"]
    stream = found["4.conv2+4.shortcut.0+5.conv2"]
    assert stream.stream and not found["3.conv1"].stream
    assert [s.name for s in stream.outgoing] == ["5.conv1.weight", "8.weight"]
    assert {s.name.rpartition(".")[0] for s in stream.norms} == {"4.norm2", "4.shortcut.1", "5.norm2"}
    assert {s.name.rpartition(".")[2]: s.fill for s in stream.norms} == {
        "weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0,
    }  # fmt: skip


def test_units_of_one_producer_with_different_readers_are_layers_of_their_own():
    found = layers(PaddedShortcut(), torch.randn(2, 3), residual_stream=True)
    assert {name: layer.size for name, layer in found.items()} == {"first+second": 2, "second": 3}
    assert found["second"].incoming[0].index == ((2,), (3,), (4,))
    assert [s.name for s in found["first+second"].outgoing] == ["second.weight", "out.weight"]


def test_layer_norm_couples_units():
    net = MLP(5, [4], 2, normalisation="layer")
    with pytest.raises(NetworkError, match="only_preserving=False"):
        find(net, torch.zeros(1, 5))
    (layer,) = find(net, torch.zeros(1, 5), only_preserving=False).layers
    assert layer.coupled == ("layers.1",)
    assert [(s.name, s.fill) for s in layer.norms] == [("layers.1.weight", 1.0), ("layers.1.bias", 0.0)]
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 1, 3))
    network = find(net, torch.zeros(1, 1, 6, 6), only_preserving=False)
    (layer,) = network.layers
    assert layer.coupled == ("1",) and len(layer.norms) == 2
    assert network.norms == ("1.weight", "1.bias")


def test_several_heads_and_named_arguments():
    net = ActorCritic()
    network = find(net, {"state": torch.zeros(2, 3), "goal": torch.zeros(2, 1)})
    (layer,) = network.layers
    assert [s.name for s in layer.outgoing] == ["actor.weight", "critic.weight"]
    assert [r.module for r in layer.readers] == ["actor", "critic"]
    assert network.head == ("actor.weight", "actor.bias", "critic.weight", "critic.bias")


def test_a_tuple_of_arguments_and_a_dict_of_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(4, 1)

        def forward(self, x, y):
            return {"value": self.out(torch.relu(self.a(x) + self.b(y)))}

    (layer,) = find(Two(), (torch.zeros(2, 3), torch.zeros(2, 2))).layers
    assert layer.name == "a+b"


def test_wrapped_networks_keep_the_wrapper_s_names():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    (layer,) = find(torch.compile(net), torch.zeros(2, 3)).layers  # type: ignore[arg-type]
    assert layer.incoming[0].name == "_orig_mod.0.weight" and layer.name == "_orig_mod.0"
    (layer,) = find(nn.DataParallel(net), torch.zeros(2, 3)).layers
    assert layer.incoming[0].name == "module.0.weight"


def test_generators_of_devices_that_take_no_part_are_left_alone(monkeypatch):
    """`torch.manual_seed` seeds all GPUs, which nothing puts back."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    find(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(2, 3))
    Initialiser.by(nn.init.orthogonal_).draw(random.key(0), (3, 3))
    assert not seeded


@pytest.mark.parametrize("inplace", [False, True])
def test_leaves_the_model_as_it_was(inplace):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace), nn.Dropout(0.5), nn.Flatten(),
                        nn.Linear(16, 2))  # fmt: skip
    x = torch.randn(3, 1, 4, 4)
    net(x).sum().backward()
    net[0].bias.requires_grad_(False)
    net[3].eval()
    seen = []
    net[2].register_forward_hook(lambda *_: seen.append(1))
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in net.modules()]
    values = copy.deepcopy({n: (p.data, p.grad, p.requires_grad) for n, p in net.named_parameters()})
    ids = [id(p) for p in net.parameters()]
    buffers = {n: b.clone() for n, b in net.named_buffers()}
    modes, inputs = [m.training for m in net.modules()], x.clone()
    generator, grad = torch.get_rng_state(), torch.is_grad_enabled()
    with torch.no_grad():
        find(net, x)
    assert torch.equal(torch.get_rng_state(), generator) and torch.is_grad_enabled() == grad
    assert [m.training for m in net.modules()] == modes and torch.equal(x, inputs)
    assert [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in net.modules()] == hooks and not seen
    assert [id(p) for p in net.parameters()] == ids
    for name, parameter in net.named_parameters():
        data, gradient, trains = values[name]
        assert torch.equal(parameter.data, data) and parameter.requires_grad == trains
        assert torch.equal(parameter.grad, gradient)
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, buffers[name])


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.last, self.out = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.again(torch.relu(self.again(x))))
        return self.out(torch.relu(self.last(x)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs, self.cell, self.hidden, self.out = nn.Linear(3, 4), nn.GRU(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(self.cell(torch.relu(self.inputs(x)))[0])))


class Elsewhere(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(3, 1)

    def forward(self, x):
        x = torch.relu(self.first(x)) @ self.first.weight
        return self.out(torch.relu(self.second(x)))


def test_what_is_no_unit_layer_says_why():
    network = find(Recurrent(), torch.zeros(5, 2, 3))
    assert [layer.name for layer in network.layers] == ["inputs", "cell.l0", "hidden"]

    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 1))
    tied[2].weight = tied[0].weight
    network = find(tied, torch.zeros(2, 4))
    assert [layer.name for layer in network.layers] == ["4"]
    assert network.skipped["0"] == "it shares parameters with '2'"

    elsewhere = Elsewhere()
    network = find(elsewhere, torch.zeros(2, 4))
    assert [layer.name for layer in network.layers] == ["second"]
    assert network.skipped["first"] == "its weights are used outside it as well"

    frozen = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 1))
    frozen[2].requires_grad_(False)
    network = find(frozen, torch.zeros(2, 4))
    assert [layer.name for layer in network.layers] == ["4"]
    assert network.skipped == {"0": "'2' alone reads it, and its weight is frozen", "2": "its weight is frozen"}


def test_units_with_a_reader_that_cannot_be_zeroed_are_left_out():
    net = ActorCritic()
    net.critic.requires_grad_(False)
    network = find(net, {"state": torch.zeros(2, 3), "goal": torch.zeros(2, 1)}, allow_none=True)
    assert network.layers == ()
    assert network.skipped["trunk"] == "'critic' reads it too, and its weight is frozen"


def positions(parts):
    return {slices.name: slices.index for slices in parts}


def test_a_module_called_twice_is_one_with_what_it_reads():
    (first, last) = find(Twice(), torch.zeros(2, 4)).layers
    assert (first.name, last.name) == ("first+again", "last")
    assert [s.name for s in first.outgoing] == ["again.weight", "last.weight"]


def test_grouped_and_depthwise_convolutions():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(), nn.Conv2d(6, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1, groups=2),
        nn.Conv2d(4, 1, 1),
    )  # fmt: skip
    first, grouped, last, multiplied = find(net, torch.zeros(1, 1, 12, 12)).layers
    assert first.outgoing[0].groups == 2 and first.outgoing[0].index == ((0,), (1,), (2,), (3,))
    assert first.outgoing[0].rows(net[2].weight).shape == (4, 3 * 9)  # the three outputs of its own group
    assert torch.equal(first.outgoing[0].rows(net[2].weight)[3], net[2].weight[3:, 1].flatten())
    assert positions(grouped.incoming)["4.weight"] == tuple((i,) for i in range(6))
    assert positions(grouped.biases).keys() == {"2.bias", "4.bias"}
    assert positions(grouped.outgoing) == {"6.weight": tuple((i,) for i in range(6))}
    assert (last.name, last.outgoing[0].groups, multiplied.name, multiplied.size) == ("6", 2, "8", 4)

    transposed = nn.Sequential(nn.Conv1d(1, 4, 1), nn.ConvTranspose1d(4, 6, 3, groups=2), nn.Conv1d(6, 1, 1))
    first, second = find(transposed, torch.zeros(1, 1, 5)).layers
    assert (first.outgoing[0].dim, first.outgoing[0].groups) == (0, 1)
    assert (second.incoming[0].dim, second.incoming[0].groups, second.size) == (1, 2, 6)


def test_gates_of_a_recurrent_unit_belong_together():
    cell = next(layer for layer in find(Recurrent(), torch.zeros(5, 2, 3)).layers if layer.name == "cell.l0")
    gates = tuple((i, 4 + i, 8 + i) for i in range(4))
    assert positions(cell.incoming) == {"cell.weight_ih_l0": gates, "cell.weight_hh_l0": gates}
    assert positions(cell.biases) == {"cell.bias_ih_l0": gates, "cell.bias_hh_l0": gates}
    assert positions(cell.outgoing).keys() == {"cell.weight_hh_l0", "hidden.weight"}

    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.gates, self.out = nn.Linear(3 + 5, 4 * 5), nn.Linear(5, 2)

        def forward(self, x):
            h = c = x.new_zeros(x.shape[1], 5)
            for now in x:
                i, f, g, o = self.gates(torch.cat([now, h], -1)).chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            return self.out(h)

    (layer,) = find(Fused(), torch.zeros(6, 2, 3)).layers
    assert positions(layer.incoming)["gates.weight"] == tuple((i, 5 + i, 10 + i, 15 + i) for i in range(5))
    assert positions(layer.outgoing) == {
        "gates.weight": tuple((3 + i,) for i in range(5)), "out.weight": tuple((i,) for i in range(5)),
    }  # fmt: skip


@pytest.mark.parametrize("heads", [1, 2])
def test_value_channels_are_units_queries_and_keys_are_not(heads):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inputs, self.qkv, self.out, self.head = (
                nn.Linear(3, 8), nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 1),
            )  # fmt: skip

        def forward(self, x):
            q, k, v = (
                part.unflatten(-1, (heads, -1)).transpose(1, 2)
                for part in self.qkv(torch.relu(self.inputs(x))).chunk(3, -1)
            )
            return self.head(torch.relu(self.out((torch.softmax(q @ k.mT, -1) @ v).transpose(1, 2).flatten(2))))

    network = find(Attention(), torch.zeros(2, 4, 3))
    assert [layer.name for layer in network.layers] == ["inputs", "qkv", "out"]
    assert positions(network.layers[1].incoming)["qkv.weight"] == tuple((16 + i,) for i in range(8))
    assert network.skipped["qkv"].startswith("16 of 24 units: it is read along with several units of 'qkv'")


def test_a_linear_map_of_somebody_s_own_is_recognised():
    class Own(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.kernel, self.shift = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

        def forward(self, x):
            return x @ self.kernel + self.shift

    (layer,) = find(nn.Sequential(Own(3, 4), nn.ReLU(), Own(4, 2)), torch.randn(2, 3)).layers
    assert (layer.incoming[0].name, layer.incoming[0].dim, layer.biases[0].name) == ("0.kernel", 1, "0.shift")
    assert (layer.outgoing[0].name, layer.outgoing[0].dim) == ("2.kernel", 0)


def test_the_authors_chain_through_a_residual_network():
    net = resnet()
    found = layers(net, torch.randn(2, 3, 8, 8), chain=True)
    assert {name: layer.outgoing[0].name for name, layer in found.items()} == {
        "0": "3.conv1.weight", "3.conv1": "3.conv2.weight", "3.conv2": "4.conv1.weight", "4.conv1": "4.conv2.weight",
        "4.conv2": "5.conv1.weight", "5.conv1": "5.conv2.weight", "5.conv2": "8.weight",
    }  # fmt: skip
    assert not any(layer.preserving for layer in found.values())
    assert {s.name for s in found["4.conv2"].norms if s.name.endswith("weight")} == {"4.norm2.weight"}


def test_a_grouped_consumer_on_the_chain_is_counted_by_its_groups():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2), nn.ReLU(), nn.Conv2d(6, 1, 1))
    first = layers(net, torch.randn(2, 1, 3, 3), chain=True)["0"]
    assert first.outgoing == layers(net, torch.randn(2, 1, 3, 3))["0"].outgoing and first.outgoing[0].groups == 2


def test_layers_declared_by_hand_are_those_that_are_found():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(),
                        nn.Linear(5, 2))  # fmt: skip
    found = find(net, torch.zeros(2, 1, 4, 4))
    declared = declare(net, {"0": "4", "4": ["6"]}, norms={"0": "1"})
    assert declared.layers == found.layers and declared.head == found.head and declared.norms == found.norms
    with pytest.raises(UnknownNameError, match="There is no module called '7'"):
        declare(net, {"0": "7"})
    with pytest.raises(NetworkError, match="'6' has 5 inputs, which is no multiple of the 4 units of '0'"):
        declare(net, {"0": "6"})
    with pytest.raises(NetworkError, match=r"'2' \(ReLU\) is no nn.Linear"):
        declare(net, {"2": "6"})
    with pytest.raises(NetworkError, match=r"'2' \(ReLU\) is no norm"):
        declare(net, {"0": "4"}, norms={"0": "2"})


def test_mixed_units_are_no_units():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 1)

        def forward(self, x):
            x = torch.softmax(self.a(x), -1)
            x = self.c(torch.relu(self.b(x)))
            return self.d(torch.relu(x)) + x.sum()

    network = find(Mixer(), torch.zeros(2, 3))
    assert [layer.name for layer in network.layers] == ["b"]
    assert network.skipped == {
        "a": "'b' reads several of its units at one index", "c": "its units reach the network's output",
    }  # fmt: skip
    assert network.head == ("c.weight", "c.bias", "d.weight", "d.bias")


def test_a_network_without_units_is_refused_unless_allowed():
    with pytest.raises(NetworkError, match="LinearNetwork has no hidden units .* Give a network with a hidden"):
        find(LinearNetwork(4, 2), torch.zeros(1, 4))
    network = find(LinearNetwork(4, 2), torch.zeros(1, 4), allow_none=True)
    assert network.layers == () and network.head == ("layers.0.weight", "layers.0.bias")
    assert network.initialisers["layers.0.bias"] == Initialiser("constant", 0.0)
    assert find(nn.Sequential(nn.ReLU()), torch.zeros(1, 4), allow_none=True).layers == ()


def test_what_cannot_be_traced_is_named():
    net = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(5, 2)))
    with pytest.raises(NetworkError, match=r"Sequential cannot be traced: module '1.0' \(Linear\) raised RuntimeError"):
        find(net, torch.zeros(2, 4))
    with pytest.raises(NetworkError, match="without a batch dimension"):
        find(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)), torch.zeros(4))
    with pytest.raises(NetworkError, match="does not exist yet; run the network once"):
        find(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1)), torch.zeros(2, 4))
    with pytest.raises(UnknownNameError, match="Did you mean '0.weight'"):
        find(nn.Sequential(nn.Linear(4, 3)), torch.zeros(2, 4), initialisers={"0.weigth": Initialiser("constant", 0.0)})


def test_small_chunks_and_operations_that_cannot_be_batched_give_the_same(monkeypatch):
    x = torch.randn(2, 3, 18, 18)
    net = conv_net()
    expected = find(net, x)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 1)
    assert find(net, x) == expected

    class Odd(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return torch.from_numpy(grad.numpy() * 2)

    class Custom(nn.Module):
        def forward(self, x):
            return Odd.apply(x)

    net[1] = net[4] = net[8] = Custom()
    assert [layer.size for layer in find(net, x).layers] == [4, 6, 5]


def test_a_model_that_insists_on_its_batch_size_and_precision():
    class Insists(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x):
            assert x.shape[0] == 5
            return self.b(torch.relu(self.a(x.float())))

    assert [layer.size for layer in find(Insists(), torch.zeros(5, 3)).layers] == [4]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_any_widths(widths, inputs, outputs, norm):
    net = MLP(inputs, widths, outputs, normalisation="layer" if norm else None)
    network = find(net, torch.randn(1, inputs), only_preserving=False)
    assert [layer.size for layer in network.layers] == widths
    for layer in network.layers:
        assert all(s.index == tuple((i,) for i in range(layer.size)) for s in slices_of(layer))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_any_block(channels, hidden, side, last):
    flatten = [nn.Flatten()] if not last else [nn.Unflatten(1, (1, channels)), nn.Flatten()]
    net = nn.Sequential(nn.Conv2d(1, channels, 1), nn.ReLU(), *flatten, nn.Linear(channels * side**2, hidden),
                        nn.ReLU(), nn.Linear(hidden, 1))  # fmt: skip
    network = find(net, torch.randn(2, 1, side, side))
    block = side**2
    assert network.layers[0].outgoing[0].index == tuple(
        tuple(range(i * block, (i + 1) * block)) for i in range(channels)
    )


def test_slices_refuse_ragged_maps():
    with pytest.raises(ValueError, match="same number of positions"):
        Slices("w", 0, ((0,), (1, 2)))


def test_a_search_that_needs_too_much_memory_is_refused_in_words(monkeypatch):
    from neoteny.units import tracing

    def full(*_):
        raise MemoryError("Unable to allocate 5.17 GiB")

    monkeypatch.setattr(tracing, "_traced", full)
    with pytest.raises(NetworkError, match=r"memory that is here \(Unable to allocate 5\.17 GiB\).*declare"):
        find(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.zeros(1, 2))
