"""Methods that break a promise about the rule, or about whom a reset touches."""

from __future__ import annotations

import torch

from neoteny.units import random
from neoteny.units.reset import make_new
from testing.broken.sound import Sound


class TouchesNeighbours(Sound):
    """other_units_are_untouched"""

    def reset(self, step, due):
        super().reset(step, due)
        name = step.network.layers[0].incoming[0].name
        step.tensors[name] = torch.where(due[0] > 0, step.tensors[name] * 1.001, step.tensors[name])


class TouchesStateOfNeighbours(Sound):
    """other_units_are_untouched"""

    def reset(self, step, due):
        super().reset(step, due)
        for state in step.optim.values():
            for key, value in state.items():
                state[key] = torch.where(due[0] > 0, torch.zeros_like(value), value)


class KeepsMomentum(Sound):
    """newborn_state_is_fresh"""

    def reset(self, step, due):
        for number, layer in enumerate(step.network.layers):
            chosen = self.first(layer, due)
            make_new(layer, step.network, step.tensors, {}, chosen, random.fold_in(step.key, number))
            since = step.since[layer.name]
            step.since[layer.name] = torch.where(chosen, torch.zeros_like(since), since)


class ZeroesState(Sound):
    """newborn_state_is_fresh"""

    optimizer = "adagrad"  # whose sums do not begin at 0

    def reset(self, step, due):
        for number, layer in enumerate(step.network.layers):
            chosen = self.first(layer, due)
            make_new(layer, step.network, step.tensors, step.optim, chosen, random.fold_in(step.key, number))
            since = step.since[layer.name]
            step.since[layer.name] = torch.where(chosen, torch.zeros_like(since), since)


class WritesWeights(Sound):
    """writes_into_nothing"""

    resets_units = False

    def intervene(self, step, state, due):
        for name in step.parameters() if self.rate else ():
            step.tensors[name].mul_(0.99)
        return super().intervene(step, state, due)


class GrowingState(Sound):
    """writes_into_nothing"""

    def init(self, network, tensors):
        return {**super().init(network, tensors), "log": torch.zeros(1)}

    def intervene(self, step, state, due):
        state = super().intervene(step, state, due)
        return {**state, "log": torch.cat([state["log"], torch.zeros(1)])}


class AsksTheDevice(Sound):
    """many_runs_at_once"""

    def shrink(self, step):
        for name in step.parameters():
            if name in step.grads and step.grads[name].abs().max() < 1e6:
                step.grads[name] = step.grads[name] + self.rate * step.tensors[name]


class MixesRuns(Sound):
    """many_runs_at_once"""

    varies = ("rate",)

    def shrink(self, step):
        for name in step.parameters():
            if name in step.grads:
                step.grads[name] = step.grads[name] + (0.1 if isinstance(self.rate, float) else 0.2)
