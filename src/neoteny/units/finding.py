"""Find the hidden units of any network: from who reads whom to plain records of names and index maps.

A unit is a class of outputs of parametrised modules that are only ever read together: rows of a weight, joined where
one input index reads one output of each of several modules (the sum of a residual stream). An output is hidden, and can
be made new, when no index reads it along with others of its own module and the network's output does not read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from neoteny.errors import NetworkError, UnknownNameError
from neoteny.units.inference import infer_initialisers
from neoteny.units.initialise import Initialiser
from neoteny.units.records import Network, Reader, Slices, UnitLayer
from neoteny.units.trace import Trace, over_channels, trace, unwrapped, weight_dims

__all__ = ["find"]

_IN_OUTPUT = "its units reach the network's output"
_NEWBORN = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


def find(
    model: nn.Module,
    example_inputs: Any,
    *,
    initialisers: Mapping[str, Initialiser] | None = None,
    allow_none: bool = False,
) -> Network:
    """Find the hidden units of a network by asking autograd what every module reads.

    The network is traced as a copy: its parameters, buffers, gradients, mode and hooks and torch's generators stay as
    they were. Sees through anything that autograd can differentiate: functional activations, pooling, flattening,
    residual sums, concatenation. Of parametrised modules `nn.Linear` and convolutions have units, norms lie on the way.

    Arguments:
        model: the network.
        example_inputs: a batch as the network takes it: a tensor, a tuple of arguments, or a dict of named ones.
        initialisers: how parameters are drawn, by name, where modules do not say so themselves (by an attribute
            `initialisers`) and the present weights do not show it.
        allow_none: return a network without unit layers instead of refusing it.

    Raises:
        NetworkError: the network cannot be traced, or has no hidden units.
        UnknownNameError: an initialiser for a parameter that does not exist.

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> network = find(net, torch.zeros(1, 1, 4, 4))
    >>> [(layer.name, layer.size) for layer in network.layers], network.head
    ([('0', 4)], ('3.weight', '3.bias'))
    >>> network.layers[0].outgoing[0].index[1]
    (4, 5, 6, 7)
    """
    for name in initialisers or ():
        if name not in dict(model.named_parameters()):
            raise UnknownNameError(name, [name for name, _ in model.named_parameters()], "parameter to initialise")
    inner, prefix = unwrapped(model)
    traced = trace(inner, example_inputs)
    modules = dict(inner.named_modules())
    layers, skipped = _Grouping(modules, traced, prefix).layers()
    if not layers and not allow_none:
        why = "; ".join(f"{name!r}: {reason}" for name, reason in skipped.items()) or "only its output has parameters"
        raise NetworkError(
            f"{type(inner).__name__} has no hidden units that can be made new ({why}). Give a network with a hidden "
            "nn.Linear or convolution whose weights train and that other such modules read."
        )
    own = {prefix + name: _parameters(module, name, prefix) for name, module in modules.items() if name in traced.order}
    guessed, notes = infer_initialisers(model, initialisers or {})
    return Network(
        layers=tuple(layers),
        initialisers=guessed,
        head=tuple(p for name in traced.order if name in traced.output for p in own[prefix + name]),
        norms=tuple(p for n in traced.order if traced.roles[n] == "norm" for p in own[prefix + n]),
        modules={prefix + name: own[prefix + name] for name in traced.order if own[prefix + name]},
        skipped={prefix + name: reason for name, reason in skipped.items()},
        notes=notes,
    )


class _Grouping:
    """Outputs of producers, numbered through (`nodes`), and what becomes of them."""

    def __init__(self, modules: Mapping[str, nn.Module], traced: Trace, prefix: str):
        self.modules, self.trace, self.prefix = modules, traced, prefix
        self.plain = [name for name in traced.order if traced.roles[name] == "plain"]
        sizes = [traced.units[name] for name in self.plain]
        self.first = dict(zip(self.plain, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True)) if sizes else {}
        self.count = sum(sizes)
        self.owner = np.repeat(np.arange(len(sizes)), sizes)
        self.unfit = np.full(self.count, None, dtype=object)  # the first reason against each node
        self.kept = np.zeros(self.count, bool)  # read by something that cannot be zeroed

    def layers(self) -> tuple[list[UnitLayer], dict[str, str]]:
        """The unit layers in order of execution, and for each other module why it has none."""
        edges = [self._judge(name) for name in self.trace.order if self.trace.roles[name] != "norm"]
        for name in self.plain:
            if not _trains(self.modules[name]):
                self._refuse(self._nodes(name), "its weight is frozen")
            if name in self.trace.output:
                self._refuse(self.first[name] + self.trace.output[name].nonzero()[0], _IN_OUTPUT)
        pairs = np.concatenate([e for found in edges for e in found] or [np.zeros((2, 0), int)], axis=1)
        graph = coo_array((np.ones(pairs.shape[1], np.int8), tuple(pairs)), shape=(self.count, self.count))
        label = connected_components(graph, directed=False)[1] if self.count else np.zeros(0, int)
        return self._records(label)

    def _nodes(self, name: str) -> np.ndarray:
        return self.first[name] + np.arange(self.trace.units[name])

    def _refuse(self, nodes: np.ndarray, reason: str) -> None:
        self.unfit[nodes[self.unfit[nodes] == None]] = reason  # noqa: E711 - elementwise

    def _pairs(self, consumer: str) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
        """For each producer it reads: input indices j and units u, pair by pair."""
        for producer, codes in self.trace.reads.get(consumer, {}).items():
            yield producer, codes // self.trace.units[producer], codes % self.trace.units[producer]

    def _zeroable(self, name: str) -> bool:
        return self.trace.roles[name] == "plain" and _trains(self.modules[name])

    def _judge(self, consumer: str) -> list[np.ndarray]:
        """What one consumer says about the units it reads; the pairs of nodes that it joins."""
        if not self._zeroable(consumer):
            for producer, _, unit in self._pairs(consumer):
                if producer in self.first:
                    self.kept[self.first[producer] + unit] = True
            return []
        length = self.trace.inputs[consumer][2]
        mixed, foreign = np.zeros(length, bool), np.zeros(length, bool)
        stranger = ""
        for producer, j, _ in self._pairs(consumer):
            if producer in self.first:
                mixed |= np.bincount(j, minlength=length) > 1
            else:
                foreign[j], stranger = True, producer
        joined: list[np.ndarray] = []
        last = np.full(length, -1)
        for producer, j, unit in self._pairs(consumer):
            if producer not in self.first:
                continue
            nodes = self.first[producer] + unit
            self._refuse(nodes[mixed[j]], f"{consumer!r} reads several of its units at one index")
            if stranger:
                why = self.trace.opaque[stranger]
                why = f"it is added to the output of {stranger!r}, which cannot be made new ({why})"
                self._refuse(nodes[foreign[j]], why)
            clear = ~mixed[j]
            met = clear & (last[j] >= 0)
            joined.append(np.stack([last[j[met]], nodes[met]]))
            last[j[clear]] = nodes[clear]
        return joined

    def _records(self, label: np.ndarray) -> tuple[list[UnitLayer], dict[str, str]]:
        groups = int(label.max()) + 1 if self.count else 0
        fit = np.ones(groups, bool)
        for group in label[self.unfit != None]:  # noqa: E711 - elementwise
            fit[group] = False
        rows: dict[int, dict[str, list[int]]] = defaultdict(dict)
        reads: dict[int, dict[str, list[int]]] = defaultdict(dict)
        norms: dict[int, dict[str, list[int]]] = defaultdict(dict)
        for node, group in enumerate(label):
            if fit[group]:
                name = self.plain[self.owner[node]]
                rows[group].setdefault(name, []).append(node - self.first[name])
        for name in self.trace.order:
            role = self.trace.roles[name]
            if role == "norm" or self._zeroable(name):
                for group, indices in self._by_group(name, label, alone=role == "norm").items():
                    if fit[group]:
                        (norms if role == "norm" else reads)[group][name] = indices
        members: dict[Any, list[int]] = defaultdict(list)
        for group in rows:  # in order of their first node
            if reads[group]:
                signature = tuple(tuple((n, len(i)) for n, i in part[group].items()) for part in (rows, reads, norms))
                members[signature, self._is_kept(rows[group])].append(group)
        layers = [
            self._layer([[part[g] for g in of] for part in (rows, reads, norms)], preserving=not kept)
            for (_, kept), of in members.items()
        ]
        return _named_apart(layers), self._skipped(label, fit, {g for of in members.values() for g in of})

    def _is_kept(self, rows: Mapping[str, list[int]]) -> bool:
        return any(self.kept[self.first[name] + unit] for name, units in rows.items() for unit in units)

    def _by_group(self, consumer: str, label: np.ndarray, alone: bool) -> dict[int, list[int]]:
        """For each group the consumer's indices that read it; with `alone`, only indices that read no other group."""
        pairs = [np.stack([label[self.first[p] + u], j]) for p, j, u in self._pairs(consumer) if p in self.first]
        if not pairs:
            return {}
        unique = np.unique(np.concatenate(pairs, axis=1), axis=1)
        times = np.bincount(unique[1])
        found: dict[int, list[int]] = defaultdict(list)
        for group, j in unique.T.tolist():
            if not alone or times[j] == 1:
                found[group].append(j)
        return found

    def _layer(self, groups: list[list[dict[str, list[int]]]], preserving: bool) -> UnitLayer:
        rows, reads, norms = groups
        incoming, biases, outgoing, outgoing_biases, on_the_way, readers = [], [], [], [], [], []
        for name in rows[0]:
            module, index = self.modules[name], _index(rows, name)
            incoming.append(Slices(self._full(name, "weight"), _dims(module)[1], index))
            if module._parameters.get("bias") is not None:
                biases.append(Slices(self._full(name, "bias"), 0, index))
        for name in reads[0]:
            module, index = self.modules[name], _index(reads, name)
            outgoing.append(Slices(self._full(name, "weight"), _dims(module)[0], index))
            outgoing_biases.append(self._full(name, "bias") if module._parameters.get("bias") is not None else None)
            if self.trace.same_input[name] == self.trace.same_input[next(iter(reads[0]))]:
                readers.append(Reader(self.prefix + name, self.trace.inputs[name][1], index))
        for name in norms[0]:
            module, index = self.modules[name], _index(norms, name)
            for own, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if tensor.dim() and tensor.shape[0] == self.trace.inputs[name][2]:
                    on_the_way.append(Slices(self._full(name, own), 0, index, fill=_NEWBORN.get(own, 0.0)))
        return UnitLayer(
            name="+".join(self.prefix + name for name in rows[0]),
            size=len(rows),
            incoming=tuple(incoming),
            biases=tuple(biases),
            norms=tuple(on_the_way),
            outgoing=tuple(outgoing),
            outgoing_biases=tuple(outgoing_biases),
            readers=tuple(readers),
            preserving=preserving,
            coupled=tuple(self.prefix + name for name in norms[0] if over_channels(self.modules[name])),
        )

    def _full(self, module: str, parameter: str) -> str:
        return self.prefix + (f"{module}.{parameter}" if module else parameter)

    def _skipped(self, label: np.ndarray, fit: np.ndarray, used: set[int]) -> dict[str, str]:
        skipped = {}
        for name in self.trace.order:
            if self.trace.roles[name] == "opaque":
                skipped[name] = self.trace.opaque[name]
            if name not in self.first:
                continue
            nodes = self._nodes(name)
            bad = [node for node in nodes if label[node] not in used]
            if not bad:
                continue
            reason = next((self.unfit[node] for node in bad if self.unfit[node] is not None), None)
            if reason is None and fit[label[bad[0]]]:
                readers = [n for n in self.trace.order if not self._zeroable(n) and self._reads(n, name)]
                why = self.trace.opaque.get(readers[0], "its weight is frozen") if readers else ""
                reason = f"only {readers[0]!r} reads it, and {why}" if readers else "no module with parameters reads it"
            elif reason is None:
                other = next(m for m in np.flatnonzero(label == label[bad[0]]) if self.unfit[m] is not None)
                reason = f"its units are one with those of {self.plain[self.owner[other]]!r}: {self.unfit[other]}"
            if reason != _IN_OUTPUT or len(bad) < len(nodes):
                skipped[name] = reason if len(bad) == len(nodes) else f"{len(bad)} of {len(nodes)} units: {reason}"
        return skipped

    def _reads(self, consumer: str, producer: str) -> bool:
        return self.trace.roles[consumer] != "norm" and producer in self.trace.reads.get(consumer, {})


def _index(groups: list[dict[str, list[int]]], name: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(group[name]) for group in groups)


def _dims(module: nn.Module) -> tuple[int, int]:
    dims = weight_dims(module)
    assert dims is not None
    return dims[0], dims[1]


def _trains(module: nn.Module) -> bool:
    return any(p.requires_grad for n, p in module.named_parameters(recurse=False) if n == "weight")


def _parameters(module: nn.Module, name: str, prefix: str) -> tuple[str, ...]:
    return tuple(prefix + (f"{name}.{own}" if name else own) for own, _ in module.named_parameters(recurse=False))


def _named_apart(layers: list[UnitLayer]) -> list[UnitLayer]:
    """Layers of the same producers (units of different consumers) get a number after their name."""
    from dataclasses import replace

    times: dict[str, int] = defaultdict(int)
    named = []
    for layer in layers:
        times[layer.name] += 1
        named.append(layer if times[layer.name] == 1 else replace(layer, name=f"{layer.name}#{times[layer.name]}"))
    return named
