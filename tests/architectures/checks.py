"""Ways to ask a network itself what a unit does: change entries of its tensors by hand and run it.

Nothing here knows how units were found; only the records are believed, and then held against the network's output.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from architectures.table import ARCHITECTURES
from neoteny.units import Network, Slices, UnitLayer, find

Tensors = dict[str, Tensor]


def made(name: str, batch: int = 6) -> tuple[nn.Module, Any]:
    """A network of the zoo at its tiny size, and a batch for it."""
    architecture = ARCHITECTURES[name]
    if architecture.needs:
        pytest.importorskip(architecture.needs)
    torch.manual_seed(0)
    width, length = architecture.tiny
    return architecture.build(width, length), architecture.inputs(batch, length)


@functools.cache
def generic(name: str) -> tuple[nn.Module, Any]:
    """The same in double precision and evaluation mode, with no bias, gain or running statistic at a special value."""
    net, inputs = made(name)
    generator = torch.Generator().manual_seed(1)
    for own, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if tensor.dim() == 1 and tensor.is_floating_point():
            least = {"running_mean": -2.0, "bias": 1.0}.get(own.rpartition(".")[2], 0.5)  # so that rectifiers open
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + least)
    return net.double().eval(), tree_map(lambda x: x.double() if x.is_floating_point() else x, inputs)


@functools.cache
def found(name: str, residual_stream: bool = False) -> Network:
    return find(*generic(name), residual_stream=residual_stream, only_preserving=False)


def call(net: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return net(**inputs)
    return net(*inputs) if isinstance(inputs, tuple) else net(inputs)


def output_of(net: nn.Module, inputs: Any) -> Tensor:
    """All floating-point tensors that the network gives out, as one vector."""
    output = call(net, inputs)
    output = dict(output) if isinstance(output, Mapping) else output  # the models of transformers give out a record
    return torch.cat([t.flatten() for t in tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()])


def tensors_of(net: nn.Module) -> Tensors:
    return {name: t.detach().clone() for name, t in [*net.named_parameters(), *net.named_buffers()]}


@contextmanager
def holding(net: nn.Module, tensors: Tensors):
    """The network with these values in its parameters and buffers, for as long as this lasts."""
    own = dict([*net.named_parameters(), *net.named_buffers()])
    before = {name: own[name].detach().clone() for name in tensors}
    try:
        for name, value in tensors.items():
            own[name].data.copy_(value)
        yield net
    finally:
        for name, value in before.items():
            own[name].data.copy_(value)


@torch.no_grad()
def run(net: nn.Module, tensors: Tensors, inputs: Any) -> Tensor:
    with holding(net, tensors):
        return output_of(net, inputs)


@contextmanager
def uncoupled(net: nn.Module, layer: UnitLayer):
    """The network with the norms over the layer's units reduced to gain and shift, so that each unit goes on alone."""

    def affine(norm: Any, args: tuple[Tensor, ...], _: Tensor) -> Tensor:
        value = args[0].movedim(1, -1) if isinstance(norm, nn.GroupNorm) else args[0]
        value = value * norm.weight + getattr(norm, "bias", 0.0)
        return value.movedim(-1, 1) if isinstance(norm, nn.GroupNorm) else value

    handles = [net.get_submodule(name).register_forward_hook(affine) for name in layer.coupled]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def seen_of(net: nn.Module, layer: UnitLayer, tensors: Tensors, inputs: Any) -> Tensor:
    """What every call of the layer's reader shows of each unit, `[units, entries]`, with its gradient's history."""
    reader, seen = layer.readers[0], []

    def see(_: nn.Module, value: Tensor) -> None:
        seen.append(reader.features(value).movedim(1, 0).flatten(1))

    handle = reader.listen(net.get_submodule(reader.module), see)
    with holding(net, tensors):
        output_of(net, inputs)
    handle.remove()
    return torch.cat(seen, 1)


activations = torch.no_grad()(seen_of)


def feeding_alone(net: nn.Module, layer: UnitLayer, tensors: Tensors, inputs: Any, chosen: Tensor) -> Tensors:
    """For each trained parameter the entries on which the chosen units' activations depend, and no others' do."""
    parameters = {name: p for name, p in net.named_parameters() if p.requires_grad}
    with holding(net, tensors):
        seen = seen_of(net, layer, tensors, inputs)
        seen = seen * torch.randn(seen.shape, generator=torch.Generator().manual_seed(0), dtype=seen.dtype)
        own, others = (
            torch.autograd.grad(seen[units].sum(), list(parameters.values()), retain_graph=True, allow_unused=True)
            for units in (chosen, ~chosen)
        )
    return {
        name: (mine.abs() > 1e-12) & (other == 0 if other is not None else True)  # below is rounding
        for name, mine, other in zip(parameters, own, others, strict=True)
        if mine is not None
    }


def entries(slices: Slices, chosen: Tensor, tensor: Tensor) -> Tensor:
    """Which entries of a tensor belong to the units chosen, a mask of its shape."""
    return slices.select(chosen, tensor).expand_as(tensor)


def filled(tensors: Tensors, parts: Iterable[Slices], chosen: Tensor, value: float) -> Tensors:
    """With a value in all entries of the units chosen."""
    tensors = dict(tensors)
    for slices in parts:
        tensor = tensors[slices.name]
        tensors[slices.name] = tensor.masked_fill(entries(slices, chosen, tensor), value)
    return tensors


def choices(layer: UnitLayer) -> list[Tensor]:
    """Sets of units to look at: the last alone, and some in the middle of others."""
    some = torch.rand(layer.size, generator=torch.Generator().manual_seed(layer.size)) < 0.5
    return [torch.arange(layer.size) == layer.size - 1, some | (torch.arange(layer.size) == layer.size // 2)]
