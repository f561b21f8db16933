"""Every streaming optimizer against NumPy over a thousand steps with ends of episodes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError
from neoteny.optim import (
    IDBD,
    K1,
    K2,
    NLMS,
    SMD,
    TIDBD,
    Autostep,
    AutoTIDBD,
    Hypergradient,
    Intentional,
    MetaOptimize,
    VarianceAdjusted,
)
from optim import references as reference
from optim.streaming import SHAPES, begun, flat, flat_rows, run, stream

N = 9
PARTS = [slice(0, 6), slice(6, 9)]

PREDICTIONS = [
    (IDBD(step_size=0.02, theta=0.01), reference.IDBD, {"alpha": 0.02, "theta": 0.01}),
    (Autostep(step_size=0.1, mu=0.01, tau=100.0), reference.Autostep, {"alpha": 0.1, "mu": 0.01, "tau": 100.0}),
    (Autostep(step_size=1e-3, mu=0.05), reference.Autostep, {"alpha": 1e-3, "mu": 0.05, "tau": 1e4}),
    (TIDBD(step_size=0.01, theta=0.003), reference.TIDBD, {"alpha": 0.01, "theta": 0.003}),
    (AutoTIDBD(step_size=0.05, tau=100.0), reference.AutoTIDBD, {"alpha": 0.05, "mu": 0.01, "tau": 100.0}),
    (NLMS(step_size=0.3, eps=0.1), reference.NLMS, {"eta": 0.3, "eps": 0.1}),
    (K1(step_size=0.5, mu=0.002, noise=2.0), reference.K1, {"ratio": 0.5, "mu": 0.002, "noise": 2.0}),
    (K2(step_size=0.5, mu=0.002, noise=2.0), reference.K2, {"ratio": 0.5, "mu": 0.002, "noise": 2.0}),
    (Intentional(step_size=0.5, clip=1.5), reference.Intentional, {"eta": 0.5, "clip": 1.5, "policy": False}),
    (Intentional(step_size=0.05, policy=True), reference.Intentional, {"eta": 0.05, "clip": 20.0, "policy": True}),
    (VarianceAdjusted(step_size=1e-3), reference.VarianceAdjusted, {"alpha": 1e-3}),
]


@pytest.mark.parametrize(("rule", "theirs", "settings"), PREDICTIONS, ids=lambda value: getattr(value, "name", ""))
def test_following_predictions_equals_the_reference(rule, theirs, settings):
    grads, delta, decay, ended = stream()
    found, state, said = run(rule, grads, delta, decay, ended)
    expected = reference.predicted(theirs(N, **settings), flat(begun()), flat_rows(grads), delta, decay, ended)
    np.testing.assert_allclose(flat(found), expected, rtol=1e-8)
    assert set(said[-1]) == set(rule.metrics)
    assert all(np.isfinite(float(value)) for value in said[-1].values())
    sizes = rule.step_sizes(state["a"])
    assert sizes is None or sizes.shape == SHAPES["a"]


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (TIDBD(step_size=0.01, theta=0.003, gradient="ordinary"), reference.TIDBD(N, alpha=0.01, theta=0.003)),
        (AutoTIDBD(gradient="ordinary"), reference.AutoTIDBD(N, alpha=0.1, mu=0.01, tau=1e4)),
    ],
    ids=["tidbd", "auto-tidbd"],
)
def test_ordinary_gradients_equal_the_reference(rule, theirs):
    grads, delta, decay, ended = stream()
    following = {name: 0.9 * np.roll(value, -1, 0) for name, value in grads.items()}
    found, *_ = run(rule, grads, delta, decay, ended, {"following": following})
    rows = flat_rows(grads), delta, decay, ended, flat_rows(following)
    np.testing.assert_allclose(flat(found), reference.predicted(theirs, flat(begun()), *rows), rtol=1e-8)


def test_without_traces_tidbd_is_idbd_and_auto_tidbd_is_autostep():
    grads, delta, decay, ended = stream()
    for traced, plain in ((TIDBD(theta=0.003), IDBD(theta=0.003)), (AutoTIDBD(), Autostep())):
        a, b = (run(rule, grads, delta, decay * 0, ended)[0] for rule in (traced, plain))
        np.testing.assert_allclose(flat(a), flat(b), rtol=1e-10)


LOSSES = [
    (IDBD(step_size=0.02, theta=0.01), reference.IDBD(N, alpha=0.02, theta=0.01)),
    (Autostep(step_size=0.1), reference.Autostep(N, alpha=0.1, mu=0.01, tau=1e4)),
    (Hypergradient(eta=1e-5), reference.Hypergradient(N, alpha=0.01, eta=1e-5, form="additive")),
    (
        Hypergradient(eta=1e-2, form="multiplicative"),
        reference.Hypergradient(N, alpha=0.01, eta=1e-2, form="multiplicative"),
    ),
]


@pytest.mark.parametrize(("rule", "theirs"), LOSSES, ids=["idbd", "autostep", "additive", "multiplicative"])
def test_descending_losses_equals_the_reference(rule, theirs):
    grads, *_ = stream()
    found, *_ = run(rule, grads)
    np.testing.assert_allclose(flat(found), reference.descended(theirs, flat(begun()), flat_rows(grads)), rtol=1e-8)


@pytest.mark.parametrize("kind", ["idbd", "autostep", "smd"])
def test_the_curvature_of_several_factors_equals_the_reference(kind):
    grads, *_ = stream(300)
    rng = np.random.default_rng(3)
    factors = {name: rng.standard_normal((300, 3, *value.shape[1:])) for name, value in grads.items()}
    rule, theirs = {
        "idbd": (IDBD(curvature="gauss-newton"), reference.IDBD(N, alpha=0.01, theta=0.01)),
        "autostep": (Autostep(curvature="gauss-newton"), reference.Autostep(N, alpha=0.1, mu=0.01, tau=1e4)),
        "smd": (SMD(), reference.SMD(N, alpha=0.01, mu=0.01, lamda=0.99)),
    }[kind]
    found, *_ = run(rule, grads, beside={"factors": factors})
    jacobian = np.concatenate([value.reshape(300, 3, -1) for value in factors.values()], 2)
    matrices = np.einsum("tfi,tfj->tij", jacobian, jacobian)
    curvature = matrices if kind == "smd" else np.einsum("tii->ti", matrices)
    expected = reference.descended(theirs, flat(begun()), flat_rows(grads), curvature)
    np.testing.assert_allclose(flat(found), expected, rtol=1e-8)


def test_smd_follows_a_predictions_error():
    grads, delta, decay, ended = stream(300)
    found, *_ = run(SMD(step_size=0.01, mu=0.003), grads, delta, decay, ended)
    theirs, w = reference.SMD(N, alpha=0.01, mu=0.003, lamda=0.99), flat(begun())
    for g, d in zip(flat_rows(grads), delta, strict=True):
        w = w + theirs.move(d * g, np.outer(g, g))
    np.testing.assert_allclose(flat(found), w, rtol=1e-8)


BASES, METAS, BLOCKS = (
    ("sgd", "sgdm", "rmsprop", "lion", "adamw"),
    ("sgd", "rmsprop", "adamw", "lion"),
    ("scalar", "layer", "weight"),
)
PAIRS = [(base, meta, BLOCKS[n % 3]) for n, (base, meta) in enumerate(itertools.product(BASES, METAS))]


@pytest.mark.parametrize("form", ["paper", "package"])
@pytest.mark.parametrize(("base", "meta", "blocks"), PAIRS)
def test_every_pair_of_meta_optimize_equals_the_reference(base, meta, blocks, form):
    eta = 1e-6 if meta == "sgd" else 1e-3
    settings = {"base": base, "meta": meta, "blocks": blocks, "form": form, "eta": eta, "gamma": 0.999}
    grads, *_ = stream(1000 if form == "paper" else 100)
    found, *_ = run(MetaOptimize(step_size=1e-3, weight_decay=0.1, **settings), grads)
    theirs = reference.MetaOptimize(N, PARTS, alpha=1e-3, kappa=0.1, **settings)
    np.testing.assert_allclose(flat(found), reference.descended(theirs, flat(begun()), flat_rows(grads)), rtol=1e-7)


@pytest.mark.parametrize("blocks", ["scalar", "layer"])
def test_a_layer_that_is_drawn_anew_does_not_rejuvenate_step_sizes(blocks):
    """Its count of updates starts anew, and with it the base's correction alone; averages of the meta stay old."""
    grads, *_ = stream(20)
    found = []
    for renewed in (True, False):
        rule = MetaOptimize(base="sgd", meta="adamw", blocks=blocks, step_size=1e-3)
        tensors = {name: torch.from_numpy(value) for name, value in begun().items()}
        state = rule.init(tensors)
        for t in range(20):
            count = {name: own["step"] + 1 for name, own in state.items()}
            rule.update(tensors, {name: torch.from_numpy(rows[t]) for name, rows in grads.items()}, state, count)
            if renewed and t == 9:
                state["b"]["step"] = torch.zeros_like(state["b"]["step"])
        found.append([float(own["beta"]) for own in state.values()])
    assert found[0] == found[1]


