"""SwiftTD and true online TD(lambda) in NumPy, float64, one step after the other as the papers print them."""

from __future__ import annotations

import numpy as np


def swift_td(
    x, cumulants, discounts, lamda=0.95, alpha=1e-2, eta=0.1, decay=0.999, theta=1e-3, eta_min=1e-10, order="paper"
):
    """The predictions for each row of x, made before it is learned from, and the weights and step sizes at the end."""
    n = x.shape[1]
    w, beta = np.zeros(n), np.full(n, np.log(alpha))
    z, zd, p, zb, h, h_old, h_tmp = np.zeros((7, n))
    v_old = vd = 0.0
    said = []
    for f, c, gamma in zip(x, cumulants, discounts, strict=True):
        v = w @ f
        d = c + gamma * v - v_old
        dw = d * z - zd * vd
        w = w + dw
        beta = np.clip(beta + theta * np.exp(-beta) * (d - vd) * p, np.log(eta_min), np.log(eta))
        h_old, h = h, h_tmp + d * zb - zd * vd
        h_tmp = h
        z, p, zb = gamma * lamda * z, gamma * lamda * p, gamma * lamda * zb
        a = np.exp(beta)
        tau, overlap, vd = np.sum(a * f**2), z @ f, dw @ f
        zd = (min(1.0, eta / tau) if tau > 0 else 1.0) * a * f
        z = z + zd * (1 - overlap)
        if tau > eta and order == "sparse":
            beta = beta + np.log(decay) * f**2
            h, h_old, zb = (np.where(f != 0, 0.0, value) for value in (h, h_old, zb))
        p = p + h_old * f
        zb = zb + zd * (1 - overlap - zb * f)
        h_tmp = h - h_old * f * (z - zd) - h * zd * f
        if tau > eta and order == "paper":
            beta = beta + np.log(decay) * f**2
            h, h_old, h_tmp, zb = np.zeros((4, n))
        v_old = v
        said.append(v)
    return np.array(said), w, np.exp(beta)


def true_online_td(x, cumulants, discounts, lamda=0.95, alpha=1e-2):
    """As `swift_td`; van Seijen et al. 2016, Algorithm 1, with a discount a step."""
    w, e, v_old, said = np.zeros(x.shape[1]), np.zeros(x.shape[1]), 0.0, [0.0]
    for t in range(1, len(x)):
        f, after, gamma_of_state = x[t - 1], x[t], discounts[t - 1]
        v, following = w @ f, w @ after
        said.append(following)
        delta = cumulants[t] + discounts[t] * following - v
        decayed = gamma_of_state * lamda * e
        e = decayed + f - alpha * (decayed @ f) * f
        v_old = v_old if gamma_of_state else v  # an episode begins
        w = w + alpha * (delta + v - v_old) * e - alpha * (v - v_old) * f
        v_old = following
    return np.array(said), w


def stream(steps=1500, n=12, density=0.3, signed=False, seed=0):
    """Features with episode ends (a discount of 0): x, cumulants, discounts."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((steps, n)) if signed else rng.uniform(0.2, 1.2, (steps, n))
    x = values * (rng.random((steps, n)) < density)
    return x, rng.standard_normal(steps) * 0.5 + x[:, 0], np.where(rng.random(steps) < 0.02, 0.0, 0.97)


def golden():
    """The stream of the published package's value: 12 binary features, 3,000 steps."""
    rng = np.random.RandomState(0)
    rows = [(rng.rand(12) < 0.3, rng.rand() < 0.1) for _ in range(3_000)]
    return np.array([row[0] for row in rows], float), np.array([row[1] for row in rows], float)
