from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from measures.plastic import INPUTS, mlp, well, worn
from neoteny.errors import CheckpointError, NetworkError, SettingError, UnknownNameError
from neoteny.measures import Trainability, trainability

QUICK = {"steps": 3, "repeats": 1}


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.1)


@pytest.mark.parametrize("kind", [{}, {"classes": 3}, {"classes": 3, "targets": "noise"}, {"scale": 2.0}], ids=str)
def test_a_new_network_is_not_slower(kind):
    found = trainability(mlp(), INPUTS, steps=100, optimizer=sgd, **kind)
    assert abs(found.difference) < 0.25
    assert found.losing is not True
    assert found.guessed == ()
    assert found.slowed == 1
    assert found.learns == ("3 classes" if "classes" in kind else "values") + " by SGD at 0.1"


def test_a_worn_network_learns_slowly_and_a_well_trained_one_does_not():
    momentum = torch.optim.SGD(mlp().parameters(), 0.05, momentum=0.9)
    settings = {"steps": 60, "classes": 3, "optimizer": momentum, "reference": mlp()}
    bad = trainability(worn(), INPUTS, **settings)
    assert bad.losing is True
    assert bad.difference > 0.1
    assert "slower than a new network: its error on new targets" in str(bad)
    good = trainability(well(), INPUTS, **settings)
    assert good.losing is False
    assert good.difference < 0


def test_a_network_that_cannot_learn_at_all_knows_nothing_of_the_targets():
    net = mlp()
    with torch.no_grad():
        net[2].bias.fill_(-1e4)  # nothing but the last bias learns, and what is new has mean 0
    found = trainability(net, INPUTS, steps=60, repeats=2, reference=mlp(), scale=1.0)
    assert found.errors == pytest.approx([1, 1], abs=0.02)
    assert found.difference > 0.1


def test_errors_are_those_of_an_ordinary_loop():
    """Full batches, plain gradient descent in NumPy on a linear softmax classifier: the same errors."""
    import numpy as np

    from neoteny.measures.probing import Probe
    from neoteny.units import Initialiser
    from neoteny.units.random import fold_in
    from neoteny.units.random import key as key_of

    net = nn.Linear(10, 3).double()
    x = INPUTS[:32].double()
    found = trainability(net, x, classes=3, steps=8, repeats=1, optimizer=sgd, batch_size=32)
    said = {name: Initialiser.torch_default(10) for name in ("weight", "bias")}
    probe = Probe(net, {"input": x}, said, "function", 3, None, 8, 32, 0)
    key = fold_in(key_of(0), 0)
    (goal,) = probe._goals(probe._new(fold_in(key, 0), constants=False), [net(x)], fold_in(key, 1))
    w, b, data = net.weight.detach().numpy().copy(), net.bias.detach().numpy().copy(), x.numpy()
    target, wrong = goal.target.numpy(), []
    for _ in range(8):
        logits = data @ w.T + b
        wrong.append(np.mean(logits.argmax(1) != target))
        p = np.exp(logits - logits.max(1, keepdims=True))
        p = (p / p.sum(1, keepdims=True) - np.eye(3)[target]) / 32
        w, b = w - 0.1 * p.T @ data, b - 0.1 * p.sum(0)
    assert found.errors[0] == pytest.approx(np.mean(wrong))


def test_readiness_against_numpy():
    """Of a network without noise in its gradients it is 1; of one with none it is 0."""
    import numpy as np

    from neoteny.measures.probing import _readiness

    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    batches = [torch.tensor([[3.0, 1.0], [0.5, 2.0]]).double(), torch.tensor([[-1.0, 4.0], [2.0, 2.0]]).double()]
    rows = [torch.tensor([0]), torch.tensor([1])]
    found = _readiness(lambda row: (batches[int(row)] @ w).square().mean(), [w], rows)
    g = np.array([(2 * b.numpy() * (b.numpy() @ [1.0, -2.0])[:, None]).mean(0) for b in batches])
    assert found == pytest.approx((g.mean(0) ** 2).sum() / (g**2).sum(1).mean())
    assert _readiness(lambda row: w.sum(), [w], rows) == pytest.approx(1)
    assert _readiness(lambda row: (0 * w).sum(), [w], rows) == 0
    assert math.isnan(_readiness(lambda row: w.sum(), [w], [None, None]))


