"""Every registered method in the laboratory: in a stack as alone, and saved and loaded to the bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils._pytree import tree_map

from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import UPGD, ShrinkAndPerturb
from neoteny.nn import MLP
from neoteny.optim import SGD, Adam
from neoteny.registry import METHODS

STEPS, BATCH, RUNS = 12, 4, 3


def data():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(RUNS, STEPS, BATCH, 6, generator=generator)
    return x, torch.randint(0, 3, (RUNS, STEPS, BATCH), generator=generator)


def learner(method, strategy="stack", seeds=range(RUNS), x=None, optimizer=None):
    x = data()[0] if x is None else x
    return Learner(
        lambda: MLP(6, [8, 7], 3),
        x[0, 0],
        loss="cross_entropy",
        optimizer=optimizer or SGD(step_size=0.05),
        methods=[method],
        seeds=seeds,
        strategy=strategy,
        compile=False,
        reference=x[:, 0],
    )


def advance(learner, x, y):
    """Some steps, and a change of task on the way."""
    learner.advance(examples(x[:, :4], y[:, :4]))
    learner.new_task()
    learner.advance(examples(x[:, 4:], y[:, 4:]))


def active(name):
    return METHODS[name].load().contract()[0][0]


@pytest.mark.parametrize("name", METHODS)
def test_it_runs_in_a_stack_as_it_does_alone(name):
    x, y = data()
    stack, loop = (learner(active(name), strategy) for strategy in ("stack", "loop"))
    for each in (stack, loop):
        advance(each, x, y)
    alone = learner(active(name), seeds=[1], x=x[1:2])
    advance(alone, x[1:2], y[1:2])
    for weight, value in stack.weights().items():
        assert value.isfinite().all()
        torch.testing.assert_close(loop.weights()[weight], value, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(alone.weights()[weight], value[1:2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_saved_and_loaded_it_goes_on_bit_for_bit(name):
    x, y = data()
    first, second = (learner(active(name), optimizer=Adam(step_size=0.01)) for _ in range(2))
    advance(first, x[:, :7], y[:, :7])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for each in (first, second):
        advance(each, x[:, 7:], y[:, 7:])
    for weight, value in first.weights().items():
        assert torch.equal(value, second.weights()[weight])
    assert torch.equal(first.outputs(x[:, 0]), second.outputs(x[:, 0]))


@pytest.mark.parametrize("method", [UPGD(sigma=0.1), ShrinkAndPerturb(sigma=0.1)], ids=lambda method: method.name)
def test_noise_drawn_ahead_is_the_noise_that_a_step_draws(method):
    """Whether it moves the gradients, before the optimizer's step, or the weights, after it."""
    learner = Learner(
        lambda: MLP(3, [4], 2), torch.zeros(1, 3), loss="mse", optimizer=SGD(), methods=(method,), strategy="loop"
    )
    step, key = learner.strategy.step, learner.strategy.keys[0]
    carry = tree_map(lambda leaf: leaf[0], learner.strategy.carry())
    batch = examples(torch.ones(1, 3), torch.ones(1, 2))
    (ahead,) = step.noise(key, carry["count"], 1)
    assert ahead.shape == (1, 3 * 4 + 4 + 4 * 2 + 2)
    one, other = (step(carry, {}, key, batch, [None], [noise]) for noise in (ahead[0], None))
    for name, value in one["tensors"].items():
        torch.testing.assert_close(value, other["tensors"][name], rtol=1e-5, atol=1e-6)
        assert not torch.equal(value, carry["tensors"][name])
