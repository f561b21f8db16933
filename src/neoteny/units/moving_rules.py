"""The rules of operations that only move numbers: views, cuts, joins, shifts, picks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neoteny.units.links import Asked, Dims, Link, Rule, link_by, ravelled, shape_of, signed, unravelled

__all__ = ["MOVING_RULES"]


def _view(asked: Asked) -> list[Link] | None:
    own, shape = asked.input_shape(0), asked.shape
    if own is None or 0 in own:
        return None
    groups = _groups(own, shape)
    single = {b[0]: a[0] for a, b in groups if len(a) == len(b) == 1}
    within = []
    for a, b in groups:
        inner = math.prod(shape[d] for d in b[1:])
        within += [(a[0], lo * inner, hi * inner) for d, lo, hi in asked.within if len(a) == 1 and d == b[0]]
    within = tuple(sorted(within))
    big = [d for d in asked.dims if shape[d] > 1]
    if all(d in single for d in big):
        return [Link(0, tuple(single[d] for d in big), within)]
    touched = [(a, b) for a, b in groups if set(b) & set(big)]
    dims = tuple(d for a, _ in touched for d in a)
    within = tuple(entry for entry in within if entry[0] not in dims)
    count = math.prod(own[d] for d in dims)
    lengths = [math.prod(own[d] for d in a) for a, _ in touched]
    place: dict[int, np.ndarray] = {}
    for (_, b), flat in zip(touched, np.unravel_index(np.arange(count), lengths), strict=True):
        place.update(zip(b, np.unravel_index(flat, [shape[d] for d in b]), strict=True))
    for d, lo, hi in asked.within:
        if d in place:
            place[big[0]] = np.where((place[d] >= lo) & (place[d] < hi), place[big[0]], -1)
    target = ravelled([place[d] for d in big], [shape[d] for d in big], count)
    return [Link(0, dims, within, target=target)]


def _groups(a: Sequence[int], b: Sequence[int]) -> list[tuple[Dims, Dims]]:
    """The dimensions of two shapes of one tensor that belong together; those of size 1 are left out."""
    left, right = [d for d, n in enumerate(a) if n > 1], [d for d, n in enumerate(b) if n > 1]
    groups = []
    while left and right:
        mine, other = [left.pop(0)], [right.pop(0)]
        m, n = a[mine[0]], b[other[0]]
        while m != n:
            if m < n:
                mine.append(left.pop(0))
                m *= a[mine[-1]]
            else:
                other.append(right.pop(0))
                n *= b[other[-1]]
        groups.append((tuple(mine), tuple(other)))
    return groups


def _permuted(order: Callable[[Any, int], Sequence[int]]) -> Rule:
    def rule(asked: Asked) -> list[Link]:
        own = asked.input_shape(0)
        assert own is not None
        places = order(asked.node, len(own))
        return [link_by(asked, 0, lambda d: places[d], own)]

    return rule


def _swap(node: Any, count: int) -> list[int]:
    order = list(range(count))
    a, b = (signed(d, count) for d in (node._saved_dim0, node._saved_dim1))
    order[a], order[b] = order[b], order[a]
    return order


def _shifted(moved: Callable[[np.ndarray, int, int], np.ndarray]) -> Rule:
    """An operation that puts the positions along some dimensions in another order."""

    def rule(asked: Asked) -> list[Link]:
        own, node = asked.input_shape(0), asked.node
        assert own is not None
        by = getattr(node, "_saved_shifts", (0,) * len(own))
        along = {signed(d, len(own)): signed(n, 0) for d, n in zip(node._saved_dims, by, strict=False)}
        within = tuple(entry for entry in asked.within if entry[0] not in along)
        if not along.keys() & set(asked.dims):
            return [Link(0, asked.dims, within)]
        places = unravelled(asked.sizes)
        for at, d in enumerate(asked.dims):
            if d in along:
                places[at] = moved(places[at], own[d], along[d])
        return [Link(0, asked.dims, within, ravelled(places, asked.sizes, math.prod(asked.sizes)))]

    return rule


def _cat(asked: Asked) -> list[Link] | None:
    count, edges = len(asked.shape), range(len(asked.node.next_functions))
    along = signed(asked.node._saved_dim, count)
    lengths = [None if (own := asked.input_shape(k)) is None else own[along] for k in edges]
    if lengths.count(None) > 1:
        return None
    rest = asked.shape[along] - sum(n for n in lengths if n is not None)
    links, start = [], 0
    limits = next(((lo, hi) for d, lo, hi in asked.within if d == along), (0, asked.shape[along]))
    others = tuple(entry for entry in asked.within if entry[0] != along)
    for k, length in zip(edges, lengths, strict=True):
        own, end = asked.input_shape(k), start + (rest if length is None else length)
        low, high = max(limits[0], start) - start, min(limits[1], end) - start
        if own is not None and low < high:
            whole = (low, high) == (0, end - start)
            within = others if whole else tuple(sorted((*others, (along, low, high))))
            target = None
            if along in asked.dims:
                sizes = [own[d] for d in asked.dims]
                places = unravelled(sizes)
                places[asked.dims.index(along)] = places[asked.dims.index(along)] + start
                target = ravelled(places, asked.sizes, math.prod(sizes))
            links.append(Link(k, asked.dims, within, target=target))
        start = end
    return links


def _stack(asked: Asked) -> list[Link]:
    along, links = signed(asked.node._saved_dim, len(asked.shape)), []
    limits = next(((lo, hi) for d, lo, hi in asked.within if d == along), (0, asked.shape[along]))
    for k in asked.edges():
        own = asked.input_shape(k)
        assert own is not None
        if not limits[0] <= k < limits[1]:
            continue
        link = link_by(asked, k, lambda d: None if d == along else d - (d > along), own)
        if along in asked.dims:
            only = unravelled(asked.sizes)[asked.dims.index(along)] == k
            assert link.source is not None
            link = Link(k, link.dims, link.within, np.where(only, link.source, -1))
        links.append(link)
    return links


def _sliced(bounds: Callable[[Asked, int], tuple[int, int, int]]) -> Rule:
    """A part of the input along one dimension: (first, step, dimension)."""

    def rule(asked: Asked) -> list[Link] | None:
        own = asked.input_shape(0)
        assert own is not None
        along = signed(asked.node._saved_dim, len(own))
        start, length, step = bounds(asked, own[along])
        if along in asked.dims:
            places = unravelled(asked.sizes)
            at = asked.dims.index(along)
            places[at] = start + step * places[at]
            count = math.prod(asked.sizes)
            source = ravelled(places, [own[d] for d in asked.dims], count)
            return [Link(0, asked.dims, asked.within, source)]
        low, high = next(((lo, hi) for d, lo, hi in asked.within if d == along), (0, length))
        others = tuple(entry for entry in asked.within if entry[0] != along)
        limits = (along, start + step * low, start + step * (high - 1) + 1)
        return [Link(0, asked.dims, tuple(sorted((*others, limits))))]

    return rule


def _slice_bounds(asked: Asked, length: int) -> tuple[int, int, int]:
    node = asked.node
    along = signed(node._saved_dim, len(asked.shape))
    return min(signed(node._saved_start, length), length), asked.shape[along], node._saved_step


def _split_bounds(asked: Asked, length: int) -> tuple[int, int, int]:
    node = asked.node
    along = signed(node._saved_dim, len(asked.shape))
    before = sum(shape_of(node, k)[along] for k in range(asked.number))
    return before, asked.shape[along], 1


def _selected(position: Callable[[Asked, int], int]) -> Rule:
    def rule(asked: Asked) -> list[Link]:
        own = asked.input_shape(0)
        assert own is not None
        along = signed(asked.node._saved_dim, len(own))
        link = link_by(asked, 0, lambda d: d + (d >= along), own)
        at = position(asked, own[along])
        return [Link(0, link.dims, tuple(sorted((*link.within, (along, at, at + 1)))))]

    return rule


def _padded(asked: Asked) -> list[Link]:
    own = asked.input_shape(0)
    assert own is not None
    pad = asked.node._saved_pad
    before = {len(own) - 1 - k: pad[2 * k] for k in range(len(pad) // 2)}
    places = unravelled(asked.sizes)
    for at, d in enumerate(asked.dims):
        moved = places[at] - before.get(d, 0)
        places[at] = np.where((moved >= 0) & (moved < own[d]), moved, -1)
    source = None
    if any(d in before for d in asked.dims):
        source = ravelled(places, [own[d] for d in asked.dims], math.prod(asked.sizes))
    return [Link(0, asked.dims, tuple(entry for entry in asked.within if entry[0] not in before), source)]


def _indexed(asked: Asked) -> list[Link] | None:
    """Picked by one tensor of positions along one dimension; that one keeps its place."""
    own, node = asked.input_shape(0), asked.node
    assert own is not None
    if hasattr(node, "_saved_index"):
        along, index = signed(node._saved_dim, len(own)), node._saved_index
    else:
        given = [(d, index) for d, index in enumerate(node._saved_indices) if index is not None]
        if len(given) != 1:
            return None
        along, index = given[0]
    if not index.is_floating_point() and index.dtype.is_signed is False and index.dtype.itemsize == 1:
        if index.dim() != 1:
            return None
        index = index.nonzero()[:, 0]
    more = index.dim() - 1  # dimensions that the one becomes beyond its own

    def where(d: int) -> int | None:
        return d if d < along else d - more if d > along + more else None

    link = link_by(asked, 0, where, own)
    picked = [at for at, d in enumerate(asked.dims) if along <= d <= along + more]
    if not picked or more:
        return [link]
    places, positions = unravelled(asked.sizes), index.cpu().numpy() % own[along]
    places[picked[0]] = positions[places[picked[0]]]
    source = ravelled(places, [own[d] for d in asked.dims], math.prod(asked.sizes))
    return [Link(0, asked.dims, link.within, source)]


def _glu(asked: Asked) -> list[Link]:
    own = asked.input_shape(0)
    assert own is not None
    along = signed(asked.node._saved_dim, len(own))
    within = tuple(entry for entry in asked.within if entry[0] != along)
    if along not in asked.dims:
        return [Link(0, asked.dims, within)]
    sizes = [own[d] for d in asked.dims]
    places, at = unravelled(sizes), asked.dims.index(along)
    places[at] = places[at] % asked.shape[along]
    return [Link(0, asked.dims, within, target=ravelled(places, asked.sizes, math.prod(sizes)))]


def _unfolded(asked: Asked) -> list[Link]:
    """Windows of an image, `[batch, channels * window, positions]`."""
    own = asked.input_shape(0)
    assert own is not None
    channel = len(own) - 3
    window = asked.shape[channel] // own[channel]
    kept = [
        (d, place // window if d == channel else place)
        for d, place in zip(asked.dims, unravelled(asked.sizes), strict=True)
    ]
    kept = [(d, place) for d, place in kept if d <= channel]
    source = ravelled([place for _, place in kept], [own[d] for d, _ in kept], math.prod(asked.sizes))
    return [Link(0, tuple(d for d, _ in kept), (), source)]


def _folded(asked: Asked) -> list[Link] | None:
    """Windows, `[batch, channels * window, positions]`, added up to an image."""
    own = asked.input_shape(0)
    assert own is not None
    channel = len(asked.shape) - 3
    if any(d > channel for d in asked.dims):
        return None
    window = own[channel] // asked.shape[channel]
    sizes = [own[d] for d in asked.dims]
    places = [
        place // window if d == channel else place for d, place in zip(asked.dims, unravelled(sizes), strict=True)
    ]
    return [Link(0, asked.dims, target=ravelled(places, asked.sizes, math.prod(sizes)))]


def _repeated(asked: Asked) -> list[Link]:
    own, shape = asked.input_shape(0), asked.shape
    assert own is not None
    behind = len(shape) - len(own)
    places, kept = unravelled(asked.sizes), []
    for at, d in enumerate(asked.dims):
        if d >= behind:
            kept.append((d - behind, places[at] % own[d - behind]))
    source = ravelled([p for _, p in kept], [own[d] for d, _ in kept], math.prod(asked.sizes))
    return [Link(0, tuple(d for d, _ in kept), (), source)]


_VIEWS = ["View", "UnsafeView", "ReshapeAlias", "Reshape", "Squeeze", "Unsqueeze"]

MOVING_RULES: dict[str, Rule] = {
    **dict.fromkeys(_VIEWS, _view),
    "Roll": _shifted(lambda place, length, by: (place - by) % length),
    "Flip": _shifted(lambda place, length, by: length - 1 - place),
    "Permute": _permuted(lambda node, count: [signed(d, count) for d in node._saved_dims]),
    "Transpose": _permuted(_swap),
    "T": _permuted(lambda _, count: list(range(count))[::-1]),
    "Cat": _cat,
    "Stack": _stack,
    "Slice": _sliced(_slice_bounds),
    "Split": _sliced(_split_bounds),
    "SplitWithSizes": _sliced(_split_bounds),
    "Select": _selected(lambda asked, length: signed(asked.node._saved_index, length)),
    "Unbind": _selected(lambda asked, _: asked.number),
    "ConstantPadNd": _padded,
    "Index": _indexed,
    "IndexSelect": _indexed,
    "Glu": _glu,
    "Repeat": _repeated,
    "Im2Col": _unfolded,
    "Col2Im": _folded,
}
"""The rules by the names of operations, as in `graph_rules.py`."""
