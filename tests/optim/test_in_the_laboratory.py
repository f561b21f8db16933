"""Streaming optimizers in the learner: exact curvature, gradients beside, compiled steps, runs that overflow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from neoteny import compiling, lab
from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.losses import LOSSES
from neoteny.lab.objective import Evaluation, Objective, Phase, examples
from neoteny.nn import MLP
from neoteny.optim import IDBD, SMD, TIDBD, Autostep, Intentional, MetaOptimize
from neoteny.optim.signals import SIGNALS
from optim import references as reference


def linear(optimizer, loss, outputs, x, y, **options):
    learner = Learner(
        lambda: nn.Linear(x.shape[-1], outputs, bias=False).double(),
        x[0, 0],
        loss=loss,
        optimizer=optimizer,
        seeds=range(len(x)),
        **{"strategy": "stack", "compile": False, **options},
    )
    before = learner.weights()["weight"].numpy().copy()
    learner.advance(examples(x, y))
    return before, learner


def test_idbd_for_softmax_equals_its_formulas():
    """G = (p - y) x, and the decay of h by x^2 p_k (1 - p_k)."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 25, 1, 4, dtype=torch.float64), torch.randint(0, 3, (2, 25, 1))
    before, learner = linear(IDBD(step_size=0.05, curvature="gauss-newton"), "cross_entropy", 3, x, y)
    for run in range(2):
        w, rule = before[run].reshape(-1), reference.IDBD(12, alpha=0.05, theta=0.01)
        for t in range(25):
            inputs = x[run, t, 0].numpy()
            p = np.exp(w.reshape(3, 4) @ inputs)
            p /= p.sum()
            push = ((np.arange(3) == int(y[run, t, 0])) - p)[:, None] * inputs
            curvature = (p * (1 - p))[:, None] * inputs**2
            w = w + rule.move(push.reshape(-1), curvature.reshape(-1))
        np.testing.assert_allclose(learner.weights()["weight"][run].numpy().reshape(-1), w, rtol=1e-8)


