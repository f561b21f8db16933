"""Continual backpropagation and its optimizers in plain float64 NumPy: slow, obvious, and written from the formulas.

The first layer sees patches `[batch, positions, inputs]`: one code serves a multilayer perceptron (one position)
and a convolution flattened into a linear layer.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np


class Net:
    """ReLU network with squared error, `weights[l]` of shape [out, in]; layer 0 is shared over positions."""

    def __init__(self, weights, biases):
        self.weights = [w.astype(np.float64).copy() for w in weights]
        self.biases = [b.astype(np.float64).copy() for b in biases]

    def parameters(self):
        return [*self.weights, *self.biases]

    def gradients(self, patches, targets):
        """Gradients of the mean squared error; also the hidden activations `[batch, units, positions]`."""
        hidden, flat, last = [], None, len(self.weights) - 1
        before = []
        for number, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = np.einsum("bpk,ok->bop", patches, w) + b[:, None] if number == 0 else (flat @ w.T + b)[:, :, None]
            before.append((flat, z))
            h = z if number == last else np.maximum(z, 0)
            hidden.append(h)
            flat = h.reshape(len(h), -1)
        delta = (2 * (flat - targets) / targets.size)[:, :, None]
        grads_w, grads_b = [None] * len(self.weights), [None] * len(self.weights)
        for number in range(last, -1, -1):
            flat, z = before[number]
            if number < last:
                delta = delta * (z > 0)
            grads_b[number] = delta.sum((0, 2))
            if number == 0:
                grads_w[number] = np.einsum("bop,bpk->ok", delta, patches)
            else:
                grads_w[number] = delta[:, :, 0].T @ flat
                back = delta[:, :, 0] @ self.weights[number]
                delta = back.reshape(before[number - 1][1].shape)
        return [*grads_w, *grads_b], hidden[:-1]


class SGD:
    def __init__(self, parameters, lr, momentum=0.0):
        self.lr, self.momentum = lr, momentum
        self.state = [{"buffer": np.zeros_like(p)} for p in parameters]

    def step(self, parameters, grads):
        for p, g, s in zip(parameters, grads, self.state, strict=True):
            s["buffer"][...] = self.momentum * s["buffer"] + g
            p -= self.lr * s["buffer"]


class Adam:
    """Adam with a count of updates for every single entry."""

    def __init__(self, parameters, lr, betas=(0.9, 0.999), eps=1e-8):
        self.lr, self.betas, self.eps = lr, betas, eps
        self.state = [{"m": np.zeros_like(p), "v": np.zeros_like(p), "t": np.zeros_like(p)} for p in parameters]

    def step(self, parameters, grads):
        b1, b2 = self.betas
        for p, g, s in zip(parameters, grads, self.state, strict=True):
            s["t"] += 1
            s["m"][...] = b1 * s["m"] + (1 - b1) * g
            s["v"][...] = b2 * s["v"] + (1 - b2) * g**2
            p -= self.lr * (s["m"] / (1 - b1 ** s["t"])) / (np.sqrt(s["v"] / (1 - b2 ** s["t"])) + self.eps)


class ContinualBackprop:
    """`draw(update, layer, shape)` gives fresh incoming weights, `lots(update, layer)` uniform numbers in [0, 1)."""

    def __init__(
        self, net, optimizer, rate, decay, maturity, utility, draw, rule="account", compensate=False, authors_code=False
    ):
        self.net, self.optimizer, self.draw = net, optimizer, draw
        self.rate, self.decay, self.maturity, self.utility = Fraction(str(rate)), decay, maturity, utility
        self.rule, self.compensate, self.authors_code = rule, compensate, authors_code
        sizes = [len(w) for w in net.weights[:-1]]
        self.age = [np.zeros(n, int) for n in sizes]
        self.u = [np.zeros(n) for n in sizes]
        self.f = [np.zeros(n) for n in sizes]
        self.account = [Fraction(0) for _ in sizes]
        self.replaced = [0 for _ in sizes]

    def step(self, update, hidden):
        chosen = []
        for layer, h in enumerate(hidden):
            n = len(self.age[layer])
            w_in = np.abs(self.net.weights[layer]).sum(1)
            w_out = np.abs(self.net.weights[layer + 1]).reshape(-1, n, h.shape[2]).sum((0, 2))
            self.age[layer] += 1
            correction = 1 - self.decay ** self.age[layer]
            self.f[layer] = self.decay * self.f[layer] + (1 - self.decay) * h.mean((0, 2))
            away = np.abs(h - (self.f[layer] / correction)[:, None]).mean((0, 2))
            new = {
                "contribution": np.abs(h).mean((0, 2)) * w_out,
                "adaptable_contribution": away * w_out / w_in,
                "zero_contribution": away * w_out,
                "feature_by_input": away / w_in,
                "weight": w_out,
                "adaptation": 1 / w_in,
            }[self.utility]
            if self.authors_code:  # at each position of a flattened map by itself
                centre = 0 if self.utility == "contribution" else (self.f[layer] / correction)[:, None]
                own = np.abs(self.net.weights[layer + 1]).sum(0).reshape(n, -1)
                new = (np.abs(h - centre).mean(0) * own).sum(1) / (1 if self.utility == "contribution" else w_in)
            self.u[layer] = self.decay * self.u[layer] + (1 - self.decay) * new
            ranked = self.u[layer] / correction
            mature = [unit for unit in range(n) if self.age[layer][unit] > self.maturity]
            self.account[layer] += self.rate * (n if self.authors_code and mature else len(mature))
            due = int(self.account[layer]) if self.rule == "accumulate" else int(self.account[layer] >= 1)
            due = min(due, len(mature))
            self.account[layer] -= due
            chosen.append(sorted(mature, key=lambda unit, ranked=ranked: (ranked[unit], unit))[:due])
        for layer, units in enumerate(chosen):
            if not any(chosen):
                continue
            fresh = self.draw(update, layer, self.net.weights[layer].shape)
            positions = hidden[layer].shape[2]
            for unit in units:
                columns = slice(unit * positions, (unit + 1) * positions)
                if self.compensate:
                    mean = self.f[layer][unit] / (1 - self.decay ** self.age[layer][unit])
                    self.net.biases[layer + 1] += self.net.weights[layer + 1][:, columns].sum(1) * mean
                self.net.weights[layer][unit] = fresh[unit]
                self.net.biases[layer][unit] = 0
                self.net.weights[layer + 1][:, columns] = 0
                depth = len(self.net.weights)
                for state in (self.optimizer.state[layer], self.optimizer.state[depth + layer]):
                    for name, value in state.items():
                        if not (self.authors_code and name == "buffer"):
                            value[unit] = 0
                for name, value in self.optimizer.state[layer + 1].items():
                    if not (self.authors_code and name == "buffer"):
                        value[:, columns] = 0
                self.age[layer][unit] = self.u[layer][unit] = self.f[layer][unit] = 0
                self.replaced[layer] += 1
