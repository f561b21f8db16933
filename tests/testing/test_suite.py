"""The suite as a user meets it: what it takes, what it says, and that it leaves no trace."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from neoteny.checks import require
from neoteny.errors import ContractError, SettingError
from neoteny.methods import L2, Method
from neoteny.testing import MODELS, OPTIMIZERS, Model, OptimizerCase, check_method, checks
from neoteny.testing.comparing import difference
from testing.broken import Sound, loop, strength

SMALL = {"models": [MODELS["mlp"]], "optimizers": [OPTIMIZERS["sgd"]]}


def test_all_failures_are_listed_with_network_and_optimizer():
    two = {"models": [MODELS["mlp"], MODELS["two-heads"]], "optimizers": [OPTIMIZERS["sgd"], OPTIMIZERS["adam"]]}
    with pytest.raises(ContractError) as error:
        check_method(strength.NeverStill(), inactive=[strength.NeverStill(rate=0.0)], **two)
    report = error.value.report
    assert [(f.model, f.optimizer) for f in report.failures] == [("mlp", "sgd"), ("two-heads", "adam")]
    text = str(error.value)
    assert "1 of its 26 promises" in text
    assert checks()["strength_zero_is_the_bare_optimizer"] in text
    assert "NeverStill(rate=0.0, period=4) on two-heads with adam" in text
    assert "expected: the bits of the bare optimizer" in text
    assert "happened: model.trunk.0.weight differs in" in text


def test_an_error_in_a_method_says_where_it_was_raised():
    with pytest.raises(ContractError, match=r"expected: no error\n +happened: KeyError: '0.weight' \(loop.py:\d+\)"):
        check_method(loop.NeedsEveryGradient(), **SMALL)


def test_without_a_method_of_strength_zero_its_checks_are_left_out():
    report = check_method(L2(strength=0.01), **SMALL)
    assert list(report.left_out) == ["strength_zero_is_the_bare_optimizer", "warns_where_it_can_never_act"]
    assert "strength_zero_is_the_bare_optimizer was left out: no method of strength zero" in str(report)


def test_the_old_name_of_inactive_warns():
    with pytest.warns(DeprecationWarning, match="`still` is now called `inactive`"):
        report = check_method(L2(strength=0.01), still=L2(strength=0.0), **SMALL)
    assert not report.left_out


def test_a_class_that_declares_nothing_is_told_what_to_write():
    with pytest.raises(SettingError, match=r"`contract`.*check_method\(Sound\(...\), inactive=Sound\(...\)\)"):
        check_method(Sound)


@pytest.mark.parametrize("wrong", [nn.Linear, "l2", L2(strength=0.1).settings()])
def test_what_is_no_method_is_refused(wrong):
    with pytest.raises(SettingError, match="is no method"):
        check_method(wrong)


def test_own_networks_and_optimizers():
    own = Model("own", lambda: nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)),
                (2,), 1, freeze="0")  # fmt: skip
    nadam = OptimizerCase("nadam", lambda parameters: torch.optim.NAdam(parameters, 0.01))
    report = check_method(L2, models=[own], optimizers=[nadam])
    assert report.trials["acts"] == 2


def test_each_network_and_each_optimizer_comes_but_not_their_product():
    models, optimizers = list(MODELS.values())[:2], list(OPTIMIZERS.values())[:3]
    seen = []

    def watched(optimizer):
        return OptimizerCase(
            optimizer.name, lambda p: seen.append(optimizer.name) or optimizer.make(p), optimizer.closure
        )

    two = [L2(strength=0.1), L2(strength=0.2)]
    report = check_method(L2, active=two, inactive=[], models=models, optimizers=map(watched, optimizers))
    assert set(seen) == {optimizer.name for optimizer in optimizers}
    assert report.trials["acts"] == 3 + 1
    assert report.trials["frozen_parameters"] == 2 + 1


def test_it_leaves_no_trace():
    states = torch.get_rng_state(), np.random.get_state()[1], random.getstate(), torch.get_default_dtype()
    check_method(L2(strength=0.01), **SMALL)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2:] == (random.getstate(), torch.get_default_dtype())


def test_a_field_may_accept_what_is_refused_elsewhere():
    @dataclass(frozen=True, kw_only=True)
    class Signed(Method):
        rate: float = field(default=0.1, metadata={"accepts": (-1.0,)})

        def __post_init__(self):
            require(self, "rate", isinstance(self.rate, float) and abs(self.rate) <= 1, "a number in [-1, 1]")

        def intervene(self, step, state, due):
            step.tensors |= {name: step.tensors[name] * (1 - self.rate) for name in step.parameters()}
            return state

    check_method(Signed(), **SMALL)


def test_differences_are_told_to_the_bit():
    one, nan = torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan])
    assert difference({"model.w": one}, {"model.w": nan}) is None
    assert difference({"model.w": one}, {"model.w": one.double()}).startswith("model.w is torch.float64")
    assert difference({"model.w": one}, {}) == "model.w is missing"
    assert difference({}, {"model.w": one}) == "model.w is there"
    assert difference({"optimizer.w.step": 1}, {"optimizer.w.step": 2}) == "optimizer.w.step is 2 instead of 1"
    assert difference({"plasticity.seed": 1}, {"plasticity.seed": 2}) is None


def test_every_check_says_what_a_violation_means():
    for name, meaning in checks().items():
        assert meaning.endswith("."), name


def test_exports():
    assert all(getattr(neoteny.testing, name) is not None for name in neoteny.testing.__all__)
    assert callable(neoteny.testing.checks)
