"""Where optimizers go, apart from how far: the directions of SGD, RMSProp, Adam and Lion as small pure functions.

MetaOptimize takes them twice: for the weights, and for the logarithms of their step sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DIRECTIONS", "Direction"]

Tensors = dict[str, "Tensor"]
Found = tuple["Tensor", "Tensor", Tensors]
EPS = 1e-8


@dataclass(frozen=True)
class Direction:
    """A rule's direction u, for w <- w - alpha u.

    Attributes:
        states: names of what it keeps of each entry, all 0 at first.
        usual: its two decay rates, of the momentum and of the average of squares (of Lion's momentum).
        find: of a gradient, the state, the rates and the number of updates of each entry: u; u as it would be with no
            momentum (of Lion, whose sign is of the average, u itself); and the new state.
    """

    states: tuple[str, ...]
    usual: tuple[float, float]
    find: Callable[[Tensor, Tensors, tuple[float, float], Tensor | Sequence[Tensor]], Found]


def _sgd(g: Tensor, state: Tensors, rates: tuple[float, float], count: Tensor | Sequence[Tensor]) -> Found:
    return g, g, {}


def _sgdm(g: Tensor, state: Tensors, rates: tuple[float, float], count: Tensor | Sequence[Tensor]) -> Found:
    m = state["exp_avg"]  # as it was before this gradient
    return m, g, {"exp_avg": rates[0] * m + (1 - rates[0]) * g}


def _rmsprop(g: Tensor, state: Tensors, rates: tuple[float, float], count: Tensor | Sequence[Tensor]) -> Found:
    u, squares = _scaled(g, g, state, rates[1], count)
    return u, u, squares


def _adam(g: Tensor, state: Tensors, rates: tuple[float, float], count: Tensor | Sequence[Tensor]) -> Found:
    from neoteny.units.counts import average_weight

    m = rates[0] * state["exp_avg"] + (1 - rates[0]) * g
    u, squares = _scaled(m / average_weight(rates[0], count), g, state, rates[1], count)
    plain, _ = _scaled(g, g, state, rates[1], count)
    return u, plain, {"exp_avg": m, **squares}


def _lion(g: Tensor, state: Tensors, rates: tuple[float, float], count: Tensor | Sequence[Tensor]) -> Found:
    m = state["exp_avg"]
    u = (rates[0] * m + (1 - rates[0]) * g).sign()
    return u, u, {"exp_avg": rates[1] * m + (1 - rates[1]) * g}


def _scaled(
    m: Tensor, g: Tensor, state: Tensors, rate: float, count: Tensor | Sequence[Tensor]
) -> tuple[Tensor, Tensors]:
    from neoteny.units.counts import average_weight

    v = rate * state["exp_avg_sq"] + (1 - rate) * g.square()
    return m / ((v / average_weight(rate, count)).sqrt() + EPS), {"exp_avg_sq": v}


DIRECTIONS: Mapping[str, Direction] = {
    "sgd": Direction((), (0.0, 0.0), _sgd),
    "sgdm": Direction(("exp_avg",), (0.9, 0.0), _sgdm),
    "rmsprop": Direction(("exp_avg_sq",), (0.0, 0.999), _rmsprop),
    "adamw": Direction(("exp_avg", "exp_avg_sq"), (0.9, 0.999), _adam),
    "lion": Direction(("exp_avg",), (0.9, 0.99), _lion),
}
"""The directions by name. `sgdm` goes along the momentum as it was before the present gradient; averages of Adam and
RMSProp are divided by 1 - b^t."""
