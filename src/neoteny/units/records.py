"""What a hidden unit is, written down once: plain records of names and index maps.

A *unit layer* is a set of `size` hidden units of one kind: unit i is fed by some slices of parameters (rows of weights,
entries of biases), normalised by others (gains, shifts and running statistics of norms), and consumed by further ones
(columns of weights). Its activation is seen at the input of its readers. Methods only ever look at these records, never
at modules, so they serve every architecture that `neoteny.units.find` can read.

Tensors that carry a stack of runs have a leading dimension; the rules see one network at a time (`torch.func.vmap` adds
the runs), so all dimensions here count from the front of an ordinary parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from rich.table import Table
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

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
        # worked out here and not in cached properties, whose lock torch.compile cannot trace
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


@dataclass(frozen=True)
class Reader:
    """Where a layer's activations are seen: unit i at the positions `index[i]` of dimension `dim` of a tensor.

    Args:
        module: the module that is given that tensor as its first input, or gives it out.
        dim: the dimension, counted from the end; the tensor's dimension 0 is the batch.
        index: positions by unit.
        output: where in what the module gives out the tensor is, for one whose input does not show it; None: its input.
    """

    module: str
    dim: int
    index: tuple[tuple[int, ...], ...]
    output: tuple[int, ...] | None = None
    _slices: Slices = field(init=False, repr=False, compare=False)

    def features(self, value: Tensor) -> Tensor:
        """The tensor as activations `[batch, units, positions]`."""
        if value.dim() == -self.dim:  # a single example
            value = value.unsqueeze(0)
        grouped = self._slices._grouped(value)  # [size, k, batch, ...]
        moved = grouped.movedim(2, 0)
        return moved.flatten(2)

    def listen(self, module: nn.Module, see: Callable[[nn.Module, Tensor], None]) -> RemovableHandle:
        """Have `see(module, tensor)` called in every forward pass of the module; returns the hook's handle."""
        hook = Listener(self.output, see)
        if self.output is None:
            return module.register_forward_pre_hook(hook, with_kwargs=True)
        return module.register_forward_hook(hook)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_slices", Slices(self.module, self.dim, self.index))


class Listener:
    """A hook that picks the tensor which shows a layer's activations out of a module's inputs or outputs."""

    def __init__(self, output: tuple[int, ...] | None, see: Callable[[nn.Module, Tensor], None]):
        self.output, self.see = output, see

    def __call__(self, module: nn.Module, args: tuple[Any, ...], given: Any) -> None:
        """A forward pre-hook with keyword arguments, or a forward hook."""
        value: Any = given
        if self.output is None:
            value = args[0] if args else next(iter(given.values()))
        for step in self.output or ():
            value = value[step]
        if isinstance(value, tuple):  # a packed sequence
            value = getattr(value, "data", None)
        self.see(module, value)


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
        readers: where the activations are seen, in order of execution; all show the same.
        preserving: whether a newborn's every consumer is known and zeroed, so that it contributes nothing.
        stream: whether the units are those of a residual stream, to which one module after the other adds.
        coupled: names of the norms whose statistics run over the units (LayerNorm): what a newborn feeds into them
            reaches the other units, zeroed consumers or not.
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
    coupled: tuple[str, ...] = ()
    stream: bool = False

    def incoming_rows(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """All weights that feed each unit, `[n, entries]`."""
        return _rows(self.incoming, tensors)

    def outgoing_rows(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """All weights that read each unit, `[n, entries]`."""
        return _rows(self.outgoing, tensors)

    def incoming_magnitude(self, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> Tensor:
        """Sum of |w| over the weights that feed each unit, `[n]`, in `dtype` (by default the weights' own)."""
        return _magnitude(self.incoming, tensors, dtype)

    def outgoing_magnitude(self, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> Tensor:
        """Sum of |w| over the weights that read each unit, `[n]`, in `dtype` (by default the weights' own)."""
        return _magnitude(self.outgoing, tensors, dtype)


def _rows(parts: tuple[Slices, ...], tensors: Mapping[str, Tensor]) -> Tensor:
    import torch

    rows = [slices.rows(tensors[slices.name]) for slices in parts]
    return rows[0] if len(rows) == 1 else torch.cat(rows, 1)


def _magnitude(parts: tuple[Slices, ...], tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> Tensor:
    weights = ((slices, tensors[slices.name]) for slices in parts)
    first, *others = (slices.total(weight.to(dtype or weight.dtype).abs()) for slices, weight in weights)
    for other in others:
        first = first + other
    return first


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
        notes: what was guessed, by parameter (an initialiser that the present weights do not show).
        towers: for each module that makes output the modules that lead to it, in order of execution, and itself.
    """

    layers: tuple[UnitLayer, ...]
    initialisers: Mapping[str, Initialiser]
    head: tuple[str, ...]
    norms: tuple[str, ...] = ()
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    towers: tuple[tuple[str, ...], ...] = ()

    def prefixed(self, prefix: str) -> Network:
        """The same with a prefix before every name, as a wrapper of the model has it."""
        if not prefix:
            return self

        def slices(parts: tuple[Slices, ...]) -> tuple[Slices, ...]:
            return tuple(replace(part, name=prefix + part.name) for part in parts)

        def names(of: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(prefix + name for name in of)

        layers = tuple(
            replace(
                layer,
                name="+".join(names(tuple(layer.name.split("+")))),
                incoming=slices(layer.incoming),
                biases=slices(layer.biases),
                norms=slices(layer.norms),
                outgoing=slices(layer.outgoing),
                outgoing_biases=tuple(None if bias is None else prefix + bias for bias in layer.outgoing_biases),
                readers=tuple(replace(reader, module=prefix + reader.module) for reader in layer.readers),
                coupled=names(layer.coupled),
            )
            for layer in self.layers
        )
        return Network(
            layers=layers,
            initialisers={prefix + name: drawn for name, drawn in self.initialisers.items()},
            head=names(self.head),
            norms=names(self.norms),
            modules={prefix + name: names(own) for name, own in self.modules.items()},
            skipped={prefix + name: reason for name, reason in self.skipped.items()},
            notes={prefix + name: note for name, note in self.notes.items()},
            towers=tuple(map(names, self.towers)),
        )

    def explain(self, file: IO[str] | None = None) -> None:
        """Print a table of all unit layers, and of what is left out and why, to the terminal or into `file`."""
        import shutil

        from rich.console import Console

        Console(file=file, width=max(100, shutil.get_terminal_size((120, 24)).columns)).print(self)

    def __rich__(self) -> Table:
        from neoteny.units.explain import explained

        return explained(self)
