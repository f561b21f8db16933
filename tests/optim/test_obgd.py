"""ObGD, its adaptive form and steps along traces against NumPy, and as phases of the laboratory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import Evaluation, Objective, Phase, examples
from neoteny.methods import L2
from neoteny.optim import SGD, AdaptiveObGD, ObGD, TraceSGD
from neoteny.optim.signals import SIGNALS, decay_of
from optim.streaming import begun, flat, flat_rows, run, stream


def reference(alpha, kappa, grads, delta, decay, ended, adaptive=False):
    w, g = flat(begun()), flat_rows(grads)
    z, v, said = np.zeros_like(w), np.zeros_like(w), []
    for t in range(len(g)):
        z = decay[t] * z + g[t]
        way = z
        if adaptive:
            v = 0.999 * v + 0.001 * (delta[t] * z) ** 2
            way = z / np.sqrt(v / (1 - 0.999 ** (t + 1)) + 1e-8)
        bound = alpha * kappa * max(abs(delta[t]), 1.0) * np.abs(way).sum()
        step = min(alpha, alpha / bound)
        w = w + step * delta[t] * way
        said.append((step * way @ g[t], np.abs(way).sum(), float(bound > 1)))
        if ended[t]:
            z = np.zeros_like(z)
    return w, np.array(said)


@pytest.mark.parametrize("alpha", [1.0, 0.02])  # bounded always, and sometimes
@pytest.mark.parametrize("kind", [ObGD, AdaptiveObGD])
def test_a_thousand_steps_equal_the_reference(kind, alpha):
    given = stream()
    found, state, said = run(kind(step_size=alpha, kappa=3.0), *given)
    expected, told = reference(alpha, 3.0, *given, adaptive=kind is AdaptiveObGD)
    np.testing.assert_allclose(flat(found), expected, rtol=1e-9)
    for column, name in enumerate(kind.metrics):
        np.testing.assert_allclose([each[name].item() for each in said], told[:, column], rtol=1e-9)
    assert alpha == 1.0 or 0 < told[:, 2].mean() < 1 or kind is AdaptiveObGD
    assert all(not state[name]["trace"].any() for name in state) == bool(given[3][-1])


def test_the_bound_is_over_the_whole_network_and_halves_the_error():
    """With lambda = 0, |delta| >= 1 and gradients of size 1 the step takes 1 / kappa of the error away."""
    grads = {"a": np.ones((1, 2, 3)), "b": -np.ones((1, 2))}
    found, _, said = run(ObGD(kappa=2.0), grads, [4.0], [0.0], [True], start=begun({"a": (2, 3), "b": (2,)}))
    assert said[0]["effective_step"].item() == pytest.approx(0.5 / 4.0)
    before = begun({"a": (2, 3), "b": (2,)})
    moved = sum((grads[name][0] * (found[name] - before[name])).sum() for name in found)
    assert moved == pytest.approx(0.5)  # of an error of 4: the bound takes |delta| for the slope's change


def test_steps_along_traces_equal_the_reference():
    grads, delta, decay, ended = stream()
    found, _, _ = run(TraceSGD(step_size=0.01), grads, delta, decay, ended)
    w, z, g = flat(begun()), 0.0, flat_rows(grads)
    for t in range(len(g)):
        z = decay[t] * z + g[t]
        w, z = w + 0.01 * delta[t] * z, 0.0 if ended[t] else z
    np.testing.assert_allclose(flat(found), w, rtol=1e-9)


# In the laboratory

GAMMA = 0.9


def td(forward, batch, key):
    value = forward(batch["states"]).squeeze()
    following = forward(batch["next"], observed=False).squeeze().detach()
    delta = batch["rewards"].squeeze() + GAMMA * following * ~batch["ended"].squeeze() - value.detach()
    decay = torch.full_like(delta, decay_of(GAMMA, 0.8))
    signals = {"delta": delta, "trace_decay": decay, "ended": batch["ended"].squeeze()}
    return Evaluation(value, {"loss": delta.square()}, signals)


def learner(optimizer, seeds=(0, 1), methods=(), **options):
    return Learner(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double(),
        torch.zeros(1, 4, dtype=torch.float64),
        objective=Objective(phases=(Phase(evaluate=td, optimizer=optimizer, signals=SIGNALS),), inputs="states"),
        seeds=seeds,
        methods=methods,
        **{"compile": False, "strategy": "stack", **options},
    )


def transitions(runs=2, steps=60, batch=1):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((runs, steps + 1, batch, 4))
    return {
        "states": torch.from_numpy(states[:, :-1]),
        "next": torch.from_numpy(states[:, 1:]),
        "rewards": torch.from_numpy(rng.standard_normal((runs, steps, batch))),
        "ended": torch.from_numpy(rng.random((runs, steps, batch)) < 0.2),
    }


def test_a_phase_of_td_equals_the_ordinary_loop():
    mine, given = learner(ObGD(kappa=2.0)), transitions()
    networks = [nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double() for _ in range(2)]
    for number, network in enumerate(networks):
        network.load_state_dict({name: value[number] for name, value in mine.weights().items()})
    sums = mine.advance(given)
    for number, network in enumerate(networks):
        traces, total = [torch.zeros_like(p) for p in network.parameters()], 0.0
        for t in range(60):
            one = {name: value[number, t] for name, value in given.items()}
            value = network(one["states"]).squeeze()
            with torch.no_grad():
                delta = one["rewards"] + GAMMA * network(one["next"]).squeeze() * ~one["ended"] - value
            grads = torch.autograd.grad(value, list(network.parameters()))
            traces = [GAMMA * 0.8 * z + g for z, g in zip(traces, grads, strict=True)]
            bound = 2.0 * max(abs(delta.item()), 1.0) * sum(z.abs().sum().item() for z in traces)
            with torch.no_grad():
                for parameter, z in zip(network.parameters(), traces, strict=True):
                    parameter += min(1.0, 1.0 / bound) * delta.item() * z
            if one["ended"].item():
                traces = [torch.zeros_like(z) for z in traces]
            total += delta.item() ** 2
        for name, value in network.state_dict().items():
            torch.testing.assert_close(mine.weights()[name][number], value)
        assert sums["loss"][number].item() == pytest.approx(total)
    assert set(sums) == {"loss", "effective_step", "trace_norm", "bounded"}


def test_a_run_alone_equals_itself_in_the_stack():
    given, together = transitions(), learner(AdaptiveObGD(), methods=(L2(strength=0.01),))
    together.advance(given)
    alone = learner(AdaptiveObGD(), seeds=(1,), methods=(L2(strength=0.01),), strategy="loop")
    alone.advance({name: value[1:] for name, value in given.items()})
    for name, value in alone.weights().items():
        torch.testing.assert_close(together.weights()[name][1], value[0], rtol=1e-9, atol=1e-12)


def test_a_regulariser_pulls_beside_the_traces():
    """Its pull is neither multiplied with the error nor kept in a trace."""
    given = {name: value[:, :1] for name, value in transitions(1).items()}
    bare, pulled = (learner(TraceSGD(step_size=0.1), (0,), methods) for methods in ((), (L2(strength=0.5),)))
    before = bare.weights()["0.weight"].clone()
    for each in (bare, pulled):
        each.advance(given)
    expected = bare.weights()["0.weight"] - 0.1 * 0.5 * before
    torch.testing.assert_close(pulled.weights()["0.weight"], expected)
    traces = [each.strategy.carry()["optim"]["0.weight"]["trace"] for each in (bare, pulled)]
    torch.testing.assert_close(*traces)


def test_supervised_regression_is_a_prediction_with_an_error():
    """With traces that end at once a small step is that of SGD on half the squared error."""
    x, y = torch.randn(2, 30, 1, 4), torch.randn(2, 30, 1, 1)

    def trained(optimizer):
        net = Learner(
            lambda: nn.Linear(4, 1),
            torch.zeros(1, 4),
            loss="mse",
            optimizer=optimizer,
            seeds=(0, 1),
            strategy="stack",
            compile=False,
        )
        return net, net.advance(examples(x, y))

    (follows, sums), (descends, losses) = trained(TraceSGD(step_size=0.02)), trained(SGD(step_size=0.01))
    torch.testing.assert_close(follows.weights()["weight"], descends.weights()["weight"])
    torch.testing.assert_close(sums["loss"], losses["loss"])


def test_step_sizes_of_runs_differ_from_the_start():
    mine = learner(ObGD(), seeds=(0, 0), varied={"optimizer.step_size": [0.5, 1e-4], "optimizer.kappa": [2.0, 2.0]})
    given = {name: value[:1].expand(2, *value.shape[1:]) for name, value in transitions(1).items()}
    mine.advance(given)
    moved = [(mine.weights()["0.weight"] - mine.initial_weights["0.weight"])[run].abs().max() for run in (0, 1)]
    assert moved[0] > 20 * moved[1] > 0


# What is refused


def test_several_examples_or_outputs_have_no_single_error():
    with pytest.raises(SettingError, match="a batch of 3 examples: ObGD follows one prediction"):
        learner(ObGD()).advance(transitions(batch=3))
    with pytest.raises(SettingError, match=r"outputs of shape \(1, 2\): this optimizer follows one prediction"):
        Learner(
            lambda: nn.Linear(4, 2), torch.zeros(1, 4), loss="mse", optimizer=ObGD(), strategy="stack", compile=False
        ).advance(examples(torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 2)))

    class AbsoluteError:
        metrics = ()

        def __call__(self, outputs, targets):
            return (outputs - targets).abs().mean()

        def judge(self, outputs, targets):
            return {}

    with pytest.raises(SettingError, match="ObGD follows a prediction with its error, and AbsoluteError has none"):
        Learner(lambda: nn.Linear(4, 2), torch.zeros(1, 4), loss=AbsoluteError(), optimizer=ObGD())


@pytest.mark.parametrize(("gamma", "lamda"), [(0.9, 1.1), (-0.1, 0.5), (float("nan"), 0.5), (2, 0.1)])
def test_traces_that_would_grow_are_refused(gamma, lamda):
    with pytest.raises(SettingError, match=r"is not a number in \[0, 1\]"):
        decay_of(gamma, lamda)


def test_settings_outside_their_range_are_refused():
    with pytest.raises(SettingError, match="kappa"):
        ObGD(kappa=0.0)
    with pytest.raises(SettingError, match="beta"):
        AdaptiveObGD(beta=1.0)
    with pytest.raises(SettingError, match="eps"):
        AdaptiveObGD(eps=0.0)
