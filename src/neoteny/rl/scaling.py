"""Running statistics of one stream as pure functions of tensors: normalised observations and scaled rewards.

They are part of a learner's compiled step, so each has a state, tensors by name, in double precision: after millions
of steps a mean moves by less than single precision can add.

Sources: Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024,
Algorithms 4 and 5; Welford, Technometrics 4, 1962; for returns Schaul, Ostrovski, Kemaev & Borsa, "Return-based
scaling: yet another normalisation trick for deep RL", arXiv 2105.05347, 2021, Eq. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["ReturnScale", "RunningNorm", "RunningScale"]

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


@dataclass(frozen=True)
class ReturnScale:
    """sigma = sqrt(Var(r) + Var(gamma) E[G^2]): what errors of values are divided by, from all steps so far.

    gamma is 0 where a return ends and the discount elsewhere, G the undiscounted sum of rewards of a whole return.
    Until the first return has ended, sigma is 1.

    Args:
        gamma: the discount.

    >>> scale, state = ReturnScale(0.9), ReturnScale(0.9).init()
    >>> for reward, ends in ((1.0, False), (3.0, True)):
    ...     state, sigma = scale(state, torch.tensor(reward), torch.tensor(ends))
    >>> sigma  # Var(r) = 2, Var(gamma) = 0.405, G = 4
    tensor(2.9120)
    """

    gamma: float

    def init(self) -> Tensors:
        """Before the first step."""
        names = ("steps", "mean", "squares", "discount", "discount_squares", "sum", "ends", "returns")
        return {f"scale.{name}": torch.zeros((), dtype=torch.float64) for name in names}

    def __call__(self, state: Tensors, reward: Tensor, ends: Tensor) -> tuple[Tensors, Tensor]:
        """The statistics with one step more, and sigma, [].

        Args:
            state: of `init`; other entries stay.
            reward: [].
            ends: whether the return ends with it, bool [].
        """
        old = {name.removeprefix("scale."): value for name, value in state.items() if name.startswith("scale.")}
        r, discount = reward.double(), torch.where(ends, 0.0, self.gamma).double()
        steps, total, count = old["steps"] + 1, old["sum"] + r, old["ends"] + ends
        mean = old["mean"] + (r - old["mean"]) / steps
        middle = old["discount"] + (discount - old["discount"]) / steps
        new = {
            "steps": steps,
            "mean": mean,
            "squares": old["squares"] + (r - old["mean"]) * (r - mean),
            "discount": middle,
            "discount_squares": old["discount_squares"] + (discount - old["discount"]) * (discount - middle),
            "sum": torch.where(ends, 0.0, total),
            "ends": count,
            "returns": old["returns"] + torch.where(ends, total * total, 0.0),
        }
        among = (steps - 1).clamp(min=1)
        variance = new["squares"] / among + new["discount_squares"] / among * new["returns"] / count.clamp(min=1)
        sigma = torch.where(count > 0, (variance + EPS).sqrt(), 1.0)
        return {**state, **{f"scale.{name}": value for name, value in new.items()}}, sigma.to(reward.dtype)
