"""Write unit layers down: from classes of outputs to plain records of names and index maps, or why there is none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from neoteny.units.grouping import IN_OUTPUT, Grouping
from neoteny.units.initialise import Initialiser
from neoteny.units.maps import newborn_norm, over_channels
from neoteny.units.passing import on_the_way
from neoteny.units.records import Reader, UnitLayer
from neoteny.units.slices import Slices
from neoteny.units.trace import Trace

__all__ = ["Writer"]

_STREAM = "its units are those of a residual stream, which residual_stream=True takes in"
_EMBEDDED = "it is an embedding: its outputs are looked up, not computed"
_UNREAD = "no module with parameters reads it"
_IDLE = "it did not run on these example inputs"
_UNSEEN = "its activations stay inside the module that computes with it"


class Writer:
    """Writes unit layers down from classes of outputs."""

    def __init__(
        self, modules: Mapping[str, nn.Module], traced: Trace, residual_stream: bool, said: Collection[str] = ()
    ):
        self.modules, self.trace, self.residual_stream = modules, traced, residual_stream
        self.grouping = Grouping(traced)
        self.fit = np.array([reason is None for reason in self.grouping.unfit], bool)
        self.gated: set[int] = set()
        self.said, self.fresh = said, dict[str, Initialiser]()
        self._known: dict[tuple[tuple[str, bool], ...], bool] = {}  # whether producers follow from one another

    def layers(self) -> tuple[list[UnitLayer], dict[str, str]]:
        """The unit layers in order of execution, and for each other producer why it has none."""
        grouping, label = self.grouping, self.grouping.label
        rows: dict[int, dict[str, list[int]]] = defaultdict(dict)
        reads: dict[int, dict[str, list[int]]] = defaultdict(dict)
        passes: dict[int, dict[str, list[int]]] = defaultdict(dict)
        for name in self.trace.order:
            on_the_way = self.trace.roles[name] in ("norm", "channelwise")
            if on_the_way or grouping.unzeroable(name) is None:
                for group, indices in self._by_group(name, alone=on_the_way).items():
                    (passes if on_the_way else reads)[group][name] = indices
        for node in np.flatnonzero(np.isin(label, list(reads))).tolist():  # a head has many that nothing reads
            name = grouping.plain[grouping.owner[node]]
            rows[int(label[node])].setdefault(name, []).append(node - grouping.first[name])
        self.gated = self._gated_classes(rows, reads)
        why = {group: self._against(rows[group], reads[group]) for group in rows}
        members: dict[Any, list[int]] = defaultdict(list)
        for group in rows:  # in order of their first node
            if why[group] is None:
                parts = (rows[group], reads[group], passes[group])
                members[tuple(tuple((n, len(i)) for n, i in part.items()) for part in parts)].append(group)
        layers = [self._layer(*([part[g] for g in of] for part in (rows, reads, passes))) for of in members.values()]
        return layers, self._skipped(why)

    def _by_group(self, consumer: str, alone: bool) -> dict[int, list[int]]:
        """For each class the consumer's indices that read it; with `alone`, only indices that read no other class."""
        if consumer not in self.trace.inputs:
            return {}
        grouping, nodes, length = self.grouping, [], self.trace.inputs[consumer][1]
        shared = np.zeros(length, bool)  # with what cannot be made new anyway, of which there may be very much
        for producer, j, unit in grouping.pairs(consumer):
            if producer in grouping.first:
                node = grouping.first[producer] + unit
                fit = self.fit[node]
                shared[j[~fit & ~grouping.modulates[node]]] = True
                nodes.append((node[fit], j[fit]))
        if not nodes:
            return {}
        node, j = (np.concatenate(part) for part in zip(*nodes, strict=True))
        if alone:
            node, j = node[~shared[j]], j[~shared[j]]
        group = grouping.label[node]
        _, first = np.unique(group * length + j, return_index=True)
        times = np.bincount(j[first], minlength=length)
        wanted = first[~grouping.modulates[node[first]] & ((times[j[first]] == 1) | (not alone))]
        found: dict[int, list[int]] = defaultdict(list)
        for of, index in zip(group[wanted].tolist(), j[wanted].tolist(), strict=True):
            found[of].append(index)
        return found

    def _against(self, rows: dict[str, list[int]], reads: dict[str, list[int]]) -> str | None:
        """Why a class of outputs is no unit that can be made new, or None."""
        grouping = self.grouping
        nodes = [grouping.first[name] + unit for name, units in rows.items() for unit in units]
        unfit = next((node for node in nodes if grouping.unfit[node] is not None), None)
        if unfit is not None:
            return grouping.unfit[unfit]
        kept = next((grouping.kept[node] for node in nodes if grouping.kept[node] is not None), None)
        if kept is not None:
            return kept
        maps = [self.trace.maps[name] for name in rows]
        if all(known.inputs is None for known in maps):
            return _EMBEDDED
        for name, indices in reads.items():
            known = self.trace.maps[name]
            alike = [n for n, i in reads.items() if self.trace.maps[n].weight == known.weight and i == indices]
            if len(alike) != known.fused:
                return f"only a part of {known.weight} reads it"
        if not self.residual_stream and self._is_stream(rows, reads):
            return _STREAM
        seen = any(self.trace.shown_at(n) is not None for n in reads) or any(n in self.trace.views for n in rows)
        return None if seen else _UNSEEN

    def _is_stream(self, rows: dict[str, list[int]], reads: dict[str, list[int]]) -> bool:
        """Whether modules add to the class one after the other."""
        return self._follows(rows, reads) and self._first(rows) not in self.gated

    def _first(self, rows: dict[str, list[int]]) -> int:
        """The first node of a class."""
        name = next(iter(rows))
        return self.grouping.first[name] + rows[name][0]

    def _gated_classes(
        self, rows: Mapping[int, dict[str, list[int]]], reads: Mapping[int, dict[str, list[int]]]
    ) -> set[int]:
        """The first nodes of classes whose later producers only multiply the first, as squeeze-excite does.

        Where the first puts out 0, nothing is left of them.
        """
        grouping = self.grouping
        groups = [group for group in rows if self._follows(rows[group], reads[group])]
        zeros = {name: np.zeros(self.trace.units[name], bool) for name in grouping.plain}
        at: dict[str, list[int]] = defaultdict(list)
        for group in groups:
            name = next(iter(rows[group]))
            zeros[name][rows[group][name]] = True
            for reader, indices in reads[group].items():
                at[reader] += indices
        if not groups:
            return set()
        zeros = {name: mask for name, mask in zeros.items() if mask.any()}
        (still,) = self.trace.still_read(zeros, [{name: np.unique(indices) for name, indices in at.items()}])
        heard = {
            (name, unit)
            for name, mask in still.items()
            for unit in np.flatnonzero(mask & ~zeros.get(name, np.zeros(len(mask), bool))).tolist()
        }
        return {
            self._first(rows[group])
            for group in groups
            if not any((name, unit) in heard for name in list(rows[group])[1:] for unit in rows[group][name])
        }

    def _follows(self, rows: dict[str, list[int]], reads: dict[str, list[int]]) -> bool:
        """Whether one of the class's producers follows from another, other than by recurrence."""
        key = tuple((name, name in reads) for name in rows)
        if key not in self._known:
            self._known[key] = self._asked(rows, reads)
        return self._known[key]

    def _asked(self, rows: dict[str, list[int]], reads: dict[str, list[int]]) -> bool:
        owner = self.trace.owner
        recurrent = {owner(n) for n in rows if n in reads and self.trace.calls[n] > 1}  # they read their own class
        return any(
            self.trace.follows(later, earlier)
            for later in rows
            if owner(later) not in recurrent
            for earlier in rows
            if owner(later) != owner(earlier)
        )

    def _layer(
        self,
        rows: list[dict[str, list[int]]],
        reads: list[dict[str, list[int]]],
        passes: list[dict[str, list[int]]],
    ) -> UnitLayer:
        incoming, biases, outgoing, norms = _Merged(), _Merged(), _Merged(), _Merged()
        outgoing_biases: dict[str, str | None] = {}
        for name in rows[0]:
            known, index = self.trace.maps[name], _index(rows, name, self.trace.maps[name].offset)
            incoming.add(known.weight, known.outputs, index, groups=known.groups_along(known.outputs))
            if known.bias is not None:
                biases.add(known.bias, 0, index)
        for name in reads[0]:
            known, index = self.trace.maps[name], _index(reads, name)
            assert known.inputs is not None
            outgoing.put(known.weight, known.inputs, index, groups=known.groups_along(known.inputs))
            outgoing_biases[known.weight] = known.bias
        for name in passes[0]:
            module, index = self.modules[name], _index(passes, name)
            if self.trace.roles[name] == "channelwise":
                known = self.trace.maps[name]
                incoming.add(known.weight, 0, index)
                if known.bias is not None:
                    biases.add(known.bias, 0, index)
                continue
            for own, fill in newborn_norm(name, module, self.trace.inputs[name][1]):
                norms.put(own, 0, index, fill=fill)
        made, stay = on_the_way(self.trace, self.modules, reads, self.said)
        self.fresh |= {s.name: Initialiser("constant", s.fill) for s in made if s.name not in self.said}
        return UnitLayer(
            name="+".join(dict.fromkeys(self.trace.maps[name].label for name in rows[0])),
            size=len(rows),
            incoming=incoming.slices(),
            biases=biases.slices(),
            norms=(*norms.slices(), *made),
            outgoing=outgoing.slices(),
            outgoing_biases=tuple(outgoing_biases.values()),
            readers=self._readers(rows, reads, passes),
            preserving=True,
            coupled=tuple(n for n in passes[0] if self.trace.roles[n] == "norm" and over_channels(self.modules[n])),
            stream=self._is_stream(rows[0], reads[0]),
            stays_old=tuple(stay),
        )

    def _readers(
        self,
        rows: list[dict[str, list[int]]],
        reads: list[dict[str, list[int]]],
        passes: list[dict[str, list[int]]],
    ) -> tuple[Reader, ...]:
        shown = [name for name in reads[0] if self.trace.shown_at(name) is not None]
        if shown:
            same = [n for n in shown if self.trace.same_input[n] == self.trace.same_input[shown[0]]]
            at = {self.trace.shown_at(n) or "": (self.trace.inputs[n][0], _index(reads, n)) for n in same}
            norm = self.trace.after_norm.get(shown[0])
            if norm is not None and norm in passes[0]:  # an activation is judged before a norm moves it
                at = {norm: (self.trace.inputs[norm][0], _index(passes, norm))}
            return tuple(Reader(module, dim, index) for module, (dim, index) in at.items())
        for name in rows[0]:
            view = self.trace.views.get(name)
            if view is not None:
                return (Reader(view.module, -1, _index(rows, name, view.first), output=view.path),)
        return ()

    def _skipped(self, why: Mapping[int, str | None]) -> dict[str, str]:
        grouping, skipped = self.grouping, {}
        for name in self.trace.order:
            if self.trace.roles[name] == "opaque":
                skipped[name] = self.trace.opaque[name]
            if name not in grouping.first:
                continue
            nodes = grouping.nodes(name)
            bad = [node for node in nodes.tolist() if why.get(int(grouping.label[node]), _UNREAD) is not None]
            if not bad:
                continue
            reason = next((grouping.unfit[node] for node in bad if grouping.unfit[node] is not None), None)
            reason = self._reason(bad[0], why) if reason is None else reason
            if reason != IN_OUTPUT or len(bad) < len(nodes) or self._is_read(name):  # else it is simply the head
                whole = len(bad) == len(nodes)
                skipped.setdefault(
                    self.trace.maps[name].label, reason if whole else f"{len(bad)} of {len(nodes)} units: {reason}"
                )
        for name, reason in self._unknown():
            skipped.setdefault(name, reason)
        return skipped

    def _unknown(self) -> Iterator[tuple[str, str]]:
        """The modules whose parameters are not known to be those of a linear map or norm, each with why."""
        used = set(self.trace.unowned)
        for name, module in self.modules.items():
            own = dict(module.named_parameters(name, recurse=False))
            mixing = [p for p in own if p in used and self._mixes(p)]
            if mixing:
                several = _listed([p.rpartition(".")[2] for p in mixing])
                yield name, f"no linear map of a known kind computes with {several}, so what comes of it has no units"
            elif own and name not in self.trace.called and used.isdisjoint(own):
                yield name, _IDLE

    def _mixes(self, parameter: str) -> bool:
        """Whether a parameter is a matrix, other than one that holds entries for single units."""
        if sum(length > 1 for length in self.trace.bare_shapes[parameter]) < 2:
            return False
        seen = [by_name[parameter] for by_name in self.trace.bare.values() if parameter in by_name]
        return all(codes is None for by_dim in seen for codes in by_dim.values())

    def _is_read(self, producer: str) -> bool:
        return any(producer in reads for name, reads in self.trace.reads.items() if self.trace.roles[name] != "norm")

    def _reason(self, node: int, why: Mapping[int, str | None]) -> str:
        grouping = self.grouping
        group = int(grouping.label[node])
        if group not in why:
            kept = grouping.kept[node]
            return _UNREAD if kept is None else kept.replace("reads it too", "alone reads it")
        own, same = why[group], (grouping.label == group).nonzero()[0].tolist()
        other = next((m for m in same if grouping.unfit[m]), None)
        if other is None:
            assert own is not None
            return own
        return f"its units are one with those of {grouping.plain[grouping.owner[other]]!r}: {grouping.unfit[other]}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


class _Merged:
    """Slices by tensor; a unit's positions in one tensor, as parts of a fused weight, come together."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], tuple[tuple[tuple[int, ...], ...], dict[str, Any]]] = {}

    def put(self, name: str, dim: int, index: tuple[tuple[int, ...], ...], **options: Any) -> None:
        """Positions of the units, once."""
        self._found[name, dim] = index, options

    def add(self, name: str, dim: int, index: tuple[tuple[int, ...], ...], **options: Any) -> None:
        """Positions of the units beside those that are there."""
        there = self._found.get((name, dim), (((),) * len(index), {}))[0]
        self._found[name, dim] = tuple((*a, *b) for a, b in zip(there, index, strict=True)), options

    def slices(self) -> tuple[Slices, ...]:
        """All of them, in the order of their first mention."""
        return tuple(Slices(name, dim, index, **more) for (name, dim), (index, more) in self._found.items())


def _index(groups: list[dict[str, list[int]]], name: str, offset: int = 0) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(position + offset for position in group[name]) for group in groups)
