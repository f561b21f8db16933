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


LOSSES: Mapping[str, Loss] = MappingProxyType({"mse": MeanSquaredError(), "cross_entropy": CrossEntropy()})
"""The losses that have a name."""
