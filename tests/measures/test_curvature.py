"""The rank of the curvature against the whole matrix, in NumPy and double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from neoteny.errors import SettingError
from neoteny.measures import hessian_rank


def by_hand(net, x):
    """Eigenvalues of the Gauss-Newton matrix of a network with two layers, from formulas."""
    w, b, v, c = (parameter.detach().numpy() for parameter in net.parameters())
    total = 0
    for example in x.numpy():
        before = w @ example + b
        h, on = np.maximum(before, 0), (before > 0).astype(float)
        z = v @ h + c
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        rows = []
        for out in range(len(c)):
            back = v[out] * on
            head = np.zeros_like(v)
            head[out] = h
            rows.append(np.concatenate([np.outer(back, example).ravel(), back, head.ravel(), np.eye(len(c))[out]]))
        jacobian = np.stack(rows)
        total = total + jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian / len(x)
    return np.linalg.eigvalsh(total)[::-1]


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_rank_of_the_whole_matrix(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4)).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    values = by_hand(net, x)
    expected = int((values.cumsum() < 0.99 * values.sum()).sum()) + 1
    assert hessian_rank(net, x).item() == expected > 2
    assert hessian_rank(net, x.repeat(3, 1)).item() == expected  # the same matrix


def test_weights_may_be_given_and_dead_units_do_not_bend_the_loss():
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4))
    x = torch.randn(6, 5)
    dead = {**net.state_dict(), "0.bias": torch.full((7,), -1e3)}
    assert hessian_rank(net, x, dead).item() == 3  # the output's biases alone, up to a common shift
    with pytest.raises(SettingError, match="logits"):
        hessian_rank(nn.Linear(5, 1), x)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_network_that_has_diverged_has_no_rank(scale):
    """Its matrix is not finite, for which LAPACK stops the whole program."""
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4))
    with torch.no_grad():
        net[0].weight.mul_(scale)
    assert hessian_rank(net, torch.randn(6, 5)).isnan()


def test_a_network_in_training_is_measured_as_in_evaluation_and_stays_as_it_is():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 4))
    x = torch.randn(6, 5)
    expected = hessian_rank(net.eval(), x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert torch.equal(hessian_rank(net.train(), x), expected)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
