"""MetaOptimize: step sizes that minimise the discounted sum of future losses (Sharifnassab, Salehkaleybar & Sutton 2025).

A first optimizer, the base, moves the weights; a second one, the meta optimizer, moves the logarithms beta of the base's
step sizes. What it descends is the sensitivity of the loss to beta through the weights: H = dw/dbeta times the gradient.
Here H is carried without second derivatives, as one number for each weight.
"""  # noqa: E501 - the title on one line

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import is_number, require, require_choice, require_nonnegative
from neoteny.optim.base import Counts
from neoteny.optim.directions import DIRECTIONS
from neoteny.optim.idbd import logarithm
from neoteny.optim.own_steps import OwnStepSizes
from neoteny.optim.sums import sum_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MetaOptimize"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class MetaOptimize(OwnStepSizes):
    """m = sum of H g over a block; beta <- beta - eta U(m); w <- w - D, D = alpha (u + kappa w), alpha = exp(beta).

    H <- gamma (1 - alpha kappa) H - D, with D at the step sizes from before beta moves. u is the base's direction and
    U the meta optimizer's.

    Args:
        step_size: alpha_0; the authors have 1e-6 to 1e-3.
        base: moves the weights: `sgd`, `sgdm` (along the momentum from before), `rmsprop`, `lion`, `adamw`.
        meta: moves beta: `sgd`, `rmsprop`, `adamw` (without decay: Adam), `lion`.
        blocks: which weights have a step size in common: all (`scalar`), those of a parameter (`layer`), none
            (`weight`).
        eta: the meta step size; the authors have 0.001.
        gamma: the discount of future losses, in [0, 1]; 1 in the authors' experiments.
        weight_decay: kappa, times alpha in each step; 0.1 in the authors' experiments.
        form: `paper`: H sums up whole steps D. `package`: as the authors' package, H sums up alpha u without momentum
            and without the decay, for which gamma is 0.9999 there.
        newborn_step: with `weight`, the step size of a weight that is made new: `initial` or `median`.

    >>> import torch
    >>> rule = MetaOptimize(step_size=0.1, base="sgd", meta="sgd", eta=0.1, weight_decay=0.0)
    >>> tensors = {"w": torch.zeros(1)}
    >>> state, count = rule.init(tensors), {"w": torch.tensor(1)}
    >>> for _ in range(2):
    ...     rule.update(tensors, {"w": torch.ones(1)}, state, count)
    >>> state["w"]["beta"].exp()  # the second gradient agrees with H = -0.1
    tensor(0.1010)

    Source: Sharifnassab, Salehkaleybar & Sutton, "MetaOptimize: a framework for optimizing step sizes and other
    meta-parameters", ICML 2025, section 5 (the Hessian-free form).
    """

    step_size: float = 1e-3
    base: Literal["sgd", "sgdm", "rmsprop", "lion", "adamw"] = "adamw"
    meta: Literal["sgd", "rmsprop", "adamw", "lion"] = "lion"
    blocks: Literal["scalar", "layer", "weight"] = "scalar"
    eta: float = 1e-3
    gamma: float = 1.0
    weight_decay: float = 0.0
    form: Literal["paper", "package"] = "paper"
    name: ClassVar[str] = "meta-optimize"
    counts: ClassVar[bool] = True
    varies: ClassVar[tuple[str, ...]] = ("step_size", "eta", "weight_decay")
    adapted: ClassVar[str] = "beta"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "eta", "weight_decay")
        require(self, "gamma", is_number(self.gamma) and 0 <= self.gamma <= 1, "a number in [0, 1]")
        require_choice(self, "base", tuple(DIRECTIONS))
        require_choice(self, "meta", ("sgd", "rmsprop", "adamw", "lion"))
        require_choice(self, "blocks", ("scalar", "layer", "weight"))
        require_choice(self, "form", ("paper", "package"))

    def in_common(self) -> tuple[str, ...]:
        """With one block, its step size and what the meta optimizer keeps."""
        kept = (f"meta_{state}" for state in (*DIRECTIONS[self.meta].states, *self._counted))
        return ("beta", *kept) if self.blocks == "scalar" else ()

    @property
    def _counted(self) -> tuple[str, ...]:
        """`step` if the meta optimizer counts its own updates: a reset starts the weights anew, not the step sizes."""
        return ("step",) if self.meta in ("rmsprop", "adamw") and self.blocks != "weight" else ()

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The logarithm beta of each weight or `[]`, H = 0, the states of both optimizers, and `step`, int32 `[]`.

        A meta optimizer that corrects its averages, and whose step sizes are no single weight's, counts `meta_step`.
        """
        import torch

        found = {}
        for name, value in tensors.items():
            beta = logarithm(value if self.blocks == "weight" else value.flatten()[0] * 0, self.step_size)
            found[name] = {
                "beta": beta,
                "h": value * 0,
                "step": torch.zeros((), dtype=torch.int32, device=value.device),
                **{state: value * 0 for state in DIRECTIONS[self.base].states},
                **{f"meta_{state}": beta * 0 for state in DIRECTIONS[self.meta].states},
            }
            found[name] |= {f"meta_{state}": found[name]["step"] for state in self._counted}
        return found

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Any] | None = None,
    ) -> None:
        """One update."""
        base, meta = DIRECTIONS[self.base], DIRECTIONS[self.meta]
        products = {name: optim[name]["h"] * g for name, g in grads.items()}
        if self.blocks == "scalar":
            total = sum_over(products, lambda _, product: product)
            products = dict.fromkeys(products, total)
        elif self.blocks == "layer":
            products = {name: product.sum() for name, product in products.items()}
        for name, g in grads.items():
            state, w = optim[name], tensors[name]
            step = state["step"] + 1
            alpha = state["beta"].exp()
            direction, plain, moved = base.find(g, state, base.usual, count[name])
            change = alpha * (direction + self.weight_decay * w)
            summed = change if self.form == "paper" else alpha * plain
            h = self.gamma * (1 - alpha * self.weight_decay) * state["h"] - summed
            own = {each: state[f"meta_{each}"] for each in meta.states}
            ups = state.get("meta_step", state["step"]) + 1  # states of before lack it
            counted = {"meta_step": ups} if "meta_step" in state else {}
            ups = count[name] if self.blocks == "weight" else ups
            upward, _, kept = meta.find(products[name], own, meta.usual, ups)
            tensors[name] = w - change
            optim[name] = {
                "beta": state["beta"] - self.eta * upward,
                "h": h,
                "step": step,
                **counted,
                **moved,
                **{f"meta_{each}": value for each, value in kept.items()},
            }
