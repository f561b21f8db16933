"""What an optimizer's state holds for a weight that was just made new.

Most state begins at 0: momentum, averages of gradients and of their squares. Some does not: step sizes that each weight
has of its own (Rprop), sums that begin at a constant (Adagrad), copies of the weight (averages, masters in higher
precision). A newborn weight whose state were 0 there would take steps of another size than in a fresh network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Newborn", "NewbornState", "newborn_value", "put", "zero"]

Newborn = float | Literal["initial", "median", "weight"]
"""What a state tensor holds for a newborn weight.

- a number: this number;
- `initial`: what the optimizer gives a fresh parameter;
- `median`: the median over those entries of the same state tensor that are not made new now, the lower one of two in
  the middle; where all are made new, `initial`;
- `weight`: the new weight itself.
"""


class NewbornState(Protocol):
    """Says what the entries of a state tensor hold for newborn weights."""

    def __call__(
        self, parameter: str, state: str, old: Tensor, weight: Tensor, new: Callable[[], Tensor]
    ) -> Tensor | float:
        """The value of the newborn entries; as a tensor it broadcasts against the state.

        Args:
            parameter: the parameter's name.
            state: the state tensor's name (`exp_avg`, ...).
            old: the state tensor as it was, of the parameter's shape.
            weight: the parameter; newborn entries have their new values already.
            new: gives the mask of the newborn entries, which broadcasts against the parameter.
        """
        ...


def zero(parameter: str, state: str, old: Tensor, weight: Tensor, new: Callable[[], Tensor]) -> float:
    """All state begins at 0; a `NewbornState`."""
    return 0.0


def newborn_value(
    kind: Newborn, old: Tensor, weight: Tensor, new: Callable[[], Tensor], initial: Callable[[], Tensor | float]
) -> Tensor | float:
    """The value of newborn entries of a state tensor, by what they are declared to hold.

    It is a pure function of tensors, so it runs under `torch.func.vmap` and inside a compiled graph.

    Args:
        kind: what they hold.
        old: the state tensor as it was.
        weight: the parameter, with the new weights in it.
        new: gives the mask of the newborn entries.
        initial: gives what the state of a fresh parameter holds, a number or a tensor of the parameter's shape.

    >>> import torch
    >>> steps, new = torch.tensor([1.0, 2.0, 5.0, 9.0]), torch.tensor([False, False, False, True])
    >>> newborn_value("median", steps, torch.zeros(4), lambda: new, lambda: 0.1)
    tensor(2.)
    """
    import torch

    match kind:
        case "weight":
            return weight
        case "initial":
            return initial()
        case "median":
            median = torch.where(new(), torch.nan, old).flatten().nanmedian()
            return torch.where(median.isnan(), initial(), median)
        case number:
            return number


def put(old: Tensor, where: Tensor, value: Tensor | float) -> Tensor:
    """The tensor with a value, which broadcasts against it, where a mask is True; its type stays."""
    import torch

    if not isinstance(value, torch.Tensor):
        value = torch.full((), value, dtype=old.dtype, device=old.device)
    return torch.where(where, value.to(old.dtype), old)
