"""What lies on units' way from the modules that make them to those that read them, beside norms: single parameters.

Slopes of a PReLU, a LayerScale, a gain or shift kept as a bare parameter, a state-space model's decay: entries that
belong to one unit each. They are made new with their unit where a fresh network's value is known; else the unit is only
partly new, and its layer names them.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from neoteny.units.initialise import Initialiser
from neoteny.units.slices import Slices
from neoteny.units.trace import Trace

__all__ = ["on_the_way"]

_ENOUGH = 64  # values, to tell a distribution from another

Reads = Sequence[Mapping[str, Sequence[int]]]


def on_the_way(
    traced: Trace, modules: Mapping[str, nn.Module], reads: Reads, said: Collection[str] = ()
) -> tuple[list[Slices], list[str]]:
    """The parameters with entries of one unit alone on the way to the modules that read a layer's units.

    Args:
        traced: says which input index of a reader depends on which entries.
        modules: the network's, by name.
        reads: for each unit its readers, with the indices that it has there.
        said: the parameters of which it is known how they are drawn.

    Returns:
        Slices with the values of newborn entries, and the names of the parameters whose fresh values are unknown.
    """
    made: dict[str, Slices] = {}
    stay: list[str] = []
    for reader in reads[0]:
        for name, by_dim in traced.bare.get(reader, {}).items():
            index = next((i for d, codes in by_dim.items() if (i := _own(traced, reader, name, d, codes, reads))), None)
            if name in made or name in stay or index is None:
                continue
            dim, positions = index
            fill = 0.0 if name in said else _fresh(modules, name)
            if fill is None or len({len(own) for own in positions}) > 1:
                stay.append(name)
            else:
                made[name] = Slices(name, dim, positions, fill=fill)
    return list(made.values()), stay


def drawn_around_zero(
    parameters: Mapping[str, Tensor], initialisers: Mapping[str, Initialiser], notes: Mapping[str, str]
) -> Iterator[str]:
    """The parameters whose values show how they were drawn; their mean is asked as well, which is 0 then."""
    for name, parameter in parameters.items():
        if parameter.is_meta or not parameter.is_floating_point():
            continue
        if name in initialisers and name not in notes and initialisers[name].kind != "constant":
            values = parameter.detach().double()
            spread = values.square().mean().sqrt() / max(1, values.numel()) ** 0.5
            if values.numel() >= _ENOUGH and values.mean().abs() < 4 * spread:
                yield name


def _own(
    traced: Trace, reader: str, name: str, dim: int, codes: np.ndarray | None, reads: Reads
) -> tuple[int, tuple[tuple[int, ...], ...]] | None:
    """For each unit its positions along a dimension of a parameter; None where others have a part in them, or none."""
    if codes is None or not len(codes):
        return None
    length = traced.bare_shapes[name][dim]
    owner = np.full(traced.inputs[reader][1], len(reads))  # by input index; what is no unit of the layer is one more
    for unit, own in enumerate(reads):
        owner[list(own[reader])] = unit
    pairs = np.unique(owner[codes // length] * length + codes % length)
    unit, position = pairs // length, pairs % length
    mine = unit < len(reads)
    if len(np.unique(position)) < len(position) or not mine.any():
        return None
    found: list[list[int]] = [[] for _ in reads]
    for u, p in zip(unit[mine].tolist(), position[mine].tolist(), strict=True):
        found[u].append(p)
    return dim, tuple(map(tuple, found))


def _fresh(modules: Mapping[str, nn.Module], name: str) -> float | None:
    """The value of all of a parameter's entries in a fresh network, or None where it is not to be known."""
    owner, _, own = name.rpartition(".")
    module = modules[owner]
    value: Tensor = module._parameters[own]  # pyright: ignore
    reset = getattr(type(module), "reset_parameters", None)
    if reset is not None and next(module.children(), None) is None:
        fresh = copy.deepcopy(module)
        with torch.random.fork_rng(devices=[value.device] if value.is_cuda else []), torch.no_grad():
            fresh.reset_parameters()  # pyright: ignore
        value = fresh._parameters[own]  # pyright: ignore
    flat = value.detach().flatten()
    return float(flat[0]) if bool((flat == flat[0]).all()) else None
