"""What hidden units did on a batch, reduced to the numbers that methods ask for: one for each unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

AVERAGED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda h: h,
    "mean_abs": lambda h: h.abs(),
    "fired": lambda h: h > 0,
}
"""The statistics that are means of a function of h, by name, each with that function."""
STATISTICS = (*AVERAGED, "mean_abs_about", "examples")
"""All statistics that there are; each is a method of `Activations`. All but `examples` give a number for each unit."""


class Activations:
    """The activations h of one layer's units; statistics are means over batch and positions, `[units]`.

    This class keeps them as a tensor, and computes in single precision or the tensor's own, whichever is finer. Where
    methods ride on a user's optimizer, a subclass keeps only the sums that they ask for.

    Args:
        values: h, `[batch, units, positions]`.

    >>> import torch
    >>> h = Activations(torch.tensor([[0.0, -1.0], [0.0, 3.0]]).unsqueeze(2))
    >>> h.mean(), h.mean_abs(), h.fired()
    (tensor([0., 1.]), tensor([0., 2.]), tensor([0., 1.]))
    >>> h.mean_abs_about(torch.tensor([0.5, 1.0])), h.examples()
    (tensor([0.5000, 2.0000]), tensor(2.))
    """

    def __init__(self, values: Tensor):
        import torch

        self.values = values.to(torch.promote_types(values.dtype, torch.float32))

    def mean(self) -> Tensor:
        """Mean of h."""
        return self.average("mean")

    def mean_abs(self) -> Tensor:
        """Mean of |h|."""
        return self.average("mean_abs")

    def fired(self) -> Tensor:
        """The share of examples and positions where h is above 0."""
        return self.average("fired")

    def average(self, statistic: str) -> Tensor:
        """One of the statistics in `AVERAGED`."""
        return AVERAGED[statistic](self.values).to(self.values.dtype).mean((0, 2))

    def mean_abs_about(self, centre: Tensor, places: int | None = None) -> Tensor:
        """Mean of |h - c|, c `[units]`; by place of a flattened map where their number is given, `[units, places]`."""
        away = (self.values - centre.unsqueeze(-1)).abs()
        return away.mean((0, 2)) if places is None else away.unflatten(2, (places, -1)).mean((0, 3))

    def examples(self) -> Tensor:
        """How many examples there were, `[]`; positions do not count."""
        return self.values.new_full((), self.values.shape[0])
