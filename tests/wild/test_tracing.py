"""Networks that are traced only with care, or not at all: what is found is right, and nothing is left changed."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

import neoteny
from neoteny.errors import NetworkError, SettingError
from neoteny.units import find

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    """Two linear maps with a function between them."""

    def __init__(self, function):
        super().__init__()
        self.function, self.first, self.last = function, nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def outgoing_of(net, x, **options):
    """By layer, the columns of weights that read each unit, as the records say."""
    network = find(net, x, **options)
    return {layer.name: [part.index for part in layer.outgoing] for layer in network.layers}


def read_by_hand(net, x, producer, reader, unit):
    """The inputs of a reader that change, beyond the common scale of all, when one output of a producer changes."""
    seen = []
    net = copy.deepcopy(net).double().eval()
    handle = net.get_submodule(reader).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    for change in (0.0, 0.5):
        with torch.no_grad():
            net.get_submodule(producer).bias[unit] += change
            net(x.double())
    handle.remove()
    changed = (seen[0] - seen[1]).abs().sum(0)
    return set(changed.gt(1e-9).nonzero().flatten().tolist())


ELEMENTWISE = {
    "relu": torch.relu,
    "relu by a mask": lambda h: h * (h > 0),
    "where": lambda h: torch.where(h > 0, h, 0.1 * h),
    "clamped": lambda h: h.clamp(-1, 1),
    "flipped": lambda h: h.relu().flip(1),
    "rolled": lambda h: h.relu().roll(3, 1),
    "in halves": lambda h: torch.cat(h.relu().chunk(2, 1)[::-1], 1),
    "as an image": lambda h: h.view(-1, 2, 2, 2).transpose(1, 3).flatten(1).relu(),
    "picked": lambda h: h[:, torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])].relu(),
    "gated": lambda h: h * torch.sigmoid(h),
    "scattered": lambda h: torch.zeros_like(h).scatter_add(1, torch.arange(8).flip(0).expand_as(h), h.relu()),
    "in place": lambda h: h.relu_(),
    "written into": lambda h: torch.zeros_like(h).index_copy(1, torch.arange(8).flip(0), h.relu()),
    "strided": lambda h: torch.cat([h[:, ::2], h[:, 1::2]], 1),
    "by matrix": lambda h: h @ torch.eye(8, dtype=h.dtype).flip(0),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_what_is_read_is_what_changes(name):
    torch.manual_seed(0)
    net = Between(ELEMENTWISE[name])
    with torch.no_grad():
        net.first.bias.fill_(0.5)
    index = outgoing_of(net, X)["first"][0]
    for unit in range(8):
        assert set(index[unit]) == read_by_hand(net, X, "first", "last", unit)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoints():
    net = Between(lambda h: checkpoint(torch.relu, h, use_reentrant=True))
    assert {layer.name: layer.size for layer in find(net, X).layers} == {"first": 8}


def test_what_mixes_units_is_left_out():
    for mixing in (lambda h: h.softmax(1), lambda h: h.cumsum(1), lambda h: h @ torch.ones(8, 8, dtype=h.dtype)):
        with pytest.raises(NetworkError, match="several of its units at one index"):
            find(Between(mixing), X)


def by_hand(h):
    h = h - h.mean(-1, keepdim=True)
    return h / (h.square().mean(-1, keepdim=True) + 1e-5).sqrt()


NORMS = {
    "layer_norm": lambda h: F.layer_norm(h, (8,)),
    "rms_norm": lambda h: F.rms_norm(h, (8,)),
    "group_norm": lambda h: F.group_norm(h, 2),
    "normalize": lambda h: F.normalize(h, dim=-1),
    "by hand": by_hand,
    "by hand, of squares": lambda h: h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_that_is_a_function_keeps_channels_apart(name):
    net = Between(lambda h: NORMS[name](h.relu()))
    layers = find(net, X, allow_none=True, **WITH_ALL).layers
    assert [layer.size for layer in layers] == [8]
    assert [part.index for part in layers[0].outgoing] == [tuple((unit,) for unit in range(8))]


WITH_ALL = {"only_preserving": False} if "only_preserving" in (find.__kwdefaults__ or {}) else {}


@pytest.mark.parametrize(
    "norm", [nn.LayerNorm(16), nn.BatchNorm1d(16), nn.GroupNorm(1, 16)], ids=lambda n: n._get_name()
)
def test_dead_units_before_a_norm_count_as_dead(norm):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), norm, nn.Linear(16, 2))
    with torch.no_grad():
        net[0].weight[:8], net[0].bias[:8] = 0.0, -1.0
        net[0].bias[8:] = 3.0
        norm.bias.fill_(0.3)
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    units = find(net, X, **WITH_ALL)
    handle = neoteny.attach(net, optimizer, [neoteny.ReDo(period=1, tau=0.1)], units=units)
    net(X).sum().backward()
    optimizer.step()
    assert handle.counters()["redo"]["0"]["units_replaced"] == 8


def test_a_norm_before_the_activation_leaves_the_reader_where_it_is():
    net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    assert [reader.module for reader in find(net, X).layers[0].readers] == ["3"]


class Routed(nn.Module):
    """Each example goes to one of several experts, of which some get none."""

    def __init__(self, experts=8):
        super().__init__()
        self.first, self.gate, self.head = nn.Linear(4, 8), nn.Linear(8, experts), nn.Linear(8, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 8)) for _ in range(experts))

    def forward(self, x):
        h = self.first(x).relu()
        weight, chosen = self.gate(h).softmax(-1).topk(1, -1)
        out = torch.zeros_like(h)
        for number, expert in enumerate(self.experts):
            rows = (chosen[:, 0] == number).nonzero()[:, 0]
            out = out.index_add(0, rows, expert(h[rows]) * weight[rows])
        return self.head(h + out)


def test_experts_without_examples_are_found_too():
    found = find(Routed(), X)
    assert {layer.name: layer.size for layer in found.layers} == {f"experts.{k}.0": 6 for k in range(8)}


class Router(nn.Linear):
    """A linear map that gives out its choice as well."""

    def forward(self, x):
        logits = super().forward(x)
        weights, chosen = logits.softmax(1).topk(2)
        return logits, weights, chosen


def test_a_linear_map_that_gives_out_more_is_left_out():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.router, self.last = nn.Linear(4, 8), Router(8, 5), nn.Linear(8, 3)

        def forward(self, x):
            h = self.first(x).relu()
            logits, weights, chosen = self.router(h)
            return self.last(h * weights.sum(1, keepdim=True)) + logits.gather(1, chosen).sum(1, keepdim=True)

    network = find(Net(), X, allow_none=True)
    assert not network.layers and "more than a linear map" in network.skipped["router"]


class Positions(nn.Embedding):
    """Learned positions, looked up by the positions of the words."""

    def forward(self, words):
        return super().forward(torch.arange(words.shape[1]).expand(words.shape[:2]) + 2)


def test_learned_positions_that_get_a_batch_of_words():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(9, 8), Positions(12, 8)
            self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.down(self.up((words := self.words(x)) + self.places(words)).relu()).mean(1)

    assert {layer.name: layer.size for layer in find(Words(), torch.randint(0, 9, (3, 5))).layers} == {"up": 16}


class Bare(nn.Module):
    """Parameters of its own, and no module."""

    def __init__(self):
        super().__init__()
        self.w, self.v = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        return torch.relu(x @ self.w) @ self.v


def test_methods_without_units_need_no_known_module_and_no_examples():
    for examples in (X, None):
        net = Bare()
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        handle = neoteny.attach(net, optimizer, [neoteny.L2(strength=0.5)], examples)
        before = net.w.detach().clone()
        (0 * net(X).sum()).backward()
        optimizer.step()
        assert not torch.equal(before, net.w)
        handle.detach()
    with pytest.raises(SettingError, match="example_inputs is missing, from which ContinualBackprop"):
        neoteny.attach(net, optimizer, [neoteny.ContinualBackprop(), neoteny.L2()])


def test_what_cannot_be_looked_into_is_said():
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(NetworkError, match="TorchScript"):
        find(torch.jit.trace(plain, X), X)
    with pytest.raises(NetworkError, match=r"'0.weight' does not exist yet; run the network once"):
        find(nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 2)), X)


@pytest.mark.parametrize("transform", ["grad", "vmap", "jacrev", "hessian", "jvp", "jit.trace"])
def test_transforms_of_an_attached_network_in_training_mode(transform):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    alone = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    handle = neoteny.attach(net, optimizer, [neoteny.ContinualBackprop(), neoteny.ReDo()], X)

    def loss(own, module, x):
        return torch.func.functional_call(module, own, (x,)).sum()

    def value(module):
        own = {name: p.detach() for name, p in module.named_parameters()}
        return {
            "grad": lambda: torch.func.grad(loss)(own, module, X)["0.weight"],
            "vmap": lambda: torch.func.vmap(torch.func.grad(loss), (None, None, 0))(own, module, X[:, None])[
                "0.weight"
            ],
            "jacrev": lambda: torch.func.jacrev(module)(X[0]),
            "hessian": lambda: torch.func.hessian(lambda x: module(x).sum())(X[0]),
            "jvp": lambda: torch.func.jvp(module, (X,), (X,))[1],
            "jit.trace": lambda: torch.jit.trace(module, X)(X),
        }[transform]()

    torch.testing.assert_close(value(net), value(alone), rtol=0, atol=0)
    net(X).sum().backward()
    optimizer.step()
    assert handle.counters()["cbp"]


class Packed(nn.Module):
    """A recurrent layer on packed sequences of unlike lengths."""

    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head = kind(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        out, _ = self.rnn(pack_padded_sequence(x.transpose(0, 1), [5, 3, 2]))
        return self.head(pad_packed_sequence(out)[0].mean(0))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences(kind):
    x = torch.randn(3, 5, 4)
    for method in (neoteny.EffectiveRank(), neoteny.CChain(), neoteny.InFeR(), neoteny.ContinualBackprop()):
        net = Packed(kind)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        neoteny.attach(net, optimizer, [method], x, reference=x)
        for _ in range(2):
            optimizer.zero_grad()
            net(x).sum().backward()
            optimizer.step()
        assert all(p.isfinite().all() for p in net.parameters())


def picture(net, optimizer):
    """What attaching may not change where it fails."""
    modules = {
        name: (
            module.training,
            sorted(module.__dict__),
            *(len(v) for k, v in sorted(vars(module).items()) if "hooks" in k),
        )
        for name, module in net.named_modules()
    }
    tensors = {
        name: (id(t), t.requires_grad, t.dtype, t.grad is None, len(t._backward_hooks or ()), t.detach().clone())
        for name, t in [*net.named_parameters(), *net.named_buffers()]
    }
    hooks = [len(v) for k, v in sorted(vars(optimizer).items()) if "hooks" in k]
    return modules, tensors, hooks, sorted(vars(optimizer)), torch.get_rng_state()


def same(before, after):
    for name, entry in before[1].items():
        assert entry[:-1] == after[1][name][:-1] and torch.equal(entry[-1], after[1][name][-1]), name
    assert before[0] == after[0] and before[2:4] == after[2:4] and torch.equal(before[4], after[4])


class Fault(Exception):
    """Raised in the middle of the library."""


def raising_at(number, call, calls=None):
    """Run a function, and raise when the library calls its `number`-th function."""
    count = 0

    def watch(frame, event, _):
        nonlocal count
        if event == "call" and frame.f_globals.get("__name__", "").startswith("neoteny."):
            count += 1
            if count == number:
                raise Fault

    sys.setprofile(watch)
    try:
        return call()
    finally:
        sys.setprofile(None)
        if calls is not None:
            calls.append(count)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a fault in a generator that is closed
@pytest.mark.parametrize("known", [False, True])
def test_whatever_fails_the_network_stays_as_it_was(known):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    net[1].eval()
    optimizer, methods = torch.optim.SGD(net.parameters(), 0.1), [neoteny.ContinualBackprop(), neoteny.L2Init()]
    given = {"units": find(net, X)} if known else {"example_inputs": X}
    calls, failed = [], 0
    raising_at(0, lambda: neoteny.attach(net, optimizer, methods, **given), calls).detach()
    before = picture(net, optimizer)
    for number in range(1, calls[0], calls[0] // 12):
        try:
            raising_at(number, lambda: neoteny.attach(net, optimizer, methods, **given)).detach()
        except Exception:  # the fault, or an error that was made of it
            failed += 1
        same(before, picture(net, optimizer))
    assert failed > 4  # some are caught, where another way is tried


class Agent(nn.Module):
    """A recurrent network that is given its state and gives it back."""

    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head = kind(4, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x, state=None):
        out, state = self.rnn(x, state)
        return self.head(out), state


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_state_that_is_given_back_is_no_output_and_can_be_forgotten(kind):
    torch.manual_seed(0)
    net, x = Agent(kind), torch.randn(3, 5, 4)
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    cbp = neoteny.ContinualBackprop(replacement_rate=0.5, maturity_threshold=0)
    handle = neoteny.attach(net, optimizer, [cbp], x)
    assert {layer.name: layer.size for layer in handle.units.layers} == {"rnn.l0": 8}
    out, state = net(x)
    out.sum().backward()
    optimizer.step()
    new = handle.made_new("rnn.l0")
    assert 0 < int(new.sum()) < 8
    carried = handle.forget(state, "rnn.l0")
    for tensor in carried if isinstance(carried, tuple) else (carried,):
        assert (tensor[..., new] == 0).all() and (tensor[..., ~new] != 0).any()
    # What the newborn units then compute reaches the output of no step.
    before = net(x, carried)[0]
    with torch.no_grad():
        gates = net.rnn.weight_ih_l0.view(-1, 8, 4)
        gates[:, new] += 1.0
    torch.testing.assert_close(net(x, carried)[0], before)


class Cells(nn.Module):
    """The same with a cell."""

    def __init__(self, kind):
        super().__init__()
        self.cell, self.head = kind(4, 8), nn.Linear(8, 2)

    def forward(self, x, state=None):
        state = self.cell(x, state)
        return self.head(state[0] if isinstance(state, tuple) else state), state


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_states_of_cells(kind):
    assert {layer.name: layer.size for layer in find(Cells(kind), X).layers} == {"cell": 8}


def test_a_network_that_gives_out_nothing_else_has_its_state_as_output():
    with pytest.raises(NetworkError, match="no hidden units"):
        find(nn.GRUCell(4, 8), X)
