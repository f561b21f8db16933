"""A method that keeps every promise; the others of this folder are made from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from neoteny.checks import require_count, require_fraction
from neoteny.methods.base import Method
from neoteny.methods.shared.schedule import Periodic
from neoteny.units import random

HANDLES: list = []
"""Global hooks of methods, which must come off again."""


@dataclass(frozen=True, kw_only=True)
class Sound(Method):
    """Shrinks all weights, and every so often makes the first unit of each layer new."""

    resets_units = True
    rate: float = 0.02
    period: int = 4

    def __post_init__(self):
        require_fraction(self, "rate")
        require_count(self, "period", least=1)

    def inert(self):
        return "rate = 0, so nothing shrinks" if self.rate == 0 else None

    def init(self, network, tensors):
        return {"seen": torch.zeros((), dtype=torch.int32)}

    def schedule(self, network, seed):
        return Periodic(self.period)

    def shrink(self, step):
        for name in step.parameters():
            if name in step.grads:
                step.grads[name] = step.grads[name] + self.rate * step.tensors[name]

    def first(self, layer, due):
        return (torch.arange(layer.size) == 0) & (due[0] > 0)

    def reset(self, step, due):
        for number, layer in enumerate(step.network.layers):
            step.make_new(layer, self.first(layer, due), random.fold_in(step.key, number))

    def regularise(self, step, state):
        if self.rate:
            self.shrink(step)
        return state

    def intervene(self, step, state, due):
        if due is not None and self.rate:
            self.reset(step, due)
        return {**state, "seen": state["seen"] + 1}
