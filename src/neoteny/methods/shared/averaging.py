"""A moving average of the weights: the base of ema, hare-and-tortoise and self-distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from neoteny.checks import is_number, require
from neoteny.methods.base import Method, Step, Tensors
from neoteny.methods.shared import each

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class Averaging(Method):
    """The base of methods that keep a moving average of every parameter and of every real-valued buffer.

    Integers, such as the number of batches that a batch norm has seen, are not averaged.

    Args:
        mu: μ, the share of the old average that is kept at an update, in [0, 1).

    Raises:
        SettingError: μ outside [0, 1).
    """

    mu: float = 0.999

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self, "mu", is_number(self.mu) and 0 <= self.mu < 1, "a number in [0, 1)")

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<tensor>/average`: a copy of the tensor at first, in single precision at least.

        In half precision, an average that moves by a thousandth of the difference would not move at all.
        """
        import torch

        return {
            f"{name}/average": value.detach().to(torch.promote_types(value.dtype, torch.float32), copy=True)
            for name, value in tensors.items()
            if value.is_floating_point()
        }

    def followed(self, step: Step, state: Tensors, share: float | Tensor) -> Tensors:
        """The state with every average a ← a + share · (θ - a); exactly a where θ = a."""
        tensors = step.tensors
        names = step.once("averaged", lambda: [(n, key) for n in tensors if (key := f"{n}/average") in state])
        old = [state[key] for _, key in names]
        new = step.moved(old, each.cast([tensors[name] for name, _ in names], old), share)
        return state if new is old else {**state, **{key: own for (_, key), own in zip(names, new, strict=True)}}

    def averages(self, tensors: Tensors, state: Tensors) -> Tensors:
        """The tensors with the averages in their place, in their type; what is not averaged stays."""
        return {
            name: state[f"{name}/average"].to(value.dtype) if f"{name}/average" in state else value
            for name, value in tensors.items()
        }

    def excludes(self, other: Method) -> str | None:
        """Another method whose average is evaluated."""
        both = all(type(method).evaluated is not Method.evaluated for method in (self, other))
        return "only one average can be evaluated in place of the weights" if both else None
