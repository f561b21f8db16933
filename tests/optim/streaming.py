"""Streams of gradients, errors and ends of episodes, and rules run on them, for the tests of streaming optimizers."""

from __future__ import annotations

import numpy as np
import torch

from neoteny.optim.base import Optimizer

SHAPES = {"a": (3, 2), "b": (3,)}
STEPS = 1000


def stream(steps: int = STEPS, seed: int = 0, shapes=SHAPES):
    """Gradients of predictions by name `[steps, *shape]`, errors, decays of traces and ends of episodes `[steps]`."""
    rng = np.random.default_rng(seed)
    grads = {name: rng.standard_normal((steps, *shape)) for name, shape in shapes.items()}
    ended = rng.random(steps) < 0.05
    decay = np.where(rng.random(steps) < 0.1, 0.0, 0.9 * 0.8)
    return grads, rng.standard_normal(steps) * 2, decay, ended


def begun(shapes=SHAPES, seed: int = 1):
    """Weights by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def run(rule: Optimizer, grads, delta=None, decay=None, ended=None, beside=None, start=None):
    """The weights after the rule's updates, its state, and what it said in each step."""
    start = begun({name: value.shape[1:] for name, value in grads.items()}) if start is None else start
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in start.items()}
    state, said = rule.init(tensors), []
    for t in range(len(next(iter(grads.values())))):
        signals = None
        if delta is not None and decay is not None and ended is not None:
            signals = {"delta": delta[t], "trace_decay": decay[t], "ended": ended[t]}
            signals = {name: torch.as_tensor(value) for name, value in signals.items()}
        for name, rows in (beside or {}).items():
            signals = {**(signals or {}), name: {p: torch.from_numpy(row[t]) for p, row in rows.items()}}
        count = {name: torch.tensor(t + 1.0, dtype=torch.float64) for name in grads} if rule.counts else {}
        now = {name: torch.from_numpy(value[t]) for name, value in grads.items()}
        said.append(rule.update(tensors, now, state, count, signals))
    return {name: value.numpy() for name, value in tensors.items()}, state, said


def flat(values):
    """All weights of a dict as one vector, in the order of its names."""
    return np.concatenate([np.reshape(value, -1) for value in values.values()])


def flat_rows(grads):
    """The gradients of every step as rows `[steps, weights]`."""
    return np.concatenate([np.reshape(value, (len(value), -1)) for value in grads.values()], 1)
