"""What the operations of autograd's graph do to indices: for each, which indices of its inputs an index of its output
reads.

An index runs along one or several dimensions of a tensor, `dims`, in row-major order. A rule gives a list of links to
the operation's inputs, or None where it does not know. Where an operation mixes positions along a dimension, an index
reads all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

__all__ = ["ACTIVATIONS", "NORMS", "RULES", "Asked", "Link", "broadcast", "shape_of"]

Dims = tuple[int, ...]
Within = tuple[tuple[int, int, int], ...]
"""Only positions from `low` up to `high` along a dimension: (dimension, low, high), by dimension."""


@dataclass(frozen=True)
class Link:
    """An input of an operation, and how its indices belong to those of the output.

    Attributes:
        edge: which input.
        dims: the dimensions of the input that its index runs along.
        within: the positions of the input that matter.
        source: for each index of the output the input's index that it reads, or -1; None: the same.
        target: in place of it, for each index of the input the output's index that reads it, or -1.
    """

    edge: int
    dims: Dims
    within: Within = ()
    source: np.ndarray | None = None
    target: np.ndarray | None = None


class Asked(NamedTuple):
    """What is asked of an operation: along which dimensions of which output, and within which positions."""

    node: Any
    number: int
    dims: Dims
    within: Within

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of that output."""
        return shape_of(self.node, self.number)

    def input_shape(self, edge: int) -> tuple[int, ...] | None:
        """The shape of an input; None where it needs no gradient."""
        node, number = self.node.next_functions[edge]
        return None if node is None else shape_of(node, number)

    def edges(self) -> list[int]:
        """The inputs that need gradients."""
        return [k for k, (node, _) in enumerate(self.node.next_functions) if node is not None]

    @property
    def sizes(self) -> list[int]:
        """The sizes of `dims`."""
        return [self.shape[d] for d in self.dims]


Rule = Callable[[Asked], "list[Link] | None"]


def shape_of(node: Any, number: int) -> tuple[int, ...]:
    """The shape of an operation's output."""
    return tuple(int(size) for size in node._input_metadata[number].shape)


def _places(sizes: Sequence[int]) -> list[np.ndarray]:
    """For each index along several dimensions its place along each of them."""
    return list(np.unravel_index(np.arange(math.prod(sizes)), sizes)) if sizes else []


def _joined(places: Sequence[np.ndarray], sizes: Sequence[int], count: int) -> np.ndarray:
    """The index for each of `count` places along several dimensions; -1 where one of them is negative."""
    index, valid = np.zeros(count, np.int64), np.ones(count, bool)
    for place, size in zip(places, sizes, strict=True):
        index, valid = index * size + place, valid & (place >= 0)
    return np.where(valid, index, -1)


def _moved(asked: Asked, edge: int, where: Callable[[int], int | None], sizes: Sequence[int]) -> Link:
    """A link along which dimension d of the output becomes `where(d)` of the input, of the given shape, or is lost."""
    now = [(k, where(d)) for k, d in enumerate(asked.dims)]
    kept = [(k, d) for k, d in now if d is not None]
    within = tuple(sorted((d, lo, hi) for old, lo, hi in asked.within if (d := where(old)) is not None))
    dims, source = tuple(d for _, d in kept), None
    if len(kept) < len(now):
        places = _places(asked.sizes)
        source = _joined([places[k] for k, _ in kept], [sizes[d] for d in dims], math.prod(asked.sizes))
    return Link(edge, dims, within, source)


def broadcast(asked: Asked, edge: int) -> Link:
    """The link to an input that is broadcast to the output's shape."""
    own, shape = asked.input_shape(edge), asked.shape
    assert own is not None
    behind = len(shape) - len(own)

    def where(d: int) -> int | None:
        return None if d < behind or (own[d - behind] == 1 and shape[d] > 1) else d - behind

    return _moved(asked, edge, where, own)


def _elementwise(asked: Asked) -> list[Link] | None:
    return [broadcast(asked, edge) for edge in asked.edges()]


