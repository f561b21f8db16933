"""An optimizer with state for each weight, written as a user would, in the laboratory's stacks of runs."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import ContinualBackprop, FullReset
from neoteny.nn import MLP
from neoteny.optim import Optimizer

SIZES = (0.01, 0.02, 0.05)


class LogSteps(Optimizer):
    """A step size for each weight, kept as its logarithm, and a running average of the weights."""

    newborn: ClassVar = {"log_step": "initial", "average": "weight"}

    def init(self, tensors):
        return {
            name: {"log_step": (value * 0 + self.step_size).log(), "average": value.clone()}
            for name, value in tensors.items()
        }

    def update(self, tensors, grads, optim, count, signals=None):
        for name, gradient in grads.items():
            log_step = optim[name]["log_step"] + 0.1 * gradient.sign()
            tensors[name] = tensors[name] - log_step.exp() * gradient
            optim[name] = {"log_step": log_step, "average": 0.9 * optim[name]["average"] + 0.1 * tensors[name]}


def trained(method, strategy):
    torch.manual_seed(0)
    learner = Learner(
        lambda: MLP(6, [8, 7], 3),
        torch.zeros(4, 6),
        loss="cross_entropy",
        optimizer=LogSteps(),
        methods=[method],
        seeds=range(3),
        varied={"step_size": SIZES},
        strategy=strategy,
        compile=False,
    )
    x, y = torch.randn(3, 12, 4, 6), torch.randint(0, 3, (3, 12, 4))
    learner.advance(examples(x, y))
    return learner


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_whole_networks_begin_with_each_runs_own_step_size(strategy):
    learner = trained(FullReset(), strategy)
    learner.new_task()
    carry = learner.strategy.carry()
    for name, state in carry["optim"].items():
        for run, size in enumerate(SIZES):
            assert torch.allclose(state["log_step"][run], torch.tensor(size).log())
        assert torch.equal(state["average"], carry["tensors"][name])


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_units_begin_with_each_runs_own_step_size(strategy):
    """At the last step one unit of each layer is replaced: of the output's weights only its column has begun anew."""
    learner = trained(ContinualBackprop(replacement_rate=0.125, maturity_threshold=4), strategy)
    carry = learner.strategy.carry()
    name = learner.network.head[0]
    weight, state = carry["tensors"][name], carry["optim"][name]
    newborn = (weight == 0).all(1)
    assert newborn.any()
    for run, size in enumerate(SIZES):
        begun = (state["log_step"][run] - torch.tensor(size).log()).abs() < 1e-6
        assert begun[:, newborn[run]].all()
        assert torch.equal(state["average"][run][:, newborn[run]], weight[run][:, newborn[run]])
        assert not begun.all()  # the others have learnt
