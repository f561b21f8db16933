"""Dropout whose random numbers are a pure function of the step's key.

torch's dropout draws from a hidden generator: a resumed run would draw other numbers, and a stack of runs cannot share
it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from neoteny.errors import NetworkError
from neoteny.nn.activation_modules import IntervalDropout
from neoteny.units import random

__all__ = ["Dropping"]

_WHOLE_MAPS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class Dropping:
    """The dropout layers of one network, and the key that they draw with in the present step.

    Args:
        module: the laboratory's own copy of a network; its dropout layers are replaced in place.

    Raises:
        NetworkError: a kind of dropout that is not known here.
    """

    def __init__(self, module: nn.Module):
        self.key: Tensor | None = None
        kept: dict[nn.Module, _Keyed] = {}
        for parent_name, parent in list(module.named_modules()):
            for name, child in list(parent._modules.items()):
                if isinstance(child, (_DropoutNd, IntervalDropout)):
                    if type(child) not in (nn.Dropout, *_WHOLE_MAPS, IntervalDropout):
                        raise NetworkError(
                            f"{f'{parent_name}.{name}'.lstrip('.')} is {type(child).__name__}, whose draws the "
                            "laboratory cannot make repeatable: use nn.Dropout there."
                        )
                    if child not in kept:  # one layer in several places stays one layer
                        kind = _KeyedIntervals if isinstance(child, IntervalDropout) else _Keyed
                        kept[child] = kind(child, len(kept), self)
                        kept[child].train(child.training)
                    setattr(parent, name, kept[child])
        self.active = bool(kept)


class _Keyed(nn.Module):
    """h / (1 - p) for a share 1 - p of the units (or of whole maps), 0 for the others; h itself in evaluation mode."""

    def __init__(self, dropout: _DropoutNd | IntervalDropout, number: int, dropping: Dropping):
        super().__init__()
        self.p, self.number, self.whole = float(dropout.p), number, isinstance(dropout, _WHOLE_MAPS)
        self._given = dropout, dropping  # in a tuple: they are no submodules

    def lots(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Uniform numbers of the present step."""
        _, dropping = self._given
        assert dropping.key is not None
        return random.uniform(random.fold_in(dropping.key, self.number), shape)

    def forward(self, h: Tensor) -> Tensor:
        """Drop."""
        if not self.training or self.p == 0:
            return h
        shape = (*h.shape[:2], *[1] * (h.dim() - 2)) if self.whole else h.shape
        return (h / (1 - self.p)) * (self.lots(shape) >= self.p)


class _KeyedIntervals(_Keyed):
    """An interval-wise dropout that is given its random numbers."""

    def train(self, mode: bool = True) -> _KeyedIntervals:
        """Set training or evaluation mode, also of the dropout layer inside."""
        self._given[0].train(mode)
        return super().train(mode)

    def forward(self, h: Tensor) -> Tensor:
        """Choose between the intervals."""
        dropout, _ = self._given
        return dropout(h, self.lots(h.shape) if self.training and self.p < 1 else None)
