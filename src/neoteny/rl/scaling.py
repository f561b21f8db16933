"""Running statistics of one stream as pure functions of tensors: normalised observations and scaled rewards.

They are part of a learner's compiled step, so each has a state, tensors by name, in double precision: after millions
of steps a mean moves by less than single precision can add.

Source: Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024,
Algorithms 4 and 5; Welford, Technometrics 4, 1962.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["RunningNorm", "RunningScale"]

EPS = 1e-8
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class RunningNorm:
    """(x - mean) / sqrt(variance + 1e-8), of all x so far; the first x becomes 0.

    n <- n + 1; d = x - mean; mean <- mean + d / n; p <- p + d (x - mean); variance p / (n - 1), 1 for the first.

    Args:
        size: of an observation.
        name: in front of the names of the state.

    >>> norm, x = RunningNorm(1), torch.tensor([3.0])
    >>> state = norm.update(norm.update(norm.init(), x), x + 2)
    >>> norm(state, x)
    tensor([-0.7071])
    """

    size: int
    name: str = "observations"

    def init(self) -> Tensors:
        """Before the first observation."""
        zeros = torch.zeros(self.size, dtype=torch.float64)
        return {
            f"{self.name}.mean": zeros,
            f"{self.name}.squares": zeros.clone(),
            f"{self.name}.count": torch.zeros((), dtype=torch.float64),
        }

    def update(self, state: Tensors, x: Tensor) -> Tensors:
        """The statistics with one observation more, [size]; other entries of the state stay."""
        count, old = state[f"{self.name}.count"] + 1, state[f"{self.name}.mean"]
        away = x.double() - old
        mean = old + away / count
        squares = state[f"{self.name}.squares"] + away * (x.double() - mean)
        return {**state, f"{self.name}.mean": mean, f"{self.name}.squares": squares, f"{self.name}.count": count}

    def __call__(self, state: Tensors, x: Tensor) -> Tensor:
        """The observation normalised, [size]."""
        count = state[f"{self.name}.count"]
        variance = torch.where(count > 1, state[f"{self.name}.squares"] / (count - 1).clamp(min=1), 1.0)
        return ((x.double() - state[f"{self.name}.mean"]) / (variance + EPS).sqrt()).to(x.dtype)


@dataclass(frozen=True)
class RunningScale:
    """r / sqrt(moment + 1e-8), with a moment of the discounted sum u <- gamma (1 - T) u + r of rewards.

    Args:
        gamma: the discount.
        about: `zero`, the mean of u^2, or `mean`, the variance; either is 1 for the first reward.

    >>> scale = RunningScale(0.5, "zero")
    >>> state, first = scale(scale.init(), torch.tensor(4.0), torch.tensor(False))
    >>> first, scale(state, torch.tensor(4.0), torch.tensor(False))[1]  # u is 4, then 6
    (tensor(4.), tensor(0.7845))
    """

    gamma: float
    about: Literal["zero", "mean"] = "zero"

    def init(self) -> Tensors:
        """Before the first reward."""
        return {f"rewards.{name}": torch.zeros((), dtype=torch.float64) for name in ("sum", "mean", "squares", "count")}

    def __call__(self, state: Tensors, reward: Tensor, ended: Tensor) -> tuple[Tensors, Tensor]:
        """The statistics with one reward more, and it scaled, [].

        Args:
            state: of `init`; other entries stay.
            reward: [].
            ended: T, whether the episode ended with it, bool [].
        """
        u = torch.where(ended, 0.0, self.gamma * state["rewards.sum"]) + reward.double()
        count, old = state["rewards.count"] + 1, state["rewards.mean"]
        mean = old if self.about == "zero" else old + (u - old) / count
        squares = state["rewards.squares"] + (u - old) * (u - mean)
        among = count if self.about == "zero" else count - 1
        moment = torch.where(count > 1, squares / among.clamp(min=1), 1.0)
        new = {"rewards.sum": u, "rewards.mean": mean, "rewards.squares": squares, "rewards.count": count}
        return {**state, **new}, (reward.double() / (moment + EPS).sqrt()).to(reward.dtype)
