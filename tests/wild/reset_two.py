"""A method for trials of optimizers: two known units are made new, at a known step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from neoteny.methods.shared.schedule import Periodic
from neoteny.methods.shared.unit_reset import UnitReset

__all__ = ["NEW", "ResetTwo"]

NEW = [0, 3]
"""The units that are made new."""


@dataclass(frozen=True, kw_only=True)
class ResetTwo(UnitReset):
    """Make units of the layer `0` new every `after` updates, and do nothing else."""

    name: ClassVar[str] = "reset-two"
    after: int = 300

    def schedule(self, network, seed):
        """When it acts."""
        return Periodic(self.after)

    @property
    def acts_always(self):
        """Only then."""
        return False

    def intervene(self, step, state, due):
        """Make them new."""
        if due is None:
            return state
        size = next(layer.size for layer in step.network.layers if layer.name == "0")
        return self.make_new(step, state, {"0": torch.isin(torch.arange(size), torch.tensor(NEW))})
