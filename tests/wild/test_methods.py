"""Methods on networks of others: sparse gradients, any code in the forward pass, functional activations, heads."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import neoteny
from neoteny.errors import PlasticityWarning

generator = torch.Generator().manual_seed(0)
X = torch.randn(6, 5, 4, generator=generator)
TOKENS = torch.randint(0, 8, (6, 5), generator=generator)  # of ten: two rows are never touched


class Words(nn.Module):
    def __init__(self, kind=nn.Embedding, sparse=True):
        super().__init__()
        self.words, self.body, self.head = kind(10, 6, sparse=sparse), nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, tokens):
        h = self.words(tokens)
        return self.head(torch.relu(self.body(h if h.dim() == 2 else h.mean(1))))


ON_GRADIENTS = [
    neoteny.L2(strength=0.1),
    neoteny.L2(strength=0.1, decoupled=True),
    neoteny.L2Init(strength=0.1),
    neoteny.L1Init(strength=0.1),
    neoteny.HuberInit(strength=0.1),
    neoteny.ShrinkAndPerturb(sigma=0.1),
    neoteny.SelectiveReinitialisation(factor=0.5, period=2),
    neoteny.UPGD(sigma=0.1),
    neoteny.UPGD(sigma=0.1, level="unit"),
    neoteny.EffectiveRank(strength=0.1, rank_strength=0.1),
    neoteny.CChain(strength=1.0),
    neoteny.InFeR(strength=1.0),
    neoteny.SelfDistillation(mu=0.9),
    neoteny.ContinuousPartialResets(replacement_rate=0.1, period=2),
    neoteny.ReGraMa(tau=0.5, period=2),
    neoteny.DASH(period=2),
    neoteny.Spectral(strength=0.1),
    neoteny.Parseval(strength=0.1),
]


def train(net, optimizers, method, x, steps=4):
    plasticity = neoteny.attach(net, optimizers, method, x, reference=x if method.needs_reference else None)
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        net(x).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    plasticity.new_task()
    return plasticity


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize("method", ON_GRADIENTS, ids=repr)
def test_sparse_gradients_train_as_dense_ones_do_in_the_rows_that_are_touched(method, kind):
    torch.manual_seed(0)
    nets = [Words(kind, sparse=True), Words(kind, sparse=False)]
    nets[1].load_state_dict(nets[0].state_dict())
    for net in nets:
        train(net, [torch.optim.SGD(net.parameters(), lr=0.05)], method, TOKENS)
    touched = TOKENS.unique()
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        if name == "words.weight":
            a, b = a[touched], b[touched]
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("method", ON_GRADIENTS, ids=repr)
@pytest.mark.filterwarnings("ignore:SparseAdam.*newborn:neoteny.errors.PlasticityWarning")
def test_sparse_adam_gets_sparse_gradients_and_its_own_come_back(method):
    net = Words()
    others = [p for name, p in net.named_parameters() if not name.startswith("words")]
    optimizers = [torch.optim.SparseAdam(net.words.parameters(), lr=0.01), torch.optim.SGD(others, lr=0.01)]
    train(net, optimizers, method, TOKENS)
    assert net.words.weight.grad.is_sparse
    assert all(p.isfinite().all() for p in net.parameters())


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.body, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 5, 4, 3, 2, 1][: len(x)]), batch_first=True)
        h, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(torch.relu(self.body(h.mean(1))))


class Clamp(torch.autograd.Function):
    """An operation of somebody's own, in the old way that `torch.func` refuses."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(0)

    @staticmethod
    def backward(ctx, grad):
        return grad * (ctx.saved_tensors[0] > 0)


