"""Make hidden units new again: incoming weights drawn, outgoing ones zeroed, optimizer state forgotten.

One rule and two writers, which give equal numbers. `make_new` is pure: tensors in a dict of parameters are replaced,
never written to, so it runs under `torch.func.vmap` over a stack of runs and inside a compiled graph; which units are
meant is a mask, never a shape. `neoteny.units.rewrite` writes a few rows of a user's own tensors in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from neoteny.units import random
from neoteny.units.records import Network, Slices, UnitLayer

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


def slices_of(layer: UnitLayer) -> Iterator[Slices]:
    """Every slice of parameters and buffers that is a unit's own: incoming, biases, norms, outgoing."""
    yield from layer.incoming
    yield from layer.biases
    yield from layer.norms
    yield from layer.outgoing


def fresh_rows(
    slices: Slices, network: Network, key: Tensor, like: Tensor, count: int, units: Tensor | None = None
) -> Tensor:
    """New incoming weights for `count` units, drawn from the layer's initialiser, `[count, k, *other dimensions]`.

    With `units` only theirs, the same numbers as in the draw for all.
    """
    shape = (count, *slices.row_shape(like))
    return network.initialisers[slices.name].draw(key, shape, units).to(like.dtype)


def make_new(
    layer: UnitLayer,
    network: Network,
    tensors: Tensors,
    optim: dict[str, Tensors],
    chosen: Tensor,
    key: Tensor,
    *,
    shared_draw: bool = False,
) -> None:
    """Replace the chosen units' entries in `tensors` (parameters and buffers) and in the optimizer's state.

    Incoming weights are drawn anew, biases and outgoing weights become 0, norms return to gain 1, shift 0, mean 0 and
    variance 1; every state tensor of the optimizer that has its parameter's shape becomes 0 in the same entries.

    Args:
        layer: the unit layer.
        network: gives the initialisers.
        tensors: parameters and buffers by name; entries are replaced by new tensors.
        optim: for each parameter its state tensors by name; likewise.
        chosen: bool mask of the units, `[n]`.
        key: random key of this reset.
        shared_draw: draw one row for all chosen units; where at most one is chosen, n times cheaper and as good.
    """
    for number, slices in enumerate(layer.incoming):
        old = tensors[slices.name]
        row = fresh_rows(slices, network, random.fold_in(key, number), old, 1 if shared_draw else layer.size)
        _write(slices, tensors, chosen, laid_out(slices, row, old))
    for slices in (*layer.biases, *layer.norms, *layer.outgoing):
        if slices.name in tensors:
            _write(slices, tensors, chosen, slices.fill)
    for slices in slices_of(layer):
        state = optim.get(slices.name)
        if state:
            for name, value in state.items():
                if value.shape == tensors[slices.name].shape:
                    _write(slices, state, chosen, 0.0, name)


def _write(slices: Slices, tensors: Tensors, chosen: Tensor, value: Tensor | float, name: str | None = None) -> None:
    name = slices.name if name is None else name
    old = tensors[name]
    if not isinstance(value, torch.Tensor):
        value = torch.full((), value, dtype=old.dtype, device=old.device)
    tensors[name] = torch.where(slices.select(chosen, old), value, old)


def laid_out(slices: Slices, rows: Tensor, like: Tensor) -> Tensor:
    """Rows `[count, k, ...]` laid out so that they broadcast against the parameter; count is 1 or all."""
    if rows.shape[0] == 1 and slices.block == 1 and slices.groups == 1:
        return rows[0].movedim(0, slices.dim)
    if rows.shape[0] == 1:
        rows = rows.expand(slices.size, *rows.shape[1:])
    return slices.back(slices.lay(rows.flatten(0, 1), slices.length(like), 0.0))
