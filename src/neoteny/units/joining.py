"""The unit layers of several networks that one learner trains: found network by network, then joined.

Taken as one network, an actor's output that a critic reads would be a hidden layer: a reset would change actions. So
units are found in each network by itself. Where networks share layers, a unit is hidden only if it is hidden in each of
them, and its consumers are those of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from neoteny.units.finding import find
from neoteny.units.inference import infer_initialisers
from neoteny.units.records import Network, UnitLayer

__all__ = ["find_each"]


def find_each(model: nn.Module, examples: Mapping[str, Any], **options: Any) -> Network:
    """The unit layers of several networks of one model.

    Args:
        model: what holds the networks: names of parameters are its own.
        examples: for each submodule that is a network a batch of its inputs: a tensor, or a tuple of arguments.
        options: as for `neoteny.units.find`.

    Raises:
        NetworkError: a network cannot be traced.

    >>> import torch
    >>> def network(inputs, outputs):
    ...     return nn.Sequential(nn.Linear(inputs, 4), nn.ReLU(), nn.Linear(4, outputs))
    >>> model = nn.ModuleDict({"actor": network(3, 2), "critic": network(5, 1)})
    >>> found = find_each(model, {"actor": torch.zeros(1, 3), "critic": torch.zeros(1, 5)})
    >>> [layer.name for layer in found.layers], found.head
    (['actor.0', 'critic.0'], ('actor.2.weight', 'actor.2.bias', 'critic.2.weight', 'critic.2.bias'))
    """
    names = {id(tensor): name for name, tensor in [*model.named_buffers(), *model.named_parameters()]}
    modules = {id(module): name for name, module in model.named_modules()}
    found, shared = [], dict[str, str]()
    for name, inputs in examples.items():
        member = model.get_submodule(name)
        tensors = {
            own: names[id(tensor)]
            for own, tensor in [
                *member.named_buffers(remove_duplicate=False),
                *member.named_parameters(remove_duplicate=False),
            ]
        }
        places = {own: modules[id(part)] for own, part in member.named_modules(remove_duplicate=False)}
        network = find(member, inputs, **options)
        found.append(network.renamed(lambda own, to=tensors: to[own], lambda own, to=places: to.get(own, own)))
        also = ((tensors[own], f"{name}.{other}") for own, other in network.shared.items())
        shared |= {own: other for own, other in also if own != other}
    return replace(_with_loose(_joined(found), model), shared=shared)


def _with_loose(network: Network, model: nn.Module) -> Network:
    """The network, and the model's own parameters that belong to none of its networks, such as a temperature.

    They are kept with the gains of norms: drawn anew with everything else, but pulled nowhere by regularisers.
    """
    loose = {name for name, _ in model.named_parameters(recurse=False)} - network.initialisers.keys()
    if not loose:
        return network
    drawn = {name: how for name, how in infer_initialisers(model, {})[0].items() if name in loose}
    return replace(network, initialisers={**network.initialisers, **drawn}, norms=(*network.norms, *drawn))


def _joined(networks: list[Network]) -> Network:
    layers: dict[str, UnitLayer] = {}
    skipped: dict[str, str] = {}
    for network in networks:
        for layer in network.layers:
            reason = _against(layer, networks)
            if reason is not None:
                skipped[layer.name] = reason
            elif layer.name in layers:
                layers[layer.name] = _with_consumers_of(layers[layer.name], layer)
            else:
                layers[layer.name] = layer
    heads = [name for network in networks for name in network.head]
    return Network(
        layers=tuple(layers.values()),
        initialisers={name: drawn for network in networks for name, drawn in network.initialisers.items()},
        head=tuple(dict.fromkeys(heads)),
        norms=tuple(dict.fromkeys(name for network in networks for name in network.norms)),
        modules={name: own for network in networks for name, own in network.modules.items()},
        skipped={**{n: r for network in networks for n, r in network.skipped.items() if n not in layers}, **skipped},
        notes={name: note for network in networks for name, note in network.notes.items()},
        towers=tuple(dict.fromkeys(tower for network in networks for tower in network.towers)),
        checked=" ".join(dict.fromkeys(network.checked for network in networks if network.checked)),
    )


def _against(layer: UnitLayer, networks: list[Network]) -> str | None:
    """Why units that one network hides are not hidden in all that compute them, or None."""
    fed = {slices.name for slices in layer.incoming}
    for network in networks:
        if fed.isdisjoint(name for own in network.modules.values() for name in own):
            continue  # it does not compute them
        same = [other for other in network.layers if other.name == layer.name]
        if not same:
            return "another network shares the layer, where its units are not hidden ones that can be made new"
        if same[0].incoming != layer.incoming:
            return "another network shares the layer, and its units are others there"
    return None


def _with_consumers_of(layer: UnitLayer, other: UnitLayer) -> UnitLayer:
    """The layer, read by the consumers of another network as well."""
    known = {(slices.name, slices.dim) for slices in layer.outgoing}
    more = [number for number, slices in enumerate(other.outgoing) if (slices.name, slices.dim) not in known]
    norms = {slices.name for slices in layer.norms}
    return replace(
        layer,
        norms=(*layer.norms, *(slices for slices in other.norms if slices.name not in norms)),
        outgoing=(*layer.outgoing, *(other.outgoing[number] for number in more)),
        outgoing_biases=(*layer.outgoing_biases, *(other.outgoing_biases[number] for number in more)),
        readers=(*layer.readers, *(reader for reader in other.readers if reader not in layer.readers)),
        preserving=layer.preserving and other.preserving,
        coupled=tuple(dict.fromkeys((*layer.coupled, *other.coupled))),
        stream=layer.stream or other.stream,
        stays_old=tuple(dict.fromkeys((*layer.stays_old, *other.stays_old))),
    )
