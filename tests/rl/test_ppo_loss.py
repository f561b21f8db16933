"""The objective and its gradients against NumPy and central differences, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from neoteny.rl.ppo import _standardised
from neoteny.rl.ppo_loss import PPOLoss, log_probability

ACTIONS, BATCH = 3, 7


def batch(seed, scale=0.3):
    """Outputs [B, 2 A + 1] and the batch, ratios on either side of 1."""
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((BATCH, 2 * ACTIONS + 1)) * scale
    actions, advantages, returns = rng.standard_normal((BATCH, ACTIONS)), *rng.standard_normal((2, BATCH))
    mean, log_std = outputs[:, :ACTIONS], outputs[:, ACTIONS:-1]
    old = density(actions, mean, log_std) + rng.uniform(-0.6, 0.6, BATCH)
    return outputs, actions, old, advantages, returns


def density(actions, mean, log_std):
    scaled = (actions - mean) / np.exp(log_std)
    return np.sum(-0.5 * scaled**2 - log_std - 0.5 * np.log(2 * np.pi), axis=-1)


def reference(outputs, actions, old, advantages, returns, clip_coef, vf_coef, ent_coef):
    """One step after the other, by cases."""
    total = 0.0
    for row, action, before, a, target in zip(outputs, actions, old, advantages, returns, strict=True):
        mean, log_std, value = row[:ACTIONS], row[ACTIONS:-1], row[-1]
        ratio = np.exp(density(action, mean, log_std) - before)
        clipped = (a > 0 and ratio > 1 + clip_coef) or (a < 0 and ratio < 1 - clip_coef)
        gain = (1 + clip_coef if a > 0 else 1 - clip_coef) * a if clipped else ratio * a
        entropy = sum(0.5 * np.log(2 * np.pi * np.e * np.exp(log_std[k]) ** 2) for k in range(ACTIONS))
        total += -gain + vf_coef * (target - value) ** 2 - ent_coef * entropy
    return total / len(outputs)


def experience(*targets):
    return dict(zip(("actions", "log_probs", "advantages", "returns"), map(torch.as_tensor, targets), strict=True))


def loss_and_gradient(loss, outputs, *targets):
    x = torch.tensor(outputs, requires_grad=True)
    value = loss.loss(x, experience(*targets))
    value.backward()
    return value.item(), x.grad.numpy()


@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize(("clip_coef", "vf_coef", "ent_coef"), [(0.2, 1.0, 0.0), (0.1, 0.5, 0.01)])
def test_loss_and_gradient(clip_coef, vf_coef, ent_coef, seed):
    weights = {"clip_coef": clip_coef, "vf_coef": vf_coef, "ent_coef": ent_coef}
    outputs, *targets = batch(seed)
    ratio = np.exp(density(targets[0], outputs[:, :ACTIONS], outputs[:, ACTIONS:-1]) - targets[1])
    smooth = np.abs(np.abs(ratio - 1) - clip_coef) > 1e-4  # at the corners there is no derivative
    outputs, targets = outputs[smooth], [target[smooth] for target in targets]
    if not len(outputs):
        return
    found, gradient = loss_and_gradient(PPOLoss(**weights), outputs, *targets)
    assert found == pytest.approx(reference(outputs, *targets, **weights), rel=1e-12, abs=1e-12)
    step, differences = 1e-6, np.zeros_like(outputs)
    for place in np.ndindex(outputs.shape):
        up, down = outputs.copy(), outputs.copy()
        up[place] += step
        down[place] -= step
        differences[place] = (reference(up, *targets, **weights) - reference(down, *targets, **weights)) / (2 * step)
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("ratio", "advantage", "learns"),
    [(1.3, 1.0, False), (1.1, 1.0, True), (0.7, 1.0, True), (0.7, -1.0, False), (0.9, -1.0, True), (1.3, -1.0, True)],
)
def test_on_either_side_of_the_clip(ratio, advantage, learns):
    """No gradient where the policy has gone far enough in the direction it was to go, the plain one elsewhere."""
    outputs = np.array([[0.5, 0.1, 0.0]])
    old = density(np.array([[1.0]]), outputs[:, :1], outputs[:, 1:2]) - math.log(ratio)
    targets = [np.array([[1.0]]), old, np.array([advantage]), np.zeros(1)]
    value, gradient = loss_and_gradient(PPOLoss(clip_coef=0.2, vf_coef=0.0), outputs, *targets)
    spread = math.exp(0.1)
    if learns:
        assert value == pytest.approx(-ratio * advantage)
        assert gradient[0, 0] == pytest.approx(
            -advantage * ratio * 0.5 / spread**2
        )  # d log pi / d mean = (a - mu) / s^2
        assert gradient[0, 1] == pytest.approx(-advantage * ratio * ((0.5 / spread) ** 2 - 1))
    else:
        assert value == pytest.approx(-advantage * (1.2 if advantage > 0 else 0.8))
        np.testing.assert_array_equal(gradient, 0.0)


def test_at_the_old_policy_the_gradient_is_the_policy_gradient():
    outputs, actions, _, advantages, returns = batch(3)
    mean, log_std = outputs[:, :ACTIONS], outputs[:, ACTIONS:-1]
    old = density(actions, mean, log_std)
    _, gradient = loss_and_gradient(PPOLoss(vf_coef=0.0), outputs, actions, old, advantages, returns)
    expected = -advantages[:, None] * (actions - mean) / np.exp(2 * log_std) / BATCH
    np.testing.assert_allclose(gradient[:, :ACTIONS], expected, rtol=1e-12)
    np.testing.assert_array_equal(gradient[:, -1], 0.0)


def test_what_is_judged():
    outputs, *targets = batch(5)
    x, y = torch.tensor(outputs), experience(*targets)
    loss = PPOLoss(clip_coef=0.2, vf_coef=0.5, ent_coef=0.1)
    judged = {name: value.item() for name, value in loss.judge(x, y).items()}
    assert set(judged) == set(loss.metrics)
    assert loss.loss(x, y).item() == pytest.approx(
        judged["policy_loss"] + 0.5 * judged["value_loss"] - 0.1 * judged["entropy"]
    )
    ratio = np.exp(density(targets[0], outputs[:, :ACTIONS], outputs[:, ACTIONS:-1]) - targets[1])
    assert judged["clip_fraction"] == pytest.approx(np.mean(np.abs(ratio - 1) > 0.2))
    assert judged["approx_kl"] == pytest.approx(np.mean(ratio - 1 - np.log(ratio)))


def test_the_estimated_divergence_is_the_divergence_in_expectation():
    """mean (rho - 1) - log rho over actions of the old policy is KL(old, new)."""
    old, new = Normal(torch.zeros(1), torch.ones(1)), Normal(torch.tensor([0.2]), torch.tensor([1.1]))
    torch.manual_seed(0)
    actions = old.sample((400_000,)).double()
    outputs = torch.tensor([0.2, math.log(1.1), 0.0], dtype=torch.float64).expand(len(actions), 3)
    zeros = torch.zeros(len(actions), dtype=torch.float64)
    targets = experience(actions, old.log_prob(actions).double().squeeze(-1), zeros, zeros)
    assert PPOLoss().judge(outputs, targets)["approx_kl"].item() == pytest.approx(
        kl_divergence(old, new).item(), rel=0.02
    )


def test_log_probability_is_torchs():
    torch.manual_seed(0)
    actions, mean, log_std = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    expected = Normal(mean, log_std.exp()).log_prob(actions).sum(-1)
    torch.testing.assert_close(log_probability(actions, mean, log_std), expected)


def test_advantages_are_standardised_over_steps_and_environments():
    values = np.random.default_rng(0).normal(3.0, 5.0, (50, 2, 4))  # [T, R, E]
    found = _standardised(torch.tensor(values), (0, 2)).numpy()
    for agent in range(2):
        own = values[:, agent]
        np.testing.assert_allclose(found[:, agent], (own - own.mean()) / (own.std(ddof=1) + 1e-8), rtol=1e-12)
    assert not _standardised(torch.ones(5, 2, 3), (0, 2)).any()
