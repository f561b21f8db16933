"""How many updates an entry of a parameter has had since it was made new, and what Adam divides its averages by."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from neoteny.units.records import Network
from neoteny.units.reset import slices_of


def entry_counts(
    network: Network, since: dict[str, Tensor], tensors: dict[str, Tensor], totals: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, ...]]:
    """For each parameter the updates of each entry, this one included: those since its youngest unit was made new.

    An entry of a weight belongs to two units, the one it feeds and the one it reads; both resets make it new. So its
    updates are the least of several tensors that broadcast against the parameter. They are left apart: what a rule
    computes of them is cheaper unit by unit than entry by entry.

    Args:
        network: the unit layers.
        since: for each layer the updates since each unit was made new, before this one, `[units]`.
        tensors: parameters by name, for their shapes.
        totals: for each parameter asked for its updates as a whole, this one included, 0-dimensional.
    """
    counts: dict[str, tuple[Tensor, ...]] = {}
    for layer in network.layers:
        if layer.name in since:
            for slices in slices_of(layer):
                if slices.name in totals:
                    total = totals[slices.name]
                    own = torch.minimum(since[layer.name] + 1, total)
                    own = slices.spread(own, tensors[slices.name], total)
                    counts[slices.name] = (*counts.get(slices.name, ()), own)
    return {name: counts.get(name, (total,)) for name, total in totals.items()}


def average_weight(beta: float | Tensor, count: Tensor | Sequence[Tensor]) -> Tensor:
    """1 - β^t: how much an average that began at 0 weighs after t updates x <- β x + (1 - β) g.

    Adam divides by it (Kingma and Ba 2015, Algorithm 1). It is exact to the last digits of float32, also where t is
    small and β near 1.

    Args:
        beta: β in [0, 1).
        count: t; or several tensors that broadcast and of which the least is t, as of `entry_counts`.

    >>> average_weight(0.9, torch.tensor([1.0, 2.0]))
    tensor([0.1000, 0.1900])
    >>> average_weight(0.9, (torch.tensor([1, 2]), torch.tensor([[1], [2]])))
    tensor([[0.1000, 0.1000],
            [0.1000, 0.1900]])
    """
    if not isinstance(count, Tensor):  # the weight grows with t: the least of the weights is that of the least t
        return functools.reduce(torch.minimum, [average_weight(beta, each) for each in count])
    log = (math.log(beta) if beta > 0 else -math.inf) if not isinstance(beta, Tensor) else beta.log()
    if count.is_floating_point():
        return -(count * log).expm1()
    # Whole numbers are the laboratory's. Compiled code takes `expm1` for exp(x) - 1, which needs double precision, and
    # computes it anew for every entry of a weight; the result of `exp` it keeps for each unit.
    return (1 - (count.double() * log).exp()).float()
