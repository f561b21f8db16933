"""Make hidden units new again in place: of a user's own parameters and optimizer state only the units' entries change.

The numbers are those of `neoteny.units.reset.make_new`. A parameter may be here in part only, as a shard of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch

from neoteny.units import random
from neoteny.units.records import Network, Slices, UnitLayer
from neoteny.units.reset import Tensors, fresh_rows, laid_out, slices_of

if TYPE_CHECKING:
    from torch import Tensor


class Part(NamedTuple):
    """Which part of a whole tensor is here."""

    shape: tuple[int, ...]
    """Of the whole."""
    start: tuple[int, ...]
    """Where the part begins, in each dimension."""

    def of(self, value: Tensor, here: Tensor, but: int | None = None) -> Tensor:
        """Of a value that broadcasts against the whole, what broadcasts against the part that is `here`.

        Dimension `but` is left as it is.

        >>> Part((4, 3), (2, 0)).of(torch.arange(4).unsqueeze(1), torch.zeros(2, 3))
        tensor([[2],
                [3]])
        """
        for dim, (length, start) in enumerate(zip(self.shape, self.start, strict=True)):
            if dim != but and value.shape[dim] == length != here.shape[dim]:
                value = value.narrow(dim, start, here.shape[dim])
        return value


class Rewriter:
    """Makes chosen units of a layer new in place.

    Args:
        network: gives the initialisers.
        parts: of parameters that are here in part, which.
    """

    def __init__(self, network: Network, parts: Mapping[str, Part]):
        self.network, self.parts = network, parts

    def make_new(
        self,
        layer: UnitLayer,
        tensors: Tensors,
        optim: Mapping[str, Tensors],
        chosen: Tensor,
        key: Tensor,
        *,
        shared_draw: bool = False,
        at_most: int | None = None,
        newborn: Callable[[str, str], float] = lambda parameter, state: 0.0,
    ) -> None:
        """Write the chosen units' entries.

        Args:
            layer: the unit layer.
            tensors: parameters and buffers by name, written to.
            optim: for each parameter its optimizer state by name, written to.
            chosen: bool mask of the units, `[n]`.
            key: random key of this reset.
            shared_draw: draw one row for all chosen units.
            at_most: how many are chosen at most; so many rows are touched. None: all.
            newborn: what a state tensor of a parameter begins with.
        """
        units = None
        if at_most is not None and at_most < layer.size:
            units = chosen.to(torch.uint8).topk(at_most).indices
        for number, slices in enumerate(layer.incoming):
            self._draw(slices, tensors[slices.name], chosen, units, random.fold_in(key, number), shared_draw)
        for slices in (*layer.biases, *layer.norms, *layer.outgoing):
            if slices.name in tensors:
                self._fill(slices, tensors[slices.name], chosen, units, slices.fill)
        for slices in slices_of(layer):
            for name, value in optim.get(slices.name, {}).items():
                if value.shape == tensors[slices.name].shape:
                    self._fill(slices, value, chosen, units, newborn(slices.name, name))

    def _whole(self, slices: Slices, tensor: Tensor) -> Tensor:
        """A stand-in of the whole tensor's shape, of no memory."""
        part = self.parts.get(slices.name)
        return tensor if part is None else tensor.new_empty(()).expand(part.shape)

    def _by_rows(self, slices: Slices, tensor: Tensor, units: Tensor | None) -> bool:
        """Whether single rows can be written: positions along one dimension that is here in full."""
        here = self._whole(slices, tensor).shape[slices.dim] == tensor.shape[slices.dim]
        return here and units is not None and slices.groups == 1

    def _mask(self, slices: Slices, tensor: Tensor, chosen: Tensor) -> Tensor:
        mask = slices.select(chosen, self._whole(slices, tensor))
        part = self.parts.get(slices.name)
        return mask if part is None else part.of(mask, tensor)

    def _fill(self, slices: Slices, tensor: Tensor, chosen: Tensor, units: Tensor | None, value: float) -> None:
        if units is None or not self._by_rows(slices, tensor, units):
            tensor.masked_fill_(self._mask(slices, tensor, chosen), value)
            return
        self._put(slices, tensor, chosen, units, torch.full((), value, dtype=tensor.dtype, device=tensor.device))

    def _draw(
        self, slices: Slices, tensor: Tensor, chosen: Tensor, units: Tensor | None, key: Tensor, shared: bool
    ) -> None:
        whole, part = self._whole(slices, tensor), self.parts.get(slices.name)
        if units is not None and self._by_rows(slices, tensor, units):
            rows = fresh_rows(slices, self.network, key, whole, 1 if shared else slices.size, None if shared else units)
            rows = rows.expand(len(units), *rows.shape[1:]).flatten(0, 1).movedim(0, slices.dim)
            self._put(slices, tensor, chosen, units, rows if part is None else part.of(rows, tensor, slices.dim))
            return
        rows = fresh_rows(slices, self.network, key, whole, 1 if shared else slices.size)
        fresh = laid_out(slices, rows, whole)
        fresh = fresh if part is None else part.of(fresh.expand(part.shape), tensor)
        tensor.copy_(torch.where(self._mask(slices, tensor, chosen), fresh, tensor))

    def _put(self, slices: Slices, tensor: Tensor, chosen: Tensor, units: Tensor, value: Tensor) -> None:
        """Write a value that broadcasts against the units' positions, where a unit is chosen after all."""
        positions = slices.positions_of(units)
        sure = chosen[units].unsqueeze(1).expand(positions.shape).flatten()
        along = [-1 if dim == slices.dim else 1 for dim in range(tensor.dim())]
        flat = positions.flatten()
        old = tensor.index_select(slices.dim, flat)
        tensor.index_copy_(slices.dim, flat, torch.where(sure.reshape(along), value, old))
