"""What a hidden unit is, written down once: plain records of names and index maps.

A *unit layer* is a set of `size` hidden units of one kind: unit i is fed by some slices of parameters (rows of weights,
entries of biases), normalised by others (gains, shifts and running statistics of norms), and consumed by further ones
(columns of weights). Its activation is seen at the input of its readers. Methods look at these records alone, not at
modules, so they work on every architecture that `neoteny.units.find` can read.

Tensors that carry a stack of runs have a leading dimension; the rules see one network at a time (`torch.func.vmap` adds
the runs), so all dimensions here count from the front of an ordinary parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

from neoteny.units.explain import Row, as_html, listed, table
from neoteny.units.slices import Slices

if TYPE_CHECKING:
    import torch
    from rich.table import Table
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from neoteny.units.initialise import Initialiser


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
    index: tuple[tuple[int, ...], ...] = field(repr=False)
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
        stays_old: names of parameters of which each unit has entries of its own that a reset leaves as they are, since
            their values in a fresh network are not known: a newborn is only partly new.
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
    stays_old: tuple[str, ...] = ()

    def __repr__(self) -> str:
        fed, read = (listed(_names(parts)) for parts in (self.incoming, self.outgoing))
        return f"UnitLayer({listed([self.name])!r}, {self.size:,} units, fed by {fed}, read by {read})"

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
        checked: how it was checked with numbers that units with zeroed consumers reach no output, and what that cost.
        shared: for each parameter that has several names another of them.
        shapes: of the parameters and buffers when the units were found, by which they are told from another network's.
    """

    layers: tuple[UnitLayer, ...]
    initialisers: Mapping[str, Initialiser]
    head: tuple[str, ...]
    norms: tuple[str, ...] = ()
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    towers: tuple[tuple[str, ...], ...] = ()
    checked: str = field(default="", compare=False)
    shared: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False)

    def renamed(self, tensor: Callable[[str], str], module: Callable[[str], str]) -> Network:
        """The same under other names of its tensors and modules.

        Args:
            tensor: gives the new name of a parameter or buffer.
            module: gives the new name of a module.
        """

        def slices(parts: tuple[Slices, ...]) -> tuple[Slices, ...]:
            return tuple(replace(part, name=tensor(part.name)) for part in parts)

        def title(name: str) -> str:
            name, mark, number = name.partition("#")
            return "+".join(map(module, name.split("+"))) + mark + number

        layers = tuple(
            replace(
                layer,
                name=title(layer.name),
                incoming=slices(layer.incoming),
                biases=slices(layer.biases),
                norms=slices(layer.norms),
                outgoing=slices(layer.outgoing),
                outgoing_biases=tuple(None if bias is None else tensor(bias) for bias in layer.outgoing_biases),
                readers=tuple(replace(reader, module=module(reader.module)) for reader in layer.readers),
                coupled=tuple(map(module, layer.coupled)),
                stays_old=tuple(map(tensor, layer.stays_old)),
            )
            for layer in self.layers
        )
        return Network(
            layers=layers,
            initialisers={tensor(name): drawn for name, drawn in self.initialisers.items()},
            head=tuple(map(tensor, self.head)),
            norms=tuple(map(tensor, self.norms)),
            modules={module(name): tuple(map(tensor, own)) for name, own in self.modules.items()},
            skipped={title(name): reason for name, reason in self.skipped.items()},
            notes={tensor(name): note for name, note in self.notes.items()},
            towers=tuple(tuple(map(module, tower)) for tower in self.towers),
            checked=self.checked,
            shared={tensor(name): tensor(other) for name, other in self.shared.items()},
            shapes={tensor(name): shape for name, shape in self.shapes.items()},
        )

    def prefixed(self, prefix: str) -> Network:
        """The same with a prefix before every name, as a wrapper of the model has it."""
        return self.renamed(lambda name: prefix + name, lambda name: prefix + name) if prefix else self

    def explain(self, file: IO[str] | None = None) -> None:
        """Print a table of all unit layers, and of what is left out and why, to the terminal or into `file`."""
        import shutil

        from rich.console import Console

        Console(file=file, width=max(100, shutil.get_terminal_size((120, 24)).columns)).print(self)

    def __repr__(self) -> str:
        layers = listed([f"{layer.name} ({layer.size:,})" for layer in self.layers]) or "none"
        left_out = f", {len(self.skipped):,} left out" if self.skipped else ""
        return f"Network({self.units:,} hidden units in {len(self.layers):,} layers: {layers}{left_out})"

    @property
    def units(self) -> int:
        """The number of hidden units."""
        return sum(layer.size for layer in self.layers)

    def __rich__(self) -> Table:
        rows = [
            Row(
                layer.name,
                layer.size,
                layer.preserving,
                layer.coupled,
                _names(layer.incoming),
                _names(layer.outgoing),
                layer.stays_old,
            )
            for layer in self.layers
        ]
        fed = {slices.name for layer in self.layers for slices in layer.incoming}
        notes = {name: note for name, note in self.notes.items() if name in fed}
        return table(rows, self.skipped, notes, self.checked)

    def _repr_html_(self) -> str:
        return as_html(self.__rich__())


def _names(parts: tuple[Slices, ...]) -> list[str]:
    return [slices.name for slices in parts]
