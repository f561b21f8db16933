"""How many updates an entry of a parameter has had since it was made new."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from neoteny.units.records import Network, Slices
from neoteny.units.reset import slices_of


def spread(slices: Slices, values: Tensor, tensor: Tensor, outside: Tensor) -> Tensor:
    """A value of each unit, `[size]`, laid along the units' dimension of `tensor` so that it broadcasts against it.

    Positions that belong to no unit of the layer get `outside`.

    >>> entries = Slices("w", 1, ((0, 1), (2, 3)))
    >>> spread(entries, torch.tensor([5, 7]), torch.zeros(3, 4), torch.tensor(0))
    tensor([[5, 5, 7, 7]])
    """
    along = values.unsqueeze(1).expand(slices.size, slices.block).flatten()
    along = slices.lay(along, tensor.shape[slices.dim], outside)
    return along.reshape([-1 if d == slices.dim else 1 for d in range(tensor.dim())])


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
                    own = spread(slices, since[layer.name] + 1, tensors[slices.name], totals[slices.name])
                    counts[slices.name] = torch.minimum(counts[slices.name], own)
    return counts
