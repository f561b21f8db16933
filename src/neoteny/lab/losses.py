"""Losses to minimise, and what else is recorded about a batch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor

__all__ = ["LOSSES", "CrossEntropy", "Loss", "MeanSquaredError"]


class Loss(Protocol):
    """A loss as a pure function of tensors, so that it can be differentiated, mapped over runs and compiled."""

    metrics: ClassVar[tuple[str, ...]]
    """The names of what `judge` gives."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss `[]` of outputs `[B, ...]`, a mean over the batch."""
        ...

    def judge(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What is recorded besides the loss, each `[]`, a mean over the batch."""
        ...


class MeanSquaredError:
    """Squared error, mean over batch and outputs.

    >>> import torch
    >>> MeanSquaredError()(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]]))
    tensor(2.)
    """

    metrics: ClassVar[tuple[str, ...]] = ()

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs `[B, d]` and targets `[B, d]`."""
        return (outputs - targets).square().mean()

    def judge(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Nothing else."""
        return {}

    def factors(self, outputs: Tensor) -> Tensor:
        """Values `[B d]` whose squared derivatives add up to the diagonal of the loss's Gauss-Newton matrix."""
        return outputs.flatten() * (2 / outputs.numel()) ** 0.5


class CrossEntropy:
    """Cross entropy of logits, and the share of examples that are classified correctly.

    >>> import torch
    >>> CrossEntropy().judge(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([1, 0]))
    {'accuracy': tensor(0.5000, dtype=torch.float64)}
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits `[B, classes]` and labels, int64 `[B]`."""
        return F.cross_entropy(outputs, targets)

    def judge(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The accuracy."""
        return {"accuracy": (outputs.argmax(-1) == targets).double().mean()}

    def factors(self, outputs: Tensor) -> Tensor:
        """Values `[B classes]` whose squared derivatives add up to the diagonal of the loss's Gauss-Newton matrix.

        With p the probabilities, the Hessian in the logits y is diag(p) - p p^T = S S^T with
        S = diag(sqrt p) - p sqrt(p)^T; the values are S^T y.
        """
        share = outputs.detach().softmax(-1)
        outputs = outputs.masked_fill(share == 0, 0.0)  # outputs that take no part are -inf
        values = share.sqrt() * (outputs - (share * outputs).sum(-1, keepdim=True))
        return values.flatten() / len(outputs) ** 0.5


LOSSES: Mapping[str, Loss] = MappingProxyType({"mse": MeanSquaredError(), "cross_entropy": CrossEntropy()})
"""The losses that have a name."""
