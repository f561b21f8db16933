"""The authors' rule for ResNet-18: a chain of modules, each of whose units only the next one reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from neoteny.units.maps import newborn_norm
from neoteny.units.records import Reader, UnitLayer
from neoteny.units.slices import Slices

if TYPE_CHECKING:
    from neoteny.units.grouping import Grouping

__all__ = ["chained"]


def chained(grouping: Grouping, modules: Mapping[str, nn.Module]) -> tuple[list[UnitLayer], dict[str, str]]:
    """Unit layers along the network: the outputs of each linear map, consumed by the next in order of registration.

    Dohare et al. (Nature 632, 2024) take all 17 convolutions of a ResNet-18 so, those that add to the residual stream
    included, and zero the inputs of the next convolution only; shortcuts keep what they read, so a reset changes what
    the network computes. The chain begins at the first module; the next is the first registered module that reads it.
    """
    traced, registered = grouping.trace, list(modules)
    layers: list[UnitLayer] = []
    at = next(iter(grouping.plain), None)
    done: set[str] = set()
    while at is not None and at not in done:
        done.add(at)
        readers = [n for n in grouping.plain if n not in done and at in traced.reads.get(n, {})]
        after = min(readers, key=registered.index, default=None)
        if after is not None and grouping.unzeroable(at) is None and grouping.unzeroable(after) is None:
            index = _read(grouping, at, after)
            if index is not None:
                here, there = traced.maps[at], traced.maps[after]
                assert there.inputs is not None  # an embedding reads no units
                own = tuple((unit,) for unit in range(traced.units[at]))
                layers.append(
                    UnitLayer(
                        name=at,
                        size=len(own),
                        incoming=(Slices(here.weight, here.outputs, own, groups=here.groups_along(here.outputs)),),
                        biases=() if here.bias is None else (Slices(here.bias, 0, own),),
                        norms=_norms(grouping, modules, at, own),
                        outgoing=(Slices(there.weight, there.inputs, index, groups=there.groups_along(there.inputs)),),
                        outgoing_biases=(there.bias,),
                        readers=(Reader(after, traced.inputs[after][0], index),),
                        preserving=False,
                    )
                )
        at = after
    return layers, {n: "it is not on the chain" for n in grouping.plain if n not in done}


def _norms(
    grouping: Grouping, modules: Mapping[str, nn.Module], at: str, own: tuple[tuple[int, ...], ...]
) -> tuple[Slices, ...]:
    """The norms that normalise the outputs of this module and of no other."""
    traced = grouping.trace
    norms = [n for n in traced.order if traced.roles[n] == "norm" and set(traced.reads.get(n, {})) == {at}]
    return tuple(Slices(full, 0, own, fill=fill) for n in norms for full, fill in newborn_norm(n, modules[n], len(own)))


def _read(grouping: Grouping, producer: str, consumer: str) -> tuple[tuple[int, ...], ...] | None:
    """For each unit of the producer the consumer's indices that read it; None where an index reads several."""
    found = next(pairs[1:] for pairs in grouping.pairs(consumer) if pairs[0] == producer)
    by_unit = [found[0][found[1] == unit] for unit in range(grouping.trace.units[producer])]
    if len(np.unique(found[0])) < len(found[0]) or len({len(indices) for indices in by_unit} | {0}) != 2:
        return None
    return tuple(tuple(indices.tolist()) for indices in by_unit)
