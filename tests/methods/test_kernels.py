"""The kernels of an attached step give what tensors give, up to rounding, whatever the user does between two steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neoteny
from neoteny import compiling
from neoteny.attachment import kernels as compiled
from neoteny.attachment import user_step
from neoteny.attachment.clock import Clock
from neoteny.attachment.fused_correction import FusedCorrection
from neoteny.attachment.fused_silences import FusedSilences
from neoteny.attachment.fused_utilities import FusedUtilities
from neoteny.methods import ContinualBackprop, SelfNormalisedResets, ShrinkAndPerturb
from neoteny.methods.shared.schedule import Replacements

pytestmark = pytest.mark.skipif(compiling.compiler() is None, reason="the kernels need a C++ compiler")
METHOD = ContinualBackprop(replacement_rate=0.02, maturity_threshold=3)


def mlp():
    return nn.Sequential(nn.Linear(7, 20), nn.ReLU(), nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 3)), torch.Size([7])


def convolutions():
    model = nn.Sequential(
        *(nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, 3)),
    )
    return model, torch.Size([2, 4, 4])


def nothing(plasticity, optimizer, step):
    """The user does nothing."""


def changes_settings(plasticity, optimizer, step):
    for group in optimizer.param_groups:
        group["lr"] *= 0.9
        if "betas" in group:
            group["betas"] = (0.8 + step / 400, 0.99)


def loads_the_optimizer(plasticity, optimizer, step):
    if step == 20:
        optimizer.load_state_dict(optimizer.state_dict())


def moves_weights(plasticity, optimizer, step):
    if step % 7 == 3:
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.data = p.data.clone()
        plasticity.load_state_dict(plasticity.state_dict())


def lays_weights_out_otherwise(plasticity, optimizer, step):
    if step == 20:
        for p in optimizer.param_groups[0]["params"]:
            if p.dim() > 1:
                p.data = p.data.transpose(0, 1).contiguous().transpose(0, 1)


def forgets_moments(plasticity, optimizer, step):
    if step == 20:
        optimizer.state.clear()


def freezes(plasticity, optimizer, step):
    if step in (20, 35):
        for p in optimizer.param_groups[0]["params"][:2]:
            p.requires_grad_(step == 35)


def train(make, kind, between, steps=50, method=METHOD):
    """A network that is trained a while, with two passes a step and a pass that is only looked at."""
    torch.manual_seed(0)
    model, shape = make()
    optimizer = kind(model.parameters())
    plasticity = neoteny.attach(model, optimizer, method, torch.zeros(2, *shape))
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        for _ in range(2):
            model(torch.randn(4, *shape, generator=generator)).square().sum()
            model(torch.randn(4, *shape, generator=generator)).sub(1).square().mean().backward()
        optimizer.step()
        between(plasticity, optimizer, step)
    return model, plasticity


KINDS = {
    "SGD": lambda ps: torch.optim.SGD(ps, 0.01, momentum=0.9),
    "Adam": lambda ps: torch.optim.Adam(ps, 0.003),
    "fused": lambda ps: torch.optim.Adam(ps, 0.003, fused=True),
    "AMSGrad": lambda ps: torch.optim.AdamW(ps, 0.003, amsgrad=True),
    "Adamax": lambda ps: torch.optim.Adamax(ps, 0.003),
}
BETWEEN = [changes_settings, loads_the_optimizer, moves_weights, lays_weights_out_otherwise, forgets_moments, freezes]
CASES = [(mlp, kind, nothing) for kind in KINDS] + [(convolutions, "Adam", nothing), (convolutions, "SGD", nothing)]
CASES += [(mlp, "Adam", between) for between in BETWEEN]


@pytest.mark.parametrize(("make", "kind", "between"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_kernels_equal_tensors(make, kind, between, monkeypatch):
    used = {"judge": 0, "correct": 0}
    for where, name, function in (
        (FusedUtilities, "judge", FusedUtilities.judge),
        (FusedCorrection, "correct", FusedCorrection.correct),
    ):

        def counted(self, *given, _name=name, _function=function):
            done = _function(self, *given)
            used[_name] += bool(done)
            return done

        monkeypatch.setattr(where, name, counted)
    model, plasticity = train(make, KINDS[kind], between)
    assert used["judge"] >= 20 and (kind == "SGD" or used["correct"] >= 10)
    monkeypatch.setattr(compiled, "_loaded", lambda: None)
    before = dict(used)
    other, plain = train(make, KINDS[kind], between)
    assert used == before
    counters = plasticity.counters()["cbp"]
    assert counters == plain.counters()["cbp"] and all(layer["units_replaced"] for layer in counters.values())
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    for key, value in plasticity._state["cbp"].items():
        torch.testing.assert_close(value, plain._state["cbp"][key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("make", "between"), [(mlp, nothing), (convolutions, moves_weights), (mlp, freezes)])
@pytest.mark.parametrize("settings", [{}, {"every": 3, "at_threshold": True}])
def test_silences_by_the_kernel_equal_those_by_tensors(make, between, settings, monkeypatch):
    method = SelfNormalisedResets(threshold=40, longest=50, period=17, least_share=0.45, **settings)
    done, judge = [], FusedSilences.judge
    monkeypatch.setattr(FusedSilences, "judge", lambda *given: done.append(judge(*given)) or done[-1])
    model, plasticity = train(make, KINDS["SGD"], between, method=method)
    assert 10 <= sum(done) < len(done) == 50  # it leaves steps with resets and estimates to tensors
    monkeypatch.setattr(compiled, "_loaded", lambda: None)
    other, plain = train(make, KINDS["SGD"], between, method=method)
    assert sum(layer["units_replaced"] for layer in plain.counters()["snr"].values())
    for key, value in plasticity._state["snr"].items():
        assert torch.equal(value, plain._state["snr"][key]), key
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("between", [nothing, lays_weights_out_otherwise, freezes])
def test_noise_added_by_the_kernel_equals_noise_added_by_tensors(between, monkeypatch):
    method, added, perturb = ShrinkAndPerturb(sigma=0.01), [], user_step.perturb
    monkeypatch.setattr(user_step, "perturb", lambda *given: added.append(perturb(*given)))
    model, _ = train(mlp, KINDS["SGD"], between, method=method)
    assert len(added) == (21 if between is lays_weights_out_otherwise else 50)
    monkeypatch.setattr(user_step, "serves", lambda tensor: False)
    other, _ = train(mlp, KINDS["SGD"], between, method=method)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_a_loss_that_overflows_is_not_kept():
    torch.manual_seed(0)
    model, shape = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, METHOD, torch.zeros(1, *shape))
    x = torch.randn(4, *shape)
    for value in (x, x * torch.inf, x):
        optimizer.zero_grad()
        model(value).sum().backward()
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    state = plasticity._state["cbp"]
    assert all(value.isfinite().all() for value in state.values()) and (state["0/age"] == 3).all()
    torch.testing.assert_close(state["0/share"], torch.full((20,), 1 - 0.99**2))


def test_with_a_compiler_that_fails_tensors_do_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    broken = tmp_path / "kernels.cpp"
    broken.write_text("int main( {")
    monkeypatch.setattr(compiled, "SOURCE", broken)
    monkeypatch.setattr(compiled, "_loaded", compiled._loaded.__wrapped__)
    assert compiled.kernels() is None
    _, plasticity = train(mlp, KINDS["SGD"], nothing, steps=3)
    assert (plasticity._state["cbp"]["0/utility"] > 0).any()


def test_a_clock_that_is_asked_seldom_tells_the_same():
    clocks = [Replacements(0.01, [7, 40], 20, rule) for rule in ("account", "drawn") for _ in range(2)]
    for plain, other in (clocks[:2], clocks[2:]):
        clock = Clock(other)
        for step in range(400):
            row, due = clock.tick(), plain.take(1)[0]
            assert due.tolist() == ([0, 0] if row is None else row.tolist())
            if step % 50 == 9:
                assert clock.state_dict() == plain.state_dict()
                clock.load_state_dict(plain.state_dict())
