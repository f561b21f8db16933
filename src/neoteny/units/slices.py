"""Where the units of a layer lie in one tensor, and how to read and mark their entries there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Slices:
    """Where the units of a layer lie in one tensor: unit i owns the positions `index[i]` of dimension `dim`.

    Args:
        name: the parameter's or buffer's qualified name, as in `model.named_parameters()`.
        dim: the dimension, counted from the front.
        index: for each unit the same number k of positions; k > 1 where a map is flattened (unit i owns the block
            `range(i * k, (i + 1) * k)`) or a unit is read several times (CReLU).
        fill: what a newborn's entries are set to, where they are not drawn (gain 1, shift 0, running variance 1).
        groups: of a grouped convolution, whose dimension 0 falls into as many parts; along another dimension, position
            p is then the entry p mod length of part p // length.

    >>> import torch
    >>> Slices("w", 1, ((0, 1), (2, 3))).rows(torch.arange(8.0).view(2, 4))
    tensor([[0., 1., 4., 5.],
            [2., 3., 6., 7.]])
    """

    name: str
    dim: int
    index: tuple[tuple[int, ...], ...]
    fill: float = 0.0
    groups: int = 1
    size: int = field(init=False, repr=False, compare=False)
    """The number of units."""
    block: int = field(init=False, repr=False, compare=False)
    """Positions of one unit, k."""
    contiguous: bool = field(init=False, repr=False, compare=False)
    """Whether unit i owns the i-th block of k, from 0: then rows are views, not gathers."""

    _maps: dict[Any, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # computed here and not in cached properties, whose lock torch.compile cannot trace
        if len({len(unit) for unit in self.index} | {0}) != 2:
            raise ValueError(f"Slices of {self.name}: every unit needs the same number of positions, at least 1.")
        flat = [position for unit in self.index for position in unit]
        object.__setattr__(self, "size", len(self.index))
        object.__setattr__(self, "block", len(self.index[0]))
        object.__setattr__(self, "contiguous", flat == list(range(len(flat))))
        object.__setattr__(self, "_maps", {})
        if not self.contiguous:  # where it is, nothing need be kept
            self.positions()
            self._map("owners", None)

    def __repr__(self) -> str:
        own = f"dim={self.dim}, units={self.size}" + (f" of {self.block} positions" if self.block > 1 else "")
        return f"Slices({self.name!r}, {own})"

    def positions(self, device: torch.device | str | None = None) -> Tensor:
        """The index map as an int64 tensor, `[size, k]`."""
        return self._map("positions", device)

    def positions_of(self, units: Tensor) -> Tensor:
        """The positions of some units, `[units, k]`."""
        import torch

        if self.contiguous:
            return units.unsqueeze(1) * self.block + torch.arange(self.block, device=units.device)
        return self.positions(units.device)[units]

    def _map(self, which: str, device: torch.device | str | None) -> Tensor:
        """An index map, made once for each device: `positions`, or its inverse `owners`."""
        import torch

        device = torch.device("cpu" if device is None else device)
        if (which, device) not in self._maps:
            made = self._maps.get((which, torch.device("cpu")))
            if made is None:
                made = torch.tensor(self.index, dtype=torch.int64)
                if which == "owners":
                    flat = made.flatten()
                    made = torch.full((int(flat.max()) + 1,), len(flat)).index_put((flat,), torch.arange(len(flat)))
            if torch.compiler.is_compiling():
                return made.to(device)
            self._maps[which, device] = made.to(device)
        return self._maps[which, device]

    def lay(self, values: Tensor, length: int, outside: Tensor | float) -> Tensor:
        """Values `[size * k, ...]` in the units' order, laid out in that of the positions, `[length, ...]`.

        Positions that belong to no unit get `outside`. This is a gather: torch 2.13's compiled scatter goes wrong here
        under `vmap`.
        """
        import torch

        if self.contiguous and length == values.shape[0]:
            return values
        owners = self._map("owners", values.device)
        owners = torch.cat([owners, owners.new_full((length - owners.shape[0],), values.shape[0])])
        if not isinstance(outside, torch.Tensor):
            outside = torch.full((), outside, dtype=values.dtype, device=values.device)
        others = outside.to(values.dtype).expand(1, *values.shape[1:])
        return torch.cat([values, others]).index_select(0, owners)

    def length(self, tensor: Tensor) -> int:
        """The number of positions that `tensor` has, whoever owns them."""
        return tensor.shape[self.dim] * self.groups

    def in_front(self, tensor: Tensor) -> Tensor:
        """The tensor with the positions in front, `[length, *other dimensions]`.

        >>> import torch
        >>> Slices("w", 1, ((0,), (1,), (2,), (3,)), groups=2).in_front(torch.arange(8.0).view(4, 2))
        tensor([[0., 2.],
                [1., 3.],
                [4., 6.],
                [5., 7.]])
        """
        if self.groups == 1:
            return tensor.movedim(self.dim, 0)
        return tensor.unflatten(0, (self.groups, -1)).movedim(self.dim + 1, 1).flatten(0, 1)

    def back(self, tensor: Tensor) -> Tensor:
        """The inverse of `in_front`."""
        if self.groups == 1:
            return tensor.movedim(0, self.dim)
        return tensor.unflatten(0, (self.groups, -1)).movedim(1, self.dim + 1).flatten(0, 1)

    def _grouped(self, tensor: Tensor) -> Tensor:
        """The units' entries with the units in front: `[size, k, *other dimensions]`."""
        moved = self.in_front(tensor)
        if not (self.contiguous and moved.shape[0] == self.size * self.block):
            moved = moved[self.positions(tensor.device).flatten()]
        return moved.unflatten(0, (self.size, self.block))

    def by_position(self, tensor: Tensor) -> Tensor:
        """The sum over all other dimensions, of each unit at each of its positions, `[size, k]`."""
        return self._grouped(tensor).flatten(2).sum(2)

    def rows(self, tensor: Tensor) -> Tensor:
        """All entries of `tensor` that belong to each unit, `[size, entries of one unit]`, units first."""
        grouped = self._grouped(tensor)
        return (grouped if self.groups > 1 else grouped.movedim(1, self.dim + 1)).flatten(1)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of each unit's entries, `[size]`: `rows(tensor).sum(1)` without laying out the rows.

        >>> import torch
        >>> Slices("w", 1, ((0, 1), (2, 3))).total(torch.arange(8.0).view(2, 4))
        tensor([10., 18.])
        """
        if self.groups > 1:
            tensor = tensor.unflatten(0, (self.groups, -1))
            others = [d for d in range(1, tensor.dim()) if d != self.dim + 1]
            along = tensor.sum(others).flatten()
        else:
            others = [d for d in range(tensor.dim()) if d != self.dim]
            along = tensor.sum(others) if others else tensor
        if not (self.contiguous and along.shape[0] == self.size * self.block):
            along = along[self.positions(tensor.device).flatten()]
        return along if self.block == 1 else along.unflatten(0, (self.size, self.block)).sum(1)

    def entries(self, tensor: Tensor) -> int:
        """How many entries of `tensor` each unit owns."""
        return tensor.numel() // self.length(tensor) * self.block

    def row_shape(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of one unit's entries in `tensor`, its own positions first: `(k, *other dimensions)`."""
        shape = list(tensor.shape)
        shape[0] //= self.groups
        del shape[self.dim]
        return (self.block, *shape)

    def select(self, chosen: Tensor, tensor: Tensor) -> Tensor:
        """A bool mask that broadcasts against `tensor`: True on all entries of the units chosen (bool, `[size]`)."""
        return self.spread(chosen, tensor, False)

    def spread(self, values: Tensor, tensor: Tensor, outside: Tensor | float) -> Tensor:
        """A value of each unit, `[size]`, laid along the units' dimension of `tensor`: it broadcasts against it.

        Positions that belong to no unit of the layer get `outside`.

        >>> import torch
        >>> Slices("w", 1, ((0, 1), (2, 3))).spread(torch.tensor([5, 7]), torch.zeros(3, 4), 0)
        tensor([[5, 5, 7, 7]])
        """
        along = values if self.block == 1 else values.unsqueeze(1).expand(self.size, self.block).flatten()
        along = self.lay(along, self.length(tensor), outside)
        if self.groups > 1:  # each part of dimension 0 has positions of its own
            rows = along.unflatten(0, (self.groups, -1)).repeat_interleave(tensor.shape[0] // self.groups, 0)
            return rows.reshape([tensor.shape[d] if d in (0, self.dim) else 1 for d in range(tensor.dim())])
        return along.reshape([-1 if d == self.dim else 1 for d in range(tensor.dim())])
