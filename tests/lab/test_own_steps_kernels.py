"""Kernels of rules with a step size for each weight: they give what the rule's own graph gives, up to rounding."""

import copy

import pytest
import torch
from torch import nn

from lab.test_learner import advance, data
from neoteny import compiling
from neoteny.errors import SettingError
from neoteny.lab import losses
from neoteny.lab.learner import Learner
from neoteny.lab.temporal import delayed
from neoteny.methods import L2, Centring, ContinualBackprop, Dynamic, Fringe, ReDo
from neoteny.nn import MLP
from neoteny.optim import IDBD, SGD, Autostep

pytestmark = pytest.mark.skipif(compiling.compiler() is None, reason="the kernels need a C++ compiler")

RULES = {
    "autostep": Autostep(step_size=0.02, mu=0.02),
    "autostep-bounded": Autostep(step_size=0.5, mu=0.2, tau=50.0),
    "idbd": IDBD(step_size=0.01, theta=0.01),
    "idbd-uncautious": IDBD(step_size=0.01, theta=0.3, cautious=False),
}
METHODS = {
    "cbp": (ContinualBackprop(replacement_rate=2e-2, maturity_threshold=15, utility="adaptable_contribution"),),
    "cbp-contribution": (ContinualBackprop(replacement_rate=2e-2, maturity_threshold=15),),
    "cbp-accumulate": (ContinualBackprop(replacement_rate=0.2, maturity_threshold=9, replacement="accumulate"),),
    "redo": (ReDo(tau=0.5, period=30), ContinualBackprop(replacement_rate=2e-2, maturity_threshold=15)),
}
FRINGE = {"replacement_rate": 2e-2, "maturity": 15, "threshold": 0.5, "decay_rate": 0.9, "protection": 0.7}
MAPPING = {
    "fringe": (Fringe(**FRINGE),),
    "centring": (Centring(rate=0.02),),
    "centring-cbp": (Centring(rate=0.02), *METHODS["cbp-contribution"]),
    "dynamic": (Dynamic(**FRINGE, centring_rate=0.02),),
}
LOSSES = {"cross_entropy": 3, "mse": 3, "one output": 1}


def learner(rule, methods=(), loss="cross_entropy", strategy="stack", activation="tanh", runs=3, **more) -> Learner:
    outputs, usual = LOSSES[loss], "cross_entropy" if loss == "cross_entropy" else "mse"
    return Learner(
        lambda: MLP(12, [9, 7], outputs, activation=activation),
        torch.zeros(1, 12),
        loss=usual,
        optimizer=rule,
        methods=methods,
        seeds=range(runs),
        strategy=strategy,
        compile=False,
        **more,
    )


def batches(loss: str, runs: int = 3, steps: int = 70) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = data(runs, steps, labels=loss == "cross_entropy")
    return x * (x > -0.3), y if loss == "cross_entropy" else y[..., : LOSSES[loss]]


def assert_same(one: Learner, other: Learner, runs=slice(None)) -> None:
    ours, theirs = one.strategy.carry(), other.strategy.carry()
    for name, value in ours["tensors"].items():
        torch.testing.assert_close(value, theirs["tensors"][name][runs], rtol=1e-3, atol=1e-5)
        for state, own in ours["optim"][name].items():
            torch.testing.assert_close(own, theirs["optim"][name][state][runs], rtol=2e-3, atol=1e-5)
    for name, count in one.replaced().items():
        assert (count == other.replaced()[name][runs]).all()


