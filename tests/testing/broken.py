"""Methods that each break one promise, all made from one that keeps them all."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from neoteny.methods.base import Method, require_count, require_fraction
from neoteny.methods.schedule import Periodic
from neoteny.units import random
from neoteny.units.reset import make_new


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


class Idle(Sound):
    """acts"""

    resets_units = False

    def regularise(self, step, state):
        return state

    def intervene(self, step, state, due):
        return state


class Explodes(Sound):
    """stays_finite"""

    def regularise(self, step, state):
        for name in step.parameters() if self.rate else ():
            if name in step.grads:
                step.grads[name] = step.grads[name] / (step.grads[name] != 0)
        return state


class NeverStill(Sound):
    """strength_zero_is_the_bare_optimizer"""

    def regularise(self, step, state):
        self.shrink(step)
        for name in step.grads:
            step.grads[name] = step.grads[name] + 1e-7
        return state


class SaysNothing(Sound):
    """warns_where_it_can_never_act"""

    def schedule(self, network, seed):
        return Periodic(self.period) if self.rate else None

    def inert(self):
        return None


class CriesWolf(Sound):
    """does_not_warn_where_it_acts"""

    def inert(self):
        return "I believe so"


class NeedsEveryGradient(Sound):
    """missing_gradients"""

    def shrink(self, step):
        for name in step.parameters():
            step.grads[name] = step.grads[name] + self.rate * step.tensors[name]


class MakesGradients(Sound):
    """missing_gradients"""

    def shrink(self, step):
        for name in step.parameters():
            step.grads[name] = step.grads.get(name, 0) + self.rate * step.tensors[name]


class TouchesFrozen(Sound):
    """frozen_parameters"""

    def reset(self, step, due):
        super().reset(step, due)
        for name, value in step.tensors.items():
            if name not in step.network.initialisers:
                step.tensors[name] = 0.9 * value


class OneStepSize(Sound):
    """parameter_groups"""

    def shrink(self, step):
        for name in step.parameters():
            if name in step.grads:
                step.grads[name] = step.grads[name] + step.step_size * step.tensors[name]


class CountsClosures(Sound):
    """closures"""

    def regularise(self, step, state):
        if self.rate:
            self.shrink(step)
            for name, grad in step.grads.items():
                step.grads[name] = grad * (1 + state["calls"] % 2)
        return {**state, "calls": state["calls"] + 1}

    def init(self, network, tensors):
        return {**super().init(network, tensors), "calls": torch.zeros(())}

    def intervene(self, step, state, due):
        return {**super().intervene(step, state, due), "calls": torch.zeros_like(state["calls"])}


class WritesGradients(Sound):
    """gradients_are_given_back"""

    def shrink(self, step):
        for name in step.parameters():
            if name in step.grads:
                step.grads[name].add_(self.rate * step.tensors[name])


class Watching(Sound):
    """A method that counts forward passes by a hook of its own."""

    resets_units = False
    passes = 0

    def init(self, network, tensors):
        object.__setattr__(self, "tensors", tensors)
        HANDLES.append(torch.nn.modules.module.register_module_forward_hook(self.count))
        return super().init(network, tensors)

    def count(self, module, args, output):
        last = list(self.tensors.values())[-1]
        if getattr(module, "bias", None) is not None and module.bias.data_ptr() == last.data_ptr():
            object.__setattr__(self, "passes", self.passes + self.counts(module))

    def intervene(self, step, state, due):
        for name in step.parameters() if self.rate else ():
            step.tensors[name] = step.tensors[name] * 0.99 ** (self.passes - self.usual)
        object.__setattr__(self, "passes", 0)
        return super().intervene(step, state, due)


class CountsPasses(Watching):
    """accumulated_gradients"""

    usual = 1

    def counts(self, module):
        return module.training and torch.is_grad_enabled()


class WatchesEvaluation(Watching):
    """evaluation_passes"""

    usual = 0

    def counts(self, module):
        return not module.training


class NeedsAStep(Sound):
    """changes_of_task"""

    stepped = False

    def at_task(self, step, state):
        if not self.stepped and not step.optim:
            raise RuntimeError("no step yet")
        return state

    def intervene(self, step, state, due):
        object.__setattr__(self, "stepped", True)
        return super().intervene(step, state, due)


class StaysBehind(Sound):
    """detached"""

    acted = True

    def init(self, network, tensors):
        def after(optimizer, *_):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            own = {tensor.data_ptr() for tensor in tensors.values()}
            if not self.acted and self.rate and all(p.data_ptr() in own for p in parameters):
                parameters[0].data.mul_(0.9)
            object.__setattr__(self, "acted", False)

        HANDLES.append(register_optimizer_step_post_hook(after))
        return super().init(network, tensors)

    def intervene(self, step, state, due):
        object.__setattr__(self, "acted", True)
        return super().intervene(step, state, due)


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
    """optimizer_state_is_reset"""

    def reset(self, step, due):
        for number, layer in enumerate(step.network.layers):
            chosen = self.first(layer, due)
            make_new(layer, step.network, step.tensors, {}, chosen, random.fold_in(step.key, number))
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


class TakesAnyRate(Sound):
    """bad_settings_are_refused"""

    def __post_init__(self):
        require_count(self, "period", least=1)
        if not isinstance(self.rate, (int, float)) or self.rate > 1:
            require_fraction(self, "rate")


class HidesTheValue(Sound):
    """bad_settings_are_refused"""

    def __post_init__(self):
        from neoteny.errors import SettingError

        require_count(self, "period", least=1)
        try:
            require_fraction(self, "rate")
        except SettingError as error:
            raise SettingError("HidesTheValue: rate is bad") from error


HANDLES: list = []
"""Global hooks that must come off again."""

BROKEN = [
    value for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, Sound) and (value.__doc__ or "").replace("_", "a").isalpha()
]  # fmt: skip
"""Each names in its docstring the one check that it fails."""