# What the rules are for


@pytest.mark.parametrize("target", [5.0, -5.0])
def test_steps_that_agree_raise_a_step_size_whatever_the_sign_of_the_error(target):
    """Twenty agreeing steps raise alpha from 0.01 to 0.0148; without delta in the product the sign would decide."""
    for signals in (True, False):
        rule, tensors = IDBD(step_size=0.01, theta=0.01), {"w": torch.zeros(1, dtype=torch.float64)}
        state = rule.init(tensors)
        for _ in range(20):
            delta = target - tensors["w"].sum()
            given = {"delta": delta} if signals else None
            rule.update(tensors, {"w": (torch.ones(1) if signals else -delta.reshape(1)).double()}, state, {}, given)
        expected = 0.0148 if signals else None
        found = state["w"]["beta"].exp().item()
        assert found > 0.01 if expected is None else found == pytest.approx(expected, abs=5e-5)


def test_autostep_takes_no_more_than_the_whole_error():
    grads, delta, decay, ended = stream(200)
    _, _, said = run(Autostep(step_size=3.0, mu=0.1), grads, delta, decay, ended)
    shares = [each["effective_step"].item() for each in said]
    assert max(shares) <= 1 + 1e-9 and said[0]["bounded"].item() == 1


def test_intentional_without_a_trace_takes_its_share_of_the_error():
    """With one weight s = |g|, and a step takes eta of the error away."""
    grads = {"w": np.full((1, 1), 3.0)}
    found, _, said = run(Intentional(step_size=0.25), grads, [8.0], [0.0], [True], start={"w": np.zeros(1)})
    assert found["w"] @ [3.0] == pytest.approx(2.0)
    assert said[0]["effective_step"].item() == pytest.approx(0.25)


