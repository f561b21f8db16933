"""Which outputs of linear maps are one unit: from who reads whom to classes of outputs.

Zeroing the input indices that read an output silences it. Outputs that are read at the same indices are one unit: gate
and value of a gated layer, the producers of a residual stream, the four gates of an LSTM's cell. An output that is
read together with several units of another producer only modulates them (queries and keys, a router) and is no unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from neoteny.units.trace import Masks, Trace

__all__ = ["IN_OUTPUT", "Grouping"]

IN_OUTPUT = "its units reach the network's output"
_PARTS = 4  # outputs of one producer that may make up a unit: an LSTM's gates


class Grouping:
    """Outputs of linear maps, numbered through as nodes, and their classes.

    Attributes:
        plain: the producers.
        first: the number of each producer's first node.
        owner: the place of each node's producer in `plain`, `[nodes]`.
        label: the class of each node, `[nodes]`.
        unfit: for each node why it cannot be made new, or None, `[nodes]`.
        kept: for each node what reads it and cannot be zeroed, or None, `[nodes]`.
        modulates: whether each node is read along with several units of one producer, `[nodes]`.
    """

    def __init__(self, traced: Trace):
        self.trace = traced
        self.plain = [name for name in traced.order if traced.roles[name] == "plain"]
        sizes = [traced.units[name] for name in self.plain]
        self.first = dict(zip(self.plain, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True)) if sizes else {}
        self.count = sum(sizes)
        self.owner = np.repeat(np.arange(len(sizes)), sizes)
        self.unfit: Any = np.full(self.count, None, dtype=object)
        self.kept: Any = np.full(self.count, None, dtype=object)
        self.modulates = np.zeros(self.count, bool)
        for name in self.plain:
            known = traced.maps[name]
            if known.unzeroable:
                self.refuse(self.nodes(name), known.unzeroable)
            if name in traced.output:
                self.refuse(self.first[name] + traced.output[name].nonzero()[0], IN_OUTPUT)
        rows = self._rows()
        rows = self._without_dense(rows)
        self._refuse_modulators(rows)
        self.label = self._classes(rows)
        self._refuse_carriers(rows)

    def nodes(self, name: str) -> np.ndarray:
        """The nodes of a producer."""
        return self.first[name] + np.arange(self.trace.units[name])

    def refuse(self, nodes: np.ndarray, reason: str) -> None:
        """Give a reason against nodes that have none yet."""
        self.unfit[nodes[self.unfit[nodes] == None]] = reason  # noqa: E711 - elementwise

    def pairs(self, consumer: str) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
        """For each producer it reads: input indices j and units u, pair by pair."""
        for producer, codes in self.trace.reads.get(consumer, {}).items():
            yield producer, codes // self.trace.units[producer], codes % self.trace.units[producer]

    def unzeroable(self, consumer: str) -> str | None:
        """Why a consumer's weights cannot be zeroed, or None."""
        if self.trace.roles[consumer] == "opaque":
            return self.trace.opaque[consumer]
        return self.trace.maps[consumer].unzeroable

    def _rows(self) -> Any:
        """Who reads what, bool `[different rows, nodes]`: one row an input index of a consumer that can be zeroed."""
        indices, nodes, names, total = [], [], [], 0
        for consumer in self.trace.order:
            if self.trace.roles[consumer] in ("norm", "channelwise"):
                continue
            if consumer in self.trace.maps and self.trace.maps[consumer].inputs is None:
                continue  # an embedding looks up by whole numbers, whatever else it is given
            why = self.unzeroable(consumer)
            if why is not None:
                for producer, _, unit in self.pairs(consumer):
                    if producer in self.first:
                        own = self.first[producer] + unit
                        self.kept[own] = f"{consumer!r} reads it too, and {why}"
                continue
            self._refuse_foreign(consumer)
            for producer, j, unit in self.pairs(consumer):
                if producer in self.first:
                    indices.append(total + j)
                    nodes.append(self.first[producer] + unit)
            names.append((total, consumer))
            total += self.trace.inputs[consumer][1] if consumer in self.trace.inputs else 0
        starts = np.array([start for start, _ in names])
        i, n = (np.concatenate(part) if part else np.zeros(0, int) for part in (indices, nodes))
        rows = _as_bool(csr_array((np.ones(len(i), np.int32), (i, n)), shape=(total, self.count)))
        keep = _first_of_each(rows, np.diff(rows.indptr) > 0)
        place = np.searchsorted(starts, keep, side="right") - 1
        self._consumer = [names[k][1] for k in place]
        self._index = (keep - starts[place]).tolist() if len(keep) else []
        return rows[keep]

    def _refuse_foreign(self, consumer: str) -> None:
        """Refuse what is read together with the output of a module that cannot be made new."""
        strangers = [p for p in self.trace.reads.get(consumer, {}) if p not in self.first]
        if not strangers:
            return
        foreign = np.zeros(self.trace.inputs[consumer][1], bool)
        for producer, j, _ in self.pairs(consumer):
            if producer in strangers:
                foreign[j] = True
        why = f"it is added to the output of {strangers[0]!r}, which cannot be made new"
        for producer, j, unit in self.pairs(consumer):
            if producer in self.first:
                hit = self.first[producer] + unit[foreign[j]]
                self.refuse(hit, f"{why} ({self.trace.opaque[strangers[0]]})")

    def _kinds(self, rows: Any) -> np.ndarray:
        """A number for each node: nodes that are read at the same rows share one."""
        marks = np.random.default_rng(0).integers(1, 2**62, rows.shape[0], dtype=np.uint64)
        hashes = np.zeros(self.count, np.uint64)
        row, node = rows.nonzero()
        np.add.at(hashes, node, marks[row])  # wraps around
        return np.unique(hashes, return_inverse=True)[1]

    def _without_dense(self, rows: Any) -> Any:
        """Refuse mixed outputs: too many of one producer at one index, which are read differently elsewhere.

        An index that mixes outputs is nobody's own. So everything that is read there is refused, of other producers as
        well: zeroing the index for one of them would silence the rest.
        """
        kinds = self._kinds(rows)
        row, node = rows.nonzero()
        by_row = row * len(self.plain) + self.owner[node]  # one number for a row and a producer
        once = np.unique(by_row * (self.count + 1) + kinds[node]) // (self.count + 1)
        mixed, different = np.unique(once, return_counts=True)
        mixed = mixed[different > _PARTS]
        hit = np.isin(by_row, mixed)
        dense = np.zeros(rows.shape[0], bool)
        dense[row[hit]] = True
        at = rows.indptr
        several = {number: node[at[number] : at[number + 1]] for number in np.flatnonzero(dense).tolist()}
        for number, here in several.items():
            self.refuse(here[hit[at[number] : at[number + 1]]], self._several(number))
        for number, here in several.items():
            self.refuse(here, self._mixed(number))
        self._consumer = [name for name, out in zip(self._consumer, dense, strict=True) if not out]
        self._index = [index for index, out in zip(self._index, dense, strict=True) if not out]
        return rows[~dense]

    def _several(self, row: int) -> str:
        return f"{self._consumer[row]!r} reads several of its units at one index{self._through(row)}"

    def _mixed(self, row: int) -> str:
        return f"{self._consumer[row]!r} reads it together with several units of others{self._through(row)}"

    def _through(self, row: int) -> str:
        """The parameters that mix what is read at a row, in words."""
        several = [
            name
            for name, by_dim in self.trace.bare.get(self._consumer[row], {}).items()
            if len(by_dim) > 1 and all(codes is None for codes in by_dim.values())
        ]
        return f", through {', '.join(map(repr, several))}, which no known module owns" if several else ""

    def _refuse_modulators(self, rows: Any) -> None:
        """Refuse outputs that are read together with several units of one producer, which are read separately.

        Where this holds of two kinds of outputs in both directions (a value shared by several heads, and the queries of
        the heads), the kind to which more outputs of one producer belong is refused.
        """
        kinds = self._kinds(rows)
        number = int(kinds.max()) + 1 if self.count else 0
        of_kind = csr_array((np.ones(self.count, np.int32), (np.arange(self.count), kinds)), shape=(self.count, number))
        read = _as_bool(rows @ of_kind)
        together = _as_bool(read.T @ read)
        owners, times = np.unique(np.stack([kinds, self.owner]), axis=1, return_counts=True)
        own_kinds = [np.unique(owners[0][owners[1] == place]) for place in range(len(self.plain))]
        multiplicity = np.zeros(number, int)
        np.maximum.at(multiplicity, owners[0], times)
        left = np.ones(number, bool)
        for many in np.unique(multiplicity)[::-1]:
            found = {}
            for place, own in enumerate(own_kinds):
                for kind in _meets_apart(together, own[left[own]]):
                    if left[kind] and multiplicity[kind] == many:
                        found[kind] = self.plain[place]
            for kind, producer in found.items():
                left[kind] = False
                nodes = np.flatnonzero(kinds == kind)
                label = self.trace.maps[producer].label
                self.refuse(nodes, f"it is read along with several units of {label!r}")
                self.modulates[nodes] = True

    def _refuse_carriers(self, rows: Any) -> None:
        """Refuse outputs at whose indices others are still read where they are zero: the index is not theirs.

        A value that attention weights is the only thing at its index: without it nothing of queries and keys is left.
        In attention over channels it is the other way round: queries alone are read one by one, but each index carries
        all the values.
        """
        row, node = rows.nonzero()
        fit = np.array([reason is None for reason in self.unfit], bool) & ~self.modulates
        mixed = np.zeros(rows.shape[0], bool)
        mixed[row[self.modulates[node]]] = True
        carried = np.zeros(rows.shape[0], bool)
        carried[row[fit[node]]] = True
        candidates = np.flatnonzero(mixed & carried)
        if not len(candidates):
            return
        at: dict[str, set[int]] = {}
        for number in candidates.tolist():
            at.setdefault(self._consumer[number], set()).add(self._index[number])
        zeros = {name: ~self.modulates[self.nodes(name)] for name in self.plain}
        still = self.trace.still_read(zeros, [{name: np.array(sorted(own))} for name, own in at.items()])
        reads = {name: self._flat(masks) & self.modulates for name, masks in zip(at, still, strict=True)}
        for number in candidates.tolist():
            here = node[rows.indptr[number] : rows.indptr[number + 1]]
            others = here[reads[self._consumer[number]][here]]
            if len(others):
                other = self.trace.maps[self.plain[self.owner[others[0]]]].label
                why = f"{self._consumer[number]!r} reads it where it reads units of {other!r}, which go on without it"
                self.refuse(here[fit[here]], why)

    def _flat(self, masks: Masks) -> np.ndarray:
        flat = np.zeros(self.count, bool)
        for name, mask in masks.items():
            flat[self.nodes(name)] = mask
        return flat

    def _classes(self, rows: Any) -> np.ndarray:
        """The class of each node, and reasons against classes that are no units."""
        if not self.count:
            return np.zeros(0, int)
        row, node = rows.nonzero()
        clear = ~self.modulates[node]
        row, node = row[clear], node[clear]
        same = row[1:] == row[:-1]
        pairs = node[:-1][same], node[1:][same]
        graph = coo_array((np.ones(len(pairs[0]), np.int8), pairs), shape=(self.count, self.count))
        label = connected_components(graph, directed=False)[1]
        of, times = np.unique(np.stack([label, self.owner]), axis=1, return_counts=True)
        for place in np.unique(of[1][times > 1]):
            mine = of[1] == place
            classes = of[0][mine & (times > 1)]
            alone = len(classes) == 1 and times[mine].max() == (self.owner == place).sum()
            for class_ in of[0][mine & (times > (1 if alone else _PARTS))]:
                nodes = np.flatnonzero((label == class_) & (self.owner == place))
                reader = row[np.isin(node, nodes).argmax()]
                self.refuse(nodes, self._several(int(reader)))
        return label


