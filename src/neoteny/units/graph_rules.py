"""What the operations of autograd's graph do to indices: for each, which indices of its inputs an index of its output
reads.

A rule gives a list of links to the operation's inputs, or None where it does not know. Where an operation mixes
positions along a dimension, an index reads all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from neoteny.units.links import Asked, Link, Rule, broadcast, link_by, signed
from neoteny.units.moving_rules import MOVING_RULES

__all__ = ["ACTIVATIONS", "NORMS", "RULES"]


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


def _reduced(asked: Asked) -> list[Link]:
    own = asked.input_shape(0)
    assert own is not None
    node, count = asked.node, len(own)
    gone = getattr(node, "_saved_dim", None)
    gone = range(count) if gone is None or gone == () else (gone,) if isinstance(gone, int) else gone
    gone = {signed(d, count) for d in gone}
    kept = [d for d in range(count) if d not in gone]
    if len(asked.shape) == count:
        return [link_by(asked, 0, lambda d: None if d in gone else d, own)]
    return [link_by(asked, 0, lambda d: kept[d], own)]


def _mixing(dims_of: Callable[[Any, int], Iterable[int]], *, all_of_them: bool = True) -> Rule:
    """An operation that keeps the dimensions, and mixes positions along some of them.

    An index along these reads all of them, or not known which.
    """

    def rule(asked: Asked) -> list[Link] | None:
        own = asked.input_shape(0)
        assert own is not None
        mixed = {signed(d, len(own)) for d in dims_of(asked.node, len(own))}
        if not all_of_them and mixed & set(asked.dims):
            return None
        return [link_by(asked, 0, lambda d: None if d in mixed else d, own)]

    return rule


def _matrices(*roles: tuple[int, Sequence[int | None]]) -> Rule:
    """A product of matrices: for each factor its edge and, for each dimension of the output, the factor's own."""

    def rule(asked: Asked) -> list[Link] | None:
        links = []
        for k in asked.edges():
            own = asked.input_shape(k)
            assert own is not None
            where = dict(roles).get(k)
            links.append(broadcast(asked, k) if where is None else link_by(asked, k, lambda d, w=where: w[d], own))
        if any(asked.node.next_functions[k][0] is None for k, _ in roles):
            saved = [getattr(asked.node, f"_saved_{name}", None) for name in _FACTORS]
            if any(isinstance(t, Tensor) and bool((t == 0).any()) for t in saved):
                return None  # a constant that picks or leaves out
        return links

    return rule


_FACTORS = ("mat1", "mat2", "self", "batch1", "batch2", "vec")


def _convolution(asked: Asked) -> list[Link] | None:
    """Each channel alone (a depthwise one), or all of them together; each with the kernel and shift of its output."""
    own, node = asked.input_shape(0), asked.node
    if own is None or len(own) < 3 or node._saved_groups not in (1, own[1]):
        return None
    alone = node._saved_groups == own[1] == asked.shape[1] > 1
    links = [link_by(asked, 0, lambda d: d if d == 0 or (d == 1 and alone) else None, own)]
    channel = 1 if node._saved_transposed and not alone else 0  # of the kernel
    if 1 in asked.edges() and not alone and node._saved_groups > 1:
        return None
    for edge, where in ((1, channel), (2, 0)):
        if edge in asked.edges():
            shape = asked.input_shape(edge)
            assert shape is not None
            links.append(link_by(asked, edge, lambda d, where=where: where if d == 1 else None, shape))
    return links


def _pooled(asked: Asked) -> list[Link] | None:
    """What pooling to one position makes of its mean, to have the memory's format: the same numbers in a row."""
    before = asked.node.next_functions[0][0].name()
    own, shape = asked.input_shape(0), asked.shape
    if own != shape or math.prod(shape[2:]) != 1 or not before.startswith("Mean") or asked.node._saved_storage_offset:
        return None
    return [Link(0, asked.dims, asked.within)]


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

_SPATIAL = {
    "AvgPool2D MaxPool2DWithIndices AdaptiveAvgPool2D AdaptiveMaxPool2D UpsampleNearest2D UpsampleBilinear2D "
    "UpsampleBicubic2D UpsampleBilinear2DAa UpsampleBicubic2DAa ReflectionPad2D ReplicationPad2D MkldnnMaxPool2D": 2,
    "AvgPool3D MaxPool3DWithIndices AdaptiveAvgPool3D AdaptiveMaxPool3D UpsampleNearest3D UpsampleTrilinear3D "
    "ReplicationPad3D": 3,
    "ReflectionPad1D ReplicationPad1D UpsampleLinear1D UpsampleNearest1D": 1,
}

RULES: dict[str, Rule] = {
    **MOVING_RULES,
    **dict.fromkeys((*ACTIVATIONS - {"Glu"}, *_ELEMENTWISE, *NORMS), _elementwise),
    **dict.fromkeys(_names("""
    Sum Mean Amax Amin Max Min Var Std VarMean StdMean LinalgVectorNorm Norm Logsumexp Prod Median
"""), _reduced),
    **dict.fromkeys(("Softmax", "SafeSoftmax", "LogSoftmax"), _mixing(lambda node, _: (node._saved_dim,))),
    **dict.fromkeys(
        _names("Cumsum Cumprod Logcumsumexp Sort Topk Gather"),
        _mixing(lambda node, _: (node._saved_dim,), all_of_them=False),
    ),
    **{
        name: _mixing(lambda _, count, last=last: range(count - last, count))
        for names, last in _SPATIAL.items()
        for name in names.split()
    },
    "Mul": _product,
    "Mm": _matrices((0, (0, None)), (1, (None, 1))),
    "Addmm": _matrices((1, (0, None)), (2, (None, 1))),
    "Bmm": _matrices((0, (0, 1, None)), (1, (0, None, 2))),
    "Baddbmm": _matrices((1, (0, 1, None)), (2, (0, None, 2))),
    "GroupedMm": _matrices((0, (0, None)), (1, (None, 2))),
    "Mv": _matrices((0, (0,)), (1, (None,))),
    "Convolution": _convolution,
    "AsStrided": _pooled,
}  # fmt: skip
"""The rules by the names of operations, without what torch adds: `AddBackward0` is `Add`."""