def test_a_cautious_step_size_stays_in_its_bounds():
    grads = {"w": np.ones((3, 1))}
    delta = [100.0, 100.0, -1e6]
    _, state, _ = run(IDBD(theta=1.0), grads, delta, [0.0] * 3, [True] * 3)
    # +2 and then -2, of log 0.01; without caution exp(100) would have been infinite
    assert state["w"]["beta"].item() == pytest.approx(np.log(0.01), abs=1e-9)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: IDBD(step_size=0.0), "step_size"),
        (lambda: IDBD(step_size=1e-6), "cautious"),
        (lambda: IDBD(theta=-1.0), "theta"),
        (lambda: IDBD(curvature="none"), "curvature"),  # pyright: ignore[reportArgumentType]
        (lambda: IDBD(newborn_step="old"), "newborn_step"),  # pyright: ignore[reportArgumentType]
        (lambda: TIDBD(gradient="full"), "gradient"),  # pyright: ignore[reportArgumentType]
        (lambda: AutoTIDBD(gradient="full"), "gradient"),  # pyright: ignore[reportArgumentType]
        (lambda: Autostep(tau=0.5), "tau"),
        (lambda: Autostep(mu=float("nan")), "mu"),
        (lambda: K1(noise=0.0), "noise"),
        (lambda: K2(mu=-1.0), "mu"),
        (lambda: NLMS(eps=-1.0), "eps"),
        (lambda: SMD(lamda=1.5), "lamda"),
        (lambda: Hypergradient(form="both"), "form"),  # pyright: ignore[reportArgumentType]
        (lambda: Hypergradient(eta=-1.0), "eta"),
        (lambda: Intentional(clip=0.0), "clip"),
        (lambda: Intentional(memory=1.0), "memory"),
        (lambda: VarianceAdjusted(beta=0.0), "beta"),
        (lambda: MetaOptimize(gamma=1.1), "gamma"),
        (lambda: MetaOptimize(base="muon"), "base"),  # pyright: ignore[reportArgumentType]
        (lambda: MetaOptimize(meta="sgdm"), "meta"),  # pyright: ignore[reportArgumentType]
        (lambda: MetaOptimize(blocks="row"), "blocks"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_settings_outside_their_range_are_refused(make, match):
    with pytest.raises(SettingError, match=match):
        make()
