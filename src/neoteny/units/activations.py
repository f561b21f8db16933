"""What hidden units did on a batch, reduced to the numbers that methods ask for: one for each unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

STATISTICS = ("mean", "mean_abs", "mean_abs_about", "fired", "examples")
"""What there is to ask for; each is a method of `Activations`. All but `examples` give a number for each unit."""


class Activations:
    """The activations h of one layer's units; statistics are means over batch and positions, `[units]`.

    This class keeps them as a tensor and computes in single precision, or in the tensor's own where that is finer.
    Where methods ride on a user's optimizer, another class keeps only the sums that methods ask for.

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
        return self.values.mean((0, 2))

    def mean_abs(self) -> Tensor:
        """Mean of |h|."""
        return self.values.abs().mean((0, 2))

    def mean_abs_about(self, centre: Tensor) -> Tensor:
        """Mean of |h - c|, with c `[units]`."""
        return (self.values - centre.unsqueeze(-1)).abs().mean((0, 2))

    def fired(self) -> Tensor:
        """The share of examples and positions where h is not 0."""
        return (self.values != 0).to(self.values.dtype).mean((0, 2))

    def examples(self) -> Tensor:
        """How many examples there were, `[]`; positions do not count."""
        return self.values.new_full((), self.values.shape[0])
