"""Make hidden units new again: incoming weights drawn, outgoing ones zeroed, the optimizer's state as of new weights.

The rule stands here once, as `renew`: what is drawn with which key, what is filled with what, in which order. How
entries are written is a `Writer`'s business, and there are two, which give equal numbers. The one of `make_new` is
pure: tensors in a dict of parameters are replaced, never written to, so it runs under `torch.func.vmap` over a stack of
runs and inside a compiled graph; which units are meant is a mask, never a shape. The one of `neoteny.units.rewrite`
writes a few rows of a user's own tensors in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Protocol

from neoteny.units import random
from neoteny.units.newborn import NewbornState, put, zero
from neoteny.units.records import Network, UnitLayer
from neoteny.units.slices import Slices

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


def slices_of(layer: UnitLayer) -> Iterator[Slices]:
    """Every slice of parameters and buffers that is a unit's own: incoming, biases, norms, outgoing."""
    yield from layer.incoming
    yield from layer.biases
    yield from layer.norms
    yield from layer.outgoing


class Writer(Protocol):
    """Writes entries of the units that are made new, and no others."""

    def draw(self, slices: Slices, tensors: Tensors, network: Network, key: Tensor) -> None:
        """Draw the units' entries of a parameter from its initialiser."""
        ...

    def write(self, slices: Slices, values: Tensors, name: str, value: Tensor | float) -> None:
        """Set the units' entries of `values[name]` to a value that broadcasts against it."""
        ...

    def mask(self, slices: Slices, tensor: Tensor) -> Tensor:
        """Which entries of a tensor are the units', as a mask that broadcasts against it."""
        ...


def renew(
    writer: Writer,
    layer: UnitLayer,
    network: Network,
    tensors: Tensors,
    optim: Mapping[str, Tensors],
    key: Tensor,
    newborn: NewbornState,
) -> None:
    """The rule of a reset, for the units that the writer writes; for the other arguments see `make_new`."""
    for number, slices in enumerate(layer.incoming):
        writer.draw(slices, tensors, network, random.fold_in(key, number))
    for number, slices in enumerate(layer.norms, len(layer.incoming)):
        if slices.name in network.initialisers:  # a gain or a shift begins as those of a fresh network do
            writer.draw(slices, tensors, network, random.fold_in(key, number))
        elif slices.name in tensors:
            writer.write(slices, tensors, slices.name, slices.fill)
    for slices in (*layer.biases, *layer.outgoing):
        if slices.name in tensors:
            writer.write(slices, tensors, slices.name, slices.fill)
    for slices in slices_of(layer):
        state = optim.get(slices.name) or {}
        for name, old in state.items():
            weight = tensors[slices.name]
            if old.shape == weight.shape:

                def new(parameter: str = slices.name, weight: Tensor = weight) -> Tensor:
                    own = (part for part in slices_of(layer) if part.name == parameter)
                    return reduce(lambda a, b: a | b, (writer.mask(part, weight) for part in own))

                writer.write(slices, state, name, newborn(slices.name, name, old, weight, new))


def make_new(
    layer: UnitLayer,
    network: Network,
    tensors: Tensors,
    optim: Mapping[str, Tensors],
    chosen: Tensor,
    key: Tensor,
    *,
    shared_draw: bool = False,
    newborn: NewbornState = zero,
) -> None:
    """Replace the chosen units' entries in `tensors` (parameters and buffers) and in the optimizer's state.

    Incoming weights are drawn anew, biases and outgoing weights become 0. Norms begin as they began in a fresh network
    (gain 1 and shift 0, as a rule), with mean 0 and variance 1. Every state tensor of the optimizer that has its
    parameter's shape gets in the same entries what `newborn` says, 0 by default.

    Args:
        layer: the unit layer.
        network: gives the initialisers.
        tensors: parameters and buffers by name; entries are replaced by new tensors.
        optim: for each parameter its state tensors by name; likewise.
        chosen: bool mask of the units, `[n]`.
        key: random key of this reset.
        shared_draw: draw one row for all chosen units; where at most one is chosen, n times cheaper and as good.
        newborn: what state holds for new weights.
    """
    renew(_Masked(chosen, shared_draw), layer, network, tensors, optim, key, newborn)


class _Masked:
    """Replaces whole tensors by new ones, equal to them but in the chosen units' entries."""

    def __init__(self, chosen: Tensor, shared_draw: bool):
        self.chosen, self.shared_draw = chosen, shared_draw

    def draw(self, slices: Slices, tensors: Tensors, network: Network, key: Tensor) -> None:
        old = tensors[slices.name]
        rows = fresh_rows(slices, network, key, old, self.shared_draw)
        self.write(slices, tensors, slices.name, laid_out(slices, rows, old))

    def write(self, slices: Slices, values: Tensors, name: str, value: Tensor | float) -> None:
        values[name] = put(values[name], self.mask(slices, values[name]), value)

    def mask(self, slices: Slices, tensor: Tensor) -> Tensor:
        return slices.select(self.chosen, tensor)


def fresh_rows(
    slices: Slices, network: Network, key: Tensor, like: Tensor, shared: bool, units: Tensor | None = None
) -> Tensor:
    """New entries of the units of a parameter, drawn from its initialiser, `[units, k, *other dimensions]`.

    With `shared` one row for all, `[1, k, ...]`, unless the initialiser makes unlike rows. With `units` only theirs,
    the same numbers as in the draw for all.
    """
    initialiser = network.initialisers[slices.name]
    if initialiser.whole:
        rows = slices._grouped(initialiser.draw(key, like.shape))
        return (rows if units is None else rows[units]).to(like.dtype)
    shape = (1 if shared else slices.size, *slices.row_shape(like))
    return initialiser.draw(key, shape, None if shared else units).to(like.dtype)


def laid_out(slices: Slices, rows: Tensor, like: Tensor) -> Tensor:
    """Rows `[count, k, ...]` laid out so that they broadcast against the parameter; count is 1 or all."""
    if rows.shape[0] == 1 and slices.block == 1 and slices.groups == 1:
        return rows[0].movedim(0, slices.dim)
    if rows.shape[0] == 1:
        rows = rows.expand(slices.size, *rows.shape[1:])
    return slices.back(slices.lay(rows.flatten(0, 1), slices.length(like), 0.0))
