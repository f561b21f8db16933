"""How many updates an entry of a parameter has had since it was made new, and what Adam divides its averages by."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from neoteny.units.records import Network
from neoteny.units.reset import slices_of


def entry_counts(
    network: Network, since: dict[str, Tensor], tensors: dict[str, Tensor], totals: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """For each parameter the updates of each entry, this one included: those since its youngest unit was made new.

    An entry of a weight belongs to two units, the one it feeds and the one it reads; both resets make it new.

    Args:
        network: the unit layers.
        since: for each layer the updates since each unit was made new, before this one, `[units]`.
        tensors: parameters by name, for their shapes.
        totals: for each parameter asked for its updates as a whole, this one included, 0-dimensional.
    """
    counts = dict(totals)
    for layer in network.layers:
        if layer.name in since:
            for slices in slices_of(layer):
                if slices.name in counts:
                    own = slices.spread(since[layer.name] + 1, tensors[slices.name], totals[slices.name])
                    counts[slices.name] = torch.minimum(counts[slices.name], own)
    return counts


def average_weight(beta: float | Tensor, count: Tensor) -> Tensor:
    """1 - β^t: how much an average that began at 0 weighs after t updates x <- β x + (1 - β) g.

    Adam divides by it (Kingma and Ba 2015, Algorithm 1). `expm1` keeps it exact to the last digits where t is small and
    β near 1.

    >>> average_weight(0.9, torch.tensor([1.0, 2.0]))
    tensor([0.1000, 0.1900])
    """
    if not isinstance(beta, Tensor):
        return -(count * (math.log(beta) if beta > 0 else -math.inf)).expm1()
    return -(count * beta.log()).expm1()