def _product(asked: Asked) -> list[Link] | None:
    """A product with a constant loses the indices at which that is zero everywhere."""
    links = _elementwise(asked)
    edges = asked.edges()
    if links is None or len(edges) != 1:
        return links
    constant = asked.node._saved_other if edges[0] == 0 else asked.node._saved_self
    if not isinstance(constant, Tensor) or constant.dim() == 0 or not bool((constant == 0).any()):
        return links
    alive = (constant != 0).expand(asked.shape)
    others = [d for d in range(alive.dim()) if d not in asked.dims]
    alive = alive.movedim(asked.dims, tuple(range(len(asked.dims)))).flatten(len(asked.dims)) if others else alive
    alive = alive.any(-1).flatten() if others else alive.movedim(asked.dims, tuple(range(len(asked.dims)))).flatten()
    link = links[0]
    own = np.arange(math.prod(asked.sizes)) if link.source is None else link.source
    return [Link(link.edge, link.dims, link.within, np.where(alive.cpu().numpy(), own, -1))]


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
    target = _joined([place[d] for d in big], [shape[d] for d in big], count)
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


def _signed(number: int, length: int) -> int:
    """A dimension or position as torch saves it: negative ones wrap around."""
    number = number - 2**64 if number >= 2**63 else number
    return number + length if number < 0 else number


def _permuted(order: Callable[[Any, int], Sequence[int]]) -> Rule:
    def rule(asked: Asked) -> list[Link]:
        own = asked.input_shape(0)
        assert own is not None
        places = order(asked.node, len(own))
        return [_moved(asked, 0, lambda d: places[d], own)]

    return rule


def _swap(node: Any, count: int) -> list[int]:
    order = list(range(count))
    a, b = (_signed(d, count) for d in (node._saved_dim0, node._saved_dim1))
    order[a], order[b] = order[b], order[a]
    return order


def _reduced(asked: Asked) -> list[Link]:
    own = asked.input_shape(0)
    assert own is not None
    node, count = asked.node, len(own)
    gone = getattr(node, "_saved_dim", None)
    gone = range(count) if gone is None or gone == () else (gone,) if isinstance(gone, int) else gone
    gone = {_signed(d, count) for d in gone}
    kept = [d for d in range(count) if d not in gone]
    if len(asked.shape) == count:
        return [_moved(asked, 0, lambda d: None if d in gone else d, own)]
    return [_moved(asked, 0, lambda d: kept[d], own)]


def _mixing(dims_of: Callable[[Any, int], Iterable[int]], *, all_of_them: bool = True) -> Rule:
    """An operation that keeps the dimensions, and mixes positions along some of them.

    An index along these reads all of them, or not known which.
    """

    def rule(asked: Asked) -> list[Link] | None:
        own = asked.input_shape(0)
        assert own is not None
        mixed = {_signed(d, len(own)) for d in dims_of(asked.node, len(own))}
        if not all_of_them and mixed & set(asked.dims):
            return None
        return [_moved(asked, 0, lambda d: None if d in mixed else d, own)]

    return rule


def _shifted(moved: Callable[[np.ndarray, int, int], np.ndarray]) -> Rule:
    """An operation that puts the positions along some dimensions in another order."""

    def rule(asked: Asked) -> list[Link]:
        own, node = asked.input_shape(0), asked.node
        assert own is not None
        by = getattr(node, "_saved_shifts", (0,) * len(own))
        along = {_signed(d, len(own)): _signed(n, 0) for d, n in zip(node._saved_dims, by, strict=False)}
        within = tuple(entry for entry in asked.within if entry[0] not in along)
        if not along.keys() & set(asked.dims):
            return [Link(0, asked.dims, within)]
        places = _places(asked.sizes)
        for at, d in enumerate(asked.dims):
            if d in along:
                places[at] = moved(places[at], own[d], along[d])
        return [Link(0, asked.dims, within, _joined(places, asked.sizes, math.prod(asked.sizes)))]

    return rule


def _cat(asked: Asked) -> list[Link] | None:
    count, edges = len(asked.shape), range(len(asked.node.next_functions))
    along = _signed(asked.node._saved_dim, count)
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
                places = _places(sizes)
                places[asked.dims.index(along)] = places[asked.dims.index(along)] + start
                target = _joined(places, asked.sizes, math.prod(sizes))
            links.append(Link(k, asked.dims, within, target=target))
        start = end
    return links