def metrics(made: Learner, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    advance(made, x[:, :40], y[:, :40], 30)
    return made.advance({"inputs": x[:, 40:], "targets": y[:, 40:]})


@pytest.mark.parametrize(
    ("rule", "activation", "loss"),
    [
        ("autostep", "relu", "cross_entropy"),
        ("autostep", "tanh", "one output"),
        ("autostep-bounded", "leaky_relu", "cross_entropy"),
        ("autostep-bounded", "relu", "mse"),
        ("idbd", "relu", "one output"),
        ("idbd", "leaky_relu", "mse"),
        ("idbd-uncautious", "tanh", "cross_entropy"),
    ],
)
def test_kernels_give_what_the_rule_gives(rule, activation, loss):
    x, y = batches(loss)
    stack, *others = (learner(RULES[rule], (), loss, s, activation) for s in ("stack", "rank-one", "lanes"))
    said = metrics(stack, x, y)
    for other in others:
        for name, value in metrics(other, x, y).items():
            torch.testing.assert_close(value, said[name], rtol=1e-4, atol=1e-4)
        assert_same(stack, other)


@pytest.mark.parametrize(
    ("rule", "method"),
    [("autostep", "cbp"), ("autostep-bounded", "cbp-contribution"), ("idbd", "cbp-accumulate"), ("autostep", "redo")],
)
def test_kernels_replace_units_as_the_method_does(rule, method):
    x, y = batches("one output")
    stack, *others = (learner(RULES[rule], METHODS[method], "one output", s) for s in ("stack", "rank-one", "lanes"))
    metrics(stack, x, y)
    assert all(count.min() > 0 for count in stack.replaced().values())
    for other in others:
        metrics(other, x, y)
        assert_same(stack, other)


def known_centre(made: Learner) -> Learner:
    """The same, as if it had met many examples.

    The centre at the first example is that example, so the first gradients are 0 up to rounding. Autostep looks at
    their signs.
    """
    carry = made.strategy.carry()
    for state in carry["methods"]:
        for name, value in state.items():
            state[name] = value + {"product": 0.3, "square": 1.0}.get(name.rpartition("/")[2], 0)
    made.strategy.load(carry)
    return made


@pytest.mark.parametrize("method", MAPPING)
@pytest.mark.parametrize(
    ("rule", "loss"),
    [("sgd", "mse"), ("autostep", "one output"), ("autostep-bounded", "cross_entropy"), ("idbd", "mse")],
)
def test_kernels_map_gradients_and_keep_backbones_as_the_methods_do(rule, loss, method):
    x, y = batches(loss)
    optimizer = SGD(step_size=0.02) if rule == "sgd" else RULES[rule]
    kinds = ("stack", "rank-one", "lanes")
    stack, *others = (known_centre(learner(optimizer, MAPPING[method], loss, kind)) for kind in kinds)
    said = metrics(stack, x, y)
    assert method == "centring" or all(count.sum() > 0 for count in stack.replaced().values())
    for other in others:
        for name, value in metrics(other, x, y).items():
            torch.testing.assert_close(value, said[name], rtol=1e-4, atol=1e-4)
        assert_same(stack, other)
        for ours, theirs in zip(stack.strategy.carry()["methods"], other.strategy.carry()["methods"], strict=True):
            for name, value in ours.items():
                if name.rpartition("/")[2] not in ("news", "size", "held"):  # what a step forgets
                    torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-5)


def test_new_weights_may_begin_with_the_median_step_size():
    x, y = batches("cross_entropy")
    rule = Autostep(step_size=0.02, mu=0.02, newborn_step="median")
    stack, *others = (learner(rule, METHODS["cbp"], strategy=s) for s in ("stack", "rank-one", "lanes"))
    metrics(stack, x, y)
    for other in others:
        metrics(other, x, y)
        assert_same(stack, other)


@pytest.mark.parametrize(
    ("rule", "method", "strategy"),
    [
        *((rule, "cbp", strategy) for rule in ("autostep-bounded", "idbd") for strategy in ("rank-one", "lanes")),
        *(("autostep-bounded", "dynamic", strategy) for strategy in ("rank-one", "lanes")),
    ],
)
def test_saved_and_loaded_the_next_steps_are_bitwise_equal(rule, method, strategy):
    x, y = batches("cross_entropy")
    first, second = (learner(RULES[rule], (METHODS | MAPPING)[method], strategy=strategy) for _ in range(2))
    advance(first, x[:, :40], y[:, :40])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for made in (first, second):
        advance(made, x[:, 40:], y[:, 40:])
    for name, value in first.weights().items():
        assert torch.equal(value, second.weights()[name])