class Body(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.first, self.head, self.act = nn.Linear(4, 8), nn.Linear(8, 2), act

    def forward(self, x):
        return self.head(self.act(self, x).mean(1))


ANY_CODE = {
    "packed sequences": Packed,
    "an operation of one's own": lambda: Body(lambda net, x: Clamp.apply(net.first(x))),
    "checkpointing": lambda: Body(
        lambda net, x: checkpoint(lambda v: torch.relu(net.first(v)), x, use_reentrant=False)
    ),
    "numbers read in the forward pass": lambda: Body(lambda net, x: (h := torch.relu(net.first(x))) / h.max().item()),
    "numpy": lambda: Body(lambda net, x: net.first(x).relu() * int(net.first(x).detach().numpy().max() > -9)),
}


@pytest.mark.parametrize("kind", ANY_CODE)
@pytest.mark.parametrize("method", [m for m in ON_GRADIENTS if m.needs_reference], ids=lambda m: m.name)
def test_regularisers_on_a_reference_batch_take_any_code(kind, method):
    torch.manual_seed(0)
    net = ANY_CODE[kind]()
    bare = copy.deepcopy(net)
    train(net, [torch.optim.SGD(net.parameters(), lr=0.01)], method, X)
    plain = torch.optim.SGD(bare.parameters(), lr=0.01)
    for _ in range(4):
        plain.zero_grad()
        bare(X).square().sum().backward()
        plain.step()
    assert all(p.isfinite().all() for p in net.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), bare.parameters(), strict=True))


class Fourier(nn.Module):
    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(3, 4, dtype=torch.cfloat))
        self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        z = torch.fft.irfft(torch.fft.rfft(x, dim=1) * self.filter, n=x.shape[1], dim=1)
        return self.head(F.relu(self.body(z)).mean(1))


@pytest.mark.parametrize("method", [*ON_GRADIENTS, neoteny.FullReset(), neoteny.FIRE()], ids=repr)
def test_complex_parameters_are_left_alone_and_named(method):
    net = Fourier()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)  # what changes, the method changes
    before = net.filter.detach().clone()
    with pytest.warns(PlasticityWarning, match="leave complex parameters alone: filter"):
        train(net, [optimizer], method, X)
    assert torch.equal(before, net.filter)


def test_averages_over_all_batches_are_named_where_units_are_reset(recwarn):
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for method in (neoteny.L2(strength=1e-4), neoteny.FullReset(period=5)):
        neoteny.attach(net, optimizer, method, torch.randn(6, 4)).detach()
    assert not recwarn.list
    with pytest.warns(PlasticityWarning, match="^1 with momentum=None: .*give the norm a momentum"):
        neoteny.attach(net, optimizer, "cbp", torch.randn(6, 4))


class Residual(nn.Module):
    """Functions in every way of writing, in a loop and in a helper."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.fourth, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

    def helper(self, x):
        return F.relu(x)

    def forward(self, x):
        h = self.helper(self.first(x))
        h = self.helper(self.second(h))
        h = self.third(h).relu_()
        h = F.leaky_relu(self.fourth(h), 0.3)
        return self.head(h)


class Gelu(nn.Module):
    """An activation of one's own, as `transformers` has them."""

    def forward(self, x):
        return 0.5 * x * (1.0 + torch.tanh(0.8 * (x + 0.04 * x**3)))


class OwnActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.head = nn.Linear(4, 8), Gelu(), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.act(self.first(x)))


class Kept(OwnActivation):
    """Its activation is kept as a function."""

    def __init__(self):
        super().__init__()
        del self.act
        self.act = F.gelu


class MadeOnTheWay(OwnActivation):
    def forward(self, x):
        return self.head(nn.ReLU()(self.first(x)))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x))


NETS = {
    "residual": Residual,
    "own activation": OwnActivation,
    "kept": Kept,
    "made on the way": MadeOnTheWay,
    "encoder": Encoder,
}
REPLACING = [neoteny.WithSmoothLeaky(), neoteny.WithIntervalDropout(p=0.5), neoteny.WithDropout(p=0.5)]


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("method", REPLACING, ids=repr)
def test_functional_activations_are_replaced(kind, method):
    if kind == "encoder" and method.name == "dropout":
        return  # it has dropout
    torch.manual_seed(0)
    net = NETS[kind]()
    new = neoteny.prepare(net, method, X)
    own = net.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in new.state_dict().items())
    assert all(module.training for module in new.modules())
    assert not torch.allclose(new(X), net(X))
    copied = copy.deepcopy(new)  # trains, also as a copy
    optimizer = torch.optim.SGD(copied.parameters(), lr=0.1)
    neoteny.attach(copied, optimizer, [method, neoteny.ReDo(tau=0.5, period=1)], X)
    copied(X).sum().backward()
    optimizer.step()


