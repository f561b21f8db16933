"""Methods that break a promise about the user's training loop."""

from __future__ import annotations

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from testing.broken.sound import HANDLES, Sound


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
                value.mul_(0.9)


class TouchesWhatIsFrozenLater(Sound):
    """frozen_later"""

    def reset(self, step, due):
        super().reset(step, due)
        for name in step.network.initialisers.keys() - step.parameters():
            step.tensors[name].mul_(0.9)


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