def _as_bool(matrix: Any) -> Any:
    matrix = matrix.tocsr()
    matrix.data[:] = 1
    return matrix


def _meets_apart(together: Any, own: np.ndarray) -> np.ndarray:
    """The kinds that are read together with two others out of `own` that are never read together."""
    if len(own) < 2:
        return own[:0]
    itself = csr_array((np.ones(len(own), np.int32), (own, np.arange(len(own)))), shape=(together.shape[0], len(own)))
    met = together[:, own]
    met = met - met.multiply(itself)
    met.eliminate_zeros()
    several = np.flatnonzero(np.diff(met.indptr) > 1)
    met = met[several]
    linked = np.asarray((met @ together[own][:, own]).multiply(met).sum(1)).ravel()
    return several[linked < np.asarray(met.sum(1)).ravel() ** 2]


def _first_of_each(rows: Any, wanted: np.ndarray) -> np.ndarray:
    """The first of every set of equal rows, among those wanted."""
    marks = np.random.default_rng(1).integers(1, 2**62, rows.shape[1], dtype=np.uint64)
    hashes = np.zeros(rows.shape[0], np.uint64)
    np.add.at(hashes, np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), marks[rows.indices])
    candidates = np.flatnonzero(wanted)
    return np.sort(candidates[np.unique(hashes[candidates], return_index=True)[1]])