def test_what_takes_the_place_of_functions_is_what_would_take_that_of_modules():
    torch.manual_seed(0)
    net = Residual()
    chain = nn.Sequential(
        net.first, nn.ReLU(), net.second, nn.ReLU(), net.third, nn.ReLU(), net.fourth, nn.LeakyReLU(0.3), net.head
    )
    for method in (neoteny.WithSmoothLeaky(), neoteny.WithLayerNorm(), neoteny.NormaliseAndProject()):
        a, b = (neoteny.prepare(each, method, X) for each in (net, chain))
        torch.testing.assert_close(a(X), b(X))
        a.eval(), b.eval()
        with torch.no_grad():
            torch.testing.assert_close(a(X), b(X))
    for method in (neoteny.WithCReLU(), neoteny.WithDeepFourier()):
        sizes = []
        for each in (net, chain):
            new = neoteny.prepare(each, method, X)
            sizes.append([tuple(p.shape) for p in new.parameters()])
            assert new(X).isfinite().all()
        assert sizes[0] == sizes[1]


def test_the_fast_path_of_the_encoder_does_not_go_on_with_the_old_activation():
    torch.manual_seed(0)
    for activation in ("relu", nn.ReLU()):
        net = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, 0.0, activation, batch_first=True), nn.Linear(4, 2))
        new = neoteny.prepare(net, neoteny.WithSmoothLeaky(alpha=0.9), X)
        expected = new(X)
        new.eval()
        with torch.no_grad():
            torch.testing.assert_close(new(X), expected)


def test_a_prepared_network_of_functions_is_pickled_and_compiled():
    import pickle

    torch.manual_seed(0)
    new = neoteny.prepare(Kept(), neoteny.WithSmoothLeaky(), X)
    torch.testing.assert_close(pickle.loads(pickle.dumps(new))(X), new(X))
    compiled = torch.compile(new, backend="eager")
    torch.testing.assert_close(compiled(X), new(X))


class Modular(nn.Module):
    """A trunk that is no chain, and a head of two layers in a module of its own."""

    def __init__(self, together=True):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 8)
        self.decoder = nn.ModuleDict({"up": nn.Linear(8, 8)}) if not together else Decoder()
        self.head = nn.Linear(8, 2)
        self.together = together

    def forward(self, x):
        h = torch.relu(self.first(x))
        h = h + torch.relu(self.second(h))
        return self.decoder(h) if self.together else self.head(torch.relu(self.decoder["up"](h)))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, h):
        return self.down(torch.relu(self.up(h)))


def test_plasticity_is_injected_into_the_submodule_of_the_last_layers():
    torch.manual_seed(0)
    net = Modular()
    new = neoteny.prepare(net, neoteny.PlasticityInjection(), X)
    assert {name.split(".injection")[0] for name, _ in new.named_buffers()} == {"decoder"}
    optimizer = torch.optim.SGD([p for p in new.parameters() if p.requires_grad], lr=0.1)
    plasticity = neoteny.attach(new, optimizer, neoteny.PlasticityInjection(), X)
    expected = new(X)
    old = new.decoder.up.weight.clone()
    plasticity.new_task()
    torch.testing.assert_close(new(X), expected)
    assert not torch.equal(old, new.decoder.up.weight)
    with pytest.raises(neoteny.errors.NetworkError, match="last layers .decoder.up, head. are not in a submodule"):
        neoteny.prepare(Modular(together=False), neoteny.PlasticityInjection(), X)
