"""Streaming TD(lambda) and labels with a delay, as objectives of the laboratory, against ordinary loops."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from linear.references import swift_td
from neoteny import lab
from neoteny.errors import SettingError
from neoteny.lab.execution import Execution
from neoteny.lab.learner import Learner
from neoteny.lab.losses import LOSSES
from neoteny.lab.resolving import resolve
from neoteny.lab.running import folder_of, start
from neoteny.lab.temporal import delayed, sarsa, temporal_difference
from neoteny.nn import MLP, LinearNetwork
from neoteny.nn.action_values import LinearActionValues
from neoteny.optim import IDBD, SGD, ObGD, SwiftTD, TraceSGD

EAGER = {"compile": False, "progress": False}
TRACE = "trace-conditioning"
SHORT = {"tasks": 2, "task_length": 140, "bin_size": 140, "measure_every": 70}
GAMMA, LAMBDA = 0.9, 0.8


def transitions(runs=2, steps=60, inputs=4, batch=1):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((runs, steps + 1, batch, inputs)))
    cumulants, returns = torch.from_numpy(rng.standard_normal((2, runs, steps, batch, 1)))
    return {"inputs": x[:, :-1], "next": x[:, 1:], "cumulants": cumulants, "returns": returns}


def learner(build, optimizer, inputs=4, seeds=(0, 1), trace=LAMBDA, **options):
    return Learner(
        build,
        torch.zeros(1, inputs, dtype=torch.float64),
        objective=temporal_difference(optimizer, GAMMA, trace),
        seeds=seeds,
        **{"strategy": "stack", "compile": False, **options},
    )


def test_td_on_a_network_equals_the_ordinary_loop():
    mine = learner(lambda: MLP(4, [5], 1, activation="tanh").double(), TraceSGD(step_size=0.02))
    given = transitions(steps=150)
    networks = [MLP(4, [5], 1, activation="tanh").double() for _ in range(2)]
    for run, network in enumerate(networks):
        network.load_state_dict({name: value[run] for name, value in mine.weights().items()})
    sums = mine.advance(given)
    for run, network in enumerate(networks):
        traces, scores, errors = [torch.zeros_like(p) for p in network.parameters()], 0.0, 0.0
        for t in range(150):
            one = {name: value[run, t] for name, value in given.items()}
            value = network(one["inputs"]).squeeze()
            grads = torch.autograd.grad(value, list(network.parameters()))
            with torch.no_grad():
                delta = one["cumulants"].item() + GAMMA * network(one["next"]).item() - value.item()
                traces = [GAMMA * LAMBDA * z + g for z, g in zip(traces, grads, strict=True)]
                for parameter, z in zip(network.parameters(), traces, strict=True):
                    parameter += 0.02 * delta * z
            scores += (value.item() - one["returns"].item()) ** 2
            errors += delta**2
        for name, value in network.state_dict().items():
            torch.testing.assert_close(mine.weights()[name][run], value, rtol=1e-8, atol=1e-10)
        assert [sums[name][run].item() for name in ("loss", "td_error")] == pytest.approx([scores, errors])


@pytest.mark.parametrize(
    "rule", [SGD(step_size=0.02), IDBD(step_size=0.02, theta=0.0, cautious=False)], ids=["loss", "either"]
)
def test_without_traces_every_optimizer_learns_the_same_td(rule):
    """Optimizers of losses follow the gradient of delta^2 / 2 in v(x) alone."""
    build, given = lambda: MLP(4, [5], 1, activation="tanh").double(), transitions(steps=60)
    first, other = (learner(build, each, trace=0.0) for each in (TraceSGD(step_size=0.02), rule))
    sums, others = first.advance(given), other.advance(given)
    assert all(torch.allclose(others[name], sums[name]) for name in ("loss", "td_error"))
    for name, value in first.weights().items():
        torch.testing.assert_close(other.weights()[name], value, rtol=1e-10, atol=1e-12)


def test_swift_td_in_the_laboratory_is_the_learner_of_a_user():
    """The bias is a feature that is always 1."""
    from neoteny.linear import LinearPredictor

    def build():
        network = LinearNetwork(4, 1).double()
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network

    mine, given = learner(build, SwiftTD(), seeds=(0, 1)), transitions(steps=300)
    mine.advance(given)
    for run in range(2):
        user = LinearPredictor(5, SwiftTD(), discount=GAMMA, trace=LAMBDA)
        x = torch.cat([given["inputs"][run, :, 0], given["next"][run, -1:, 0]]).numpy()
        for t, features in enumerate(x):
            user.update([*features, 1.0], given["cumulants"][run, max(t - 1, 0), 0, 0])
        found = torch.cat([mine.weights()["layers.0.weight"][run, 0], mine.weights()["layers.0.bias"][run]])
        np.testing.assert_allclose(found.numpy(), user.weights, rtol=1e-7)


def test_labels_with_a_delay_equal_the_ordinary_loop():
    rng = np.random.default_rng(1)
    x, y = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((2, 80, 1, 3), (2, 80, 1, 1)))
    mine = Learner(
        lambda: nn.Linear(3, 1).double(),
        x[0, 0],
        objective=delayed(LOSSES["mse"], SGD(step_size=0.05)),
        seeds=(0, 1),
        strategy="stack",
        compile=False,
    )
    start = {name: value.clone() for name, value in mine.weights().items()}
    sums = mine.advance({"inputs": x[:, :-7], "targets": y[:, :-7], "latest": x[:, 7:], "truth": y[:, 7:]})
    for run in range(2):
        w, b, score = start["weight"][run, 0].numpy().copy(), start["bias"][run].item(), 0.0
        for t in range(73):
            late, new = x[run, t, 0].numpy(), x[run, t + 7, 0].numpy()
            score += (w @ new + b - y[run, t + 7].item()) ** 2
            slope = 2 * (w @ late + b - y[run, t].item())
            w, b = w - 0.05 * slope * late, b - 0.05 * slope
        np.testing.assert_allclose(mine.weights()["weight"][run, 0].numpy(), w, rtol=1e-9)
        assert sums["loss"][run].item() == pytest.approx(score)


def test_what_is_refused():
    with pytest.raises(SettingError, match="lambda = 1.5"):
        temporal_difference(ObGD(), 0.9, 1.5)
    with pytest.raises(SettingError, match="SGD descends a loss"):
        temporal_difference(SGD(), 0.9, 0.9)
    with pytest.raises(SettingError, match="traces belong to one prediction"):
        learner(lambda: LinearNetwork(4, 2).double(), ObGD()).advance(transitions(steps=2))
    with pytest.raises(SettingError, match="a batch of 3 examples"):
        learner(lambda: LinearNetwork(4, 1).double(), ObGD()).advance(transitions(batch=3, steps=2))
    for settings, said in (
        ({"trace": -1.0}, "trace"),
        ({"batch_size": 2}, "one stream"),
        ({"optimizer": "sgd"}, "SGD"),
    ):
        with pytest.raises(SettingError, match=said):
            resolve(TRACE, scale="tiny", settings=settings)


def test_interrupted_and_resumed_equals_never_interrupted(tmp_path):
    config = resolve(TRACE, method="swift-td", runs=2, scale="tiny", settings=SHORT)
    whole = lab.run(config, out=tmp_path / "whole", **EAGER)
    folder, segments = folder_of(config, tmp_path / "cut"), itertools.count(1)
    with pytest.raises(KeyboardInterrupt):
        start(config, folder, Execution(compile=False), stopped=lambda: next(segments) == 2)
    resumed = lab.resume(folder, progress=False)
    assert (resumed.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()
    for name, weights in whole.final_weights().items():
        assert torch.equal(weights, resumed.final_weights()[name])


def test_a_run_that_overflows_ends_alone(tmp_path):
    grid = {"step_size": [0.01, 1e6, 0.02]}
    run = lab.run(TRACE, runs=1, scale="tiny", settings=SHORT, grid=grid, out=tmp_path, **EAGER)
    assert run.metrics.filter(pl.col("metric") == "non_finite")["run"].to_list() == [1]
    assert run.metrics.filter((pl.col("metric") == "loss") & (pl.col("run") != 1)).height == 4


def test_sarsa_equals_the_ordinary_loop_on_the_actions_it_took():
    """Rewards that name the action: the loss, the best reward less the action's, tells which one was taken."""
    rng = np.random.default_rng(2)
    x, count = rng.standard_normal((2, 121, 1, 4)), 120
    rewards = np.broadcast_to([0.0, -1.0, -2.0], (2, count, 1, 3)).copy()
    mine = Learner(
        lambda: LinearActionValues(4, 3).double(),
        torch.zeros(1, 4, dtype=torch.float64),
        objective=sarsa(SwiftTD(), GAMMA, LAMBDA, exploration=0.4),
        seeds=(0, 1),
        strategy="stack",
        compile=False,
    )
    given = {"inputs": x[:, :-1], "next": x[:, 1:], "rewards": rewards}
    batches = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in given.items()}
    actions = np.array([mine.advance({k: v[:, [t]] for k, v in batches.items()})["loss"].numpy() for t in range(count)])
    assert set(actions.ravel()) == {0.0, 1.0, 2.0}
    for run in range(2):
        last = mine.strategy.carry()["tensors"]["action"][run].item()
        taken = [*actions[:, run].astype(int), last]
        pairs = np.zeros((count + 1, 3, 4))
        pairs[np.arange(count + 1), taken] = x[run, :, 0]
        cumulants = [0.0, *rewards[run, np.arange(count), 0, taken[:-1]]]
        _, weights, _ = swift_td(pairs.reshape(-1, 12), cumulants, np.full(count + 1, GAMMA), lamda=LAMBDA)
        np.testing.assert_allclose(mine.weights()["layer.weight"][run].flatten().numpy(), weights, rtol=1e-6)
    with pytest.raises(SettingError, match="exploration = 2"):
        sarsa(SwiftTD(), 0.9, 0.9, exploration=2)
