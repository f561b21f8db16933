"""Name unit layers by hand, for a network that cannot be traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from neoteny.errors import NetworkError, UnknownNameError
from neoteny.units.fitting import shapes_of
from neoteny.units.inference import Given, infer_initialisers
from neoteny.units.maps import LinearMap, is_norm, known_map, newborn_norm, over_channels, unwrapped
from neoteny.units.records import Network, Reader, UnitLayer
from neoteny.units.slices import Slices

__all__ = ["declare"]


def declare(
    model: nn.Module,
    layers: Mapping[str, str | Sequence[str]],
    *,
    norms: Mapping[str, str | Sequence[str]] | None = None,
    initialisers: Mapping[str, Given] | None = None,
) -> Network:
    """Unit layers from the names of modules: those that make the units, and all that read them.

    For a network that `find` cannot trace, or for which it does not find what you want. The network is not run, so only
    shapes are checked: name *all* consumers of a layer, or a reset changes what the network computes.

    Args:
        model: the network.
        layers: for each producer (an `nn.Linear` or a convolution; several, joined by `+`, where their outputs are
            added or multiplied) its consumers. Where a consumer has k inputs a unit, unit i is read at the block from
            i k on, as after flattening.
        norms: for each producer the norms between it and its consumers.
        initialisers: as for `find`.

    Raises:
        UnknownNameError: there is no such module.
        NetworkError: a module that is no linear map, or numbers of units that do not fit.

    >>> import torch
    >>> net = nn.ModuleDict({"up": nn.Linear(3, 8), "norm": nn.BatchNorm1d(8), "down": nn.Linear(8, 2)})
    >>> network = declare(net, {"up": "down"}, norms={"up": "norm"})
    >>> network.layers[0].size, [slices.name for slices in network.layers[0].outgoing]
    (8, ['down.weight'])
    """
    inner, prefix = unwrapped(model)
    modules = dict(inner.named_modules())
    made = [
        _layer(modules, name.split("+"), _listed(consumers), _listed((norms or {}).get(name, ())))
        for name, consumers in layers.items()
    ]
    consumers = {name for several in layers.values() for name in _listed(several)}
    last = consumers - {name for several in layers for name in several.split("+")}
    drawn, notes = infer_initialisers(inner, {n.removeprefix(prefix): i for n, i in (initialisers or {}).items()})
    own = {name: tuple(n for n, _ in module.named_parameters(name, False)) for name, module in modules.items()}
    return Network(
        layers=tuple(made),
        initialisers=drawn,
        head=tuple(parameter for name in modules if name in last for parameter in own[name]),
        norms=tuple(parameter for name, module in modules.items() if is_norm(module) for parameter in own[name]),
        modules={name: parameters for name, parameters in own.items() if parameters},
        notes=notes,
        shapes=shapes_of(inner),
    ).prefixed(prefix)


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _layer(modules: Mapping[str, nn.Module], producers: list[str], consumers: list[str], norms: list[str]) -> UnitLayer:
    makers = [_map(modules, name) for name in producers]
    sizes = {name: _length(modules, known, known.outputs) for name, known in zip(producers, makers, strict=True)}
    if len(set(sizes.values())) > 1:
        raise NetworkError(f"declare: {sizes} outputs cannot be one layer's; join producers with as many outputs each.")
    size = sizes[producers[0]]
    own = tuple((unit,) for unit in range(size))
    outgoing, readers, biases = [], [], []
    for name in consumers:
        known = _map(modules, name)
        if known.inputs is None:
            raise NetworkError(f"declare: {name!r} is an embedding, which reads no units; name what reads them.")
        length = _length(modules, known, known.inputs)
        if length % size:
            raise NetworkError(
                f"declare: {name!r} has {length} inputs, which is no multiple of the {size} units of "
                f"{'+'.join(producers)!r}; name the module that reads them."
            )
        block = length // size
        index = tuple(tuple(range(unit * block, (unit + 1) * block)) for unit in range(size))
        outgoing.append(Slices(known.weight, known.inputs, index, groups=known.groups_along(known.inputs)))
        readers.append(Reader(name, -1 - known.spatial, index))
        biases.append(known.bias)
    way = []
    for name in norms:
        module = _module(modules, name)
        if not is_norm(module):
            raise NetworkError(f"declare: {name!r} ({type(module).__name__}) is no norm; leave it out of norms.")
        way += [Slices(full, 0, own, fill=fill) for full, fill in newborn_norm(name, module, size)]
    return UnitLayer(
        name="+".join(producers),
        size=size,
        incoming=tuple(Slices(m.weight, m.outputs, own, groups=m.groups_along(m.outputs)) for m in makers),
        biases=tuple(Slices(m.bias, 0, own) for m in makers if m.bias is not None),
        norms=tuple(way),
        outgoing=tuple(outgoing),
        outgoing_biases=tuple(biases),
        readers=tuple(readers[:1]),
        coupled=tuple(name for name in norms if over_channels(modules[name])),
    )


def _module(modules: Mapping[str, nn.Module], name: str) -> nn.Module:
    if name not in modules:
        raise UnknownNameError(name, list(modules), "module")
    return modules[name]


def _map(modules: Mapping[str, nn.Module], name: str) -> LinearMap:
    known = known_map(name, _module(modules, name))
    if known is None:
        raise NetworkError(
            f"declare: {name!r} ({type(modules[name]).__name__}) is no nn.Linear, embedding or convolution with a "
            "weight of its own; write its layer down as a neoteny.units.UnitLayer."
        )
    return known


def _length(modules: Mapping[str, nn.Module], known: LinearMap, dim: int) -> int:
    owner, _, own = known.weight.rpartition(".")
    weight: Tensor = getattr(modules[owner], own)
    return weight.shape[dim] * known.groups_along(dim)
