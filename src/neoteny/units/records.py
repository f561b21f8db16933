"""What a hidden unit is, written down once: plain records of names and index maps.

A *unit layer* is a set of `size` hidden units of one kind: unit i is fed by some slices of parameters (rows of weights,
entries of biases), normalised by others (gains, shifts and running statistics of norms), and consumed by further ones
(columns of weights). Its activation is seen at the input of its readers. Methods only ever look at these records, never
at modules, so they serve every architecture that `neoteny.units.find` can read.

Tensors that carry a stack of runs have a leading dimension; the rules see one network at a time (`torch.func.vmap` adds
the runs), so all dimensions here count from the front of an ordinary parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from neoteny.units.initialise import Initialiser


@dataclass(frozen=True)
class Slices:
    """Where the units of a layer lie in one tensor: unit i owns the positions `index[i]` of dimension `dim`.

    Args:
        name: the parameter's or buffer's qualified name, as in `model.named_parameters()`.
        dim: the dimension, counted from the front.
        index: for each unit the same number k of positions; k > 1 where a map is flattened (unit i owns the block
            `range(i * k, (i + 1) * k)`) or a unit is read several times (CReLU).
        fill: what a newborn's entries are set to, where they are not drawn (gain 1, shift 0, running variance 1).

    >>> import torch
    >>> Slices("w", 1, ((0, 1), (2, 3))).rows(torch.arange(8.0).view(2, 4))
    tensor([[0., 1., 4., 5.],
            [2., 3., 6., 7.]])
    """

    name: str
    dim: int
    index: tuple[tuple[int, ...], ...]
    fill: float = 0.0

    @cached_property
    def size(self) -> int:
        """The number of units."""
        return len(self.index)

    @cached_property
    def block(self) -> int:
        """Positions of one unit, k."""
        return len(self.index[0])

    @cached_property
    def contiguous(self) -> bool:
        """Whether unit i owns the i-th block of k, from 0: then rows are views, not gathers."""
        flat = [position for unit in self.index for position in unit]
        return flat == list(range(len(flat)))

    def positions(self, device: torch.device | str | None = None) -> Tensor:
        """The index map as an int64 tensor, `[size, k]`."""
        import torch

        return torch.tensor(self.index, dtype=torch.int64, device=device)

    def _grouped(self, tensor: Tensor) -> Tensor:
        """The units' entries with the units in front: `[size, k, *other dimensions]`."""
        moved = tensor.movedim(self.dim, 0)
        if not (self.contiguous and moved.shape[0] == self.size * self.block):
            moved = moved[self.positions(tensor.device).flatten()]
        return moved.unflatten(0, (self.size, self.block))

    def rows(self, tensor: Tensor) -> Tensor:
        """All entries of `tensor` that belong to each unit, `[size, entries of one unit]`, units first."""
        grouped = self._grouped(tensor)
        if self.dim == 0:
            return grouped.flatten(1) if grouped.dim() > 1 else grouped.unsqueeze(1)
        return grouped.movedim(1, self.dim).flatten(1)

    def row_shape(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of one unit's entries in `tensor`, its own positions first: `(k, *other dimensions)`."""
        shape = list(tensor.shape)
        del shape[self.dim]
        return (self.block, *shape)

    def select(self, chosen: Tensor, tensor: Tensor) -> Tensor:
        """A bool mask that broadcasts against `tensor`: True on all entries of the units chosen (bool, `[size]`)."""
        if self.contiguous and tensor.shape[self.dim] == self.size * self.block:
            mask = chosen if self.block == 1 else chosen.unsqueeze(1).expand(self.size, self.block).flatten()
        else:
            import torch

            mask = torch.zeros(tensor.shape[self.dim], dtype=torch.bool, device=tensor.device)
            mask = mask.index_put((self.positions(tensor.device),), chosen.unsqueeze(1).expand(self.size, self.block))
        return mask.reshape([-1 if d == self.dim else 1 for d in range(tensor.dim())])


@dataclass(frozen=True)
class Reader:
    """A module whose input shows the layer's activations: unit i at the positions `index[i]` of input dimension `dim`.

    Dimension `dim` counts from the front of the module's input, whose dimension 0 is the batch.
    """

    module: str
    dim: int
    index: tuple[tuple[int, ...], ...]

    def features(self, value: Tensor) -> Tensor:
        """The module's input as activations `[batch, units, positions]`."""
        grouped = Slices(self.module, self.dim, self.index)._grouped(value)  # [size, k, batch, ...]
        moved = grouped.movedim(2, 0)
        return moved.flatten(2)


@dataclass(frozen=True)
class UnitLayer:
    """One layer of hidden units: what feeds it, what normalises it, who reads it.

    Args:
        name: the producing module's qualified name (several joined by `+` where a sum makes their units one).
        size: number of units n.
        incoming: the weights that feed the units (dimension 0 of `nn.Linear.weight` and convolutions).
        biases: their biases.
        norms: gains, shifts and running statistics on the units' way, each with its newborn value.
        outgoing: the weights that read the units (dimension 1 of the consumers' weights).
        outgoing_biases: for each entry of `outgoing` its module's bias, or None; what the compensation adds to.
        readers: the modules at whose input the activations are seen; all show the same activations.
        preserving: whether a newborn's every consumer is known and zeroed, so that it contributes nothing.
    """

    name: str
    size: int
    incoming: tuple[Slices, ...]
    biases: tuple[Slices, ...]
    norms: tuple[Slices, ...]
    outgoing: tuple[Slices, ...]
    outgoing_biases: tuple[str | None, ...]
    readers: tuple[Reader, ...]
    preserving: bool = True


@dataclass(frozen=True)
class Network:
    """The unit layers of a network, how each parameter is drawn, and which parameters make up its head.

    Args:
        layers: hidden unit layers in order of execution.
        initialisers: the distribution of every parameter, by name.
        head: names of the parameters of the last layer(s), those that make the output.
        norms: names of the parameters of normalising modules (gains and shifts).
        modules: for each parametrised module in order of execution the names of its own parameters.
        skipped: what is not a unit layer, and why.
    """

    layers: tuple[UnitLayer, ...]
    initialisers: Mapping[str, Initialiser]
    head: tuple[str, ...]
    norms: tuple[str, ...] = ()
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
