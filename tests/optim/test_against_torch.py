"""The laboratory's optimizers against torch's, and Adam's restarted bias correction against a fresh optimizer."""

import pytest
import torch

from neoteny.errors import SettingError
from neoteny.optim import SGD, Adam
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
