"""Make hidden units new again in place: of a user's own parameters and optimizer state only the units' entries change.

The rule is `neoteny.units.reset.renew`, and the numbers are those of `make_new` there. A parameter may be here in part
only, as a shard of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch

from neoteny.units.newborn import NewbornState, put, zero
from neoteny.units.random import eager
from neoteny.units.records import Network, UnitLayer
from neoteny.units.reset import Tensors, fresh_rows, laid_out, renew
from neoteny.units.slices import Slices

if TYPE_CHECKING:
    from torch import Tensor


class TensorPart(NamedTuple):
    """Which part of a whole tensor is here."""

    shape: tuple[int, ...]
    """Of the whole."""
    start: tuple[int, ...]
    """Where the part begins, in each dimension."""

    def of(self, value: Tensor, here: Tensor, but: int | None = None) -> Tensor:
        """Of a value that broadcasts against the whole, what broadcasts against the part that is `here`.

        Dimension `but` is left as it is.

        >>> TensorPart((4, 3), (2, 0)).of(torch.arange(4).unsqueeze(1), torch.zeros(2, 3))
        tensor([[2],
                [3]])
        """
        for dim, (length, start) in enumerate(zip(self.shape, self.start, strict=True)):
            if dim != but and value.shape[dim] == length != here.shape[dim]:
                value = value.narrow(dim, start, here.shape[dim])
        return value


def make_new_in_place(
    layer: UnitLayer,
    network: Network,
    tensors: Tensors,
    optim: Mapping[str, Tensors],
    chosen: Tensor,
    key: Tensor,
    *,
    shared_draw: bool = False,
    newborn: NewbornState = zero,
    at_most: int | None = None,
    parts: Mapping[str, TensorPart] | None = None,
) -> None:
    """Write the chosen units' entries into `tensors` and the optimizer's state.

    Args:
        layer: the unit layer.
        network: gives the initialisers.
        tensors: parameters and buffers by name, written to.
        optim: for each parameter its optimizer state by name, written to.
        chosen: bool mask of the units, `[n]`.
        key: random key of this reset.
        shared_draw: draw one row of weights for all chosen units.
        newborn: what state holds for new weights.
        at_most: how many are chosen at most; so many rows are touched. None: all.
        parts: of parameters that are here in part, which; their state is here in the same part.
    """
    renew(_InPlace(layer, chosen, shared_draw, at_most, parts or {}), layer, network, tensors, optim, key, newborn)


class _InPlace:
    """Writes into tensors: single rows where few units can be meant, else all entries under a mask."""

    def __init__(
        self,
        layer: UnitLayer,
        chosen: Tensor,
        shared_draw: bool,
        at_most: int | None,
        parts: Mapping[str, TensorPart],
    ):
        self.chosen, self.shared_draw, self.parts = chosen, shared_draw, parts
        self.units: Tensor | None = None
        """The units of which some are chosen; None: they may be any."""
        self.sure = False
        """Whether all of `units` are chosen."""
        self._places: dict[int, Tensor] = {}  # by block, where the i-th is unit i's
        if at_most is not None and at_most < layer.size:
            if chosen.device.type == "cpu" and eager():  # in the host's own memory
                self.units, self.sure = _where(chosen), True
            else:
                self.units = chosen.to(torch.uint8).topk(at_most).indices

    def draw(self, slices: Slices, tensors: Tensors, network: Network, key: Tensor) -> None:
        tensor = tensors[slices.name]
        whole, part, shared = self._whole(slices, tensor), self.parts.get(slices.name), self.shared_draw
        units = self._rows(slices, tensor)
        if units is None:
            fresh = laid_out(slices, fresh_rows(slices, network, key, whole, shared), whole)
            self._put(slices, tensor, fresh if part is None else part.of(fresh.expand(part.shape), tensor))
        else:
            rows = fresh_rows(slices, network, key, whole, shared, units)
            rows = rows.expand(len(units), *rows.shape[1:]).flatten(0, 1).movedim(0, slices.dim)
            self._put_rows(slices, tensor, units, rows if part is None else part.of(rows, tensor, slices.dim))

    def write(self, slices: Slices, values: Tensors, name: str, value: Tensor | float) -> None:
        tensor, units = values[name], self._rows(slices, values[name])
        if units is None:
            self._put(slices, tensor, value)
            return
        if isinstance(value, torch.Tensor) and value.dim():
            value = value.expand_as(tensor).index_select(slices.dim, self._positions_of(slices, units))
        self._put_rows(slices, tensor, units, value)

    def mask(self, slices: Slices, tensor: Tensor) -> Tensor:
        mask = slices.select(self.chosen, self._whole(slices, tensor))
        part = self.parts.get(slices.name)
        return mask if part is None else part.of(mask, tensor)

    def _whole(self, slices: Slices, tensor: Tensor) -> Tensor:
        """A stand-in of the whole tensor's shape, of no memory."""
        part = self.parts.get(slices.name)
        return tensor if part is None else tensor.new_empty(()).expand(part.shape)

    def _rows(self, slices: Slices, tensor: Tensor) -> Tensor | None:
        """The units whose rows can be written alone: along one dimension that is here in full; None: all at once."""
        here = self._whole(slices, tensor).shape[slices.dim] == tensor.shape[slices.dim]
        return self.units if here and slices.groups == 1 else None

    def _put(self, slices: Slices, tensor: Tensor, value: Tensor | float) -> None:
        mask = self.mask(slices, tensor)
        if isinstance(value, torch.Tensor):
            tensor.copy_(put(tensor, mask, value))
        else:
            tensor.masked_fill_(mask, value)

    def _put_rows(self, slices: Slices, tensor: Tensor, units: Tensor, value: Tensor | float) -> None:
        """Write a value that broadcasts against the units' positions, where a unit is chosen after all."""
        flat = self._positions_of(slices, units)
        if not self.sure:
            sure = self.chosen[units].unsqueeze(1).expand(len(units), slices.block).flatten()
            along = [-1 if dim == slices.dim else 1 for dim in range(tensor.dim())]
            value = put(tensor.index_select(slices.dim, flat), sure.reshape(along), value)
        if isinstance(value, torch.Tensor) and value.dim():
            shape = list(tensor.shape)
            shape[slices.dim] = len(flat)
            tensor.index_copy_(slices.dim, flat, value.to(tensor.dtype).expand(shape))
        else:
            tensor.index_fill_(slices.dim, flat, value)

    def _positions_of(self, slices: Slices, units: Tensor) -> Tensor:
        """The positions of the units, one after the other."""
        if not slices.contiguous:
            return slices.positions_of(units).flatten()
        if slices.block == 1:
            return units
        if slices.block not in self._places:
            self._places[slices.block] = slices.positions_of(units).flatten()
        return self._places[slices.block]


def _where(chosen: Tensor) -> Tensor:
    """The indices of a mask, int64, by the host."""
    return torch.tensor([index for index, own in enumerate(chosen.tolist()) if own], dtype=torch.int64)
