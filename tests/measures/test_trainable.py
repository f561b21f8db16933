from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from measures.plastic import INPUTS, mlp, well, worn
from neoteny.errors import CheckpointError, NetworkError, SettingError, UnknownNameError
from neoteny.measures import Trainability, trainability

QUICK = {"steps": 3, "repeats": 1}


def test_a_fresh_network_is_as_young_as_new():
    found = trainability(mlp(), INPUTS, steps=100, repeats=3)
    low, high = found.spread
    assert 0.7 < low <= 1 <= high < 1.4
    assert found.ratio == pytest.approx(1, abs=0.15)
    assert not found.losing
    assert found.guessed == ()


def test_a_worn_network_learns_slowly_and_a_well_trained_one_does_not():
    bad = trainability(worn(), INPUTS, steps=100, repeats=2, reference=mlp())
    assert bad.losing
    assert bad.ratio > 1.5
    assert bad.spread[0] > 1.2
    good = trainability(well(), INPUTS, steps=100, repeats=2, reference=mlp())
    assert not good.losing
    assert good.ratio < 1.1


def test_a_network_that_cannot_learn_at_all_stays_at_loss_one():
    net = mlp()
    with torch.no_grad():
        net[2].bias.fill_(-1e4)  # nothing but the last bias learns, and what is new has mean 0
    found = trainability(net, INPUTS, steps=60, repeats=1, reference=mlp())
    assert found.losses[0] == pytest.approx(1, abs=1e-4)
    assert found.losing


@pytest.mark.parametrize("targets", ["function", "noise"])
def test_both_begin_at_loss_one(targets):
    """Without a step worth the name the losses are those of the start, whatever the network computes."""
    net = mlp()
    with torch.no_grad():
        net[4].weight.mul_(1e3)
    still = trainability(
        net, INPUTS, targets=targets, optimizer=lambda parameters: torch.optim.SGD(parameters, 1e-12), **QUICK
    )
    assert still.losses[0] == pytest.approx(1, rel=1e-4)
    assert still.fresh_losses[0] == pytest.approx(1, rel=1e-4)


def test_equal_seeds_give_equal_numbers_and_others_do_not():
    def ratios(seed):
        return trainability(mlp(), INPUTS, steps=5, repeats=2, seed=seed).ratios

    torch.manual_seed(1)
    first = ratios(0)
    torch.manual_seed(2)
    assert ratios(0) == first
    assert len({*first, *ratios(1)}) == 4


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

    assert 0 < found.ratio < math.inf
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
    assert with_closure.losses[0] < 1


def test_trained_weights_are_not_taken_for_a_normal_initialisation_by_chance():
    guessed = trainability(worn(), INPUTS, **QUICK).guessed
    assert {"0.weight", "2.weight", "4.weight"} <= set(guessed)
    assert trainability(worn(), INPUTS, reference=mlp().state_dict(), **QUICK).guessed == ()


def test_training_that_goes_astray_is_infinitely_worse():
    net = mlp()
    with torch.no_grad():
        net[0].weight[0, 0] = torch.nan
    found = trainability(net, INPUTS, reference=mlp(), **QUICK)
    assert found.ratio == math.inf
    assert found.losing
    assert "inf" in str(found)


def test_what_both_have_learned_makes_no_ratio():
    assert Trainability((1e-9,), (1e-6,), (0.1,), (0.1,), 10).ratio == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("make", "settings", "error", "message"),
    [
        (mlp, {"steps": 0}, SettingError, "steps = 0"),
        (mlp, {"repeats": 0}, SettingError, "repeats = 0"),
        (mlp, {"batch_size": -1}, SettingError, "batch_size = -1"),
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