def _stack(asked: Asked) -> list[Link]:
    along, links = _signed(asked.node._saved_dim, len(asked.shape)), []
    limits = next(((lo, hi) for d, lo, hi in asked.within if d == along), (0, asked.shape[along]))
    for k in asked.edges():
        own = asked.input_shape(k)
        assert own is not None
        if not limits[0] <= k < limits[1]:
            continue
        link = _moved(asked, k, lambda d: None if d == along else d - (d > along), own)
        if along in asked.dims:
            only = _places(asked.sizes)[asked.dims.index(along)] == k
            assert link.source is not None
            link = Link(k, link.dims, link.within, np.where(only, link.source, -1))
        links.append(link)
    return links


def _sliced(bounds: Callable[[Asked, int], tuple[int, int, int]]) -> Rule:
    """A part of the input along one dimension: (first, step, dimension)."""

    def rule(asked: Asked) -> list[Link] | None:
        own = asked.input_shape(0)
        assert own is not None
        along = _signed(asked.node._saved_dim, len(own))
        start, length, step = bounds(asked, own[along])
        if along in asked.dims:
            places = _places(asked.sizes)
            at = asked.dims.index(along)
            places[at] = start + step * places[at]
            count = math.prod(asked.sizes)
            source = _joined(places, [own[d] for d in asked.dims], count)
            return [Link(0, asked.dims, asked.within, source)]
        low, high = next(((lo, hi) for d, lo, hi in asked.within if d == along), (0, length))
        others = tuple(entry for entry in asked.within if entry[0] != along)
        limits = (along, start + step * low, start + step * (high - 1) + 1)
        return [Link(0, asked.dims, tuple(sorted((*others, limits))))]

    return rule


def _slice_bounds(asked: Asked, length: int) -> tuple[int, int, int]:
    node = asked.node
    along = _signed(node._saved_dim, len(asked.shape))
    return min(_signed(node._saved_start, length), length), asked.shape[along], node._saved_step


def _split_bounds(asked: Asked, length: int) -> tuple[int, int, int]:
    node = asked.node
    along = _signed(node._saved_dim, len(asked.shape))
    before = sum(shape_of(node, k)[along] for k in range(asked.number))
    return before, asked.shape[along], 1


def _selected(position: Callable[[Asked, int], int]) -> Rule:
    def rule(asked: Asked) -> list[Link]:
        own = asked.input_shape(0)
        assert own is not None
        along = _signed(asked.node._saved_dim, len(own))
        link = _moved(asked, 0, lambda d: d + (d >= along), own)
        at = position(asked, own[along])
        return [Link(0, link.dims, tuple(sorted((*link.within, (along, at, at + 1)))))]

    return rule


def _matrices(*roles: tuple[int, Sequence[int | None]]) -> Rule:
    """A product of matrices: for each factor its edge and, for each dimension of the output, the factor's own."""

    def rule(asked: Asked) -> list[Link] | None:
        links = []
        for k in asked.edges():
            own = asked.input_shape(k)
            assert own is not None
            where = dict(roles).get(k)
            links.append(broadcast(asked, k) if where is None else _moved(asked, k, lambda d, w=where: w[d], own))
        if any(asked.node.next_functions[k][0] is None for k, _ in roles):
            saved = [getattr(asked.node, f"_saved_{name}", None) for name in _FACTORS]
            if any(isinstance(t, Tensor) and bool((t == 0).any()) for t in saved):
                return None  # a constant that picks or leaves out
        return links

    return rule


_FACTORS = ("mat1", "mat2", "self", "batch1", "batch2", "vec")


def _depthwise(asked: Asked) -> list[Link] | None:
    own = asked.input_shape(0)
    node = asked.node
    if own is None or len(own) < 3 or node._saved_groups not in (1, own[1]):
        return None
    alone = node._saved_groups == own[1] == asked.shape[1] > 1
    return [_moved(asked, 0, lambda d: d if d == 0 or (d == 1 and alone) else None, own)]


