"""A learner that acts between its steps: one call a step gives what other strategies give."""

import copy

import numpy as np
import pytest
import torch

from neoteny import compiling
from neoteny.compiling import CompileWarning
from neoteny.lab.clocks import Clocks
from neoteny.lab.graph import direct
from neoteny.lab.in_place import InPlace
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods import ContinualBackprop, ShrinkAndPerturb
from neoteny.methods.shared.schedule import Replacements
from neoteny.nn import MLP
from neoteny.optim import SGD, Adam
from neoteny.registry import METHODS

STEPS = 200
CBP = ContinualBackprop(replacement_rate=5e-3, maturity_threshold=20, utility="adaptable_contribution")
NEEDS_COMPILER = pytest.mark.skipif(compiling.compiler() is None, reason="compiling needs a C++ compiler")


def data(runs, batch=1):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(runs, STEPS, batch, 6, generator=generator)
    return x, torch.randn(runs, STEPS, batch, 2, generator=generator)


def learner(methods, strategy="one-call", optimizer=None, runs=2, compile=False, batch=1, hidden=(8, 7), **more):
    return Learner(
        lambda: MLP(6, list(hidden), 2, activation="tanh"),
        data(1, batch)[0][0, 0],
        loss="mse",
        optimizer=optimizer or SGD(step_size=0.02),
        methods=methods,
        seeds=range(runs),
        strategy=strategy,
        compile=compile,
        **more,
    )


def learn(learner, x, y):
    for step in range(x.shape[1]):
        learner.learn(examples(x[:, step], y[:, step]))


def assert_same(a, b):
    for name, value in a.weights().items():
        torch.testing.assert_close(value, b.weights()[name], rtol=1e-4, atol=1e-5)
    for name, count in a.replaced().items():
        assert (count == b.replaced()[name]).all()
        assert count.min() > 0


@pytest.mark.parametrize("strategy", ["one-call", "stack", "loop"])
def test_steps_one_by_one_are_the_segments(strategy):
    """Alternating with segments, over more steps than the clocks are asked for at once."""
    x, y = data(2)
    whole, single = learner((CBP,), "stack"), learner((CBP,), strategy)
    single._clocks._length = single._clocks._used = 64
    sums = whole.advance(examples(x, y))["loss"]
    learn(single, x[:, :90], y[:, :90])
    begun = single.take_sums()["loss"]
    middle = single.advance(examples(x[:, 90:100], y[:, 90:100]))["loss"]
    learn(single, x[:, 100:], y[:, 100:])
    torch.testing.assert_close(begun + middle + single.take_sums()["loss"], sums, rtol=1e-5, atol=1e-5)
    assert_same(single, whole)
    torch.testing.assert_close(single.act(x[:, 0]), whole.outputs(x[:, 0]), rtol=1e-4, atol=1e-5)


# one of each stage, and those that read gradients, a reference batch or single weights
ACTING = (
    "l2",
    "c-chain",
    "upgd",
    "shrink-and-perturb",
    "weight-clipping",
    "cbp",
    "regrama",
    "swr",
    "ema",
    "batch-norm",
)


@pytest.mark.parametrize("name", ACTING)
def test_methods_act_as_in_a_stack(name):
    method = METHODS[name].load().contract()[0][0]
    x, y = (part[:, :12] for part in data(2, batch=4))
    # the gradient of a bias in front of a batch norm is rounding, of which Adam makes whole steps
    optimizer = SGD(step_size=0.1) if name == "batch-norm" else Adam(step_size=0.01)
    stack, single = (
        learner((method,), strategy, optimizer, batch=4, reference=x[:, 0]) for strategy in ("stack", "one-call")
    )
    stack.advance(examples(x[:, :4], y[:, :4]))
    learn(single, x[:, :4], y[:, :4])
    for each in (stack, single):
        each.new_task()
    stack.advance(examples(x[:, 4:], y[:, 4:]))
    learn(single, x[:, 4:], y[:, 4:])
    for weight, value in stack.weights().items():
        torch.testing.assert_close(single.weights()[weight], value, rtol=1e-3, atol=1e-4)
    for evaluated in (True, False):  # an average is evaluated, and does not act
        found = single.act(x[:, 0], evaluated=evaluated)
        expected = stack.outputs(x[:, 0], trained=not evaluated)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("optimizer", "method"),
    [
        (SGD(step_size=0.02, momentum=0.5), ShrinkAndPerturb(sigma=1e-3, weight_decay=1e-3)),
        (Adam(step_size=0.005), CBP),
    ],
)
def test_compiled_it_gives_the_same(optimizer, method):
    x, y = data(2)
    more = {"varied": {"step_size": [0.01, 0.02]}, "rated": True, "hidden": (8,)}  # fewer layers compile sooner
    plain, compiled = (
        learner((method,), strategy, optimizer, compile=strategy == "one-call", **more)
        for strategy in ("loop", "one-call")
    )
    for begin, end, factor in ((0, 100, 0.5), (100, STEPS, 1.0)):
        plain.advance(examples(x[:, begin:end], y[:, begin:end]))
        learn(compiled, x[:, begin:end], y[:, begin:end])
        for each in (plain, compiled):
            each.scale_step_size(factor)
    assert_same(plain, compiled)
    torch.testing.assert_close(compiled.act(x[:, 0]), plain.outputs(x[:, 0]), rtol=1e-4, atol=1e-5)
    assert compiled.describe()["compile_seconds"] > 0


