"""L2-ER against its formula in NumPy, by eigenvectors and by finite differences, and where a spectrum is degenerate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from methods.comparing import Reference, conv_net
from methods.reference_batches import compare_on_reference, deep_layers, differences, passed, pulled_back, setting
from neoteny.methods.effective_rank import EffectiveRank, ascent


def rows_of(h):
    return h.transpose(0, 2, 1).reshape(-1, h.shape[1])


def erank(h):
    """exp(entropy of the singular values) of `[batch, units, positions]`."""
    s = np.linalg.svd(rows_of(h), compute_uv=False)
    p = s[s > 1e-12 * s.max()] / s.sum()
    return np.exp(-(p * np.log(p)).sum())


def slope(h):
    """Its derivative, by the eigenvectors of the Gram matrix of units: ∂/∂M = M V diag(f'(σ) / σ) Vᵀ."""
    rows = rows_of(h)
    values, v = np.linalg.eigh(rows.T @ rows)
    live = values > 1e-13 * values.max()
    s = np.sqrt(np.where(live, values, 0))
    p = np.where(live, s / s.sum(), 1)
    entropy = -(s / s.sum() * np.log(p)).sum()
    weight = np.where(live, -np.exp(entropy) * (np.log(p) + entropy) / (s.sum() * np.where(live, s, 1)), 0)
    found = rows @ (v * weight) @ v.T
    return found.reshape(h.shape[0], h.shape[2], h.shape[1]).transpose(0, 2, 1)


def referring(method):
    class Rule(Reference):
        """Coupled decay of everything, and the mean rank of all hidden layers."""

        def __init__(self, *args):
            super().__init__(*args)
            self.pulled, self.ranks = 0, []

        def regularise(self, update, grads, hidden):
            *seen, _ = passed(self.net, self.elsewhere[update])
            self.ranks.append(np.mean([erank(h) for h in seen]))
            raised = pulled_back(self.net, self.elsewhere[update], [slope(h) / len(seen) for h in seen] + [None])
            self.pulled += any(r.any() for r in raised)
            return [
                g + method.strength * p - method.rank_strength * r
                for g, p, r in zip(grads, self.net.parameters(), raised, strict=True)
            ]

    return Rule


@pytest.mark.reference("l2-er")
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (EffectiveRank(strength=0, rank_strength=0.1), {"make": conv_net, "kind": "momentum"}),
        (EffectiveRank(strength=0.1, rank_strength=0.1), {"kind": "adam"}),
    ],
    ids=["momentum", "adam"],
)
def test_it_is_its_formula(monkeypatch, method, settings):
    _, own, _ = compare_on_reference(monkeypatch, method, referring(method), **settings)
    assert own.pulled == 200
    if method.strength == 0:  # L2 alone may lower it
        assert np.mean(own.ranks[-20:]) > np.mean(own.ranks[:20]) + 0.1


def test_the_pull_is_the_slope_of_the_mean_rank():
    method = EffectiveRank(strength=0, rank_strength=1.0)
    model, _, batch, step = setting(*deep_layers())
    now = step()
    method.regularise(now, {})

    def penalty():
        return -np.mean(
            [
                erank(model[:2](batch).detach().flatten(2).numpy()),
                erank(model[:5](batch).detach().unsqueeze(2).numpy()),
            ]
        )

    for name, found in differences(model, penalty).items():
        torch.testing.assert_close(now.grads[name], found, rtol=1e-5, atol=1e-8)
    assert now.grads["0.weight"].all()
    assert not now.grads["5.weight"].any()


def test_of_equal_singular_values_there_is_nothing_to_gain():
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))[0]
    assert erank(q[:, :, None]) == pytest.approx(4)
    assert ascent(torch.tensor(3 * q).unsqueeze(2)).abs().max() < 1e-12


def test_the_scale_of_features_does_not_matter_so_the_slope_is_at_right_angles_to_them():
    h = torch.randn(7, 5, 2, dtype=torch.float64)
    found = ascent(h)
    assert abs(float((h * found).sum())) < 1e-12
    torch.testing.assert_close(ascent(1e3 * h), found / 1e3)


@pytest.mark.parametrize(
    "h",
    [
        torch.zeros(6, 4),
        torch.ones(6, 4),
        torch.cat([torch.randn(6, 2), torch.zeros(6, 2)], 1),
        torch.randn(3, 1) * torch.randn(1, 8),
        torch.randn(6, 4) * torch.tensor([1.0, 1e-3, 1e-6, 1e-12]),
        1e25 * torch.randn(6, 4),
        torch.randn(6, 4).bfloat16(),
        torch.tensor([[1.0, float("nan")], [float("inf"), 2.0]]),
    ],
    ids=["zero", "one", "dead", "rank one", "faint", "huge", "half", "diverged"],
)
def test_degenerate_features_have_a_finite_slope(h):
    found = ascent(h.unsqueeze(2)).squeeze(2)
    assert found.isfinite().all()
    assert found.shape == h.shape
    clean = torch.where(h.isfinite(), h, 0).float()
    if torch.linalg.matrix_rank(clean) < 2:
        assert found.abs().max() < 1e-4
    if h.dtype == torch.float32 and h.isfinite().all() and h.shape == (6, 4) and not h[:, 2:].any():
        assert not found[:, 2:].abs().gt(1e-5).any()  # no made-up direction for units that are dead


def test_along_the_slope_the_rank_rises_in_single_precision():
    torch.manual_seed(3)
    h = torch.randn(8, 5, 1) @ torch.ones(1, 1) * torch.tensor([3.0, 1.0, 0.3, 0.1, 0.01]).view(1, 5, 1)
    found = ascent(h)
    expected = float((found**2).sum()) * 1e-4
    risen = erank((h + 1e-4 * found).double().numpy()) - erank(h.double().numpy())
    assert risen == pytest.approx(expected, rel=0.05)


def test_l2_leaves_norms_alone_unless_asked():
    layers = (nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 2))
    for norms in (False, True):
        _, _, _, step = setting(*layers, inputs=(4,))
        now = step()
        EffectiveRank(strength=0.5, rank_strength=0, norms=norms).regularise(now, {})
        torch.testing.assert_close(now.grads["0.weight"], 0.5 * now.tensors["0.weight"])
        assert bool(now.grads["1.weight"].any()) == norms


def test_a_stack_of_runs_is_its_runs():
    stack = torch.randn(3, 6, 4, 2)
    stack[1] = 0
    together = torch.func.vmap(ascent)(stack)
    for run in range(3):
        torch.testing.assert_close(together[run], ascent(stack[run]), rtol=1e-4, atol=1e-6)