@pytest.mark.parametrize("targets", ["function", "noise"])
def test_values_are_around_the_own_output_and_as_large_as_said(targets):
    """Without a step worth the name the error is that of the start: 1, and the variance of the output in scales."""
    net = mlp()
    with torch.no_grad():
        net[4].bias.add_(1e3)
        size = (net(INPUTS) - net(INPUTS).mean(0)).square().mean()
    settings = {"targets": targets, "optimizer": lambda parameters: torch.optim.SGD(parameters, 1e-12)}
    still = trainability(net, INPUTS, scale=0.5, batch_size=256, **settings, **QUICK)
    assert still.errors[0] == pytest.approx(1 + size.item() / 0.25, rel=0.1)
    large = trainability(net, INPUTS, scale=1e3, batch_size=256, **settings, **QUICK)
    assert large.errors[0] == pytest.approx(1, rel=1e-3)


def test_equal_seeds_give_equal_numbers_and_others_do_not():
    def errors(seed):
        return trainability(mlp(), INPUTS, steps=5, repeats=2, seed=seed).errors

    torch.manual_seed(1)
    first = errors(0)
    torch.manual_seed(2)
    assert errors(0) == first
    assert len({*first, *errors(1)}) == 4


@dataclass
class Output:
    logits: torch.Tensor
    extra: tuple[torch.Tensor, ...]
    loss: torch.Tensor
    words: str = "no tensor"


class Everything(nn.Module):
    """Tokens, a norm with running statistics, dropout, random numbers, a frozen layer, and an output of many parts."""

    def __init__(self, make):
        super().__init__()
        self.make = make
        self.embed = nn.Embedding(20, 6, padding_idx=0)
        self.rnn = nn.GRU(6, 6, batch_first=True)
        self.norm = nn.BatchNorm1d(6)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.head = nn.Linear(6, 20)
        nn.init.zeros_(self.head.weight)  # a head that begins at 0 makes a teacher of no use

    def forward(self, tokens, scale=1.0):
        h = self.frozen(self.norm(self.rnn(self.embed(tokens))[0][:, -1]))
        h = functional.dropout(h, 0.5, self.training) * scale + 0 * torch.rand(1)
        return self.make(self.head(h), h)


MAKES = {
    "tensor": lambda y, h: y,
    "tuple": lambda y, h: (y, None, [h]),
    "dict": lambda y, h: {"y": y, "ids": y.argmax(1), "h": h},
    "dataclass": lambda y, h: Output(y, (h,), y.mean()),
}
TOKENS = torch.randint(0, 20, (40, 5), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_any_output_any_inputs_and_nothing_is_touched(make):
    torch.manual_seed(0)
    net = Everything(make)
    for _ in range(3):
        net(TOKENS)
    net.eval().norm.train()
    net.head.bias.grad = torch.ones(20)
    calls = []
    net.head.register_forward_hook(lambda *args: calls.append(args))
    before = copy.deepcopy(net.state_dict())
    pointers = [tensor.data_ptr() for tensor in net.state_dict().values()]
    modes = [module.training for module in net.modules()]
    generator = torch.get_rng_state()

    found = trainability(net, {"tokens": TOKENS, "scale": 2.0}, **QUICK)

    assert math.isfinite(found.difference)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [tensor.data_ptr() for tensor in net.state_dict().values()] == pointers
    assert [module.training for module in net.modules()] == modes
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["head.bias"]
    assert torch.equal(net.head.bias.grad, torch.ones(20))
    assert calls == []
    assert len(net.head._forward_hooks) == 1


def test_any_optimizer():
    net = mlp()
    own = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    same = trainability(net, INPUTS, optimizer=own, **QUICK)
    made = trainability(net, INPUTS, optimizer=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9), **QUICK)
    assert same == made
    assert own.state == {}
    with_closure = trainability(net, INPUTS, optimizer=lambda p: torch.optim.LBFGS(p, max_iter=2), **QUICK)
    assert with_closure.errors[0] < 2


