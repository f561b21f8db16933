"""Rules as a user would write them into the loop of a plain network: what attached methods are compared with.

`before` is called between the backward pass and the optimizer's step, `after` behind the step. They use what torch
offers for lists of tensors, take nothing into account that this loop does not need, and have the same default settings
as the methods. A test holds both to equal numbers.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init


class ByHand:
    """The base: a network with its optimizer, and rules that do nothing."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.model, self.optimizer, self.updates = model, optimizer, 0
        self.parameters = [p.detach() for p in model.parameters()]
        self.layers = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]

    def grads(self) -> list[Tensor]:
        """Of all parameters."""
        return [p.grad for p in self.model.parameters() if p.grad is not None]

    def before(self) -> None:
        """Between the backward pass and the step."""

    def after(self) -> None:
        """After the step."""


class L2(ByHand):
    """g ← g + λ θ."""

    strength = 1e-4

    def before(self) -> None:
        torch._foreach_add_(self.grads(), self.parameters, alpha=self.strength)


class L2Init(ByHand):
    """g ← g + λ (θ - θ₀)."""

    strength = 1e-3

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        super().__init__(model, optimizer)
        self.initial = [p.clone() for p in self.parameters]

    def before(self) -> None:
        away = torch._foreach_sub(self.parameters, self.initial)
        torch._foreach_add_(self.grads(), away, alpha=self.strength)


class WeightClipping(ByHand):
    """|w| at most ζ / √fan-in."""

    zeta = 2.0

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        super().__init__(model, optimizer)
        self.bounds = [
            self.zeta / math.sqrt(layer.weight[0].numel()) for layer in self.layers for _ in layer.parameters()
        ]
        self.least = [-bound for bound in self.bounds]

    def after(self) -> None:
        torch._foreach_clamp_max_(self.parameters, self.bounds)
        torch._foreach_clamp_min_(self.parameters, self.least)


class EMA(ByHand):
    """a ← a + (1 - μ) / (1 - μ^t) (θ - a)."""

    mu = 0.999

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        super().__init__(model, optimizer)
        self.average = [p.clone() for p in self.parameters]

    def after(self) -> None:
        self.updates += 1
        share = (1 - self.mu) / (1 - self.mu**self.updates)
        torch._foreach_lerp_(self.average, self.parameters, share)


class HareAndTortoise(EMA):
    """a ← μ a + (1 - μ) θ; nothing returns within a task."""

    def after(self) -> None:
        torch._foreach_lerp_(self.average, self.parameters, 1 - self.mu)


class ShrinkAndPerturb(L2):
    """L2, then θ ← θ + σ ε."""

    sigma = 1e-5

    def after(self) -> None:
        for p in self.parameters:
            p.add_(torch.randn_like(p), alpha=self.sigma)


class Resets(ByHand):
    """Hidden activations by hooks, and units made new."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        super().__init__(model, optimizer)
        self.hidden: list[Tensor] = []
        self.chain = list(zip(self.layers, self.layers[1:], strict=False))
        for _, reader in self.chain:
            reader.register_forward_pre_hook(self.see)

    def see(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Keep what a layer reads."""
        self.hidden.append(inputs[0].detach())

    def reset(self, layer: Any, reader: Any, units: Tensor) -> None:
        """New incoming weights, bias and outgoing weights 0, and the optimizer's state of these entries 0."""
        repeats = reader.weight.shape[1] // len(units)  # positions of a feature map that a linear layer reads
        read = units.repeat_interleave(repeats)
        fresh = torch.empty_like(layer.weight)
        init.kaiming_uniform_(fresh, math.sqrt(5))
        layer.weight[units] = fresh[units]
        layer.bias[units] = 0.0
        reader.weight[:, read] = 0.0
        for parameter, own in ((layer.weight, units), (layer.bias, units), (reader.weight, (slice(None), read))):
            for state in self.optimizer.state[parameter].values():
                if isinstance(state, Tensor) and state.shape == parameter.shape:
                    state[own] = 0.0


class ReDo(Resets):
    """Every 1,000 updates reset units whose mean |h| is at most τ of the layer's."""

    tau, period = 0.025, 1000

    def see(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if (self.updates + 1) % self.period == 0:
            super().see(module, inputs)

    @torch.no_grad()
    def after(self) -> None:
        self.updates += 1
        for (layer, reader), seen in zip(self.chain, self.hidden, strict=False):
            h = seen.view(len(seen), len(layer.weight), -1)  # with the positions of feature maps
            activity = h.abs().mean((0, 2))
            self.reset(layer, reader, activity / (activity.mean() + 1e-9) <= self.tau)
        self.hidden.clear()


class SNR(Resets):
    """Reset units that are silent for improbably long; the thresholds are estimated every 10,000 updates."""

    rejection, period, longest = 0.05, 10_000, 20_000

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        super().__init__(model, optimizer)
        self.age = [torch.zeros(len(layer.weight), dtype=torch.int32) for layer, _ in self.chain]
        self.threshold = [torch.full_like(age, self.period) for age in self.age]
        self.log = [torch.zeros(len(age), self.longest + 1, dtype=torch.int32) for age in self.age]

    @torch.no_grad()
    def after(self) -> None:
        self.updates += 1
        for number, ((layer, reader), seen) in enumerate(zip(self.chain, self.hidden, strict=False)):
            h = seen.view(len(seen), len(layer.weight), -1)
            age, log, threshold = self.age[number], self.log[number], self.threshold[number]
            fired = (h != 0).any(2).any(0)
            self.write(log, age, fired & (age > 0))
            age.add_(len(h)).masked_fill_(fired, 0)
            old = age > threshold
            if old.any():
                self.write(log, age, old)
                age[old] = 0
                self.reset(layer, reader, old)
            if self.updates % self.period == 0:
                least = ((1 - self.rejection) * log.sum(1, keepdim=True)).sub_(1e-2)
                usual = (log.cumsum(1) >= least).int().argmax(1).int()
                self.threshold[number] = torch.where(usual > threshold, 2 * threshold, usual).clamp(
                    len(h), self.longest
                )
                log.zero_()
        self.hidden.clear()

    def write(self, log: Tensor, age: Tensor, ended: Tensor) -> None:
        """Log the silences that end."""
        log[ended.nonzero().squeeze(1), age[ended].clamp_max(self.longest).long()] += 1


class SWR(ByHand):
    """Every 128 updates draw the weights of least |w g| anew, one in 10,000."""

    factor, period = 1e-4, 128

    @torch.no_grad()
    def after(self) -> None:
        self.updates += 1
        if self.updates % self.period:
            return
        for layer in self.layers:
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for p in layer.parameters():
                count = int(self.factor * p.numel() + torch.rand(()))
                if count and p.grad is not None:
                    chosen = (p * p.grad).abs().flatten().topk(count, largest=False).indices
                    p.view(-1)[chosen] = torch.empty(count).uniform_(-bound, bound)
                    for state in self.optimizer.state[p].values():
                        if isinstance(state, Tensor) and state.shape == p.shape:
                            state.view(-1)[chosen] = 0.0


BY_HAND: dict[str, type[ByHand]] = {
    "l2": L2,
    "l2-init": L2Init,
    "weight-clipping": WeightClipping,
    "ema": EMA,
    "hare-and-tortoise": HareAndTortoise,
    "shrink-and-perturb": ShrinkAndPerturb,
    "redo": ReDo,
    "snr": SNR,
    "swr": SWR,
}
"""By the name of the method."""