@pytest.mark.parametrize("strategy", ["rank-one", "lanes"])
def test_runs_may_differ_in_settings(strategy):
    x, y = (value[:1].expand(3, *value.shape[1:]) for value in batches("cross_entropy"))
    varied = {"step_size": [0.01, 0.02, 0.02], "mu": [0.01, 0.01, 0.3]}
    stack, grid = (learner(Autostep(), METHODS["cbp"], strategy=s, varied=varied) for s in ("stack", strategy))
    for made in (stack, grid):
        advance(made, x, y)
    assert_same(stack, grid)


def test_what_kernels_do_not_know_is_refused():
    with pytest.raises(SettingError, match="gauss-newton.*one output"):
        learner(Autostep(curvature="gauss-newton"), strategy="lanes")
    with pytest.raises(SettingError, match="l2 adds to the gradients"):
        learner(Autostep(), (L2(strength=0.1),), strategy="rank-one")


@pytest.mark.parametrize("rule", [SGD(step_size=0.02), Autostep(step_size=0.02)], ids=["sgd", "autostep"])
def test_lanes_predict_examples_whose_labels_come_later(rule):
    """They are judged with the weights before the step, and not learned from."""

    def made(strategy: str) -> Learner:
        objective = delayed(losses.LOSSES["mse"], rule)
        kept = {"methods": METHODS["cbp"], "seeds": range(3), "strategy": strategy, "compile": False}
        return Learner(lambda: MLP(12, [9, 7], 1), torch.zeros(1, 12), objective=objective, **kept)

    x, y = batches("one output")
    batch = {"inputs": x[:, :-10], "targets": y[:, :-10], "latest": x[:, 10:], "truth": y[:, 10:]}
    stack, lanes = made("stack"), made("lanes")
    theirs, ours = stack.advance(batch), lanes.advance(batch)
    torch.testing.assert_close(ours["loss"], theirs["loss"], rtol=1e-4, atol=1e-5)
    assert_same(stack, lanes)
    with pytest.raises(SettingError, match="its labels come at once"):
        made("rank-one")


def test_auto_takes_the_kernels():
    def kind(build, inputs: int, rule, runs: int, loss: str = "cross_entropy", methods=()) -> str:
        made = Learner(build, torch.zeros(1, inputs), loss=loss, optimizer=rule, seeds=range(runs), methods=methods)
        return made.strategy.name

    assert kind(lambda: MLP(12, [9], 3), 12, Autostep(), 4) == "lanes"
    assert kind(lambda: MLP(784, [100], 10), 784, IDBD(), 1) == "rank-one"
    assert kind(lambda: nn.Linear(12, 1), 12, Autostep(curvature="gauss-newton"), 4, "mse") == "lanes"
    assert kind(lambda: MLP(12, [9], 3), 12, Autostep(), 4, methods=(Dynamic(),)) == "lanes"
    assert kind(lambda: MLP(12, [9], 3), 12, SGD(), 4, methods=(Dynamic(), L2(strength=0.1))) != "lanes"


@pytest.mark.parametrize(
    ("rule", "strategy"), [("sgd", "lanes"), ("sgd", "rank-one"), ("idbd", "lanes"), ("idbd", "rank-one")]
)
def test_kernels_find_the_centre_from_the_first_example_on(rule, strategy):
    """Also where nothing is known of it for a while, since all errors are 0."""
    x, y = batches("one output")
    optimizer = SGD(step_size=0.02) if rule == "sgd" else RULES[rule]
    stack, kernel = (learner(optimizer, (Centring(rate=0.02),), "one output", s) for s in ("stack", strategy))
    for made in (stack, kernel):
        carry = made.strategy.carry()
        output = list(carry["tensors"])[-2:]
        silent = {name: value * (name not in output) for name, value in carry["tensors"].items()}
        made.strategy.load({**carry, "tensors": silent})
        made.advance({"inputs": x[:, :5], "targets": torch.zeros_like(y[:, :5])})
        made.advance({"inputs": x[:, 5:], "targets": y[:, 5:]})
    assert (kernel.strategy.carry()["methods"][0]["layers.0.weight/square"] > 0).all()
    assert_same(stack, kernel)
