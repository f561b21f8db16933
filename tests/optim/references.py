"""The streaming rules in NumPy, double precision, on one vector of all weights: what the package's are compared with.

Each is a generator-like class: `step(g, delta, decay, ended)` returns the change of the weights. Written from the
papers' equations, not from the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np


class Rule:
    """State of n weights; `parts` are the slices of its layers."""

    def __init__(self, n, parts=(), **settings):
        self.n, self.parts = n, parts
        self.z, self.h, self.v, self.t = np.zeros(n), np.zeros(n), np.zeros(n), 0
        self.__dict__.update(settings)
        self.begin()

    def begin(self):
        pass

    if TYPE_CHECKING:  # the settings

        def __getattr__(self, name: str) -> Any: ...

    def trace(self, g, decay):
        self.t += 1
        self.z = decay * self.z + g
        return self.z


class IDBD(Rule):
    """On p = delta g and q = g^2 or any other."""

    def begin(self):
        self.beta = np.full(self.n, np.log(self.alpha))

    def move(self, p, q):
        self.beta = np.maximum(self.beta + np.clip(self.theta * p * self.h, -2, 2), -10)
        alpha = np.exp(self.beta)
        self.h = self.h * np.maximum(1 - alpha * q, 0) + alpha * p
        return alpha * p


class Autostep(Rule):
    def begin(self):
        self.a = np.full(self.n, self.alpha)

    def move(self, p, q):
        ph = p * self.h
        self.v = np.maximum(np.abs(ph), self.v + self.a * q / self.tau * (np.abs(ph) - self.v))
        for i in range(self.n):
            if self.v[i] != 0:
                self.a[i] *= np.exp(self.mu * ph[i] / self.v[i])
        self.a /= max((self.a * q).sum(), 1.0)
        self.h = self.h * (1 - self.a * q) + self.a * p
        return self.a * p


class TIDBD(Rule):
    def begin(self):
        self.beta = np.full(self.n, np.log(self.alpha))

    def step(self, g, delta, decay, ended, following=0.0):
        x = g - following
        self.beta = np.maximum(self.beta + np.clip(self.theta * delta * x * self.h, -2, 2), -10)
        alpha, z = np.exp(self.beta), self.trace(g, decay)
        self.h = self.h * np.maximum(1 - alpha * x * z, 0) + alpha * delta * z
        if ended:
            self.z = np.zeros(self.n)
        return alpha * delta * z


class AutoTIDBD(Rule):
    def begin(self):
        self.a = np.full(self.n, self.alpha)

    def step(self, g, delta, decay, ended, following=0.0):
        x, z = g - following, self.trace(g, decay)
        product = delta * x * self.h
        self.v = np.maximum(np.abs(product), self.v + self.a * x * z / self.tau * (np.abs(product) - self.v))
        ratio = np.divide(product, self.v, out=np.zeros(self.n), where=self.v != 0)
        self.a = self.a * np.exp(self.mu * ratio)
        self.a /= max(float(self.a @ (x * z)), 1.0)
        self.h = self.h * np.maximum(1 - self.a * x * z, 0) + self.a * delta * z
        if ended:
            self.z = np.zeros(self.n)
        return self.a * delta * z


class NLMS(Rule):
    def step(self, g, delta, decay, ended):
        return self.eta * delta * g / (self.eps + g @ g)


class K1(Rule):
    def begin(self):
        self.beta = np.full(self.n, np.log(self.ratio * self.noise))

    def step(self, g, delta, decay, ended):
        self.beta = self.beta + self.mu * delta * g * self.h
        p = np.exp(self.beta)
        k = p * g / (self.noise + (p * g * g).sum())
        self.h = (self.h + k * delta) * np.maximum(1 - k * g, 0)
        return k * delta


class K2(K1):
    def step(self, g, delta, decay, ended):
        foreseen = self.noise + (np.exp(self.beta) * g * g).sum()
        self.beta = self.beta + self.mu * g**2 / (1 + (g**4).sum()) * (delta**2 - foreseen)
        p = np.exp(self.beta)
        return p * g / (self.noise + (p * g * g).sum()) * delta


class Intentional(Rule):
    def begin(self):
        self.sigma, self.weight, self.square, self.mean = 0.0, 0.0, 1.0, 0.0

    def step(self, g, delta, decay, ended):
        z = self.trace(g, decay)
        self.v = 0.999 * self.v + 0.001 * g * g
        s = np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8
        self.square = 0.9998 * self.square + 0.0002 * delta**2
        corrected = 1 - 0.9998**self.t
        cap = self.clip * np.sqrt(self.square / corrected)
        d = min(max(delta, -cap), cap)
        if self.policy:
            self.mean = 0.9998 * self.mean + 0.0002 * abs(d)
            d = d / max(self.mean / corrected, 1e-8)
        self.sigma = self.sigma + (1 - decay) * ((g * g / s).sum() - self.sigma)
        self.weight = self.weight + (1 - decay) * (1 - self.weight)
        step = self.eta / max(np.sqrt(self.sigma / self.weight * (z * z / s).sum()), 1e-8)
        if ended:
            self.z = np.zeros(self.n)
        return step * d * z / s


class VarianceAdjusted(Rule):
    def step(self, g, delta, decay, ended):
        z, psi = self.trace(g, decay), np.clip(delta, -1, 1)
        self.v = 0.999 * self.v + 0.001 * (psi * z) ** 2
        if ended:
            self.z = np.zeros(self.n)
        return self.alpha * psi * z / np.sqrt(self.v / (1 - 0.999**self.t) + 1e-8)


class Hypergradient(Rule):
    def begin(self):
        self.before, self.a = np.zeros(self.n), self.alpha

    def descend(self, G, w):
        if self.form == "additive":
            self.a = self.a + self.eta * (G @ self.before)
        elif self.before.any():
            cosine = G @ self.before / np.sqrt((G @ G) * (self.before @ self.before))
            self.a = self.a * (1 + self.eta * cosine)
        self.a, self.before = max(self.a, 0.0), G
        return -self.a * G


class SMD(Rule):
    def begin(self):
        self.p, self.way = np.full(self.n, self.alpha), np.zeros(self.n)

    def move(self, push, hessian):
        self.p = self.p * np.exp(self.mu * self.way * push)
        curved = hessian @ self.way
        self.way = self.lamda * self.way + self.p * (push - self.lamda * curved)
        return self.p * push


class MetaOptimize(Rule):
    """Hessian-free, for every base, meta optimizer and kind of block."""

    def begin(self):
        self.groups = {"scalar": [slice(0, self.n)], "layer": self.parts, "weight": range(self.n)}[self.blocks]
        count = len(self.groups)
        self.b, self.H, self.m = np.full(count, np.log(self.alpha)), np.zeros(self.n), np.zeros(self.n)
        self.M, self.V = np.zeros(count), np.zeros(count)

    def descend(self, g, w):
        self.t += 1
        alpha = np.empty(self.n)
        for block, group in enumerate(self.groups):
            alpha[group] = np.exp(self.b[block])
        sums = np.array([np.sum(self.H[group] * g[group]) for group in self.groups])
        plain = g
        if self.base == "sgd":
            u = g
        elif self.base == "sgdm":
            u, self.m = self.m, 0.9 * self.m + 0.1 * g
        elif self.base == "lion":
            u = plain = np.sign(0.9 * self.m + 0.1 * g)
            self.m = 0.99 * self.m + 0.01 * g
        else:
            self.v = 0.999 * self.v + 0.001 * g * g
            root = np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8
            self.m = 0.9 * self.m + 0.1 * g
            plain = g / root
            u = plain if self.base == "rmsprop" else self.m / (1 - 0.9**self.t) / root
        change = alpha * (u + self.kappa * w)
        summed = change if self.form == "paper" else alpha * plain
        self.H = self.gamma * (1 - alpha * self.kappa) * self.H - summed
        if self.meta == "sgd":
            up = sums
        elif self.meta == "lion":
            up = np.sign(0.9 * self.M + 0.1 * sums)
            self.M = 0.99 * self.M + 0.01 * sums
        else:
            self.V = 0.999 * self.V + 0.001 * sums**2
            self.M = 0.9 * self.M + 0.1 * sums
            top = sums if self.meta == "rmsprop" else self.M / (1 - 0.9**self.t)
            up = top / (np.sqrt(self.V / (1 - 0.999**self.t)) + 1e-8)
        self.b = self.b - self.eta * up
        return -change


def predicted(rule, w, grads, delta, decay, ended, following=None):
    """The weights after the steps of a rule that follows predictions."""
    for t in range(len(grads)):
        if hasattr(rule, "step"):
            beside = {} if following is None else {"following": following[t]}
            w = w + rule.step(grads[t], delta[t], decay[t], ended[t], **beside)
        else:
            w = w + rule.move(delta[t] * grads[t], grads[t] ** 2)
    return w


def descended(rule, w, grads, curvature=None):
    """The weights after the steps of a rule that follows losses."""
    for t in range(len(grads)):
        if hasattr(rule, "descend"):
            w = w + rule.descend(grads[t], w)
        else:
            w = w + rule.move(-grads[t], grads[t] ** 2 if curvature is None else curvature[t])
    return w