def test_an_intentional_step_takes_its_share_of_the_cross_entropy():
    """Where the logits are nearly linear in the step, eta of the example's loss; SGD's direction, divided by s."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 1, 4, dtype=torch.float64), torch.randint(0, 3, (2, 1, 1))
    before, learner = linear(Intentional(step_size=1e-4), "cross_entropy", 3, x, y)
    after = learner.weights()["weight"].numpy()
    for run in range(2):
        losses = []
        for w in (before[run], after[run]):
            logits = w @ x[run, 0, 0].numpy()
            losses.append(np.log(np.exp(logits).sum()) - logits[int(y[run, 0, 0])])
        assert (losses[0] - losses[1]) / losses[0] == pytest.approx(1e-4, rel=1e-3)
    with pytest.raises(SettingError, match="a batch of 2 examples"):
        linear(Intentional(), "cross_entropy", 3, x.expand(2, 1, 2, 4), y.expand(2, 1, 2))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_factors_of_a_loss_make_its_hessian_in_the_outputs(loss):
    torch.manual_seed(0)
    outputs = torch.randn(2, 3, dtype=torch.float64)
    targets = torch.tensor([2, 0]) if loss == "cross_entropy" else torch.randn(2, 3, dtype=torch.float64)
    hessian = torch.func.hessian(lambda o: LOSSES[loss](o.view(2, 3), targets))(outputs.flatten())
    factors = torch.autograd.functional.jacobian(lambda o: LOSSES[loss].factors(o.view(2, 3)), outputs.flatten())
    torch.testing.assert_close(factors.T @ factors, hessian)


def test_factors_leave_outputs_that_take_no_part_alone():
    outputs = torch.tensor([[1.0, 2.0, -torch.inf]], requires_grad=True)
    LOSSES["cross_entropy"].factors(outputs).sum().backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()


def test_several_outputs_learn_from_half_the_squared_error():
    torch.manual_seed(0)
    x, y = torch.randn(1, 40, 1, 4, dtype=torch.float64), torch.randn(1, 40, 1, 2, dtype=torch.float64)
    before, learner = linear(Autostep(step_size=0.02, curvature="gauss-newton"), "mse", 2, x, y)
    w, rule = before[0].reshape(-1), reference.Autostep(8, alpha=0.02, mu=0.01, tau=1e4)
    for inputs, target in zip(x[0, :, 0].numpy(), y[0, :, 0].numpy(), strict=True):
        delta = target - w.reshape(2, 4) @ inputs
        push, curvature = delta[:, None] * inputs, np.broadcast_to(inputs**2, (2, 4))
        w = w + rule.move(push.reshape(-1), curvature.reshape(-1))
    np.testing.assert_allclose(learner.weights()["weight"].numpy().reshape(-1), w, rtol=1e-8)


def td(forward, batch, key):
    value = forward(batch["states"]).squeeze()
    following = 0.9 * forward(batch["next"], observed=False).squeeze() * ~batch["ended"].squeeze()
    delta = (batch["rewards"].squeeze() + following - value).detach()
    signals = {"delta": delta, "trace_decay": torch.full_like(delta, 0.72), "ended": batch["ended"].squeeze()}
    return Evaluation(value, {}, signals, {"following": following})


def streaming(optimizer, seeds=(0, 1), beside=("following",), build=None, **options):
    phase = Phase(evaluate=td, optimizer=optimizer, signals=SIGNALS, beside=beside)
    return Learner(
        build or (lambda: nn.Linear(4, 1, bias=False).double()),
        torch.zeros(1, 4, dtype=torch.float64),
        objective=Objective(phases=(phase,), inputs="states"),
        seeds=seeds,
        **{"strategy": "stack", "compile": False, **options},
    )


def transitions(runs=2, steps=50):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((runs, steps + 1, 1, 4))
    given = {"states": states[:, :-1], "next": states[:, 1:], "rewards": rng.standard_normal((runs, steps, 1))}
    return {name: torch.from_numpy(v) for name, v in given.items()} | {
        "ended": torch.from_numpy(rng.random((runs, steps, 1)) < 0.2)
    }


def test_a_phase_gives_the_gradient_of_the_next_value():
    learner, given = streaming(TIDBD(step_size=0.02, gradient="ordinary")), transitions()
    w = learner.weights()["weight"].numpy().copy()
    learner.advance(given)
    for run in range(2):
        states, after = given["states"][run, :, 0].numpy(), given["next"][run, :, 0].numpy()
        own, rule = w[run, 0], reference.TIDBD(4, alpha=0.02, theta=0.01)
        for t in range(50):
            ended = bool(given["ended"][run, t])
            following = 0.9 * after[t] * (not ended)
            delta = float(given["rewards"][run, t]) + following @ own - states[t] @ own
            own = own + rule.step(states[t], delta, 0.72, ended, following)
        np.testing.assert_allclose(learner.weights()["weight"][run, 0].numpy(), own, rtol=1e-9)


def test_what_a_phase_cannot_give_is_refused():
    with pytest.raises(SettingError, match="TIDBD reads the signal 'following'"):
        streaming(TIDBD(gradient="ordinary"), beside=())
    with pytest.raises(SettingError, match=r"Autostep keeps no traces, .* choose tidbd or auto-tidbd"):
        streaming(Autostep())


@pytest.mark.slow
@pytest.mark.skipif(compiling.compiler() is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize(
    ("rule", "strategy"), [(TIDBD(step_size=0.02, gradient="ordinary"), "one-call"), (Intentional(), "stack")]
)
def test_compiled_steps_equal_uncompiled_ones(rule, strategy):
    given = transitions(steps=20)
    plain, compiled = (streaming(rule, compile=on, strategy=strategy, unroll=1) for on in (False, True))
    for learner in (plain, compiled):
        learner.advance(given)
    torch.testing.assert_close(compiled.weights(), plain.weights(), rtol=1e-6, atol=1e-9)


def test_a_run_that_overflows_ends_alone(tmp_path):
    """Without caution and with a huge meta step size, IDBD's step sizes overflow in some runs' place."""
    config = lab.resolve(
        "idbd-tracking",
        method="idbd",
        scale="tiny",
        runs=3,
        settings={"optimizer.cautious": False, "optimizer.theta": 0.5, "step_size": 0.5},
    )
    frame = lab.run(config, out=tmp_path, compile=False, progress=False).metrics
    ends = {run: len(frame.filter(metric="loss", run=run)) for run in range(3)}
    assert min(ends.values()) < 5  # of 5 bins
    assert np.isfinite(frame.filter(metric="loss")["value"].to_numpy()).all()


@pytest.mark.parametrize("rule", [IDBD(), Autostep(), SMD(), MetaOptimize()], ids=lambda rule: rule.name)
def test_networks_of_several_outputs_learn_under_every_rule(rule):
    torch.manual_seed(0)
    x, y = torch.randn(1, 20, 1, 6), torch.randint(0, 3, (1, 20, 1))
    learner = Learner(
        lambda: MLP(6, [8], 3),
        x[0, 0],
        loss="cross_entropy",
        optimizer=rule,
        strategy="stack",
        compile=False,
    )
    first = learner.advance(examples(x, y))["loss"]
    for _ in range(3):
        last = learner.advance(examples(x, y))["loss"]
    assert (last < first).all()
    assert set(rule.metrics) <= set(learner.objective.metrics)