def _padded(asked: Asked) -> list[Link]:
    own = asked.input_shape(0)
    assert own is not None
    pad = asked.node._saved_pad
    before = {len(own) - 1 - k: pad[2 * k] for k in range(len(pad) // 2)}
    places = _places(asked.sizes)
    for at, d in enumerate(asked.dims):
        moved = places[at] - before.get(d, 0)
        places[at] = np.where((moved >= 0) & (moved < own[d]), moved, -1)
    source = None
    if any(d in before for d in asked.dims):
        source = _joined(places, [own[d] for d in asked.dims], math.prod(asked.sizes))
    return [Link(0, asked.dims, tuple(entry for entry in asked.within if entry[0] not in before), source)]


def _indexed(asked: Asked) -> list[Link] | None:
    """Picked by one tensor of positions along one dimension; that one keeps its place."""
    own, node = asked.input_shape(0), asked.node
    assert own is not None
    if hasattr(node, "_saved_index"):
        along, index = _signed(node._saved_dim, len(own)), node._saved_index
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

    link = _moved(asked, 0, where, own)
    picked = [at for at, d in enumerate(asked.dims) if along <= d <= along + more]
    if not picked or more:
        return [link]
    places, positions = _places(asked.sizes), index.cpu().numpy() % own[along]
    places[picked[0]] = positions[places[picked[0]]]
    source = _joined(places, [own[d] for d in asked.dims], math.prod(asked.sizes))
    return [Link(0, asked.dims, link.within, source)]


def _glu(asked: Asked) -> list[Link]:
    own = asked.input_shape(0)
    assert own is not None
    along = _signed(asked.node._saved_dim, len(own))
    within = tuple(entry for entry in asked.within if entry[0] != along)
    if along not in asked.dims:
        return [Link(0, asked.dims, within)]
    sizes = [own[d] for d in asked.dims]
    places, at = _places(sizes), asked.dims.index(along)
    places[at] = places[at] % asked.shape[along]
    return [Link(0, asked.dims, within, target=_joined(places, asked.sizes, math.prod(sizes)))]


def _unfolded(asked: Asked) -> list[Link]:
    """Windows of an image, `[batch, channels * window, positions]`."""
    own = asked.input_shape(0)
    assert own is not None
    channel = len(own) - 3
    window = asked.shape[channel] // own[channel]
    kept = [
        (d, place // window if d == channel else place)
        for d, place in zip(asked.dims, _places(asked.sizes), strict=True)
    ]
    kept = [(d, place) for d, place in kept if d <= channel]
    source = _joined([place for _, place in kept], [own[d] for d, _ in kept], math.prod(asked.sizes))
    return [Link(0, tuple(d for d, _ in kept), (), source)]


def _repeated(asked: Asked) -> list[Link]:
    own, shape = asked.input_shape(0), asked.shape
    assert own is not None
    behind = len(shape) - len(own)
    places, kept = _places(asked.sizes), []
    for at, d in enumerate(asked.dims):
        if d >= behind:
            kept.append((d - behind, places[at] % own[d - behind]))
    source = _joined([p for _, p in kept], [own[d] for d, _ in kept], math.prod(asked.sizes))
    return [Link(0, tuple(d for d, _ in kept), (), source)]


def _names(text: str) -> list[str]:
    return text.split()


ACTIVATIONS = frozenset(
    [
        "Relu",
        "LeakyRelu",
        "Gelu",
        "Silu",
        "Tanh",
        "Sigmoid",
        "Elu",
        "Celu",
        "Selu",
        "Hardswish",
        "Hardsigmoid",
        "Hardtanh",
        "Softplus",
        "Mish",
        "Softshrink",
        "Hardshrink",
        "LogSigmoid",
        "PreluKernel",
        "Threshold",
        "RreluWithNoise",
        "Glu",
        "Sin",
        "Cos",
        "Exp",
        "Erf",
        "Abs",
        "Pow",
    ]
)
"""Names of operations that make an activation of a sum."""

_ELEMENTWISE = [
    "Add",
    "Sub",
    "Rsub",
    "Div",
    "Neg",
    "Clone",
    "ToCopy",
    "Copy",
    "Sqrt",
    "Rsqrt",
    "Reciprocal",
    "Log",
    "Log1P",
    "Expm1",
    "Erfinv",
    "Sign",
    "Round",
    "Floor",
    "Ceil",
    "Clamp",
    "ClampMin",
    "ClampMax",
    "Where",
    "MaskedFill",
    "Maximum",
    "Minimum",
    "Fmax",
    "Fmin",
    "Lerp",
    "Addcmul",
    "Addcdiv",
    "Atan2",
    "Logaddexp",
    "Atan",
    "Asinh",
    "Sinh",
    "Cosh",
    "NanToNum",
    "Fmod",
    "Remainder",
    "Xlogy",
    "Contiguous",
    "Alias",
    "Lift",
    "Expand",
    "NativeDropout",
    "FakeQuantize",
]
NORMS = frozenset(
    ["NativeLayerNorm", "NativeGroupNorm", "FusedRmsNorm", "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"]
)
"""Norms as functions: each channel goes on alone, but for the statistics."""

_VIEWS = ["View", "UnsafeView", "ReshapeAlias", "Reshape", "Squeeze", "Unsqueeze"]
_SPATIAL = {
    "AvgPool2D MaxPool2DWithIndices AdaptiveAvgPool2D AdaptiveMaxPool2D UpsampleNearest2D UpsampleBilinear2D "
    "UpsampleBicubic2D UpsampleBilinear2DAa UpsampleBicubic2DAa ReflectionPad2D ReplicationPad2D MkldnnMaxPool2D": 2,
    "AvgPool3D MaxPool3DWithIndices AdaptiveAvgPool3D AdaptiveMaxPool3D UpsampleNearest3D UpsampleTrilinear3D "
    "ReplicationPad3D": 3,
    "ReflectionPad1D ReplicationPad1D UpsampleLinear1D UpsampleNearest1D": 1,
}

RULES: dict[str, Rule] = {
    **dict.fromkeys((*ACTIVATIONS - {"Glu"}, *_ELEMENTWISE, *NORMS), _elementwise),
    **dict.fromkeys(_VIEWS, _view),
    **dict.fromkeys(_names("""
    Sum Mean Amax Amin Max Min Var Std VarMean StdMean LinalgVectorNorm Norm Logsumexp Prod Median
"""), _reduced),
    **dict.fromkeys(("Softmax", "SafeSoftmax", "LogSoftmax"), _mixing(lambda node, _: (node._saved_dim,))),
    **dict.fromkeys(
        _names("Cumsum Cumprod Logcumsumexp Sort Topk Gather"),
        _mixing(lambda node, _: (node._saved_dim,), all_of_them=False),
    ),
    "Roll": _shifted(lambda place, length, by: (place - by) % length),
    "Flip": _shifted(lambda place, length, by: length - 1 - place),
    **{
        name: _mixing(lambda _, count, last=last: range(count - last, count))
        for names, last in _SPATIAL.items()
        for name in names.split()
    },
    "Mul": _product,
    "Permute": _permuted(lambda node, count: [_signed(d, count) for d in node._saved_dims]),
    "Transpose": _permuted(_swap),
    "T": _permuted(lambda _, count: list(range(count))[::-1]),
    "Cat": _cat,
    "Stack": _stack,
    "Slice": _sliced(_slice_bounds),
    "Split": _sliced(_split_bounds),
    "SplitWithSizes": _sliced(_split_bounds),
    "Select": _selected(lambda asked, length: _signed(asked.node._saved_index, length)),
    "Unbind": _selected(lambda asked, _: asked.number),
    "Mm": _matrices((0, (0, None)), (1, (None, 1))),
    "Addmm": _matrices((1, (0, None)), (2, (None, 1))),
    "Bmm": _matrices((0, (0, 1, None)), (1, (0, None, 2))),
    "Baddbmm": _matrices((1, (0, 1, None)), (2, (0, None, 2))),
    "Mv": _matrices((0, (0,)), (1, (None,))),
    "Convolution": _depthwise,
    "ConstantPadNd": _padded,
    "Index": _indexed,
    "IndexSelect": _indexed,
    "Glu": _glu,
    "Repeat": _repeated,
    "Im2Col": _unfolded,
}  # fmt: skip
"""The rules by the names of operations, without what torch adds: `AddBackward0` is `Add`."""
