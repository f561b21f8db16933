"""Every rule under `torch.func.vmap` over runs, and compiled: the same numbers as one network at a time."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from neoteny.methods import (
    L2,
    ContinualBackprop,
    FullReset,
    HeadReset,
    L2Init,
    ReDo,
    ShrinkAndPerturb,
    Step,
)
from neoteny.methods.base import Method
from neoteny.units import Activations, find, random

RUNS = 3
METHODS = {
    "l2": L2(strength=0.01),
    "l2-decoupled": L2(strength=0.01, decoupled=True),
    "l2-init": L2Init(strength=0.01),
    "s&p": ShrinkAndPerturb(weight_decay=0.01, sigma=1e-3),
    "s&p-task": ShrinkAndPerturb(when="at_task"),
    "s&p-task-normal": ShrinkAndPerturb(when="at_task", noise="normal"),
    "cbp": ContinualBackprop(maturity_threshold=5),
    "cbp-adaptable": ContinualBackprop(maturity_threshold=5, utility="adaptable_contribution", compensate=True),
    "cbp-accumulate": ContinualBackprop(replacement_rate=0.9, maturity_threshold=5, replacement="accumulate"),
    "cbp-drawn": ContinualBackprop(maturity_threshold=5, replacement="drawn", utility="weight"),
    "cbp-random": ContinualBackprop(maturity_threshold=5, utility="random"),
    "redo": ReDo(tau=0.9),
    "head-reset": HeadReset(layers=2, period=1),
    "head-zero": HeadReset(to="zero", keep_momentum=True),
    "full-reset": FullReset(period=1),
}


def setting():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    network = find(model, torch.zeros(2, 1, 3, 3))
    names = dict(model.named_parameters())
    tensors = {
        name: torch.rand(RUNS, *value.shape) + 0.1
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    like = {name: tensors[name] for name in names}
    optim = {
        name: {"exp_avg": torch.randn_like(p), "exp_avg_sq": torch.rand_like(p), "step": torch.full((RUNS,), 9.0)}
        for name, p in like.items()
    }
    shapes = {"0": (5, 4, 4), "4": (5, 6, 1)}
    return network, {
        "tensors": tensors,
        "grads": {name: torch.randn_like(p) for name, p in like.items()},
        "optim": optim,
        "features": {name: torch.randn(RUNS, *shape) for name, shape in shapes.items()},
        "since": {layer.name: torch.full((RUNS, layer.size), 30, dtype=torch.int32) for layer in network.layers},
        "key": torch.stack([random.key(run) for run in range(RUNS)]),
    }


def initial(method, network, inputs):
    """A state some steps old: all units mature, utilities in some order."""
    states = [
        method.init(network, {name: value[run] for name, value in inputs["tensors"].items()}) for run in range(RUNS)
    ]
    torch.manual_seed(1)
    made = {}
    for name in states[0]:
        value = torch.stack([state[name] for state in states])
        old = value + 20 if name.endswith("age") else torch.rand_like(value) if value.is_floating_point() else value
        made[name] = old
    return made


def rule(method, network, due):
    """One step of one network with everything the method does, and its varying settings as tensors."""

    def run(inputs, state, due, hyper):
        bound = method.bind(hyper)
        step = Step(
            network,
            dict(inputs["tensors"]),
            dict(inputs["grads"]),
            {name: dict(value) for name, value in inputs["optim"].items()},
            {name: Activations(value) for name, value in inputs["features"].items()},
            dict(inputs["since"]),
            inputs["key"],
            0.1,
        )
        state = bound.regularise(step, state)
        state = bound.intervene(step, state, due)
        state = bound.at_task(step, state)
        return {"tensors": step.tensors, "grads": step.grads, "optim": step.optim, "since": step.since, "state": state}

    return run if due else lambda inputs, state, hyper: run(inputs, state, None, hyper)


def hyper_of(method):
    return {
        name: torch.tensor([getattr(method, name) * (1 + 0.01 * run) for run in range(RUNS)])
        for name in method.varies
        if name not in ("replacement_rate", "maturity_threshold", "decay_rate")
    }


def due_of(method, network):
    columns = len(network.layers) if isinstance(method, ContinualBackprop) else 1
    most = 2 if getattr(method, "replacement", "") == "accumulate" else 1
    return torch.tensor([[most] * columns, [0] * columns, [1] * columns])  # the second run has nothing due


def pick(tree, run):
    return {name: pick(value, run) if isinstance(value, dict) else value[run] for name, value in tree.items()}


def assert_tree_close(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, dict):
            assert_tree_close(value, b[name], **tolerance)
        else:
            torch.testing.assert_close(value, b[name], **tolerance, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("due", [True, False])
def test_over_runs_equals_one_by_one(name, due):
    method, (network, inputs) = METHODS[name], setting()
    state, hyper = initial(method, network, inputs), hyper_of(method)
    arguments = (inputs, state, due_of(method, network), hyper) if due else (inputs, state, hyper)
    stacked = torch.func.vmap(rule(method, network, due))(*arguments)
    for run in range(RUNS):
        own = [pick(a, run) if isinstance(a, dict) else a[run] for a in arguments]
        assert_tree_close(pick(stacked, run), rule(method, network, due)(*own), rtol=1e-6, atol=1e-7)
    if method.resets_units and due and method.name == "cbp":
        counts = [
            [int(value[run]) for key, value in stacked["state"].items() if key.endswith("replaced")]
            for run in range(RUNS)
        ]
        most = 2 if method.replacement == "accumulate" else 1
        assert counts == [[most, most], [0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("name", "due"),
    [(n, due) for n, m in METHODS.items() for due in (True, False) if due or type(m).schedule is not Method.schedule],
)
def test_captured_as_one_graph(name, due):
    """`fullgraph=True` holds for one network and for a stack."""
    torch._dynamo.reset()
    method, (network, inputs) = METHODS[name], setting()
    state, hyper = initial(method, network, inputs), hyper_of(method)
    arguments = (inputs, state, due_of(method, network), hyper) if due else (inputs, state, hyper)
    stacked = torch.func.vmap(rule(method, network, due))
    captured = torch.compile(stacked, fullgraph=True, backend="eager")
    assert_tree_close(captured(*arguments), stacked(*arguments))


@pytest.mark.slow
def test_compiled_gives_the_same_numbers():
    """One rule with everything that rules have: averages, choices of units, draws; the laboratory compiles others."""
    torch._dynamo.reset()
    method, (network, inputs) = METHODS["cbp-adaptable"], setting()
    arguments = (inputs, initial(method, network, inputs), due_of(method, network), hyper_of(method))
    stacked = torch.func.vmap(rule(method, network, True))
    assert_tree_close(torch.compile(stacked, fullgraph=True)(*arguments), stacked(*arguments), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_rules_do_not_write_into_tensors(name):
    method, (network, inputs) = METHODS[name], setting()
    one = pick(inputs, 0)
    state, due = pick(initial(method, network, inputs), 0), due_of(method, network)[0]

    def copies(tree):
        return {key: copies(value) if isinstance(value, dict) else value.clone() for key, value in tree.items()}

    before = copies({**one, "state": state})
    rule(method, network, True)(one, state, due, {})
    assert_tree_close({**one, "state": state}, before, rtol=0, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_plain_records(name):
    method = METHODS[name]
    assert type(method)(**method.settings()) == method
    assert hash(method) == hash(dataclasses.replace(method))
    assert set(method.varies) <= set(method.settings())