def test_trained_weights_are_not_taken_for_a_normal_initialisation_by_chance():
    guessed = trainability(worn(), INPUTS, **QUICK).guessed
    assert {"0.weight", "2.weight", "4.weight"} <= set(guessed)
    assert trainability(worn(), INPUTS, reference=mlp().state_dict(), **QUICK).guessed == ()


def test_training_that_goes_astray_is_infinitely_worse():
    net = mlp()
    with torch.no_grad():
        net[0].weight[0, 0] = torch.nan
    found = trainability(net, INPUTS, reference=mlp(), optimizer=sgd, **QUICK)
    assert found.difference == math.inf
    assert found.losing is True
    assert found.slowed == 1
    assert "inf" in str(found)


def test_too_large_a_step_size_is_made_smaller_for_both():
    """The issue's case: a healthy network with SGD whose step is too large for squared errors."""
    found = trainability(well(), INPUTS, reference=mlp(), optimizer=lambda p: torch.optim.SGD(p, 2.0), steps=40)
    assert found.slowed in (1 / 4, 1 / 16, 1 / 64)
    assert all(map(math.isfinite, found.errors))
    assert f"at {found.slowed:g} of the step size" in str(found)


class Normed(nn.Module):
    """A batch norm whose running statistics are of another time."""

    def __init__(self):
        super().__init__()
        self.inner = mlp()
        self.inner.insert(1, nn.BatchNorm1d(32))

    def forward(self, x):
        return self.inner(x)


def test_norms_use_the_batch():
    net, strange = Normed(), Normed()
    strange.inner[1].running_mean.fill_(50.0)
    strange.inner[1].num_batches_tracked.fill_(1000)
    settings = {"reference": Normed(), "classes": 3, **QUICK}
    assert trainability(net, INPUTS, **settings).errors == trainability(strange, INPUTS, **settings).errors


def test_losing_is_told_by_difference_and_interval():
    def found(*differences):
        return Trainability(tuple(0.4 + each for each in differences), (0.4,) * len(differences), 200)

    assert found(0.2, 0.21, 0.19).losing is True
    assert found(0.0, 0.01, -0.01).losing is False
    assert found(-0.2, -0.3, -0.25).losing is False
    assert found(0.5, -0.1, 0.2).losing is None
    assert found(0.5).losing is None
    other = replace(found(0.2, 0.21, 0.19), own_optimizer=False)
    assert other.losing is None
    assert "none without your optimizer" in str(other)
    assert "undecided" in str(found(0.5)) and "as young as new" in str(found(0.0, 0.01, -0.01))


def test_the_interval_is_students():
    from scipy.stats import ttest_1samp

    differences = (0.03, 0.11, -0.02, 0.05)
    low, high = Trainability(differences, (0.0,) * 4, 200).interval
    expected = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("make", "settings", "error", "message"),
    [
        (mlp, {"steps": 0}, SettingError, "steps = 0"),
        (mlp, {"steps": "10"}, SettingError, "steps = '10'"),
        (mlp, {"seed": "0"}, SettingError, "seed = '0'"),
        (mlp, {"repeats": 0}, SettingError, "repeats = 0"),
        (mlp, {"repetitions": 2}, UnknownNameError, "no argument of trainability called 'repetitions'"),
        (mlp, {"batch_size": -1}, SettingError, "batch_size = -1"),
        (mlp, {"classes": 1}, SettingError, "classes = 1"),
        (mlp, {"classes": 4}, SettingError, r"the shapes \[256, 3\], none with so many"),
        (mlp, {"scale": 0.0}, SettingError, "scale = 0.0"),
        (mlp, {"targets": "nose"}, UnknownNameError, "Did you mean 'noise'"),
        (mlp, {"reference": nn.Linear(2, 2)}, CheckpointError, "not this network's"),
        (mlp, {"optimizer": lambda p: torch.optim.SGD(p, 1e30)}, SettingError, "diverges"),
        (lambda: mlp().requires_grad_(False), {}, NetworkError, "no parameter that trains"),
        (lambda: nn.Sequential(mlp(), Detach()), {}, NetworkError, "no floating-point tensor"),
    ],
)
def test_what_cannot_be_is_told(make, settings, error, message):
    with pytest.raises(error, match=message):
        trainability(make(), INPUTS, **{**QUICK, **settings})


class Detach(nn.Module):
    def forward(self, x):
        return x.detach()
