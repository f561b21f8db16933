"""The laboratory's optimizers against torch's, and Adam's restarted bias correction against a fresh optimizer."""

import pytest
import torch

from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.optim import SGD, Adam, AdamW, Muon
from neoteny.optim.base import Optimizer
from neoteny.units import Network, Slices, UnitLayer
from neoteny.units.counts import entry_counts


def ours(optimizer: Optimizer, start: torch.Tensor, grads: torch.Tensor) -> torch.Tensor:
    tensors = {"w": start.clone()}
    state = optimizer.init(tensors)
    for t, gradient in enumerate(grads):
        optimizer.update(tensors, {"w": gradient}, state, {"w": torch.tensor(t + 1)} if optimizer.counts else {})
    return tensors["w"]


def torchs(kind, start: torch.Tensor, grads: torch.Tensor, **settings) -> torch.Tensor:
    w = start.clone().requires_grad_()
    optimizer = kind([w], **settings)
    for gradient in grads:
        w.grad = gradient.clone()
        optimizer.step()
    return w.detach()


CASES = [
    (SGD(step_size=0.1), torch.optim.SGD, {"lr": 0.1}),
    (SGD(step_size=0.1, momentum=0.9), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (Adam(step_size=0.01), torch.optim.Adam, {"lr": 0.01}),
    (Adam(step_size=0.01, betas=(0.99, 0.99)), torch.optim.Adam, {"lr": 0.01, "betas": (0.99, 0.99)}),
    (Adam(step_size=0.01, weight_decay=0.1), torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("optimizer", "kind", "settings"), CASES)
def test_two_hundred_steps_equal_torchs(optimizer, kind, settings):
    torch.manual_seed(0)
    start, grads = torch.randn(4, 3, dtype=torch.float64), torch.randn(200, 4, 3, dtype=torch.float64)
    # expm1 of a float32 count in ours, Python floats in torch's
    torch.testing.assert_close(
        ours(optimizer, start, grads), torchs(kind, start, grads, **settings), rtol=1e-6, atol=1e-6
    )


def test_decays_that_differ_between_runs_are_each_runs_own():
    """One learner of three runs against torch's AdamW run by run."""
    x, y = torch.randn(3, 20, 2, 4), torch.randn(3, 20, 2, 1)
    decays = [0.0, 0.1, 3.0]
    learner = Learner(
        lambda: torch.nn.Linear(4, 1, bias=False),
        x[0, 0],
        loss="mse",
        optimizer=AdamW(step_size=0.01),
        seeds=range(3),
        varied={"optimizer.weight_decay": decays},
        strategy="stack",
        compile=False,
    )
    before = learner.weights()["weight"].clone()
    learner.advance(examples(x, y))
    for run, decay in enumerate(decays):
        w = before[run].clone().requires_grad_()
        optimizer = torch.optim.AdamW([w], lr=0.01, weight_decay=decay)
        for inputs, targets in zip(x[run], y[run], strict=True):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(inputs @ w.T, targets).backward()
            optimizer.step()
        torch.testing.assert_close(learner.weights()["weight"][run], w.detach(), rtol=1e-4, atol=1e-5)


def test_a_new_units_entries_count_from_their_reset():
    """A row that was made new goes on as under a fresh Adam, its neighbours as before."""
    torch.manual_seed(1)
    adam = Adam(step_size=0.01)
    grads = torch.randn(60, 3, 2, dtype=torch.float64)
    row = Slices("w", 0, ((0,), (1,), (2,)))
    network = Network((UnitLayer("l", 3, (row,), (), (), (), (), ()),), {}, ())
    tensors, since = {"w": torch.zeros(3, 2, dtype=torch.float64)}, torch.zeros(3, dtype=torch.int32)
    state = adam.init(tensors)
    for t, gradient in enumerate(grads):
        if t == 40:
            since[1] = 0
            for name in ("exp_avg", "exp_avg_sq"):
                state["w"][name][1] = 0
            tensors["w"][1] = 0
        count = entry_counts(network, {"l": since}, tensors, {"w": state["w"]["step"] + 1})
        adam.update(tensors, {"w": gradient}, state, count)
        since = since + 1
    fresh = ours(adam, torch.zeros(2, dtype=torch.float64), grads[40:, 1])
    plain = ours(adam, torch.zeros(3, 2, dtype=torch.float64), grads)
    torch.testing.assert_close(tensors["w"][1], fresh, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(tensors["w"][[0, 2]], plain[[0, 2]], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_step_size_that_is_none_is_refused(value):
    with pytest.raises(SettingError, match=str(value)):
        SGD(step_size=value)


def test_other_settings_are_checked():
    with pytest.raises(SettingError, match="momentum"):
        SGD(momentum=1.0)
    with pytest.raises(SettingError, match="betas"):
        Adam(betas=(0.9, 1.0))
    with pytest.raises(SettingError, match="eps"):
        Adam(eps=-1.0)
    with pytest.raises(SettingError, match="momentum = 1"):
        Muon(momentum=1.0)
    with pytest.raises(SettingError, match="rest"):
        Muon(rest=0.0)
    with pytest.raises(SettingError, match="iterations"):
        Muon(iterations=0)
    with pytest.raises(SettingError, match="betas"):
        Muon(betas=(0.9, 1.0))


SHAPES = {"a.weight": (5, 7), "a.bias": (5,), "tall": (8, 5), "b.bias": (8,), "wide": (3, 8), "kernel": (4, 3, 3, 3)}
SHAPES |= {"c.weight": (2, 4), "c.bias": (2,)}


def muons(steps, **settings):
    """Muon's own parameters after some steps on a network of all kinds of parameters, ours and torch's."""
    torch.manual_seed(2)
    start = {name: torch.randn(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    muon, mine = Muon(step_size=0.02, **settings), {name: value.clone() for name, value in start.items()}
    state = muon.init(mine)
    theirs = {name: value.clone().requires_grad_() for name, value in start.items()}
    hidden = [theirs["tall"], theirs["wide"]]
    others = [value for name, value in theirs.items() if name not in ("tall", "wide", "kernel")]
    optimizers = [
        torch.optim.Muon(hidden, lr=0.02, weight_decay=0.0, momentum=settings.get("momentum", 0.95)),
        torch.optim.Adam(others, lr=0.02 * muon.rest, betas=(0.9, 0.95)),
    ]
    for t in range(steps):
        grads = {name: torch.randn(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
        count = {name: torch.tensor(t + 1) for name in grads}
        muon.update(mine, grads, state, count)
        for name, value in theirs.items():
            value.grad = grads[name].clone()
        for optimizer in optimizers:
            optimizer.step()
    return mine, {name: value.detach() for name, value in theirs.items()}


@pytest.mark.parametrize("momentum", [0.95, 0.0])
def test_muon_equals_torchs_beside_adam(monkeypatch, momentum):
    """In double precision, which torch's iteration has as soon as it cannot become coarse."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    mine, theirs = muons(200, momentum=momentum)
    for name in set(SHAPES) - {"kernel"}:  # of which torch's Muon takes none
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-6, atol=1e-6)


def test_muon_in_bfloat16_is_nearly_the_same():
    mine, theirs = muons(1)
    for name in ("tall", "wide"):
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=0.02 * 0.02)


def test_a_kernel_is_a_matrix_of_a_row_for_each_map():
    torch.manual_seed(3)
    tensors = {"first": torch.zeros(2, 2), "kernel": torch.zeros(4, 3, 3, 3), "last": torch.zeros(2, 2)}
    grads = {name: torch.randn_like(value) for name, value in tensors.items()}
    flat = {name: value.flatten(1) for name, value in tensors.items()}
    one = {name: torch.tensor(1) for name in tensors}
    muon = Muon()
    muon.update(tensors, grads, muon.init(tensors), one)
    muon.update(flat, {name: value.flatten(1) for name, value in grads.items()}, muon.init(flat), one)
    assert torch.equal(tensors["kernel"].flatten(1), flat["kernel"])
    u, _, v = torch.linalg.svd(grads["kernel"].flatten(1), full_matrices=False)
    cosine = -(u @ v).flatten() @ flat["kernel"].flatten() / (2 * flat["kernel"].norm())
    assert cosine > 0.97  # nearly the nearest orthogonal matrix


def test_without_a_hidden_matrix_muon_is_adam():
    torch.manual_seed(4)
    start = {"in": torch.randn(5, 20), "in.bias": torch.randn(5), "out": torch.randn(1, 5)}
    muon, adam = Muon(step_size=0.2), Adam(step_size=0.2 * 0.015, betas=(0.9, 0.95))
    found = []
    for optimizer in (muon, adam):
        tensors = dict(start)
        state = optimizer.init(tensors)
        for t in range(20):
            grads = {name: torch.sin(value + t) for name, value in tensors.items()}
            optimizer.update(tensors, grads, state, {name: torch.tensor(t + 1) for name in grads})
        found.append(tensors)
    assert all(torch.equal(found[0][name], found[1][name]) for name in start)
