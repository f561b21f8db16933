"""Methods that break a promise about what they keep and draw."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass

import numpy as np
import torch

from neoteny.units import random
from testing.broken.sound import Sound


class CountsInPython(Sound):
    """saved_and_loaded_goes_on"""

    steps = 0

    def shrink(self, step):
        for name in step.parameters():
            if name in step.grads:
                step.grads[name] = step.grads[name] + 0.01 * self.steps * step.tensors[name]

    def intervene(self, step, state, due):
        object.__setattr__(self, "steps", self.steps + 1)
        return super().intervene(step, state, due)


class Mode(enum.Enum):
    ONLY = "only"


@dataclass(frozen=True, kw_only=True)
class KeepsObjects(Sound):
    """loads_with_weights_only"""

    mode: Mode = Mode.ONLY


class HoldsALock(Sound):
    """copies_and_pickles"""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "lock", threading.Lock())


class DrawsFromTorch(Sound):
    """the_same_seed_repeats"""

    resets_units = False

    def draw(self):
        return torch.randn(())

    def intervene(self, step, state, due):
        for name in step.parameters() if self.rate else ():
            step.tensors[name] = step.tensors[name] + 0.01 * self.draw()
        return super().intervene(step, state, due)


class DrawsFromNumPy(DrawsFromTorch):
    """the_same_seed_repeats"""

    def draw(self):
        return np.random.normal()


class OneSeedForAll(Sound):
    """another_seed_differs"""

    def reset(self, step, due):
        for number, layer in enumerate(step.network.layers):
            step.make_new(layer, self.first(layer, due), random.fold_in(random.key(0), number))

    def shrink(self, step):
        for name, grad in step.grads.items():
            step.grads[name] = grad + 0.01 * torch.randn((), generator=torch.Generator().manual_seed(1))


class GradientsInSingle(Sound):
    """type_and_device_are_kept"""

    def shrink(self, step):
        for name in step.parameters():
            if name in step.grads:
                step.grads[name] = step.grads[name] + self.rate * step.tensors[name].float()


class WeightsInSingle(Sound):
    """type_and_device_are_kept"""

    def intervene(self, step, state, due):
        for name in step.parameters():
            step.tensors[name] = step.tensors[name].float()
        return super().intervene(step, state, due)