@pytest.mark.parametrize("strategy", ["one-call", "loop"])
def test_saved_between_two_steps_it_goes_on_bit_for_bit(strategy):
    x, y = data(2)
    first, second = learner((CBP,), strategy), learner((CBP,), "one-call")
    learn(first, x[:, :77], y[:, :77])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for each in (first, second):
        learn(each, x[:, 77:], y[:, 77:])
    for name, value in first.weights().items():
        assert torch.equal(value, second.weights()[name])


def test_a_run_that_was_dropped_stays():
    x, y = data(2)
    made = learner((), "one-call")
    made.drop(1)
    before = {name: value.clone() for name, value in made.weights().items()}
    learn(made, x[:, :3], y[:, :3])
    for name, value in made.weights().items():
        assert torch.equal(value[1], before[name][1])
        assert not torch.equal(value[0], before[name][0])


def test_batches_of_any_size_and_structure():
    x, y = data(2, batch=3)
    made, stack = learner((CBP,)), learner((CBP,), "stack")
    for step, size in enumerate([3, 1, 3, 2]):
        batch = examples(x[:, step, :size], y[:, step, :size])
        made.learn({**batch, "not used": [x[:, step, :size]]})
        stack.advance(examples(batch["inputs"][:, None], batch["targets"][:, None]))
    for name, value in stack.weights().items():
        torch.testing.assert_close(made.weights()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=[pytest.mark.slow, NEEDS_COMPILER])])
def test_a_state_that_changes_places_is_read_before_it_is_overwritten(compile):
    def step(state, by):
        moved = {"a": state["b"], "b": state["a"], "c": state["a"][:2], "d": state["d"] + by}
        return moved, (state["a"], state["d"] * 2)

    state = {"a": torch.arange(4.0), "b": torch.ones(4), "c": torch.zeros(2), "d": torch.tensor(1.0)}
    call = InPlace(step, state, [torch.tensor(0.0)], compile)
    for _ in range(3):
        before = {name: value.clone() for name, value in state.items()}
        seen, doubled = call([*state.values(), torch.tensor(2.0)])
        torch.testing.assert_close((seen, doubled), (before["a"], before["d"] * 2))
        now = {"a": before["b"], "b": before["a"], "c": before["a"][:2], "d": before["d"] + 2}
        torch.testing.assert_close(state, now)


def test_clocks_asked_for_one_step_or_for_many_tell_the_same():
    def clocks():
        runs = [Replacements(0.01, [9, 30], 5, "drawn", np.random.default_rng(run)) for run in range(2)]
        return Clocks([runs, None], ahead=50)

    whole, single = clocks(), clocks()
    want = whole.take(300)[0]
    assert want is not None
    for step in range(300):
        if step in (70, 200):  # part of what was asked for is not taken yet
            state = copy.deepcopy(single.state_dict())
            single = clocks()
            single.load_state_dict(state)
        due = [single.take(1)[0][:, 0], None] if step % 100 == 99 else single.next()
        assert (want[:, step] == (0 if due is None else due[0])).all()


@pytest.mark.slow
@NEEDS_COMPILER
def test_a_torch_with_other_internals_goes_through_its_compiler(monkeypatch):
    def gone(*arguments):
        raise AttributeError("no compile_fx_inner")

    monkeypatch.setattr("neoteny.lab.graph._compiled", gone)
    state = {"sum": torch.tensor(3.0)}
    with pytest.warns(CompileWarning, match="through torch.compile"):
        call = InPlace(
            lambda state, by: ({"sum": state["sum"] + by}, state["sum"] * 2), state, [torch.tensor(0.0)], True
        )
    assert call([state["sum"], torch.tensor(4.0)]) == 6.0
    assert state["sum"] == 7.0


@NEEDS_COMPILER
def test_a_graph_that_cannot_be_joined_runs_as_loops_of_its_own(monkeypatch):
    """TorchInductor fails on some graphs of methods; then no two operations share a loop, and a warning says so."""
    from torch._inductor import compile_fx, config
    from torch._inductor.exc import InductorError

    inner = compile_fx.compile_fx_inner

    def fails_where_it_joins(*given, **named):
        if config.max_fusion_size > 1:
            raise InductorError(KeyError("buf62"), None)
        return inner(*given, **named)

    monkeypatch.setattr(compile_fx, "compile_fx_inner", fails_where_it_joins)
    x = torch.arange(6.0).reshape(2, 3)
    with pytest.warns(CompileWarning, match=r"cannot join the operations of this graph \(KeyError: 'buf62'\)"):
        made = direct(lambda given: [given[0].exp().sum(0)], [x])
    assert made is not None
    torch.testing.assert_close(made([x])[0], x.exp().sum(0))
