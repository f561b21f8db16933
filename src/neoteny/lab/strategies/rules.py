"""The rules that kernels know, as `rules.h` has them: those with a step size for each weight, and SGD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from neoteny.optim import IDBD, Autostep
from neoteny.optim.base import Optimizer
from neoteny.optim.idbd import LEAST, MOST_AT_ONCE

__all__ = ["PLAIN", "RULES", "Rule", "rule_of"]

SMALL = 1 / 32
"""Up to this meta step size a short polynomial gives Autostep's exponential."""


@dataclass(frozen=True)
class Rule:
    """What a kernel is told of an optimizer.

    Args:
        states: names of its state tensors in the kernel's order; the first are the step sizes.
        meta: the name of its meta step size, which may differ between runs.
        fixed: its settings that may not.
        kernel: the kernel's name of the rule, given the largest meta step size.
    """

    states: tuple[str, ...]
    meta: str
    fixed: Callable[[Any], tuple[float, ...]]
    kernel: Callable[[float], str]

    def several_factors(self, optimizer: Optimizer, outputs: int) -> bool:
        """Whether the curvature takes a backward pass for each output, which kernels do not make."""
        return getattr(optimizer, "curvature", "fisher") == "gauss-newton" and outputs > 1

    def name(self, optimizer: Optimizer) -> str:
        """The kernel's name of the rule, for an optimizer whose settings may be tensors of several runs."""
        return self.kernel(float(torch.as_tensor(getattr(optimizer, self.meta)).max()))

    def newborn(self, optimizer: Optimizer) -> list[Tensor]:
        """What the states hold for a new weight, in the order of `states`: a number, or one for each run."""
        like = torch.zeros_like(torch.as_tensor(optimizer.step_size, dtype=torch.float32))
        state = optimizer.init({"": like})[""]
        return [state[name] for name in self.states]


RULES: Mapping[type[Optimizer], Rule] = MappingProxyType(
    {
        Autostep: Rule(
            states=("alpha", "h", "v"),
            meta="mu",
            fixed=lambda optimizer: (optimizer.tau,),
            kernel=lambda mu: f"Autostep<{str(mu <= SMALL).lower()}>",
        ),
        IDBD: Rule(
            states=("beta", "h"),
            meta="theta",
            fixed=lambda optimizer: (LEAST, MOST_AT_ONCE) if optimizer.cautious else (-torch.inf, torch.inf),
            kernel=lambda theta: "IDBD",
        ),
    }
)
PLAIN = Rule((), "step_size", lambda optimizer: (), lambda step_size: "SGD")
"""SGD, where it goes by the same kernel since methods map its gradients."""


def rule_of(optimizer: Optimizer) -> Rule | None:
    """The rule of an optimizer with a step size for each weight, if kernels know it; not that of a subclass."""
    return RULES.get(type(optimizer))
